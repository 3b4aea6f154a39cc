//! Whether an agent stayed for its answer: a handle that outlives the request but not the connection.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const BROKEN: u8 = 2;

/// Kept by the accept loop for as long as the connection lives.
#[derive(Debug, Default)]
pub struct Connected(Arc<AtomicU8>);

/// The other end of one connection; put into each request's extensions by the accept loop.
#[derive(Clone, Debug)]
pub struct Peer(Arc<AtomicU8>);

impl Connected {
    #[must_use]
    pub fn peer(&self) -> Peer {
        Peer(Arc::clone(&self.0))
    }

    /// The connection ended as HTTP ends: all that was written is taken.
    pub fn close(self) {
        self.0.store(CLOSED, Ordering::Release);
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        // Unless it was closed already.
        let _ = self.0.compare_exchange(OPEN, BROKEN, Ordering::AcqRel, Ordering::Acquire);
    }
}

impl Peer {
    /// Did the connection break? Then nobody knows what the other end has read. A peer that closes
    /// after its answer has read it: closing with something unread resets the connection.
    #[must_use]
    pub fn broke(&self) -> bool {
        self.0.load(Ordering::Acquire) == BROKEN
    }
}
