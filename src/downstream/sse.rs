//! Agents that speak HTTP+SSE (2024-11-05): `GET /mcp/{server}/sse`, or `GET /mcp` for all that are joined, is
//! a stream that first names the URL for this session's POSTs; each is taken with 202, and every answer comes
//! on the stream.
//!
//! What lies between is the bridge of `stdio`, with the door in this process at its other end: gate, policy
//! and waiting are those of every agent. The stream cannot be taken up again, so its end leaves each call.

use std::{
    collections::HashMap,
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::{
    BoxError,
    body::{Body, HttpBody},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use futures_util::{future::BoxFuture, stream};
use http::{HeaderMap, Method, StatusCode, Uri, header};
use tokio::{sync::mpsc, time::sleep};
use tokio_util::task::TaskTracker;

use super::{
    Door, Peer, answer,
    http::{Visit, admit, read, who},
    listeners::{Listening, TOO_MANY},
    reply,
    stdio::{Joint, Near, Queued, queue, take},
};
use crate::{identity::Grant, mcp::sse};

/// Messages on their way to one agent, and their bytes.
const QUEUE: usize = 64;
const QUEUE_BYTES: u32 = 256 << 10;
/// Requests of one agent's stream that may be under way.
const MOST: usize = 1_000;
/// Names the stream in the query of a POST to all that are joined.
const KEY: &str = "stream";

/// The open streams, by the unguessable end of the URL that each gave its agent.
#[derive(Default)]
pub(super) struct Streams(Mutex<HashMap<String, Arc<Stream>>>);

/// One agent's stream.
struct Stream {
    /// `None`: of all that are joined.
    server: Option<String>,
    grant: String,
    joint: Arc<Joint>,
    tasks: TaskTracker,
}

impl Streams {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Arc<Stream>>> {
        // Each use is one operation, so a panic elsewhere leaves no half of one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To anyone but its own agent it does not exist.
    fn find(&self, key: &str, grant: &Grant, server: Option<&str>) -> Option<Arc<Stream>> {
        let streams = self.lock();
        let stream = streams.get(key)?;
        let own = stream.grant == grant.name && stream.server.as_deref() == server;
        own.then(|| stream.clone())
    }
}

/// One request to what lies below `/mcp/{server}`.
pub(super) async fn answer<B>(
    door: &Door,
    server: &str,
    path: &str,
    request: http::Request<B>,
    peer: Option<Peer>,
) -> Response
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let (parts, body) = request.into_parts();
    let mut headers = parts.headers;
    // The stream is the session; streamable HTTP's are none of it.
    headers.remove(&crate::mcp::header::SESSION_ID);
    let visit = match knock(door, server, headers, peer).await {
        Ok(visit) => visit,
        Err(refusal) => return *refusal,
    };
    match (path.strip_prefix("sse"), parts.method) {
        (Some(""), Method::GET) => {
            let Visit { door, grant, server, peer, .. } = &visit;
            if let Some(reason) = door.inner.broker.stopped(grant, server.name()) {
                return answer::refuse(StatusCode::FORBIDDEN, &answer::stopped(&reason));
            }
            open(door, grant, Some(server.name()), peer.clone())
        }
        // A client that tries streamable HTTP first falls back at this.
        (Some(""), _) => only(Method::GET),
        (Some(key), Method::POST) if key.starts_with('/') => {
            take_in(door, &visit.grant, Some(visit.server.name()), &key[1..], body).await
        }
        (Some(key), _) if key.starts_with('/') => only(Method::POST),
        _ => nothing_at(visit.server.name()),
    }
}

fn nothing_at(server: &str) -> Response {
    let text = format!("there is nothing here; use /mcp/{server}, or /mcp/{server}/sse for HTTP+SSE");
    answer::refuse(StatusCode::NOT_FOUND, &text)
}

/// The stream at all that are joined that a POST to this URL belongs to.
pub(super) fn key_in(uri: &Uri) -> Option<&str> {
    uri.query()?.strip_prefix(KEY)?.strip_prefix('=')
}

async fn knock(
    door: &Door,
    server: &str,
    headers: HeaderMap,
    peer: Option<Peer>,
) -> Result<Visit, Box<Response>> {
    let grant = who(door, server, &headers).await?;
    admit(door.clone(), server, grant, headers, peer)
}

fn only(method: Method) -> Response {
    let mut refusal = answer::refuse(StatusCode::METHOD_NOT_ALLOWED, &format!("use {method}"));
    if let Ok(allowed) = method.as_str().parse() {
        refusal.headers_mut().insert(header::ALLOW, allowed);
    }
    refusal
}

/// What an agent POSTs to the URL that its stream named.
pub(super) async fn take_in<B>(
    door: &Door,
    grant: &Grant,
    server: Option<&str>,
    key: &str,
    body: B,
) -> Response
where
    B: HttpBody<Data = Bytes>,
    B::Error: Into<BoxError>,
{
    let Some(stream) = door.inner.streams.find(key, grant, server) else {
        let text = "there is no such stream: open one with GET";
        return answer::refuse(StatusCode::NOT_FOUND, text);
    };
    match read(body, door.inner.settings.max_body).await {
        Ok(body) => stream.take(door, body).await,
        Err(refusal) => *refusal,
    }
}

/// A stream at one server, or (`None`) at all that are joined.
pub(super) fn open(door: &Door, grant: &Arc<Grant>, server: Option<&str>, peer: Option<Peer>) -> Response {
    let Some(place) = door.inner.listeners.take(&grant.name) else {
        return answer::refuse(StatusCode::SERVICE_UNAVAILABLE, TOO_MANY);
    };
    let (out, messages) = queue(QUEUE, QUEUE_BYTES);
    let server = server.map(str::to_owned);
    let near = Near { door: door.clone(), server: server.clone(), grant: grant.name.clone(), peer };
    let key = BASE64_URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>());
    let endpoint = match &server {
        Some(server) => format!("/mcp/{server}/sse/{key}"),
        // A path below could be that of a server.
        None => format!("/mcp?{KEY}={key}"),
    };
    let endpoint = sse::named("endpoint", &endpoint);
    let stream = Arc::new(Stream {
        server,
        grant: grant.name.clone(),
        joint: Arc::new(Joint::near(near, out)),
        tasks: TaskTracker::new(),
    });
    door.inner.streams.lock().insert(key.clone(), stream.clone());
    let open = Open { door: door.clone(), grant: grant.clone(), key, stream, messages, _place: place };
    let parts = stream::unfold((Some(endpoint.into()), open), |(first, mut open)| async move {
        let part: Bytes = match first {
            Some(first) => first,
            None => open.part().await?,
        };
        Some((Ok::<_, Infallible>(part), (None, open)))
    });
    reply::events(HeaderMap::new(), Body::from_stream(parts))
}

impl Stream {
    /// One message of the agent. A request is answered on the stream; anything else is passed on before this
    /// is answered, so that it keeps its place.
    async fn take(self: Arc<Self>, door: &Door, body: Bytes) -> Response {
        if door.inner.closing.is_cancelled() || self.tasks.len() >= MOST {
            let text = "too many requests of this stream are under way, or the broker is ending";
            return answer::refuse(StatusCode::SERVICE_UNAVAILABLE, text);
        }
        self.carry(body).await;
        (StatusCode::ACCEPTED, "Accepted").into_response()
    }

    /// Its type is named, since the door comes back to itself here.
    fn carry(self: Arc<Self>, body: Bytes) -> BoxFuture<'static, ()> {
        Box::pin(async move { take(&self.joint, &self.tasks, body).await })
    }
}

