//! Logs and metrics: one field name per thing, never arguments, tokens or results.

mod metrics;

pub use metrics::Metrics;
