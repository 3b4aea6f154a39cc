//! How history is chained and proven. Pure.
//!
//! An entry is an event with its place: number, stream, version, moment, and the hash of the entry
//! before it. Whoever holds a signed head can tell whether anything before it was touched.

mod event;
mod permit;

pub use event::{
    AgentEvent, BrokerEvent, Entry, Fact, PolicyEvent, ReviewerEvent, Segment, ServerEvent, StopEvent,
    StopScope, Stream,
};
pub use permit::{Pass, Permit};
