//! What the policy says of a request, and on which terms a person may let it go.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Why: the rule's id (a JSON pointer into the policy, or `(default deny)`), and its words.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
pub struct Reason {
    pub rule: String,
    pub text: String,
}

/// The policy's verdict on one request, before limits are reserved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    Allow {
        rule: String,
    },
    Review {
        terms: Terms,
    },
    Deny {
        reason: Reason,
    },
    /// The tool does not exist for this grant.
    Hide {
        rule: String,
    },
}

/// How many approvals, of which group (`None`: any reviewer).
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub struct Quorum {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    pub approvals: u32,
}

/// What must be true before the call may go.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub struct Terms {
    pub reason: Reason,
    /// All must be met; each vote counts for one of them.
    pub quorums: Vec<Quorum>,
    /// Undecided for this long: denied by time.
    #[serde(with = "millis")]
    pub expires_after: Duration,
    /// Approved and not collected for this long: lapsed.
    #[serde(with = "millis")]
    pub use_within: Duration,
}

impl Terms {
    pub const EXPIRES_AFTER: Duration = Duration::from_secs(15 * 60);
    pub const USE_WITHIN: Duration = Duration::from_secs(15 * 60);

    /// One approval by any reviewer, within the default times.
    #[must_use]
    pub fn standard(reason: Reason) -> Self {
        Self {
            reason,
            quorums: vec![Quorum { group: None, approvals: 1 }],
            expires_after: Self::EXPIRES_AFTER,
            use_within: Self::USE_WITHIN,
        }
    }
}

/// Durations on the ledger are whole milliseconds.
mod millis {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        u64::deserialize(d).map(Duration::from_millis)
    }
}
