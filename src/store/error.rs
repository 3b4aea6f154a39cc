//! How a store fails: what can be tried again, and what closes the gate.

use crate::ledger::Stream;

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A stream has moved on: load again, decide again.
    #[error("the stream {0:?} has changed")]
    Conflict(Stream),
    /// Nothing is durable any more: the gate closes for all calls.
    #[error("the store cannot write: {0}")]
    Unavailable(String),
    #[error("the store is in use ({0}): it is probably `countersign serve`; end it, or use another store")]
    Locked(String),
    #[error("the store is damaged: {0}")]
    Damaged(String),
    /// The caller's mistake: `after` is none that a page gave as its `next`.
    #[error("the cursor is not one that this store gave")]
    Cursor,
    /// Too much is looked for, or it takes too long; says what to do instead.
    #[error("the search {0}")]
    Search(String),
}
