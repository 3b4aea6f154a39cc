//! What can happen to a call. These names are on the ledger for ever: extend, never rename.

use serde::{Deserialize, Serialize};

use super::{Attachment, Commitment, Digest, Person, Reason, Replica, Request, Review, Terms, Timestamp};

/// One step in a call's life. The moment of it stands in its ledger entry.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The policy allowed it or asks for a person (`terms`). A call that the policy denies has no
    /// terms; one denied at once because nobody could meet its terms names them.
    Submitted {
        request: Box<Request>,
        digest: Digest,
        /// The rule that decided.
        rule: String,
        /// Present when a person must review.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        terms: Option<Terms>,
        /// Review: undecided at this moment is expired. Allow: not dispatched by then is lapsed.
        expires_at: Timestamp,
    },
    /// A waiter holds the line (or a task does).
    Attached {
        attachment: Attachment,
        kind: AttachKind,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        replica: Replica,
    },
    Detached {
        attachment: Attachment,
        why: DetachReason,
    },
    Voted {
        review: Review,
    },
    VoteWithdrawn {
        reviewer: Person,
    },
    /// More time to decide, by a person; the sum stays within the maximum wait.
    Extended {
        by: Person,
        expires_at: Timestamp,
    },
    /// What was approved is not what would be sent, or not by the same authority: votes start anew.
    Reparked {
        why: String,
        round: u32,
        digest: Digest,
        terms: Terms,
        policy: String,
        expires_at: Timestamp,
    },
    /// Quorum met (or allowed by policy): may be sent once, until `use_by`.
    Permitted {
        use_by: Timestamp,
    },
    /// Durable before the first byte leaves.
    Dispatched {
        by: Replica,
        attachment: Attachment,
        digest: Digest,
        lease_until: Timestamp,
        /// What it took of its limits; a start counts it again.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        taken: Vec<Used>,
    },
    /// The upstream answered (a result or a JSON-RPC error; both are its answer).
    Completed {
        /// Who had dispatched it: nobody else may answer for it.
        by: Replica,
        /// Proof of the answer's bytes, kept beside up to the limit.
        answer: Commitment,
        bytes: u64,
        is_error: bool,
        duration_ms: u64,
    },
    /// It cannot have run: nothing reached the upstream, or it refused before any effect.
    Failed {
        by: Replica,
        why: String,
        /// What it had taken of its limits: it did not run, so it counts no longer.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        given_back: Vec<Used>,
    },
    /// It was sent and we do not know. Never sent again.
    Lost {
        /// Who gave it up: its dispatcher, its successor, or another after the lease.
        by: Replica,
        why: String,
    },
    Denied {
        by: By,
        reason: Why,
    },
    /// `lapsed`: approved, but nobody came for it in time.
    Expired {
        lapsed: bool,
    },
    Cancelled {
        by: By,
        reason: Why,
    },
    /// The agent has its answer.
    Delivered {
        how: HowDelivered,
    },
    /// A person says what became of a lost call. The state stays `lost`.
    Resolved {
        by: Person,
        outcome: Resolution,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<Commitment>,
    },
    /// The upstream answered a call that was already given up as lost.
    LateAnswer {
        answer: Commitment,
        bytes: u64,
        is_error: bool,
    },
    /// A person's denial answers the same call no longer: made again, it asks people again.
    Lifted {
        by: Person,
    },
}

/// What a call took of one limit.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub struct Used {
    /// The counter's name with its scope's value.
    pub counter: String,
    /// `minute`, `hour`, `day`, or a duration in seconds such as `90s` (sliding).
    pub window: String,
    /// A decimal number, as text: entries have no fractions, so that their bytes are the same everywhere.
    pub amount: String,
}

impl Event {
    /// The event's name on the wire.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Submitted { .. } => "submitted",
            Self::Attached { .. } => "attached",
            Self::Detached { .. } => "detached",
            Self::Voted { .. } => "voted",
            Self::VoteWithdrawn { .. } => "vote_withdrawn",
            Self::Extended { .. } => "extended",
            Self::Reparked { .. } => "reparked",
            Self::Permitted { .. } => "permitted",
            Self::Dispatched { .. } => "dispatched",
            Self::Completed { .. } => "completed",
            Self::Failed { .. } => "failed",
            Self::Lost { .. } => "lost",
            Self::Denied { .. } => "denied",
            Self::Expired { .. } => "expired",
            Self::Cancelled { .. } => "cancelled",
            Self::Delivered { .. } => "delivered",
            Self::Resolved { .. } => "resolved",
            Self::LateAnswer { .. } => "late_answer",
            Self::Lifted { .. } => "lifted",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AttachKind {
    /// A connection that holds its response open.
    Line,
    /// An MCP task: needs no connection.
    Task,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DetachReason {
    /// Its patience used up: it was told to call again. Such a call waits until it expires.
    Ticket,
    /// `notifications/cancelled`: clients send it on their own time-out, so it withdraws nothing.
    Cancelled,
    /// The connection closed.
    Closed,
    /// The broker that held the connection restarted or drained.
    Restart,
}

/// Who ended a call.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(tag = "who", rename_all = "snake_case")]
pub enum By {
    Policy,
    Reviewer {
        person: Person,
    },
    /// `countersign stop`, or a revoked grant.
    Stop {
        person: String,
    },
    Agent,
    /// A detached call whose agent did not come back.
    Timer,
}

/// Why a call was ended: the rule and its words, or the proof of a person's words.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
pub struct Why {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Commitment>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HowDelivered {
    /// On the connection that waited.
    Line,
    /// To the same call, made again.
    Recall,
    /// Fetched as a task's result.
    Task,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    Done,
    NotDone,
}
