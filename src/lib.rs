//! Countersign: the human-in-the-loop approval broker for AI agents' tool calls.

// An error is a value: the broker goes on, the caller hears why.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::exit)]
#![cfg_attr(not(test), warn(clippy::unreachable))]
// Stdout is data and has its two places; words of the command line go to stderr.
#![warn(clippy::print_stdout)]
// A new state, event or refusal does not compile until everybody has thought of it.
#![warn(clippy::wildcard_enum_match_arm)]
// The clock, chance and tasks come in as values: clippy.toml says what is meant.
#![warn(clippy::disallowed_methods)]

pub mod api;
pub mod broker;
pub mod call;
pub mod card;
pub mod cli;
pub mod config;
pub mod downstream;
pub mod identity;
pub mod ledger;
pub mod mcp;
pub mod notify;
pub mod policy;
pub mod serve;
pub mod store;
pub mod telemetry;
pub mod upstream;
