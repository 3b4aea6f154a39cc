//! A server that speaks HTTP+SSE (2024-11-05): one GET stream brings every answer, each message is POSTed.
//!
//! The stream is the session. When it has ended, what was POSTed and not answered is lost, and the session
//! does not come back: its client initializes anew.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, StatusCode, Uri, header::ACCEPT};
use tokio::{sync::oneshot, time::timeout};
use tokio_util::sync::CancellationToken;

use super::{
    BrokenReply, Messages, Outbound, Reply, ReplyBody, SendError, Server,
    endpoint::{Events, resolve},
    http::Http,
    messages::Pipe,
    owners::Owned,
    pool::Connection,
    routes::{Routes, take_in},
    stdio::{one, session_over},
};
use crate::mcp::{Message, Request};

/// How long after the first word on the stream a POST may still be refused with its status.
const LATE: Duration = Duration::from_secs(1);

/// One session's stream; ended when dropped.
#[derive(Debug)]
pub(super) struct Sse(Arc<Stream>);

#[derive(Debug)]
struct Stream {
    server: Arc<Server>,
    /// Path and query that messages are POSTed to.
    endpoint: Uri,
    routes: Mutex<Routes>,
    alive: AtomicBool,
    ending: CancellationToken,
    ended: CancellationToken,
}

/// There is no stream; in the server's own words, if it answered something else.
pub(super) enum Refused {
    Reply(Reply),
    Error(SendError),
    /// It is another agent's.
    Taken(SendError),
}

impl From<SendError> for Refused {
    fn from(error: SendError) -> Self {
        Self::Error(error)
    }
}

