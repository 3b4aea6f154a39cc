//! One person's vote on the digest that they saw.

use serde::{Deserialize, Serialize};

use super::{Commitment, Digest, Person, Timestamp};

#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vote {
    Approve,
    Deny,
}

#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub struct Review {
    /// The reviewer's name, groups, role and token id, as they were when they voted.
    pub reviewer: Person,
    pub vote: Vote,
    /// What the reviewer saw. Only votes on the call's present digest count.
    pub digest: Digest,
    pub at: Timestamp,
    /// Proof of the reason, whose text is payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Commitment>,
    /// The owner approved their own agent's call, because nobody else could.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub self_approved: bool,
    /// A denial that answers this call only: made again, it asks people again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
}
