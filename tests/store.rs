//! The contract of a store, held against every implementation; then what is SQLite's own.

#[path = "store_parts/contract.rs"]
mod contract;
#[path = "store_parts/sample.rs"]
mod sample;
#[path = "store_parts/sqlite.rs"]
mod sqlite;
