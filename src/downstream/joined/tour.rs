//! One request to the joined endpoint: who knocks, and the visits that it makes at the servers.
//!
//! Each visit is the one that the plain endpoint would have made, through the same gate.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    BoxError,
    body::HttpBody,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::ALLOW};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use super::{
    said::Said,
    session::{Joined, Part, Place},
    sort, streams,
};
use crate::{
    downstream::{
        Door, Peer, answer,
        held::Room,
        http::{self as plain, Visit, text},
        relay, reply, sse,
    },
    identity::Grant,
    mcp::{Answer, Json, Message, Version, header},
    upstream::Server,
};

/// A server that could not be reached is left out of lists for this long; what names it tries it at once.
const LEFT_OUT: Duration = Duration::from_secs(10);

const GREETING: &str = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;

#[derive(Clone)]
pub(super) struct Tour {
    pub door: Door,
    pub grant: Arc<Grant>,
    pub headers: HeaderMap,
    pub peer: Option<Peer>,
    pub session: Option<Arc<Joined>>,
    /// As of a visit: it came with others of one stream.
    pub on_stream: bool,
    /// As of a visit: it is one of several that are answered on one stream.
    pub in_batch: bool,
}

impl Door {
    /// Answers one request to `/mcp`.
    pub async fn answer_joined<B>(&self, request: http::Request<B>, peer: Option<Peer>) -> Response
    where
        B: HttpBody<Data = Bytes>,
        B::Error: Into<BoxError>,
    {
        let (parts, body) = request.into_parts();
        let grant = match plain::who(self, "", &parts.headers).await {
            Ok(grant) => grant,
            Err(refusal) => return *refusal,
        };
        if let Some(key) = sse::key_in(&parts.uri).filter(|_| parts.method == Method::POST) {
            return Box::pin(sse::take_in(self, &grant, None, key, body)).await;
        }
        let tour = match admit(self.clone(), grant, parts.headers, peer) {
            Ok(tour) => tour,
            Err(refusal) => return *refusal,
        };
        if parts.method != Method::POST {
            return Box::pin(enact(tour, parts.method)).await;
        }
        match plain::read(body, self.inner.settings.max_body).await {
            Ok(body) => sort::post(tour, body).await,
            Err(refusal) => *refusal,
        }
    }

    /// The same for a message that came with others of one stream, of an agent that is known.
    pub(in crate::downstream) async fn answer_joined_on_stream(
        &self,
        grant: Arc<Grant>,
        request: http::Request<Bytes>,
        peer: Option<Peer>,
    ) -> Response {
        let (parts, body) = request.into_parts();
        let tour = match admit(self.clone(), grant, parts.headers, peer) {
            Ok(tour) => Tour { on_stream: true, ..tour },
            Err(refusal) => return *refusal,
        };
        match parts.method {
            Method::POST => sort::post(tour, body).await,
            other => enact(tour, other).await,
        }
    }
}

/// What is no POST.
async fn enact(tour: Tour, method: Method) -> Response {
    match method {
        Method::GET => streams::listen(tour).await,
        Method::DELETE => tour.end().await,
        _ => {
            let mut refusal = answer::refuse(StatusCode::METHOD_NOT_ALLOWED, "use POST, GET or DELETE");
            refusal.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
            refusal
        }
    }
}

/// As the plain endpoint: headers, session.
fn admit(
    door: Door,
    grant: Arc<Grant>,
    headers: HeaderMap,
    peer: Option<Peer>,
) -> Result<Tour, Box<Response>> {
    plain::check_headers(&headers)?;
    let modern =
        text(&headers, &header::PROTOCOL_VERSION).and_then(Version::parse).is_some_and(Version::is_modern);
    let session = match text(&headers, &header::SESSION_ID).filter(|_| !modern) {
        None => None,
        Some(id) => {
            let known = door.inner.joined.find(id, &grant, door.inner.broker.clock().now());
            let gone = || answer::refuse(StatusCode::NOT_FOUND, "Session not found: initialize again");
            Some(known.ok_or_else(gone)?)
        }
    };
    let tour = Tour { door, grant, headers, peer, session, on_stream: false, in_batch: false };
    if tour.servers().is_empty() {
        let text = "there is no server for this token that can be joined";
        return Err(answer::refuse(StatusCode::NOT_FOUND, text).into());
    }
    Ok(tour)
}

impl Tour {
    /// Every server that this grant reaches and whose name the separator cannot confuse, in order of name.
    pub(super) fn servers(&self) -> Vec<Arc<Server>> {
        let all = self.door.inner.broker.upstreams().servers();
        all.into_iter().filter(|server| self.reaches(server.name())).collect()
    }

