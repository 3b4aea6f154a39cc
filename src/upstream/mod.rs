//! The servers behind us.
