//! It holds: servers and agents that are hostile, samples of every message, many sessions for long, and each
//! kind of message with anything in it. Bounded in memory and time, and nobody else notices.
//!
//! The broker is a process of its own, so that its memory can be read. `just hold` and `just soak` run the big
//! sizes; `COUNTERSIGN_HOLD_BROKER` names another broker (a release build) to try.

#[path = "../crash/http.rs"]
mod http;

mod rig;

mod agents;
mod bounds;
mod fuzz;
mod listeners;
mod pipes;
mod samples;
mod servers;
mod soak;
