//! Countersign: the human-in-the-loop approval broker for AI agents' tool calls.

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
