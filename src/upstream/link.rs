//! `Link`: one conversation with one server.

use std::sync::Arc;

use super::{SendError, Server};

/// Whose conversation it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Conversation {
    /// Legacy: of one downstream session; a child or an upstream session of its own.
    Session,
    /// Modern: of all requests of one grant; ids and tokens are remapped on a child's pipe.
    Shared { grant: String },
}

/// One upstream conversation. Cheap to clone; ends by `close`, when idle, or with its last clone.
#[derive(Clone, Debug)]
pub struct Link(Arc<()>);

/// A connection (or a living child) that was proven just before the claim; spent by `forward`.
#[derive(Debug)]
pub struct Proof(());

impl Link {
    #[must_use]
    pub fn server(&self) -> &Arc<Server> {
        unimplemented!()
    }

    /// The upstream's `Mcp-Session-Id`, once it gave one.
    #[must_use]
    pub fn session_id(&self) -> Option<String> {
        let _ = &self.0;
        unimplemented!()
    }

    /// Opens a fresh connection, or checks that the child lives and its stdin is open.
    ///
    /// # Errors
    /// `SendError::NotSent`: the server cannot be reached.
    pub async fn prove(&self) -> Result<Proof, SendError> {
        unimplemented!()
    }

    /// The conversation is over: HTTP DELETE of the session, or the child's clean end.
    pub async fn close(&self) {}
}