impl Sse {
    /// Opens the stream and waits for its `endpoint`.
    ///
    /// # Errors
    /// The server did not open a stream, or its endpoint is not its own, or another agent's.
    #[expect(clippy::disallowed_methods, reason = "ends with the stream; `close` awaits it")]
    pub(super) async fn open(server: &Arc<Server>, http: &Http, grant: &str) -> Result<Self, Refused> {
        let get = Outbound::get().header(ACCEPT, HeaderValue::from_static("text/event-stream"));
        let reply = http.send(get, None, None).await?;
        if reply.status != StatusCode::OK || !reply.is_event_stream() {
            return Err(Refused::Reply(reply));
        }
        let ReplyBody::Bytes(body) = reply.body else {
            return Err(SendError::NotSent("the server's stream is empty".into()).into());
        };
        let mut events = Events::new(body, server.limits().max_body);
        let within = Duration::from_millis(server.limits().connect_timeout_ms);
        let no = |why: String| Refused::Error(SendError::NotSent(why));
        let said = match timeout(within, events.endpoint()).await {
            Ok(said) => said.map_err(no)?,
            Err(_) => {
                return Err(no(format!("the server named no endpoint within {} ms", within.as_millis())));
            }
        };
        let endpoint = resolve(server.identity(), &said).map_err(no)?;
        let owned = server.owners().take(&endpoint.to_string(), grant).ok_or_else(|| {
            let why = "it gave this session the endpoint of another agent's, so neither could be told from the other; \
                       its sessions need endpoints of their own. Try again later";
            let name = server.name();
            tracing::warn!(server.name = name, "it gave two agents the same endpoint; the second is refused");
            Refused::Taken(SendError::NotSent(why.into()))
        })?;
        let stream = Arc::new(Stream {
            server: server.clone(),
            endpoint,
            routes: Mutex::new(Routes::new(false, server.limits().max_body)),
            alive: AtomicBool::new(true),
            ending: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        tokio::spawn(stream.clone().serve(events, owned));
        Ok(Self(stream))
    }

    pub(super) fn is_over(&self) -> bool {
        !self.0.is_alive()
    }

    /// A fresh connection for the POST, with the stream alive that will bring the answer.
    pub(super) async fn prove(&self, http: &Http) -> Result<Connection, SendError> {
        let connection = http.prove().await?;
        if self.is_over() {
            return Err(ended());
        }
        Ok(connection)
    }

    pub(super) async fn post(
        &self,
        outbound: Outbound,
        proven: Option<Connection>,
    ) -> Result<Reply, SendError> {
        let body = outbound.body.clone();
        let message = one(&body)?;
        if self.is_over() && proven.is_none() {
            return Ok(session_over(&message, "stream"));
        }
        match &message {
            Message::Request(request) => self.request(request, outbound, proven).await,
            Message::Notification(_) | Message::Response(_) => {
                let reply = self.0.post(outbound, proven).await?;
                Ok(if reply.status.is_success() { Reply::empty(StatusCode::ACCEPTED) } else { reply })
            }
        }
    }

    /// What the server says unasked.
    pub(super) fn listen(&self) -> Messages {
        let (sink, messages) = Messages::channel(self.0.server.untaken());
        self.0.routes().listen(sink);
        messages
    }

    pub(super) async fn close(&self) {
        self.0.ending.cancel();
        self.0.ended.cancelled().await;
    }

    async fn request(
        &self,
        request: &Request<'_>,
        outbound: Outbound,
        proven: Option<Connection>,
    ) -> Result<Reply, SendError> {
        let (sink, messages) = Messages::channel(self.0.server.untaken());
        let number = {
            let mut routes = self.0.routes();
            if !self.0.is_alive() {
                return Err(ended());
            }
            let registered = routes.register(request, sink).map(|(number, _)| number);
            registered.ok_or_else(|| {
                SendError::NotSent(format!("a request with the id {} is in flight", request.id.as_str()))
            })?
        };
        let mut messages = messages.of_request(self.0.clone(), number);
        let mut posted = self.0.clone().post_apart(number, outbound, proven);
        let answered_before = async {
            // Some servers answer on the stream first, and some only then.
            messages.readable().await;
            tokio::time::sleep(LATE).await;
        };
        tokio::select! {
            biased;
            posted = &mut posted => match posted {
                Ok(Ok(reply)) if !reply.status.is_success() => return Ok(reply),
                Ok(Err(error)) => return Err(error),
                // A task that was ended by the runtime's own end may have sent.
                Err(_) => return Err(SendError::Unknown("the broker is ending".into())),
                Ok(Ok(_)) => {}
            },
            () = answered_before => {}
        }
        Ok(Reply::messages(StatusCode::OK, messages))
    }
}

impl Drop for Sse {
    fn drop(&mut self) {
        self.0.ending.cancel();
    }
}

impl Stream {
    fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    async fn post(&self, outbound: Outbound, proven: Option<Connection>) -> Result<Reply, SendError> {
        let Some(http) = self.server.http() else { return Err(ended()) };
        http.send_to(self.endpoint.clone(), outbound, proven).await
    }

    /// POSTs in a task: a POST goes on though its answer came first, or its reader left.
    #[expect(clippy::disallowed_methods, reason = "ends with the server's answer, or with its connection")]
    fn post_apart(
        self: Arc<Self>,
        number: u64,
        outbound: Outbound,
        proven: Option<Connection>,
    ) -> oneshot::Receiver<Result<Reply, SendError>> {
        let (told, posted) = oneshot::channel();
        tokio::spawn(async move {
            let sent = self.post(outbound, proven).await;
            let why = match &sent {
                Ok(reply) if reply.status.is_success() => None,
                Ok(reply) => Some(format!("the server answered HTTP {}", reply.status.as_u16())),
                Err(error) => Some(error.to_string()),
            };
            let unheard = match sent {
                Ok(Reply { status, headers, body: ReplyBody::Bytes(body) }) if status.is_success() => {
                    let taken = Reply { status, headers, body: ReplyBody::Empty };
                    let unheard = told.send(Ok(taken)).is_err();
                    // Read to its end, the connection can be used again.
                    let _ = timeout(LATE, body.collect()).await;
                    unheard
                }
                sent => told.send(sent).is_err(),
            };
            if let Some(why) = why.filter(|_| unheard) {
                self.routes().fail_one(number, BrokenReply::Broken(why));
            }
        });
        posted
    }

    async fn serve(self: Arc<Self>, mut events: Events, owned: Owned) {
        let why = tokio::select! {
            why = self.read(&mut events) => why,
            () = self.ending.cancelled() => "the conversation was ended".to_owned(),
        };
        {
            let mut routes = self.routes();
            self.alive.store(false, Ordering::Release);
            routes.fail_all(&BrokenReply::Broken(why.clone()));
        }
        tracing::debug!(server.name = self.server.name(), why, "a server's stream ended");
        drop(owned);
        self.ended.cancel();
    }

    async fn read(&self, events: &mut Events) -> String {
        loop {
            match events.next().await {
                Ok(event) if event.event.as_deref().is_none_or(|name| name == "message") => {
                    let data: Option<Bytes> = event.data.filter(|data| !data.is_empty()).map(Bytes::from);
                    if let Some(data) = data {
                        take_in(&self.routes, &self.server, &data);
                    }
                }
                Ok(_) => {}
                Err(why) => return why,
            }
        }
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipe for Stream {
    fn abandon(&self, number: u64) {
        // Leaving is no cancelling here: the server goes on, and its late answer is recognised and dropped.
        self.routes().abandon(number);
    }
}

fn ended() -> SendError {
    SendError::NotSent("the session's stream has ended".into())
}
