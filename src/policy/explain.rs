//! Why a call gets the verdict it gets: every rule looked at, in words.

use std::fmt;

use super::scale::weigh;
use super::{Facts, Join, Policy, Reservation, joins};
use crate::call::Verdict;

/// A verdict with everything that led to it; `Display` is for a terminal.
#[derive(Clone, PartialEq, Debug)]
pub struct Explanation {
    pub verdict: Verdict,
    pub reservations: Vec<Reservation>,
    /// When the same call, made again, joins the one that waits.
    pub join: Join,
    /// In the order they were looked at; the order decides nothing but whose reason is shown.
    pub looks: Vec<Look>,
    /// Ids of those of them that went onto the scale.
    pub found: Vec<String>,
}

/// What is kept of a weighing when somebody wants to know why.
#[derive(Default)]
pub(super) struct Looks {
    pub all: Vec<Look>,
    pub found: Vec<String>,
}

/// One rule that was looked at, for `explain`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Look {
    pub policy: String,
    pub rule: String,
    pub words: String,
    /// What came of it: `matched`, `did not match`, or why it could not be answered.
    pub outcome: String,
}

/// Looks at one call under one policy, and keeps the reasons.
#[must_use]
pub fn explain(policy: &Policy, facts: &Facts<'_>) -> Explanation {
    explain_all(&[policy], facts)
}

/// As [`explain`], under all policies that apply.
#[must_use]
pub fn explain_all(policies: &[&Policy], facts: &Facts<'_>) -> Explanation {
    let mut looks = Looks::default();
    let evaluation = weigh(policies, facts, Some(&mut looks));
    Explanation {
        verdict: evaluation.verdict,
        reservations: evaluation.reservations,
        join: joins(policies, facts.server, facts.tool),
        looks: looks.all,
        found: looks.found,
    }
}

/// The verdict's name, as cases and the command line write it.
#[must_use]
pub fn verdict_name(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Allow { .. } => "allow",
        Verdict::Review { .. } => "require_approval",
        Verdict::Deny { .. } => "deny",
        Verdict::Hide { .. } => "hide",
    }
}

/// The rule that decided.
#[must_use]
pub fn verdict_rule(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Allow { rule } | Verdict::Hide { rule } => rule,
        Verdict::Review { terms } => &terms.reason.rule,
        Verdict::Deny { reason } => &reason.rule,
    }
}

fn again(join: Join) -> &'static str {
    match join {
        Join::Grant => "it takes the place of the one that waits (join: grant)",
        Join::Detached => "it joins the one that waits, once nobody waits for it (join: detached)",
        Join::Never => "it is a call of its own (join: never)",
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} by {}", verdict_name(&self.verdict), verdict_rule(&self.verdict))?;
        match &self.verdict {
            Verdict::Allow { .. } | Verdict::Hide { .. } => {}
            Verdict::Deny { reason } => writeln!(f, "  reason: {}", reason.text)?,
            Verdict::Review { terms } => {
                writeln!(f, "  reason: {}", terms.reason.text)?;
                for quorum in &terms.quorums {
                    let group = quorum.group.as_deref().unwrap_or("any reviewers");
                    writeln!(f, "  approvals: {} of {group}", quorum.approvals)?;
                }
                writeln!(f, "  expires after {} s", terms.expires_after.as_secs())?;
                writeln!(f, "  made again: {}", again(self.join))?;
            }
        }
        writeln!(f, "rules looked at:")?;
        for look in &self.looks {
            writeln!(f, "  {} {}: {} -> {}", look.policy, look.rule, look.words, look.outcome)?;
        }
        Ok(())
    }
}
