//! What the words of a policy mean: operators, absent paths, strictness, problems, limits.

use std::time::Duration;

use countersign::call::{Quorum, Timestamp, Verdict};
use countersign::policy::{
    Facts, Limits, Policy, Problem, Reads, Reservation, Scope, Window, check, evaluate, explain, run_cases,
};
use proptest::prelude::*;

fn policy(text: &str) -> Policy {
    check("p.json", text).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// A policy whose tool `t` has this section.
fn about(section: &str) -> Policy {
    policy(&format!(r#"{{"version":"1","default":"deny","tools":{{"t":{section}}}}}"#))
}

fn facts<'a>(tool: &'a str, arguments: &'a str) -> Facts<'a> {
    Facts {
        agent: "ci",
        server: "s",
        tool,
        arguments: arguments.as_bytes(),
        session: None,
        now: Timestamp(0),
    }
}

/// The verdict in short: `allow`, `deny /rule`, …
fn verdict(policies: &[&Policy], tool: &str, arguments: &str) -> String {
    let evaluation = evaluate(policies, &facts(tool, arguments));
    match evaluation.verdict {
        Verdict::Allow { rule } => format!("allow {rule}"),
        Verdict::Review { terms } => format!("review {}", terms.reason.rule),
        Verdict::Deny { reason } => format!("deny {}", reason.rule),
        Verdict::Hide { rule } => format!("hide {rule}"),
    }
}

fn problems(text: &str) -> Vec<String> {
    check("p.json", text)
        .map(|_| Vec::new())
        .unwrap_or_else(|all| all.iter().map(Problem::to_string).collect())
}

const VENDOR: &str = r#"{"version":"1","default":"deny",
 "hide":["drop_*","secret"],
 "all_tools":{"limits":[{"counter":"all","window":"minute","max":60}]},
 "tools":{
  "create_charge":{
   "require":[{"conditions":[{"path":"args.currency","op":"in","value":["usd","eur"]}],"on_deny":"currency"},
              {"path":"args.customer","op":"exists","on_deny":"customer"}],
   "deny_if":[{"conditions":[{"path":"args.amount","op":"gt","value":10000}],"on_deny":"Charges over 10000 are blocked"}],
   "limits":[{"counter":"x_rate","window":"minute","max":10,"scope":"grant"}]},
  "never":{"action":"deny","reason":"requires human approval"},
  "slow":{"rate_limit":{"max":10,"window":60}},
  "list":{}}}"#;

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
          "approval":{"quorums":[{"group":"b","approvals":2},{"approvals":1}],"expires_after":"1h","use_within":"60s"}},
        "t*":{"action":"require_approval","approval":{"quorums":[{"group":"a"},{"group":"b","approvals":3}]}}}}"#,
    );
    let Verdict::Review { terms } = evaluate(&[&p], &facts("t", "")).verdict else { panic!("review") };
    let quorum = |group: Option<&str>, approvals| Quorum { group: group.map(str::to_owned), approvals };
    assert_eq!(terms.quorums, [quorum(None, 1), quorum(Some("a"), 1), quorum(Some("b"), 3)]);
    assert_eq!(terms.expires_after, Duration::from_secs(600));
    assert_eq!(terms.use_within, Duration::from_secs(60));
    assert_eq!(terms.reason.text, "why");
}

#[test]
fn each_mistake_is_named_with_its_line_its_column_and_the_nearest_name() {
    let found = problems(
        "{\"version\": \"2\", // a comment\n \"defualt\": \"deny\",\n \"arguments\": \"strict\",\n \"tools\": {\n  \
         \"t\": {\"deny_if\": [{\"conditions\": [{\"path\": \"arg.x\", \"op\": \"equals\", \"value\": 1}]}],\n  \
         \"approval\": {\"step_up\": \"passkey\", \"expires_after\": \"soon\"}}}}",
    );
    let starts = [
        "p.json:1:1: the policy needs `default`",
        "p.json:1:13: this version reads policies of version \"1\"",
        "p.json:2:2: unknown key `defualt` in the policy\n  hint: did you mean `default`?",
        "p.json:3:2: `arguments` is not enforced by this version",
        "p.json:5:46: `arg.x` must start with `args`",
        "p.json:5:61: expected one of eq, neq",
        "p.json:6:15: `approval` says how an approval must go, but nothing here asks",
        "p.json:6:16: `step_up` is not enforced",
        "p.json:6:55: expected a duration",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}\nshould start with\n{start}");
    }
}

