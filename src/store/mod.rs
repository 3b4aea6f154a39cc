//! Where history is kept: one contract, one folder per database.
//!
//! `append` is the only write of facts. It is atomic over streams, compares and swaps each stream's
//! version, chains and numbers the entries, and answers after the commit is on the disk.

mod batch;
mod error;
mod page;
pub mod sqlite;

use std::{future::Future, pin::Pin};

use tokio::sync::watch;

pub use batch::{Batch, Boot, Payload, PayloadKind, Put, Write};
pub use error::StoreError;
pub use page::{Filter, Page};

use crate::{
    call::{Call, CallId, Fingerprint, StateName, Timestamp},
    ledger::{Entry, Stream, segment::Leaves},
};

pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

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
        leaves: Leaves,
        from: Timestamp,
        to: Timestamp,
    ) -> Answer<'_, Entry>;
    fn call(&self, id: CallId) -> Answer<'_, Option<Call>>;
    fn calls(&self, filter: Filter) -> Answer<'_, Page>;
    /// How many calls stand in each state now (unsettled states exactly).
    fn counts(&self) -> Answer<'_, Vec<(StateName, u64)>>;
    /// The most recent calls with this join key, newest first, settled ones too; at most 16.
    fn same(&self, fingerprint: Fingerprint) -> Answer<'_, Vec<Call>>;
    /// Agent, server and tool of every call so far that was more than a leaf of a segment; each once.
    fn tools(&self) -> Answer<'_, Vec<[String; 3]>>;
    /// Unsettled calls whose deadline (as last written) is at or before `until`, soonest first.
    fn due(&self, until: Timestamp, limit: usize) -> Answer<'_, Vec<CallId>>;
    fn payload(&self, call: CallId, kind: PayloadKind, part: u64) -> Answer<'_, Option<Payload>>;
    /// Ledger entries after `number`, oldest first.
    fn entries(&self, after: u64, limit: usize) -> Answer<'_, Vec<Entry>>;
    /// The entries from `from` to before `to` that say what a call took of its limits, or gave back; oldest
    /// first.
    fn taken(&self, from: Timestamp, to: Timestamp) -> Answer<'_, Vec<Entry>>;
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