    /// Those that this grant reaches and that cannot be joined.
    pub(super) fn confused(&self) -> Vec<Arc<Server>> {
        let all = self.door.inner.broker.upstreams().servers().into_iter();
        all.filter(|server| self.grant.reaches(server.name()) && !self.reaches(server.name())).collect()
    }

    pub(super) fn server(&self, name: &str) -> Option<Arc<Server>> {
        self.door.inner.broker.upstreams().server(name).filter(|_| self.reaches(name))
    }

    fn reaches(&self, server: &str) -> bool {
        self.grant.reaches(server) && self.door.inner.settings.joined_separator.fits(server)
    }

    pub(super) fn is_stopped(&self, server: &Server) -> bool {
        self.door.inner.broker.stopped(&self.grant, server.name()).is_some()
    }

    /// Nothing is stopped there, and the grant still has the server.
    pub(super) fn is_open(&self, server: &Server) -> bool {
        let directory = self.door.inner.broker.identity().directory();
        directory.holds(&self.grant, Some(server.name())) && !self.is_stopped(server)
    }

    /// Resolves when the token that knocked is void.
    pub(super) async fn until_void(&self) {
        self.door.inner.broker.identity().until_void(&self.grant, None).await;
    }

    /// A visit at one server; a legacy one in the conversation that belongs to this session.
    pub(super) fn visit(&self, server: &Arc<Server>, part: Option<&Part>) -> Visit {
        let mut headers = self.headers.clone();
        headers.remove(&header::SESSION_ID);
        if let Some(version) = part.and_then(|part| HeaderValue::from_str(&part.version).ok()) {
            headers.insert(&header::PROTOCOL_VERSION, version);
        }
        Visit {
            door: self.door.clone(),
            grant: self.grant.clone(),
            server: server.clone(),
            session: part.and_then(|part| part.session.clone()),
            headers,
            peer: self.peer.clone(),
            on_stream: self.on_stream,
            in_batch: self.in_batch,
        }
    }

    /// For what is held of a server's answer.
    pub(super) fn room(&self, server: &Server, most: usize) -> Room {
        self.door.inner.held.room(Some(server.name()), &self.grant.name, most)
    }

    /// What the server says to a request of all.
    pub(super) async fn said(&self, server: &Server, response: Response) -> Said {
        Said::of(response, self.room(server, server.largest_list())).await
    }

    /// A visit with the conversation opened if it is not. `again`: also if it could not be just before.
    pub(super) async fn enter(&self, server: &Arc<Server>, again: bool) -> Result<Visit, String> {
        match &self.session {
            None => Ok(self.visit(server, None)),
            Some(session) => {
                let part = self.part(session, server, again).await?;
                Ok(self.visit(server, Some(&part)))
            }
        }
    }

    /// What this server said of itself, in a conversation that lives.
    pub(super) async fn part(
        &self,
        session: &Joined,
        server: &Arc<Server>,
        again: bool,
    ) -> Result<Arc<Part>, String> {
        let place = session.place(server.name());
        let mut place = place.lock().await;
        if let Some(part) = self.living(&place, server) {
            return Ok(part);
        }
        if let Some((_, why)) = place.failed.as_ref().filter(|(at, _)| !again && at.elapsed() < LEFT_OUT) {
            return Err(why.clone());
        }
        let opened = self.open(session, server).await;
        place.failed = opened.as_ref().err().map(|why| (Instant::now(), why.clone()));
        place.part = opened.as_ref().ok().cloned();
        if opened.is_ok() {
            session.opened.send_modify(|opened| *opened += 1);
        }
        opened
    }

    /// Every conversation of this session that is open; waits for those that are being opened.
    pub(super) async fn parts(&self, session: &Joined) -> Vec<(Arc<Server>, Arc<Part>)> {
        let mut parts = Vec::new();
        for server in self.servers() {
            let place = session.place(server.name());
            let part = self.living(&*place.lock().await, &server);
            parts.extend(part.map(|part| (server, part)));
        }
        parts
    }

    /// Those that are open now.
    pub(super) fn parts_now(&self, session: &Joined) -> Vec<(Arc<Server>, Arc<Part>)> {
        let part = |server: Arc<Server>| {
            let place = session.place(server.name());
            let part = self.living(&*place.try_lock().ok()?, &server)?;
            Some((server, part))
        };
        self.servers().into_iter().filter_map(part).collect()
    }