/// An agent's end of its stream; dropped with the connection.
struct Open {
    door: Door,
    /// As it was when the stream was opened.
    grant: Arc<Grant>,
    key: String,
    stream: Arc<Stream>,
    messages: mpsc::Receiver<Queued>,
    _place: Listening,
}

impl Open {
    /// The next event; a comment now and then, so that nothing between takes the stream for dead.
    async fn part(&mut self) -> Option<Bytes> {
        let beat = self.door.inner.settings.heartbeat();
        let (closing, tasks) = (&self.door.inner.closing, &self.stream.tasks);
        let identity = self.door.inner.broker.identity();
        let done = async {
            closing.cancelled().await;
            tasks.close();
            tasks.wait().await;
        };
        tokio::select! {
            biased;
            // Before the messages: a server that never falls silent would hold it open.
            () = identity.until_void(&self.grant, self.stream.server.as_deref()) => None,
            message = self.messages.recv() => message.map(|queued| event(&queued.message)),
            // Each who waited has its ticket.
            () = done => None,
            () = sleep(beat) => Some(sse::comment("here").into()),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.door.inner.streams.lock().remove(&self.key);
        let joint = self.stream.joint.clone();
        // What is under way ends with its task, which leaves each call that waits; then the session ends.
        self.door.inner.deliveries.tasks.spawn(async move { joint.end().await });
    }
}

fn event(message: &[u8]) -> Bytes {
    match str::from_utf8(message) {
        Ok(text) => sse::named("message", text).into(),
        Err(_) => reply::event(message),
    }
}
