//! Promises over random policies and arguments.

use countersign::call::Verdict;
use countersign::policy::{Policy, check, evaluate};
use proptest::prelude::*;

use super::{VENDOR, about, facts};

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
