//! The HTTP side of the door: who knocks, at which server, in which session; then the message.
//!
//! Whatever yields an HTTP error is found here, in one order, before anything could be recorded.

use std::{sync::Arc, time::Duration};

use axum::{
    BoxError, Router,
    body::HttpBody,
    extract::{Path, Request, State},
    response::Response,
    routing::any,
};
use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, ready};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use tokio::time::timeout;

use super::{Door, Peer, access, answer, batch, gate, listen, relay, session::Session, sse};
use crate::{
    identity::Grant,
    mcp::{Frame, Version, header as mcp_header},
    upstream::{Conversation, Link, Server},
};

/// A body that takes longer is a connection held for nothing.
const SLOWEST: Duration = Duration::from_secs(30);

/// `/mcp`, `/mcp/{server}` and what lies below it, all methods.
pub fn routes(door: Door) -> Router {
    Router::new().route("/mcp/{*server}", any(enter)).route("/mcp", any(enter_joined)).with_state(door)
}

/// One request whose sender is known and may speak to the server.
#[derive(Clone)]
pub(super) struct Visit {
    pub door: Door,
    pub grant: Arc<Grant>,
    pub server: Arc<Server>,
    pub session: Option<Arc<Session>>,
    pub headers: HeaderMap,
    pub peer: Option<Peer>,
    /// It came with others of one stream (HTTP+SSE), which cannot be taken up again and is a session itself.
    pub on_stream: bool,
    /// Its answer is one of several on one stream.
    pub in_batch: bool,
}

impl Visit {
    /// The conversation upstream that this request belongs to.
    pub(super) fn link(&self) -> Link {
        match &self.session {
            Some(session) => session.link.clone(),
            None => {
                let conversation = Conversation::Shared { grant: &self.grant.name };
                self.door.inner.broker.upstreams().link(&self.server, conversation)
            }
        }
    }

    /// `MCP-Protocol-Version`, as said.
    pub(super) fn said_version(&self) -> Option<&str> {
        text(&self.headers, &mcp_header::PROTOCOL_VERSION)
    }

    /// All answers of a session come one after the other, from a child or on one stream (HTTP+SSE); there is
    /// nothing to say outside of a session.
    pub(super) fn is_piped(&self) -> bool {
        self.server.transport() != "http"
    }

    /// Why nothing of this agent passes to this server now.
    pub(super) fn stopped(&self) -> Option<String> {
        self.door.inner.broker.stopped(&self.grant, self.server.name())
    }
}

async fn enter(State(door): State<Door>, Path(server): Path<String>, request: Request) -> Response {
    let peer = request.extensions().get().cloned();
    door.answer(&server, request, peer).await
}

async fn enter_joined(State(door): State<Door>, request: Request) -> Response {
    let peer = request.extensions().get().cloned();
    door.answer_joined(request, peer).await
}

impl Door {
    /// Answers one request to `/mcp/{server}`, where `server` may go on with `/sse` or `/sse/{key}`. The
    /// accept loop comes here at once; the router is for whoever nests the door elsewhere.
    pub fn answer<'a, B>(
        &'a self,
        server: &'a str,
        request: http::Request<B>,
        peer: Option<Peer>,
    ) -> impl Future<Output = Response> + Send + 'a
    where
        B: HttpBody<Data = Bytes> + Send + 'a,
        B::Error: Into<BoxError>,
    {
        if let Some((server, path)) = server.split_once('/') {
            return Either::Right(
                Box::pin(sse::answer(self, server, path, request, peer)) as BoxFuture<'_, _>
            );
        }
        let (parts, body) = request.into_parts();
        let visit = match known(self, &parts.headers) {
            Ok(Some(grant)) => admit(self.clone(), server, grant, parts.headers, peer),
            Ok(None) => {
                return Either::Right(Box::pin(async move {
                    let grant = access::grant(self, server, bearer(&parts.headers)).await;
                    match grant.and_then(|grant| admit(self.clone(), server, grant, parts.headers, peer)) {
                        Ok(visit) => receive(visit, parts.method, body).await,
                        Err(refusal) => *refusal,
                    }
                }));
            }
            Err(refusal) => Err(refusal),
        };
        match visit {
            Ok(visit) => Either::Left(receive(visit, parts.method, body)),
            Err(refusal) => Either::Right(Box::pin(ready(*refusal))),
        }
    }

    /// The same for a message that came with others of one stream, of an agent that is known.
    pub(super) async fn answer_on_stream(
        &self,
        server: &str,
        grant: Arc<Grant>,
        request: http::Request<Bytes>,
        peer: Option<Peer>,
    ) -> Response {
        let (parts, body) = request.into_parts();
        let visit = match admit(self.clone(), server, grant, parts.headers, peer) {
            Ok(visit) => Visit { on_stream: true, ..visit },
            Err(refusal) => return *refusal,
        };
        match parts.method {
            Method::POST => post(visit, body).await,
            other => enact(visit, other).await,
        }
    }
}

