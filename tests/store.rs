//! The contract of a store, held against every implementation; then what is SQLite's own.

#[path = "store/contract.rs"]
mod contract;
#[path = "store/crash.rs"]
mod crash;
#[path = "store/sample.rs"]
mod sample;
#[path = "store/sqlite.rs"]
mod sqlite;
#[path = "store/start.rs"]
mod start;
#[path = "store/words.rs"]
mod words;
