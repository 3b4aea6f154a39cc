//! `Link`: one conversation with one server.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicUsize, Ordering},
};

use http::{HeaderValue, StatusCode};

use super::{
    Messages, Outbound, Reply, SendError, Server, Verb, child::Child, pool::Connection, stdio::Stdio,
};
use crate::mcp::header;

/// Whose conversation it is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Conversation<'a> {
    /// Legacy: of one downstream session of that grant; a child or an upstream session of its own.
    Session { grant: &'a str },
    /// Modern: of all requests of one grant; ids and tokens are remapped on a child's pipe.
    Shared { grant: &'a str },
}

/// One upstream conversation. Cheap to clone; ends by `close`, when idle, or with its last clone.
#[derive(Clone, Debug)]
pub struct Link(pub(super) Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    server: Arc<Server>,
    /// HTTP: what the server's answer to initialize said.
    session: OnceLock<HeaderValue>,
    /// The pipe of a server that is a command.
    stdio: Option<Stdio>,
    holds: Arc<AtomicUsize>,
}

/// A connection (or a living child) that was proven just before the claim; spent by `forward`.
#[derive(Debug)]
pub struct Proof {
    pub(super) server: Arc<Server>,
    pub(super) kind: Proven,
}

#[derive(Debug)]
pub(super) enum Proven {
    Connection(Connection),
    Child(Arc<Child>),
}

/// Keeps a conversation from being ended for idleness while a call of it waits for a person.
#[derive(Debug)]
pub struct Hold(Arc<AtomicUsize>);

impl Drop for Hold {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Link {
    /// `grant`: whose share of the server's children it takes from.
    pub(super) fn new(server: Arc<Server>, grant: &str, shared: bool) -> Self {
        let holds = Arc::new(AtomicUsize::new(0));
        let stdio = server.http().is_none().then(|| Stdio::new(server.clone(), grant, shared, holds.clone()));
        Self(Arc::new(Inner { server, session: OnceLock::new(), stdio, holds }))
    }

    #[must_use]
    pub fn server(&self) -> &Arc<Server> {
        &self.0.server
    }

    /// The upstream's `Mcp-Session-Id`, once it gave one.
    #[must_use]
    pub fn session_id(&self) -> Option<&str> {
        self.0.session.get().and_then(|id| id.to_str().ok())
    }

    #[must_use]
    pub fn hold(&self) -> Hold {
        self.0.holds.fetch_add(1, Ordering::AcqRel);
        Hold(self.0.holds.clone())
    }

    /// The child of a session has ended: what is sent now is answered 404, as a server does that forgot
    /// the session.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.stdio.as_ref().is_some_and(Stdio::is_over)
    }

    /// Opens a fresh connection, or checks that the child lives.
    ///
    /// # Errors
    /// `SendError::NotSent`: the server cannot be reached, or the session is over.
    pub async fn prove(&self) -> Result<Proof, SendError> {
        let kind = match (self.0.server.http(), &self.0.stdio) {
            (Some(http), _) => Proven::Connection(http.prove().await?),
            (None, Some(stdio)) => Proven::Child(stdio.prove().await?),
            (None, None) => return Err(SendError::NotSent("no way to the server".into())),
        };
        Ok(Proof { server: self.0.server.clone(), kind })
    }

    /// The conversation is over: HTTP DELETE of the session, or the child's clean end.
    pub async fn close(&self) {
        if let Some(stdio) = &self.0.stdio {
            stdio.close().await;
        } else if self.0.session.get().is_some()
            && let Err(error) = self.send(Outbound::delete(), None).await
        {
            tracing::debug!(server.name = self.server().name(), %error, "could not end the upstream session");
        }
    }

    pub(super) async fn send(&self, outbound: Outbound, proof: Option<Proof>) -> Result<Reply, SendError> {
        if proof.as_ref().is_some_and(|p| !Arc::ptr_eq(&p.server, &self.0.server)) {
            return Err(SendError::NotSent("the proof is of another server".into()));
        }
        let (connection, child) = match proof.map(|p| p.kind) {
            Some(Proven::Connection(connection)) => (Some(connection), None),
            Some(Proven::Child(child)) => (None, Some(child)),
            None => (None, None),
        };
        match (self.0.server.http(), &self.0.stdio) {
            (Some(http), _) => {
                let reply = http.send(outbound, self.0.session.get(), connection).await?;
                if let Some(id) = reply.headers.get(header::SESSION_ID) {
                    self.0.session.get_or_init(|| id.clone());
                }
                Ok(reply)
            }
            (None, Some(stdio)) => match outbound.verb {
                Verb::Post => Box::pin(stdio.post(outbound.body, child)).await,
                Verb::Get => Box::pin(stdio.get()).await,
                Verb::Delete => {
                    Box::pin(stdio.close()).await;
                    Ok(Reply::messages(StatusCode::OK, Messages::none()))
                }
            },
            (None, None) => Err(SendError::NotSent("no way to the server".into())),
        }
    }
}