/// The message, once it is known that its sender may speak to the server.
fn receive<'a, B>(visit: Visit, method: Method, body: B) -> impl Future<Output = Response> + Send + 'a
where
    B: HttpBody<Data = Bytes> + Send + 'a,
    B::Error: Into<BoxError>,
{
    if method != Method::POST {
        return Either::Right(Box::pin(enact(visit, method)));
    }
    Either::Left(async move {
        match read(body, visit.door.inner.settings.max_body).await {
            Ok(body) => post(visit, body).await,
            Err(refusal) => *refusal,
        }
    })
}

/// What is no POST.
async fn enact(visit: Visit, method: Method) -> Response {
    match method {
        Method::GET => listen::listen(visit).await,
        Method::DELETE => relay::end(visit).await,
        _ => {
            // 2026-07-28 knows no streams to listen on and no sessions.
            let modern = visit.said_version().and_then(Version::parse).is_some_and(Version::is_modern);
            let verbs = if modern { "POST" } else { "POST, GET, DELETE" };
            let mut refusal = answer::refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("use {verbs}"));
            refusal.headers_mut().insert(header::ALLOW, HeaderValue::from_static(verbs));
            refusal
        }
    }
}

/// Host, Origin, token: in this order. Only what is no grant's token may be an access token. `server` is
/// empty at the endpoint that joins all.
pub(super) async fn who(door: &Door, server: &str, headers: &HeaderMap) -> Result<Arc<Grant>, Box<Response>> {
    match known(door, headers)? {
        Some(grant) => Ok(grant),
        None => access::grant(door, server, bearer(headers)).await,
    }
}

/// `None`: the token is no grant's; it may be an access token.
fn known(door: &Door, headers: &HeaderMap) -> Result<Option<Arc<Grant>>, Box<Response>> {
    check_site(door, headers)?;
    Ok(bearer(headers).and_then(|token| door.inner.broker.identity().grant(token)))
}

/// Server, headers, session: in this order.
pub(super) fn admit(
    door: Door,
    server: &str,
    grant: Arc<Grant>,
    headers: HeaderMap,
    peer: Option<Peer>,
) -> Result<Visit, Box<Response>> {
    let found = door.inner.broker.upstreams().server(server).filter(|_| grant.reaches(server));
    let Some(server) = found else {
        // Where a client of HTTP+SSE (2024-11-05) looks when it was given `/mcp`.
        let hint = if server == "sse" {
            "; HTTP+SSE is at /mcp, for all servers, and at /mcp/SERVER/sse"
        } else {
            ""
        };
        let text = format!("there is no server {server:?} for this token{hint}");
        return Err(answer::refuse(StatusCode::NOT_FOUND, &text).into());
    };
    check_headers(&headers)?;
    let session = find_session(&door, &server, &grant, &headers)?;
    Ok(Visit { door, grant, server, session, headers, peer, on_stream: false, in_batch: false })
}

