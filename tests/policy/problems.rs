//! What people are told: problems with their place, explanations, results of cases.

use countersign::policy::{Problem, check, explain, run_cases};

use super::{VENDOR, facts, policy};

fn problems(text: &str) -> Vec<String> {
    check("p.json", text)
        .map(|_| Vec::new())
        .unwrap_or_else(|all| all.iter().map(Problem::to_string).collect())
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
