//! `Link`: one conversation with one server.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    TryFutureExt as _,
    future::{Either, ready},
};
use http::{HeaderValue, StatusCode};
use tokio::{sync::OnceCell, time::timeout};

use super::{
    Messages, Outbound, Reply, SendError, Server, Verb,
    child::Child,
    http::Http,
    pool::Connection,
    sse::{Refused, Sse},
    stdio::{Stdio, one},
};
use crate::mcp::header;

/// A server that does not answer the end of a session within this is not waited for.
pub const FAREWELL: Duration = Duration::from_secs(5);
/// A command's own end, by force at last, takes less.
const LAST_BREATH: Duration = Duration::from_secs(10);

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
    grant: Box<str>,
    /// HTTP: what the server's answer to initialize said.
    session: OnceLock<HeaderValue>,
    /// The pipe of a server that is a command.
    stdio: Option<Stdio>,
    /// The stream of a server that speaks HTTP+SSE.
    sse: OnceCell<Sse>,
    shared: bool,
    /// HTTP: its session was ended, or the server has forgotten it.
    ended: AtomicBool,
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
        let (session, sse) = (OnceLock::new(), OnceCell::new());
        let (ended, grant) = (AtomicBool::new(false), grant.into());
        Self(Arc::new(Inner { server, grant, session, stdio, sse, shared, ended, holds }))
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

    /// The child, or the stream, of a session has ended: what is sent now is answered 404, as a server does that forgot
    /// the session. Or that has happened.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.0.stdio.as_ref().is_some_and(Stdio::is_over)
            || self.0.sse.get().is_some_and(Sse::is_over)
            || self.0.ended.load(Ordering::Relaxed)
    }

    /// Opens a fresh connection, and checks that the child or the stream of the session lives.
    ///
    /// # Errors
    /// `SendError::NotSent`: the server cannot be reached, or the session is over.
    pub async fn prove(&self) -> Result<Proof, SendError> {
        let kind = match (self.0.server.http(), &self.0.stdio) {
            (Some(http), _) => Proven::Connection(match self.0.sse.get() {
                Some(sse) => sse.prove(http).await?,
                None => http.prove().await?,
            }),
            (None, Some(stdio)) => Proven::Child(stdio.prove().await?),
            (None, None) => return Err(SendError::NotSent("no way to the server".into())),
        };
        Ok(Proof { server: self.0.server.clone(), kind })
    }

    /// The conversation is over: HTTP DELETE of the session, or the child's clean end. False: the server let
    /// it wait for too long (5 s; a command 10 s), and it was left.
    pub async fn close(&self) -> bool {
        let most = if self.0.stdio.is_some() { LAST_BREATH } else { FAREWELL };
        let ended = timeout(most, self.end_there()).await.is_ok();
        if !ended {
            let (name, seconds) = (self.server().name(), most.as_secs());
            tracing::warn!(server.name = name, seconds, "the server did not answer the end of a session");
        }
        ended
    }

    async fn end_there(&self) {
        if let Some(stdio) = &self.0.stdio {
            stdio.close().await;
        } else if let Some(sse) = self.0.sse.get() {
            sse.close().await;
        } else if self.0.session.get().is_some()
            && let Err(error) = self.send(Outbound::delete(), None).await
        {
            tracing::debug!(server.name = self.server().name(), %error, "could not end the upstream session");
        }
    }

    /// What is not one exchange with an HTTP server is boxed: every allowed call would carry it.
    pub(super) fn send(
        &self,
        outbound: Outbound,
        proof: Option<Proof>,
    ) -> impl Future<Output = Result<Reply, SendError>> + Send + '_ {
        let inner = &*self.0;
        match inner.server.http() {
            Some(http) if proof.is_none() && inner.sse.get().is_none() && !inner.server.speaks_sse() => {
                Either::Left(self.exchange(http, outbound, None))
            }
            Some(_) | None => Either::Right(Box::pin(self.send_otherwise(outbound, proof))),
        }
    }

    async fn send_otherwise(&self, outbound: Outbound, proof: Option<Proof>) -> Result<Reply, SendError> {
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
                if let Some(sse) = self.0.sse.get() {
                    return send_on(sse, outbound, connection).await;
                }
                if self.0.server.speaks_sse() {
                    return self.begin_sse(http, outbound).await;
                }
                self.exchange(http, outbound, connection).await
            }
            (None, Some(stdio)) => match outbound.verb {
                Verb::Post => stdio.post(outbound.body, child).await,
                Verb::Get => stdio.get().await,
                Verb::Delete => {
                    stdio.close().await;
                    Ok(Reply::messages(StatusCode::OK, Messages::none()))
                }
            },
            (None, None) => Err(SendError::NotSent("no way to the server".into())),
        }
    }

    /// One request to a streamable HTTP server, as far as it is known to be one.
    fn exchange<'a>(
        &'a self,
        http: &'a Http,
        outbound: Outbound,
        proven: Option<Connection>,
    ) -> impl Future<Output = Result<Reply, SendError>> + Send + 'a {
        let is_first = !self.0.shared && self.0.session.get().is_none();
        let again = is_first.then(|| outbound.body.clone());
        let ends = outbound.verb == Verb::Delete;
        http.send(outbound, self.0.session.get(), proven).and_then(move |reply| {
            if ends || reply.status == StatusCode::NOT_FOUND {
                self.end();
            }
            if let Some(id) = reply.headers.get(&header::SESSION_ID) {
                self.0.session.get_or_init(|| id.clone());
            }
            match again {
                Some(body) if may_be_older(&reply) => {
                    Either::Right(Box::pin(self.find_sse(http, body, reply)))
                }
                Some(_) | None => Either::Left(ready(Ok(reply))),
            }
        })
    }

    /// The session over HTTP, if there is one, was ended, or its server knows it no longer.
    fn end(&self) {
        if !self.0.shared && self.0.session.get().is_some() {
            self.0.ended.store(true, Ordering::Relaxed);
        }
    }

    // ── HTTP+SSE (2024-11-05) ─────────────────────────────────────────

    /// The first message to a server that speaks HTTP+SSE, by its settings or as it was found.
    async fn begin_sse(&self, http: &Http, outbound: Outbound) -> Result<Reply, SendError> {
        if self.0.shared {
            return Err(SendError::NotSent("the server speaks HTTP+SSE: a session comes first".into()));
        }
        match self.open_sse(http).await {
            Ok(sse) => send_on(sse, outbound, None).await,
            Err(Refused::Taken(error)) => Err(error),
            Err(_) if self.0.server.may_speak_sse() => {
                // It was replaced, perhaps: found out anew.
                self.0.server.found_sse(false);
                let body = outbound.body.clone();
                let reply = http.send(outbound, None, None).await?;
                if may_be_older(&reply) { self.find_sse(http, body, reply).await } else { Ok(reply) }
            }
            Err(Refused::Reply(reply)) => Ok(reply),
            Err(Refused::Error(error)) => Err(error),
        }
    }

    /// A server that refused `initialize` may be of before 2025-03-26: then it opens a stream on GET, whose
    /// first event names its endpoint. If not, its refusal is the answer.
    async fn find_sse(&self, http: &Http, body: Bytes, refusal: Reply) -> Result<Reply, SendError> {
        let greets = one(&body).is_ok_and(|message| message.method() == Some("initialize"));
        if !greets || !self.0.server.may_speak_sse() {
            return Ok(refusal);
        }
        match self.open_sse(http).await {
            Ok(sse) => {
                self.0.server.found_sse(true);
                tracing::info!(server.name = self.server().name(), "the server speaks HTTP+SSE");
                sse.post(Outbound::post(body), None).await
            }
            Err(Refused::Taken(error)) => Err(error),
            Err(Refused::Reply(_) | Refused::Error(_)) => Ok(refusal),
        }
    }

    async fn open_sse(&self, http: &Http) -> Result<&Sse, Refused> {
        self.0.sse.get_or_try_init(|| Sse::open(&self.0.server, http, &self.0.grant)).await
    }
}

async fn send_on(sse: &Sse, outbound: Outbound, proven: Option<Connection>) -> Result<Reply, SendError> {
    match outbound.verb {
        Verb::Post => sse.post(outbound, proven).await,
        Verb::Get if sse.is_over() => Ok(Reply::empty(StatusCode::NOT_FOUND)),
        Verb::Get => Ok(Reply::messages(StatusCode::OK, sse.listen())),
        Verb::Delete => {
            sse.close().await;
            Ok(Reply::messages(StatusCode::OK, Messages::none()))
        }
    }
}

/// What a server without streamable HTTP says to a POST.
fn may_be_older(reply: &Reply) -> bool {
    matches!(reply.status.as_u16(), 400 | 404 | 405)
}
