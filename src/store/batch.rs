//! What one transaction writes: events for streams, and what lies beside the ledger.

use serde::{Deserialize, Serialize};

use crate::{
    call::{Call, CallId, Fingerprint, Timestamp},
    ledger::{Fact, Stream},
};

/// Events for one stream. With no events it only asserts that the stream is still at `expected`:
/// that is how a vote binds to who is a reviewer at the moment of its commit.
#[derive(Clone, Debug)]
pub struct Write {
    pub stream: Stream,
    /// The stream's version before these events; 0 for a stream that has none. `None`: any.
    pub expected: Option<u64>,
    pub facts: Vec<Fact>,
    /// For a call's stream: the call after these events (the projection's new row).
    pub call: Option<Box<Call>>,
    /// When a timer will next have something to do with that call.
    pub deadline: Option<Timestamp>,
}

/// What is written in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub at: Timestamp,
    pub writes: Vec<Write>,
    pub payloads: Vec<Payload>,
    pub puts: Vec<Put>,
    /// The join key of a submitted call.
    pub fingerprint: Option<(CallId, Fingerprint)>,
}

/// Bytes beside the ledger, erasable without breaking the chain.
#[derive(Clone, Debug)]
pub struct Payload {
    pub call: CallId,
    pub kind: PayloadKind,
    /// Which of its kind (the entry's version it belongs to); 0 where there is only one.
    pub part: u64,
    /// Key of the commitment that stands in the entry.
    pub salt: [u8; 32],
    pub bytes: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum PayloadKind {
    /// The raw `params`, with the digest's nonce as salt.
    Params,
    /// The upstream's answer.
    Answer,
    /// A person's words: reason, comment, note.
    Text,
}

/// A small value beside the ledger: credentials (hashed), sessions, links, followers' cursors.
///
/// No count and no state of a call is kept so. What is: `store` (the last boot, which the broker's stream says
/// too; the key of the join, without which repeats are not known as such), credentials and sessions (without
/// them somebody signs in again), cursors and letters of `notify` (a message may come twice), `follows`
/// (a hint for a card), `tasks` (sealed: the headers of a task, without which it is not sent), and `legs` (sealed:
/// which call a task is at whose server asked for more, without which it asks again what was answered).
#[derive(Clone, Debug)]
pub struct Put {
    pub space: &'static str,
    pub key: String,
    /// `None` deletes.
    pub value: Option<Vec<u8>>,
}

/// The last process that took the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Boot {
    pub epoch: u64,
    /// It ended cleanly.
    pub drained: bool,
}
