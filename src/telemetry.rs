//! Logs and metrics: one field name per thing, never arguments, tokens or results.
