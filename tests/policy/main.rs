//! What the policy module promises about any policy.

mod language;
mod limits;
mod problems;
mod properties;

use countersign::call::{Timestamp, Verdict};
use countersign::policy::{Facts, Policy, check, evaluate};

pub fn policy(text: &str) -> Policy {
    check("p.json", text).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

/// A policy whose tool `t` has this section.
pub fn about(section: &str) -> Policy {
    policy(&format!(r#"{{"version":"1","default":"deny","tools":{{"t":{section}}}}}"#))
}

pub fn facts<'a>(tool: &'a str, arguments: &'a str) -> Facts<'a> {
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
pub fn verdict(policies: &[&Policy], tool: &str, arguments: &str) -> String {
    let evaluation = evaluate(policies, &facts(tool, arguments));
    match evaluation.verdict {
        Verdict::Allow { rule } => format!("allow {rule}"),
        Verdict::Review { terms } => format!("review {}", terms.reason.rule),
        Verdict::Deny { reason } => format!("deny {}", reason.rule),
        Verdict::Hide { rule } => format!("hide {rule}"),
    }
}

/// As the format's vendor documents it.
pub const VENDOR: &str = r#"{"version":"1","default":"deny",
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
