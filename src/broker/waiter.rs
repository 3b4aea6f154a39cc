//! A place at a call: whoever holds it hears what happens, and may dispatch when it is permitted.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Brief, Outcome};

/// One attached connection. Dropping it appends `detached{closed}`.
#[derive(Debug)]
pub struct Waiter {
    pub brief: Brief,
}

/// What changed for a waiter.
#[derive(Debug)]
pub enum Turn {
    /// Go on with `Broker::dispatch`.
    Permitted,
    Settled(Outcome),
    /// New deadline, votes so far: worth a progress message.
    Changed(Brief),
}

/// A dispatched call's messages, in order. The call runs on when this is dropped; its outcome is
/// recorded all the same.
#[derive(Debug)]
pub struct Exchange {
    pub(super) parts: mpsc::Receiver<Part>,
}

#[derive(Debug)]
pub enum Part {
    /// A notification or request of the upstream's, on its way to the agent.
    Message(Bytes),
    /// Not sent: asked again on a new round (policy or pin changed at the claim). Wait on.
    Reparked(Box<Waiter>),
    End(Outcome),
}

impl Exchange {
    /// The next part; `None` after the `End`.
    pub async fn next(&mut self) -> Option<Part> {
        self.parts.recv().await
    }
}
