//! Whether an agent stayed for its answer: a handle that outlives the request but not the connection.

use std::sync::{Arc, Weak};

/// Kept by the accept loop for as long as the connection lives.
#[derive(Debug, Default)]
pub struct Connected(Arc<()>);

/// The other end of one connection; put into each request's extensions by the accept loop.
#[derive(Clone, Debug)]
pub struct Peer(Weak<()>);

impl Connected {
    #[must_use]
    pub fn peer(&self) -> Peer {
        Peer(Arc::downgrade(&self.0))
    }
}

impl Peer {
    /// Has the connection not ended yet?
    #[must_use]
    pub fn is_there(&self) -> bool {
        self.0.strong_count() > 0
    }
}