pub(super) fn check_site(door: &Door, headers: &HeaderMap) -> Result<(), Box<Response>> {
    let settings = &door.inner.settings;
    if !text(headers, &header::HOST).is_some_and(|host| settings.accepts_host(host)) {
        return Err(answer::refuse(StatusCode::FORBIDDEN, "this Host is not allowed").into());
    }
    match headers.get(header::ORIGIN).map(HeaderValue::to_str) {
        None => Ok(()),
        Some(Ok(origin)) if settings.accepts_origin(origin) => Ok(()),
        Some(_) => Err(answer::refuse(StatusCode::FORBIDDEN, "this Origin is not allowed").into()),
    }
}

/// We read the first of two, a server may read the last.
pub(super) fn check_headers(headers: &HeaderMap) -> Result<(), Box<Response>> {
    for name in headers.keys().filter(|name| name.as_str().starts_with("mcp-")) {
        let mut values = headers.get_all(name).iter();
        let first = values.next();
        if values.next().is_some() || first.is_some_and(|value| value.to_str().is_err()) {
            let text = format!("the header {name} must be there once, in ASCII");
            return Err(answer::refuse(StatusCode::BAD_REQUEST, &text).into());
        }
    }
    Ok(())
}

/// The session that the request names; a modern request has none, whatever it names.
fn find_session(
    door: &Door,
    server: &Server,
    grant: &Grant,
    headers: &HeaderMap,
) -> Result<Option<Arc<Session>>, Box<Response>> {
    let modern =
        text(headers, &mcp_header::PROTOCOL_VERSION).and_then(Version::parse).is_some_and(Version::is_modern);
    let Some(id) = text(headers, &mcp_header::SESSION_ID).filter(|_| !modern) else {
        return Ok(None);
    };
    let now = door.inner.broker.clock().now();
    match door.inner.sessions.find(server.name(), id, grant, now) {
        Some(session) if session.link.is_over() => {
            door.inner.sessions.forget(&session);
            Err(answer::refuse(StatusCode::NOT_FOUND, "Session ended: initialize again").into())
        }
        Some(session) => Ok(Some(session)),
        None => Err(answer::refuse(StatusCode::NOT_FOUND, "Session not found: initialize again").into()),
    }
}

pub(super) async fn read<B>(body: B, most: usize) -> Result<Bytes, Box<Response>>
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let Ok(read) = timeout(SLOWEST, Limited::new(body, most).collect()).await else {
        let text = format!("the body did not come within {} s", SLOWEST.as_secs());
        return Err(answer::refuse(StatusCode::REQUEST_TIMEOUT, &text).into());
    };
    match read {
        Ok(whole) => Ok(whole.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let text = format!("the message is larger than {most} bytes");
            Err(answer::refuse(StatusCode::PAYLOAD_TOO_LARGE, &text).into())
        }
        Err(_) => Err(answer::refuse(StatusCode::BAD_REQUEST, "the body broke off").into()),
    }
}

pub(super) fn post(visit: Visit, body: Bytes) -> impl Future<Output = Response> + Send {
    let sorted = match Frame::parse(&body, &visit.door.limits()) {
        Ok(Frame::One(message)) => gate::sort(&visit, &message, &body),
        Ok(Frame::Batch(messages)) => {
            let visit = Visit { in_batch: true, ..visit };
            let split = batch::split(&visit, &messages, &body);
            return Either::Right(match split {
                Ok(parts) => Box::pin(batch::answer(visit, parts)) as BoxFuture<'static, _>,
                Err(refusal) => Box::pin(ready(*refusal)),
            });
        }
        Err(why) => Err(answer::malformed(&why).into()),
    };
    match sorted {
        Ok(errand) => Either::Left(gate::run(visit, errand, body)),
        Err(refusal) => Either::Right(Box::pin(ready(*refusal))),
    }
}

/// The token, from the Authorization header and from nowhere else.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = text(headers, &header::AUTHORIZATION)?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

pub(super) fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F: Future>(_: impl Fn(State<Door>, Path<String>, Request) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_requests_future_is_small() {
        // It is boxed for each request, and moved into its box.
        assert!(size(enter) <= 4 << 10, "{} bytes", size(enter));
    }
}