    fn living(&self, place: &Place, server: &Server) -> Option<Arc<Part>> {
        let part = place.part.clone()?;
        let Some(session) = &part.session else { return Some(part) };
        let now = self.door.inner.broker.clock().now();
        let known = self.door.inner.sessions.find(server.name(), &session.id, &self.grant, now);
        (known.is_some() && !session.link.is_over()).then_some(part)
    }

    async fn open(&self, session: &Joined, server: &Arc<Server>) -> Result<Arc<Part>, String> {
        let patience = self.door.inner.settings.start_grace();
        let opened = timeout(patience, self.greet(session, server)).await;
        let opened = opened.unwrap_or_else(|_| Err(Said::late(patience.as_secs()).why().to_owned()));
        if let Err(why) = &opened {
            tracing::warn!(
                server.name = server.name(),
                agent.name = self.grant.name,
                why,
                "left out of the joined endpoint"
            );
        }
        opened.map(Arc::new)
    }

    /// The client's own `initialize`, said to one server.
    async fn greet(&self, session: &Joined, server: &Arc<Server>) -> Result<Part, String> {
        let mut visit = self.visit(server, None);
        visit.headers.remove(&header::PROTOCOL_VERSION);
        let response = plain::post(visit, session.hello.clone()).await;
        let id = text(response.headers(), &header::SESSION_ID).map(str::to_owned);
        let message = match self.said(server, response).await {
            Said::Result(message) => message,
            none @ (Said::Error { .. } | Said::Nothing { .. }) => return Err(none.why().to_owned()),
        };
        let unreadable = || "its answer to initialize cannot be read".to_owned();
        let Some(Message::Response(response)) = reply::read(&message) else { return Err(unreadable()) };
        let Answer::Result(result) = response.answer else { return Err(unreadable()) };
        let version = result.get("protocolVersion").and_then(Json::string).ok_or_else(unreadable)?;
        if Version::parse(&version).is_none_or(Version::is_modern) {
            return Err(format!("it speaks the protocol version {version:?}, which a session cannot have"));
        }
        let capabilities: Value = result
            .get("capabilities")
            .and_then(|given| serde_json::from_str(given.as_str()).ok())
            .unwrap_or_default();
        let instructions = result.get("instructions").and_then(Json::string).map(|text| text.into_owned());
        let now = self.door.inner.broker.clock().now();
        let own = id.and_then(|id| self.door.inner.sessions.find(server.name(), &id, &self.grant, now));
        if let Some(version) = session.version.get() {
            session.agree(*version, own.as_deref().into_iter());
        }
        if let Some(own) = own.as_ref().filter(|_| !session.offers_tasks.load(Ordering::Acquire)) {
            own.tasks.withdraw();
        }
        let part = Part { session: own, version: version.into_owned(), capabilities, instructions };
        self.catch_up(session, server, &part).await;
        Ok(part)
    }

    /// What the client has said to every server before this conversation was opened.
    async fn catch_up(&self, session: &Joined, server: &Arc<Server>, part: &Part) {
        if session.greeted.load(Ordering::Acquire) {
            plain::post(self.visit(server, Some(part)), Bytes::from_static(GREETING.as_bytes())).await;
        }
        if let Some(level) = session.level().filter(|_| part.has("logging")) {
            let heard = plain::post(self.visit(server, Some(part)), level).await;
            self.said(server, heard).await;
        }
    }

    /// `notifications/initialized`: those that are open hear it now, the others when they are opened.
    pub(super) async fn greeted(&self, body: &Bytes) -> Response {
        if let Some(session) = &self.session {
            session.greeted.store(true, Ordering::Release);
        }
        self.tell(body).await
    }

    /// A notification to every open conversation.
    pub(super) async fn tell(&self, body: &Bytes) -> Response {
        if let Some(session) = &self.session {
            let told = self.parts(session).await.into_iter().map(|(server, part)| {
                let visit = self.visit(&server, Some(&part));
                async move { plain::post(visit, body.clone()).await }
            });
            join_all(told).await;
        }
        StatusCode::ACCEPTED.into_response()
    }

    /// DELETE: this session and each conversation of it end.
    async fn end(&self) -> Response {
        let Some(session) = &self.session else {
            return answer::refuse(StatusCode::METHOD_NOT_ALLOWED, "there is no session to end");
        };
        self.door.inner.joined.forget(session);
        let parts = self.parts(session).await;
        let ended = parts.iter().filter(|(_, part)| part.session.is_some());
        join_all(ended.map(|(server, part)| relay::end(self.visit(server, Some(part))))).await;
        StatusCode::OK.into_response()
    }
}
