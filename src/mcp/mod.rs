//! The words of the protocol: JSON-RPC frames, kept byte for byte; nothing is re-modelled. Pure.
//!
//! Bytes are checked once, by `strict::check`; what it returns (`Json`) is a borrowed, valid text, and
//! everything else here walks such texts without building a tree. What must change is spliced (`patch`).

pub mod answer;
mod json;
mod message;
pub mod methods;
pub mod patch;
mod scanner;
pub mod sse;
pub mod strict;
mod task;
mod tool_call;
mod version;

pub use json::{Elements, Json, Kind, Member, Members};
pub use message::{Answer, Frame, Malformed, Message, Notification, Request, Response};
pub use methods::{Class, Passthrough, Route};
pub use strict::{Defect, Limits};
pub use task::{InvalidTask, task_named};
pub use tool_call::{InvalidCall, Meta, TRACE_KEYS, ToolCall};
pub use version::{Version, header};
