//! How history is chained and proven. Pure.
