//! Where history is kept: one contract, one folder per database.
//!
//! `append` is the only write of facts. It is atomic over streams, compares and swaps each stream's
//! version, chains and numbers the entries, and answers after the commit is on the disk.

pub mod sqlite;

use std::{future::Future, pin::Pin};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::{
    call::{Call, CallId, Fingerprint, StateName, Timestamp},
    ledger::{Entry, Fact, Stream},
};

pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

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

/// Which calls a page shows. Empty lists mean any.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub states: Vec<StateName>,
    pub server: Option<String>,
    pub tool: Option<String>,
    pub agent: Option<String>,
    pub reviewer: Option<String>,
    /// Free text over tool, server, agent, id, short code.
    pub text: Option<String>,
    /// The last page's `next`.
    pub after: Option<String>,
    /// 1 to 200.
    pub limit: usize,
}

#[derive(Clone, Debug, Default)]
pub struct Page {
    pub calls: Vec<Call>,
    pub next: Option<String>,
    /// Number of the last ledger entry that this page reflects.
    pub head: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A stream has moved on: load again, decide again.
    #[error("the stream {0:?} has changed")]
    Conflict(Stream),
    /// Nothing is durable any more: the gate closes for all calls.
    #[error("the store cannot write: {0}")]
    Unavailable(String),
    #[error("the store is in use by another process ({0})")]
    Locked(String),
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The caller's mistake: `after` is none that a page gave as its `next`.
    #[error("the cursor is not one that this store gave")]
    Cursor,
}

/// The contract; `tests/store.rs` holds every implementation to it.
pub trait Store: Send + Sync + 'static {
    /// Answers the appended entries, in order, after they are on the disk.
    ///
    /// # Errors
    /// `Conflict` when a stream is not at its expected version: nothing was written.
    fn append(&self, batch: Batch) -> Answer<'_, Vec<Entry>>;
    /// A segment of allowed calls: its packed leaves go beside the `AllowedCalls` entry that is appended.
    fn append_segment(
        &self,
        at: Timestamp,
        leaves: Vec<Vec<u8>>,
        from: Timestamp,
        to: Timestamp,
    ) -> Answer<'_, Entry>;
    fn call(&self, id: CallId) -> Answer<'_, Option<Call>>;
    fn calls(&self, filter: Filter) -> Answer<'_, Page>;
    /// How many calls stand in each state now (unsettled states exactly).
    fn counts(&self) -> Answer<'_, Vec<(StateName, u64)>>;
    /// The most recent calls with this join key, newest first, settled ones too; at most 16.
    fn same(&self, fingerprint: Fingerprint) -> Answer<'_, Vec<Call>>;
    /// Unsettled calls whose deadline (as last written) is at or before `until`, soonest first.
    fn due(&self, until: Timestamp, limit: usize) -> Answer<'_, Vec<CallId>>;
    fn payload(&self, call: CallId, kind: PayloadKind, part: u64) -> Answer<'_, Option<Payload>>;
    /// Ledger entries after `number`, oldest first.
    fn entries(&self, after: u64, limit: usize) -> Answer<'_, Vec<Entry>>;
    /// One stream's entries, oldest first, and its version.
    fn stream(&self, stream: Stream) -> Answer<'_, Vec<Entry>>;
    fn version(&self, stream: Stream) -> Answer<'_, u64>;
    /// The last process that said on the broker's stream that it took this store. That stream grows with
    /// every batch of allowed calls: whoever starts asks this instead of reading it.
    fn last_boot(&self) -> Answer<'_, Option<Boot>>;
    fn get(&self, space: &'static str, key: String) -> Answer<'_, Option<Vec<u8>>>;
    fn list(&self, space: &'static str) -> Answer<'_, Vec<(String, Vec<u8>)>>;
    fn put(&self, puts: Vec<Put>) -> Answer<'_, ()>;
    /// Number of the last committed entry; changes wake every follower.
    fn head(&self) -> watch::Receiver<u64>;
}
