//! What the words of a policy mean: operators, absent paths, strictness, terms.

use std::time::Duration;

use countersign::call::{Quorum, Verdict};
use countersign::policy::{Facts, Join, Policy, Reads, Window, check, evaluate, explain, joins};

use super::{VENDOR, about, facts, policy, verdict};

#[test]
fn a_vendor_policy_is_read_unchanged() {
    let p = policy(VENDOR);
    let good = r#"{"currency":"usd","customer":"c","amount":10000}"#;
    assert_eq!(verdict(&[&p], "create_charge", good), "allow /tools/create_charge");
    let over = r#"{"currency":"usd","customer":"c","amount":10000.01}"#;
    let evaluation = evaluate(&[&p], &facts("create_charge", over));
    let Verdict::Deny { reason } = evaluation.verdict else { panic!("denied") };
    assert_eq!(reason.rule, "/tools/create_charge/deny_if/0");
    assert_eq!(reason.text, "Charges over 10000 are blocked");
    assert!(evaluation.reservations.is_empty());
    assert_eq!(
        verdict(&[&p], "create_charge", r#"{"currency":"usd"}"#),
        "deny /tools/create_charge/require/1"
    );
    assert_eq!(verdict(&[&p], "create_charge", ""), "deny /tools/create_charge/require/0");
    assert_eq!(verdict(&[&p], "list", ""), "allow /tools/list");
    assert_eq!(verdict(&[&p], "never", ""), "deny /tools/never/action");
    assert_eq!(verdict(&[&p], "other", ""), "deny (default deny)");
    assert_eq!(verdict(&[&p], "drop_table", ""), "hide (hidden)");
    assert_eq!(verdict(&[], "list", ""), "deny (no policy)");
    assert!(p.hides("s", "secret") && p.hides_anything() && !p.hides("s", "list"));
    assert!(!p.allows_reads(Reads::Resources) && !p.default_allows_unknown_methods());
    let slow = evaluate(&[&p], &Facts { session: Some("one"), ..facts("slow", "") });
    let rate = &slow.reservations[0];
    assert_eq!(rate.window, Window::Sliding(Duration::from_secs(60)));
    assert!(rate.counter.ends_with("|ci#one") && !rate.durable);
}

#[test]
fn each_operator_answers_for_match_mismatch_absence_and_wrong_type() {
    // (op, value, matching, not matching, absent matches, wrong type)
    for (op, value, yes, no, absent, wrong) in [
        ("eq", "5", "5.0", "6", false, "\"5\""),
        ("neq", "5", "6", "5e0", true, "\"5\""),
        ("lt", "5", "4", "5", false, "\"4\""),
        ("lte", "5", "5", "5.1", false, "null"),
        ("gt", "9007199254740992", "9007199254740993", "9007199254740992", false, "[9]"),
        ("gte", "5", "5", "4.999", false, "true"),
        ("in", "[\"a\",\"b\"]", "\"a\"", "\"c\"", false, "[\"a\"]"),
        ("not_in", "[\"a\",\"b\"]", "\"c\"", "\"b\"", true, "7"),
        ("regex", "\"^del\"", "\"delete\"", "\"undelete\"", false, "5"),
        ("contains", "\"x\"", "\"axb\"", "[\"y\"]", false, "5"),
    ] {
        let rule = format!(r#"[{{"conditions":[{{"path":"args.x","op":"{op}","value":{value}}}]}}]"#);
        let deny = about(&format!(r#"{{"deny_if":{rule}}}"#));
        let ask = about(&format!(r#"{{"approve_if":{rule}}}"#));
        let require = about(&format!(r#"{{"require":{rule}}}"#));
        let with = |x: &str| format!(r#"{{"x":{x}}}"#);
        let denied = |p: &Policy, a: &str| verdict(&[p], "t", a).starts_with("deny");
        assert!(denied(&deny, &with(yes)), "{op}");
        assert!(!denied(&deny, &with(no)), "{op}");
        assert_eq!(denied(&deny, "{}"), absent, "{op}");
        assert!(denied(&deny, &with(wrong)), "{op}: an error denies");
        assert_eq!(
            verdict(&[&ask], "t", &with(wrong)),
            "review /tools/t/approve_if/0",
            "{op}: an error asks"
        );
        assert!(!denied(&require, &with(yes)), "{op}");
        assert!(denied(&require, &with(no)), "{op}");
        assert!(denied(&require, "{}"), "{op}: require on an absent path fails");
        assert!(denied(&require, &with(wrong)), "{op}: an error fails");
    }
    let exists = about(r#"{"deny_if":[{"conditions":[{"path":"args.x","op":"exists"}]}]}"#);
    assert_eq!(verdict(&[&exists], "t", r#"{"x":null}"#), "deny /tools/t/deny_if/0");
    assert_eq!(verdict(&[&exists], "t", "{}"), "allow /tools/t");
}

#[test]
fn paths_reach_into_lists_and_a_rule_that_tightens_needs_one_value() {
    let deny = |path: &str| {
        about(&format!(r#"{{"deny_if":[{{"conditions":[{{"path":"{path}","op":"eq","value":"x"}}]}}]}}"#))
    };
    let arguments = r#"{"l":[{"n":"a"},{"n":"x"}],"a.b":"x","o":{"l":["x"]}}"#;
    for (path, denied) in [
        ("args.l[0].n", false),
        ("args.l[1].n", true),
        ("args.l.1.n", true),
        ("args.l[9].n", false),
        ("args.l[*].n", true),
        ("args.o.l[*]", true),
        (r#"args[\"a.b\"]"#, true),
        ("args.o[*]", true), // an object is no list: an error, which denies
    ] {
        assert_eq!(verdict(&[&deny(path)], "t", arguments).starts_with("deny"), denied, "{path}");
    }
    let below_null = verdict(&[&deny("args.o.l")], "t", r#"{"o":null}"#);
    assert_eq!(below_null, "allow /tools/t", "null on the way is absent, not an error");
    let every = about(r#"{"require":[{"path":"args.l[*].n","op":"in","value":["a","b"]}]}"#);
    assert_eq!(verdict(&[&every], "t", arguments), "deny /tools/t/require/0");
    assert_eq!(verdict(&[&every], "t", r#"{"l":[{"n":"a"},{"n":"b"}]}"#), "allow /tools/t");
    assert_eq!(verdict(&[&every], "t", r#"{"l":[]}"#), "deny /tools/t/require/0");
}

#[test]
fn ignoring_case_is_an_error_where_upper_and_lower_case_disagree() {
    let ask = about(
        r#"{"approve_if":[{"conditions":[{"path":"args.c","op":"not_in","value":["set","get"],"ignore_case":true}]}]}"#,
    );
    assert_eq!(verdict(&[&ask], "t", r#"{"c":"SeT"}"#), "allow /tools/t");
    assert_eq!(verdict(&[&ask], "t", r#"{"c":"ſet"}"#), "review /tools/t/approve_if/0");
    let deny = about(
        r#"{"deny_if":[{"conditions":[{"path":"args.c","op":"eq","value":"flushall","ignore_case":true}]}]}"#,
    );
    assert_eq!(verdict(&[&deny], "t", r#"{"c":"fluſhall"}"#), "deny /tools/t/deny_if/0");
}

#[test]
fn a_condition_that_surely_fails_outweighs_one_that_cannot_be_answered() {
    let deny = about(
        r#"{"deny_if":[{"conditions":[{"path":"args.a","op":"gt","value":1},{"path":"args.b","op":"eq","value":1}]}]}"#,
    );
    assert_eq!(verdict(&[&deny], "t", r#"{"a":"?","b":2}"#), "allow /tools/t");
    assert_eq!(verdict(&[&deny], "t", r#"{"a":"?","b":1}"#), "deny /tools/t/deny_if/0");
}

#[test]
fn arguments_are_parsed_only_when_a_rule_asks_and_broken_ones_tighten() {
    assert_eq!(verdict(&[&about("{}")], "t", "{broken"), "allow /tools/t");
    let ask = about(r#"{"approve_if":[{"conditions":[{"path":"args.a","op":"eq","value":1}]}]}"#);
    assert_eq!(verdict(&[&ask], "t", "{broken"), "review /tools/t/approve_if/0");
    assert_eq!(verdict(&[&ask], "t", r#"{"a":2,"a":3}"#), "review /tools/t/approve_if/0");
}

#[test]
fn the_strictest_of_name_glob_and_all_tools_wins_over_all_policies() {
    let p = policy(
        r#"{"version":"1","default":"allow","all_tools":{"deny_if":[{"conditions":[{"path":"args.x","op":"exists"}]}]},
        "tools":{"*":{},"del_*":{"action":"require_approval","reason":"deletes"},"del_a":{"action":"allow"},
        "del_b":{"action":"hide"},"other/t":{"action":"deny"}}}"#,
    );
    assert_eq!(verdict(&[&p], "del_a", "{}"), "review /tools/del_*/action");
    assert_eq!(verdict(&[&p], "del_a", r#"{"x":1}"#), "deny /all_tools/deny_if/0");
    assert_eq!(verdict(&[&p], "del_b", r#"{"x":1}"#), "hide (hidden)");
    assert_eq!(verdict(&[&p], "t", "{}"), "allow /tools/*");
    let elsewhere = evaluate(&[&p], &Facts { server: "other", ..facts("t", "{}") });
    assert!(matches!(elsewhere.verdict, Verdict::Deny { reason } if reason.rule == "/tools/other~1t/action"));
    let ask = policy(r#"{"version":"1","default":"require_approval","tools":{}}"#);
    assert_eq!(verdict(&[&p, &ask], "t", "{}"), "review (default require_approval)");
    assert_eq!(verdict(&[&ask, &p], "t", r#"{"x":1}"#), "deny /all_tools/deny_if/0");
}

#[test]
fn terms_are_every_quorum_and_the_shortest_times() {
    let p = policy(
        r#"{"version":"1","default":"deny","all_tools":{"approval":{"expires_after":"10m","use_within":"1h"}},
        "tools":{"t":{"action":"require_approval","reason":"why",
          "approval":{"quorums":[{"group":"b","approvals":2},{"group":"c","approvals":5},{"approvals":1}],"expires_after":"1h","use_within":"60s"}},
        "t*":{"action":"require_approval","approval":{"quorums":[{"group":"a"},{"group":"b","approvals":3},{"group":"c","approvals":4}]}}}}"#,
    );
    let Verdict::Review { terms } = evaluate(&[&p], &facts("t", "")).verdict else { panic!("review") };
    let quorum = |group: Option<&str>, approvals| Quorum { group: group.map(str::to_owned), approvals };
    assert_eq!(
        terms.quorums,
        [quorum(None, 1), quorum(Some("a"), 1), quorum(Some("b"), 3), quorum(Some("c"), 5)]
    );
    assert_eq!(terms.expires_after, Duration::from_secs(600));
    assert_eq!(terms.use_within, Duration::from_secs(60));
    assert_eq!(terms.reason.text, "why");
}

#[test]
fn the_highest_stated_risk_counts_and_reads_follow_the_default_unless_said() {
    let p = policy(
        r#"{"version":"1","default":"allow","prompts":"deny","tools":{
        "a":{"risk":{"class":"read","severity":"low"}},"*":{"risk":{"class":"execute","severity":"high"}}}}"#,
    );
    let risk = p.risk("s", "a").expect("stated");
    assert_eq!((risk.class.as_str(), risk.severity.as_str()), ("execute", "high"));
    assert!(p.allows_reads(Reads::Resources) && !p.allows_reads(Reads::Prompts));
    assert!(p.default_allows_unknown_methods() && !p.hides_anything());
}

#[test]
fn the_strictest_join_counts_and_silence_weighs_nothing() {
    let says =
        |join: &str| about(&format!(r#"{{"action":"require_approval","approval":{{"join":"{join}"}}}}"#));
    let (grant, detached, never) = (says("grant"), says("detached"), says("never"));
    let silent = about(r#"{"action":"require_approval"}"#);
    for (policies, join) in [
        (vec![&silent], Join::Detached),
        (vec![&silent, &grant], Join::Grant),
        (vec![&grant, &detached], Join::Detached),
        (vec![&never, &grant, &detached], Join::Never),
    ] {
        assert_eq!(joins(&policies, "s", "t"), join);
    }
    assert_eq!(joins(&[&never], "s", "other"), Join::Detached, "a section speaks for its tools");
    assert!(grant.joins_by_grant() && !never.joins_by_grant());
    let words = explain(&never, &facts("t", "{}")).to_string();
    assert!(words.contains("made again: it is a call of its own (join: never)"), "{words}");
    let wrong =
        check("p.json", r#"{"version":"1","default":"deny","all_tools":{"approval":{"join":"nevr"}}}"#);
    let wrong = wrong.expect_err("no such word");
    assert!(wrong[0].to_string().contains("never"), "the nearest word is named: {}", wrong[0]);
}
