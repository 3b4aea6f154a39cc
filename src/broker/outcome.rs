//! How a call ended, as told to the agent, and why a person's command was refused. Facts only: the
//! words for agents are in `downstream/answer.rs`, those for people in `api/problem.rs`.

use bytes::Bytes;

use crate::call::{CallId, Digest, Refusal, StateName, Timestamp};

/// What every answer carries in `_meta["countersign/call"]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Brief {
    pub id: CallId,
    pub state: StateName,
    pub digest: Digest,
    /// Where a person finds the call's page.
    pub url: String,
    pub expires_at: Option<Timestamp>,
}

/// An outcome, with the call it belongs to (none for calls that were never recorded as one).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    pub call: Option<Brief>,
    pub end: End,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// The upstream's whole JSON-RPC response, under whatever id it was sent with.
    Completed {
        message: Bytes,
    },
    /// Completed, but the answer was too large to keep for a later delivery.
    CompletedNotKept {
        bytes: u64,
    },
    PolicyDenied {
        text: String,
    },
    DeniedBy {
        reviewer: String,
        text: String,
    },
    /// `countersign stop` or a revoked grant.
    Stopped {
        text: String,
    },
    Limit {
        text: String,
        retry_at: Timestamp,
    },
    Expired,
    Lapsed,
    WithdrawnBy {
        who: String,
        text: String,
    },
    /// The agent's own cancel, or a detached call that nobody came back for.
    Cancelled,
    Failed {
        why: String,
    },
    Lost {
        why: String,
    },
    /// Patience used up: call again with the same arguments.
    Ticket,
    /// Caps reached; nothing was recorded.
    Refused {
        text: String,
    },
    /// The store cannot write: nothing is forwarded.
    Unavailable,
}

/// Why what a person asked was not done.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    #[error("refused: {0:?}")]
    Refused(Refusal),
    #[error("there is no call {0}")]
    NotFound(CallId),
    #[error("{0}")]
    Invalid(String),
    #[error("the ledger cannot be written: {0}")]
    Unavailable(String),
}
