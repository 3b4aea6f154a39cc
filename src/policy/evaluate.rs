//! Policies → verdict: strictest wins, an error tightens.

use std::time::Duration;

use crate::call::{Timestamp, Verdict};

/// A parsed, compiled policy document, ready for the hot path.
#[derive(Debug)]
pub struct Policy {
    /// Digest of the document's bytes, hex, as it stands in ledger entries.
    pub digest: String,
    /// File name, for people.
    pub name: String,
}

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

/// How a limit counts time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Window {
    /// Calendar-aligned, UTC: minute, hour or day (its length).
    Calendar(Duration),
    Sliding(Duration),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Scope {
    Grant,
    Agent,
    Session,
    Server,
    Global,
}

/// A limit that this call would use; the broker takes all of them, or none.
#[derive(Clone, PartialEq, Debug)]
pub struct Reservation {
    /// Counter name with its scope's value, e.g. `x_rate|ci-bot`.
    pub counter: String,
    pub window: Window,
    pub max: f64,
    /// 1, or the amount of `increment_from`.
    pub amount: f64,
    pub rule: String,
    pub on_deny: Option<String>,
    /// True: over the limit asks for a person instead of refusing.
    pub on_limit_review: bool,
    /// Longer than a minute or `increment_from`: the call must be durable before it runs.
    pub durable: bool,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Evaluation {
    pub verdict: Verdict,
    /// Empty unless the verdict is Allow or Review.
    pub reservations: Vec<Reservation>,
    /// Every rule that matched, in order, for `explain`.
    pub trace: Vec<String>,
}

/// All policies that apply, strictest wins; none denies everything with `(no policy)`.
#[must_use]
pub fn evaluate(_policies: &[&Policy], _facts: &Facts<'_>) -> Evaluation {
    Evaluation {
        verdict: Verdict::Deny {
            reason: crate::call::Reason { rule: "(no policy)".into(), text: "no policy applies".into() },
        },
        reservations: Vec::new(),
        trace: Vec::new(),
    }
}
