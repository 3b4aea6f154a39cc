//! The shipped policies, and what the policy module promises about any policy.

use countersign::call::{Timestamp, Verdict};
use countersign::policy::{Facts, Policy, evaluate};

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

#[test]
fn the_demo_policy_asks_before_a_batch_is_cancelled() {
    let text = std::fs::read_to_string("policies/demo.json").expect("the policy is there");
    let policy = Policy::parse("demo.json", &text).expect("the policy is right");
    let verdict = |tool| evaluate(&[&policy], &facts(tool, "{}")).verdict;
    assert!(
        matches!(verdict("CancelAHORunBatch"), Verdict::Review { terms } if terms.reason.text.contains("no undo"))
    );
    assert!(matches!(verdict("DeleteAHORunBatch"), Verdict::Hide { rule } if rule == "(hidden)"));
    assert!(matches!(verdict("GetAHORunBatch"), Verdict::Allow { rule } if rule == "/tools/GetAHORunBatch"));
    assert!(matches!(verdict("Other"), Verdict::Deny { reason } if reason.rule == "(default deny)"));
}
