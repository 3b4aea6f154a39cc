//! How history is chained and proven. Pure.
//!
//! An entry is an event with its place: number, stream, version, moment, and the hash of the entry
//! before it. Whoever holds a signed head can tell whether anything before it was touched.

mod chain;
mod commitment;
mod entry;
mod event;
pub mod export;
mod head;
pub mod merkle;
mod permit;
mod refold;
mod seen;
pub mod segment;
mod verify;

pub use chain::{Chain, ZERO, leaf_hash};
pub use commitment::{commitment, commitments};
pub use entry::{Malformed, Placed, decode, encode, prev, read_fact};
pub use event::{
    AgentEvent, BrokerEvent, Entry, Fact, PolicyEvent, ReviewerEvent, Segment, ServerEvent, StopEvent,
    StopScope, Stream,
};
pub use head::{Head, HeadError, key_id, read_key};
pub use permit::{Pass, Permit};
pub use refold::refold;
pub use seen::{Place, Seen};
pub use verify::{Bad, Report, Verifier};
