//! The life of one `tools/call`: pure data, pure functions, no I/O, no clock, no randomness.
//!
//! `decide(call, command, now)` says which events follow or why not; `evolve(call, event)` folds one
//! event in. Everything else in countersign follows the events that these two produce.

mod canonical;
mod command;
mod decide;
mod digest;
mod event;
mod evolve;
mod id;
mod person;
mod repeat;
mod request;
mod review;
mod state;
mod tally;
mod verdict;

pub use canonical::canonical;
pub use command::{Authority, Command, Refusal};
pub use decide::{DELIVERY_WINDOW, decide, next_deadline};
pub use digest::{DigestParts, FingerprintParts, digest, fingerprint};
pub use event::{AttachKind, By, DetachReason, Event, HowDelivered, Resolution, Used, Why};
pub use evolve::{evolve, fold};
pub use id::{Attachment, CallId, Commitment, Digest, Fingerprint, Replica, Timestamp};
pub use person::{People, Person, Role};
pub use repeat::denial_answers;
pub use request::{ClientInfo, Era, Request};
pub use review::{Review, Vote};
pub use state::{Call, State, StateName, Waiter};
pub use tally::{Tally, can_be_met, tally};
pub use verdict::{Quorum, Reason, Terms, Verdict};
