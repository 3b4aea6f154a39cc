//! How a store is opened.

use std::time::Duration;

#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The ledger's name in its signed heads: no white space, no `+`.
    pub name: String,
    /// A signed head at most this often.
    pub sign_every: Duration,
    /// An upper bound for the file, in pages of 4 KiB: a full disk at will.
    pub max_pages: Option<u32>,
    /// A search ends after this, with what to do instead.
    pub search: Duration,
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            name: "countersign".into(),
            sign_every: Duration::from_secs(1),
            max_pages: None,
            search: Duration::from_millis(500),
        }
    }
}
