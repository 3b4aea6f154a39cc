//! Policies → verdict: strictest wins, an error tightens.
//!
//! Every section that names the tool is looked at, in every policy; what they find is weighed, never
//! ordered: hide, then deny, then review, then allow. Arguments are parsed only when a rule asks.

use super::scale::weigh;
use super::strict::Strict;
use super::{Join, Policy, Reservation};
use crate::call::{Reason, Terms, Timestamp, Verdict};

/// What a policy may look at.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    pub agent: &'a str,
    pub server: &'a str,
    pub tool: &'a str,
    /// Raw bytes of `params.arguments`, strictly valid JSON; empty when absent.
    pub arguments: &'a [u8],
    pub session: Option<&'a str>,
    pub now: Timestamp,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Evaluation {
    pub verdict: Verdict,
    /// Empty unless the verdict is Allow or Review.
    pub reservations: Vec<Reservation>,
}

/// All policies that apply, strictest wins; none denies everything with `(no policy)`.
#[must_use]
pub fn evaluate(policies: &[&Policy], facts: &Facts<'_>) -> Evaluation {
    weigh(policies, facts, None)
}

/// The terms of a review that something other than a rule asks for (a limit, a stop that was lifted):
/// what every matching section says of approvals, combined strictly.
#[must_use]
pub fn terms(policies: &[&Policy], server: &str, tool: &str, reason: Reason) -> Terms {
    strict(policies, server, tool).terms(reason)
}

/// When a repeat of a call joins the one that waits; strictest wins, and `detached` unless said.
#[must_use]
pub fn joins(policies: &[&Policy], server: &str, tool: &str) -> Join {
    strict(policies, server, tool).join()
}

fn strict(policies: &[&Policy], server: &str, tool: &str) -> Strict {
    let mut strict = Strict::default();
    for policy in policies {
        for section in policy.tools.matching(server, tool).chain([&policy.tools.everywhere]) {
            strict.add(&section.approval);
        }
    }
    strict
}