#[test]
fn broken_json_and_wrong_values_are_refused_where_they_stand() {
    for (text, place) in [
        ("", "1:1: the document ends"),
        ("{\"version\":\"1\",}", "1:15: a comma with nothing after it"),
        ("{\"version\":\"1\",\"version\":\"1\"}", "1:16: the key `version` stands here twice"),
        ("{\"version\":\"1\"\n \"default\":1}", "2:2: expected `,` or `}`"),
        ("{\"version\":\"1\",\"default\":\"alow\"}", "1:26: expected one of allow, deny, require_approval"),
        (
            "{\"version\":\"1\",\"default\":\"deny\",\"hide\":\"x\"}",
            "1:40: expected a list of names of tools",
        ),
        ("[]", "1:1: expected an object (the policy), found a list"),
        ("{\"a\":\"\\ud800\"}", "1:13: half of a surrogate pair"),
    ] {
        let found = problems(text);
        assert!(found[0].starts_with(&format!("p.json:{place}")), "{text}: {found:?}");
    }
    for section in [
        r#"{"limits":[{"counter":"a","window":"week","max":1}]}"#,
        r#"{"limits":[{"counter":"a","window":"day","max":-1}]}"#,
        r#"{"limits":[{"counter":"a","window":"day"}]}"#,
        r#"{"deny_if":[{"conditions":[{"path":"args.x","op":"regex","value":"("}]}]}"#,
        r#"{"deny_if":[{"conditions":[{"path":"args.x","op":"in","value":"a"}]}]}"#,
        r#"{"deny_if":[{"conditions":[{"path":"args.x","op":"lt","value":"1"}]}]}"#,
        r#"{"deny_if":[{"on_deny":"x"}]}"#,
        r#"{"approve_if":[{"cel":"true"}]}"#,
        r#"{"risk":{"class":"bad","severity":"low"}}"#,
        r#"{"action":"require_approval","approval":{"quorums":[{"approvals":0}]}}"#,
        r#"{"action":"require_approval","approval":{"quorums":[]}}"#,
    ] {
        let text = format!(r#"{{"version":"1","default":"deny","tools":{{"t":{section}}}}}"#);
        assert_eq!(problems(&text).len(), 1, "{section}: {:?}", problems(&text));
    }
}

#[test]
fn explain_names_every_rule_looked_at_in_words() {
    let text = explain(&policy(VENDOR), &facts("create_charge", r#"{"amount":1}"#)).to_string();
    for part in [
        "deny by /tools/create_charge/require/0\n  reason: currency",
        "/tools/create_charge/require/0: requires args.currency in [\"usd\", \"eur\"] -> does not hold: denied",
        "/tools/create_charge/deny_if/0: denies when args.amount gt 10000 -> did not match",
        "/all_tools/limits/0: at most 60 in minute of all -> counts",
    ] {
        assert!(text.contains(part), "{text}\nshould say\n{part}");
    }
}

#[test]
fn cases_say_which_expectation_failed_and_what_came_instead() {
    let cases = r#"[
      // ten pass, the eleventh does not
      {"name":"ten","tool":"slow","session":"a","times":10,"expect":{"verdict":"allow"}},
      {"name":"eleven","tool":"slow","session":"a","times":11,"expect":{"verdict":"limit","rule":"/tools/slow/rate_limit"}},
      {"name":"wrong","tool":"list","expect":{"verdict":"deny"}}
    ]"#;
    let results = run_cases(&policy(VENDOR), cases).expect("cases are right");
    assert_eq!(results.iter().map(|r| r.passed).collect::<Vec<_>>(), [true, true, false], "{results:#?}");
    assert_eq!((results[2].line, results[2].got.as_str()), (5, "allow by /tools/list"));
    let wrong = run_cases(&policy(VENDOR), r#"[{"name":"x","tol":"y"}]"#).expect_err("mistakes");
    assert!(
        wrong.iter().any(|p| p.to_string().contains("p.cases.json:1:14: unknown key `tol`")),
        "{wrong:#?}"
    );
}

fn reservation(window: Window, max: f64, amount: f64, review: bool) -> Reservation {
    Reservation {
        counter: "c|ci".into(),
        window,
        max,
        amount,
        rule: "/r".into(),
        on_deny: None,
        on_limit_review: review,
        durable: false,
    }
}

#[test]
fn limits_are_taken_all_or_none_and_given_back() {
    let mut limits = Limits::default();
    let (now, later) = (Timestamp(59_000), Timestamp(60_000));
    let one = reservation(Window::MINUTE, 2.0, 1.0, false);
    let other = Reservation { counter: "d|ci".into(), max: 1.0, ..one.clone() };
    let first = limits.reserve(&[one.clone(), other.clone()], now).expect("fits");
    let hit = limits.reserve(&[one.clone(), other.clone()], now).expect_err("full");
    assert_eq!(hit.retry_at, Some(later));
    limits.reserve(&[one.clone()], now).expect("the refusal took nothing");
    limits.reserve(&[one.clone()], now).expect_err("full");
    limits.give_back(first);
    limits.reserve(&[one.clone(), other.clone()], now).expect("given back");
    limits.reserve(&[one.clone(), one.clone()], later).expect("the next minute is empty");
    limits.reserve(&[one.clone()], later).expect_err("two of one call counted twice");
    let big = reservation(Window::DAY, 5.0, 6.0, false);
    assert_eq!(limits.reserve(&[big], now).expect_err("never fits").retry_at, None);
    limits.sweep(Timestamp(200_000));
    assert!(limits.is_empty());
}

#[test]
fn a_sliding_window_never_lets_more_through_than_its_maximum() {
    let window = Window::Sliding(Duration::from_secs(90));
    let one = reservation(window, 3.0, 1.0, false);
    let mut limits = Limits::default();
    let mut taken: Vec<i64> = Vec::new();
    for now in (0..1_000_000).step_by(7_003) {
        if limits.reserve(&[one.clone()], Timestamp(now)).is_ok() {
            taken.push(now);
        } else {
            let retry =
                limits.check(&[one.clone()], Timestamp(now)).expect_err("full").retry_at.expect("a time");
            assert!(retry.0 > now && limits.check(&[one.clone()], retry).is_ok());
        }
    }
    assert!(taken.len() > 20);
    for window in taken.windows(4) {
        assert!(window[3] - window[0] >= 90_000, "{window:?}");
    }
}

#[test]
fn counters_are_rebuilt_from_the_ledger_and_an_approved_call_passes_a_limit_that_only_asks() {
    let mut limits = Limits::default();
    limits.rebuild("c|ci", Window::HOUR, 2.0, Timestamp(1_000));
    let asks = reservation(Window::HOUR, 2.0, 1.0, true);
    assert!(limits.reserve(&[asks.clone()], Timestamp(2_000)).expect_err("full").review);
    limits.reserve_approved(&[asks.clone()], Timestamp(2_000)).expect("a person said yes");
    let denies = reservation(Window::HOUR, 2.0, 1.0, false);
    limits.reserve_approved(&[asks, denies], Timestamp(2_000)).expect_err("a refusal stays one");
    assert_eq!("90s".parse(), Ok(Window::Sliding(Duration::from_secs(90))));
    assert_eq!(Window::DAY.to_string().parse(), Ok(Window::DAY));
}

#[test]
fn an_amount_counts_and_one_that_cannot_be_read_tightens() {
    let p = about(
        r#"{"limits":[{"counter":"spend","window":"day","max":5000,"increment_from":"args.amount","scope":"global"}]}"#,
    );
    let evaluation = evaluate(&[&p], &facts("t", r#"{"amount":12.5}"#));
    let spend = &evaluation.reservations[0];
    assert_eq!((spend.counter.as_str(), spend.amount, spend.durable), ("spend|*", 12.5, true));
    for arguments in ["{}", r#"{"amount":"5"}"#, r#"{"amount":-5}"#, r#"{"amount":1e999}"#] {
        assert_eq!(verdict(&[&p], "t", arguments), "deny /tools/t/limits/0", "{arguments}");
    }
    let scopes = [Scope::Grant, Scope::Server];
    assert_ne!(scopes[0], scopes[1]);
}

/// How strict a verdict is.
fn rank(policies: &[&Policy], tool: &str, arguments: &str) -> u8 {
    match evaluate(policies, &facts(tool, arguments)).verdict {
        Verdict::Allow { .. } => 0,
        Verdict::Review { .. } => 1,
        Verdict::Deny { .. } => 2,
        Verdict::Hide { .. } => 3,
    }
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,2})?(e[0-9])?",
        "[a-cA-C]{0,2}".prop_map(|text| format!("\"{text}\"")),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::btree_map("[a-c]", inner, 0..3).prop_map(|map| {
                let members: Vec<String> =
                    map.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

fn condition() -> impl Strategy<Value = String> {
    let path =
        prop_oneof![Just("args"), Just("args.a"), Just("args.b[*]"), Just("args.b.c"), Just("args.a[0]")];
    let test = prop_oneof![
        (prop_oneof![Just("eq"), Just("neq"), Just("contains")], json()),
        (
            prop_oneof![Just("lt"), Just("gte")],
            "[0-9]{1,3}".prop_map(|n| n.trim_start_matches('0').len().to_string())
        ),
        (
            prop_oneof![Just("in"), Just("not_in")],
            prop::collection::vec(json(), 0..3).prop_map(|items| format!("[{}]", items.join(",")))
        ),
        Just(("exists", "true".to_owned())),
        Just(("regex", "\"^a\"".to_owned())),
    ];
    (path, test, any::<bool>()).prop_map(|(path, (op, value), case)| {
        format!(r#"{{"path":"{path}","op":"{op}","value":{value},"ignore_case":{case}}}"#)
    })
}

fn rules() -> impl Strategy<Value = Vec<String>> {
    let rule = prop::collection::vec(condition(), 0..3);
    prop::collection::vec(rule.prop_map(|all| format!(r#"{{"conditions":[{}]}}"#, all.join(","))), 0..3)
}

fn section(require: &[String], deny: &[String], ask: &[String]) -> String {
    let (require, deny, ask) = (require.join(","), deny.join(","), ask.join(","));
    format!(r#"{{"require":[{require}],"deny_if":[{deny}],"approve_if":[{ask}]}}"#)
}

proptest! {
    #[test]
    fn adding_a_rule_never_loosens(
        require in rules(), deny in rules(), ask in rules(), more in rules(), arguments in json()
    ) {
        let before = about(&section(&require, &deny, &ask));
        let with = |old: &[String]| [old, &more].concat();
        for after in [
            section(&with(&require), &deny, &ask),
            section(&require, &with(&deny), &ask),
            section(&require, &deny, &with(&ask)),
        ] {
            prop_assert!(rank(&[&about(&after)], "t", &arguments) >= rank(&[&before], "t", &arguments));
        }
        let other = about(&section(&[], &more, &[]));
        prop_assert!(rank(&[&before, &other], "t", &arguments) >= rank(&[&before], "t", &arguments));
    }

    #[test]
    fn the_order_of_rules_and_policies_does_not_matter(
        require in rules(), deny in rules(), ask in rules(), arguments in json()
    ) {
        let reversed = |rules: &[String]| rules.iter().rev().cloned().collect::<Vec<_>>();
        let one = about(&section(&require, &deny, &[]));
        let two = about(&section(&[], &[], &ask));
        let back = about(&section(&reversed(&require), &reversed(&deny), &reversed(&ask)));
        let expected = rank(&[&one, &two], "t", &arguments);
        prop_assert_eq!(rank(&[&two, &one], "t", &arguments), expected);
        prop_assert_eq!(rank(&[&back], "t", &arguments), expected);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in ".{0,80}", cut in 0usize..400, junk in "[\\x00-\\x7f]{0,3}") {
        let _ = check("p", &text);
        let cut = VENDOR.char_indices().nth(cut).map_or(VENDOR.len(), |(at, _)| at);
        let _ = check("p", &format!("{}{junk}", &VENDOR[..cut]));
        let _ = check("p", &format!("{}{junk}{}", &VENDOR[..cut], &VENDOR[cut..]));
        let ask = about(r#"{"approve_if":[{"conditions":[{"path":"args.a","op":"eq","value":1}]}]}"#);
        let _ = evaluate(&[&ask], &facts("t", &text));
    }
}
