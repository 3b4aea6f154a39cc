//! What the lines of one bridge share: the session, the requests under way, the server's own stream.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header::ACCEPT};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    StdioError, StdioSettings,
    client::client,
    exchange::is_stream,
    headers,
    queue::Queue,
    way::{Near, Way},
};
use crate::{
    downstream::params::Params,
    mcp::{Frame, Message, header},
};

/// The two ends, and what both must know.
pub(in crate::downstream) struct Joint {
    pub(super) way: Way,
    pub(super) settings: StdioSettings,
    pub(super) out: Queue,
    pub(super) session: Mutex<Session>,
    /// Modern requests by id: cancelling one closes its POST.
    modern: Mutex<HashMap<String, CancellationToken>>,
    /// Of which arguments the client, were it on HTTP, would have set headers.
    pub(super) params: Params,
    listening: AtomicBool,
    /// Answers beyond `SMALL` that may be held at a time, and of those the one beyond `LARGE`: who does not read
    /// what is said holds no more.
    pub(super) large: Semaphore,
    pub(super) huge: Semaphore,
    ending: CancellationToken,
}

/// What `initialize` brought; remembered, so that a broker that restarted can be greeted again.
#[derive(Clone, Default)]
pub(super) struct Session {
    pub(super) id: Option<HeaderValue>,
    pub(super) version: Option<HeaderValue>,
    pub(super) hello: Option<Bytes>,
    /// `notifications/initialized` was said: the server's own stream can be opened.
    pub(super) begun: bool,
}

/// One line on its way.
pub(super) struct Errand {
    pub(super) line: Bytes,
    /// Ids to answer to, as written.
    pub(super) ids: Vec<String>,
    pub(super) kind: Kind,
    pub(super) headers: Option<HeaderMap>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Initialize,
    Initialized,
    /// `notifications/cancelled` for a modern request of ours.
    Cancel,
    /// A modern list of tools.
    Tools,
    Other,
}

/// Bytes of an answer that is held without asking.
pub(super) const SMALL: usize = 16 << 10;
/// Larger ones at a time, and the bytes of one that is not the only one of its size.
const LARGE_AT_A_TIME: usize = 8;
pub(super) const LARGE: usize = 1 << 20;

/// A notification is taken or not within this.
pub(super) const NOTICE: Duration = Duration::from_secs(10);

impl Joint {
    pub(super) fn new(settings: StdioSettings, out: Queue) -> Result<Self, StdioError> {
        let client = client(&settings.url).map_err(StdioError::Settings)?;
        if HeaderValue::from_str(&settings.token).is_err() {
            return Err(StdioError::Settings("the token has characters that no token has".into()));
        }
        Ok(Self::by(Way::Far(client), settings, out))
    }

    /// To the door in this process.
    pub(in crate::downstream) fn near(near: Near, out: Queue) -> Self {
        let place = near.server.as_ref().map_or_else(|| "/mcp".to_owned(), |server| format!("/mcp/{server}"));
        let settings = StdioSettings::new(place, String::new());
        Self::by(Way::Near(near), settings, out)
    }

    fn by(way: Way, settings: StdioSettings, out: Queue) -> Self {
        Self {
            way,
            settings,
            out,
            session: Mutex::default(),
            modern: Mutex::default(),
            params: Params::default(),
            listening: AtomicBool::new(false),
            large: Semaphore::new(LARGE_AT_A_TIME),
            huge: Semaphore::new(1),
            ending: CancellationToken::new(),
        }
    }

    /// What this line is, before it is sent.
    pub(super) fn errand(&self, frame: &Frame<'_>, line: &Bytes) -> Errand {
        let messages = match frame {
            Frame::One(message) => std::slice::from_ref(message),
            Frame::Batch(messages) => messages,
        };
        let ids = messages.iter().filter_map(|message| match message {
            Message::Request(request) => Some(request.id.as_str().to_owned()),
            Message::Notification(_) | Message::Response(_) => None,
        });
        let (mut kind, mut headers) = (Kind::Other, None);
        if let Frame::One(message) = frame {
            headers = headers::of(message, &self.params);
            kind = match message.method() {
                Some("initialize") => Kind::Initialize,
                Some("notifications/initialized") => Kind::Initialized,
                Some("notifications/cancelled") if self.cancel(message) => Kind::Cancel,
                Some("tools/list") if headers.is_some() => Kind::Tools,
                _ => Kind::Other,
            };
        }
        Errand { line: line.clone(), ids: ids.collect(), kind, headers }
    }

    /// Closes the POST of the modern request that `message` cancels; false when there is none.
    fn cancel(&self, message: &Message<'_>) -> bool {
        let Some(id) = message.params().and_then(|params| params.get("requestId")) else { return false };
        let Some(closing) = lock(&self.modern).remove(id.as_str()) else { return false };
        closing.cancel();
        true
    }

    pub(super) async fn run(&self, mut errand: Errand) {
        if errand.kind == Kind::Cancel {
            return;
        }
        let closing = self.ending.child_token();
        let id = errand.ids.first().filter(|_| errand.headers.is_some()).cloned();
        if let Some(id) = &id {
            lock(&self.modern).insert(id.clone(), closing.clone());
        }
        tokio::select! {
            () = self.exchange(&mut errand) => {}
            // Dropping the exchange closes its connection; a cancelled request is not answered.
            () = closing.cancelled() => {}
        }
        if let Some(id) = &id {
            lock(&self.modern).remove(id);
        }
    }

    pub(super) async fn say(&self, message: Vec<u8>) {
        self.out.put(message).await;
    }

    /// Nobody reads stdout any more.
    pub(super) async fn closed(&self) {
        self.out.closed().await;
    }

    // ── the server's own stream, and the end ──────────────────────────

    /// Opens the listening stream after the handshake, if it is not open yet.
    pub(super) fn listen_once(self: &Arc<Self>, tasks: &TaskTracker) {
        if !lock(&self.session).begun || self.listening.swap(true, Ordering::SeqCst) {
            return;
        }
        let (joint, all_done) = (self.clone(), tasks.clone());
        // Not one of `tasks`: it never ends by itself, and nothing waits for it.
        #[expect(clippy::disallowed_methods, reason = "ends with `ending` or with the last task")]
        tokio::spawn(async move {
            tokio::select! {
                () = joint.listen() => {}
                () = all_done.wait() => {}
                () = joint.ending.cancelled() => {}
            }
        });
    }

    async fn listen(&self) {
        let mut pause = Duration::from_secs(1);
        loop {
            let mut headers = self.session_headers();
            headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
            let sent = tokio::select! {
                sent = self.send(Method::GET, headers, Bytes::new(), false) => sent,
                () = self.settings.moved() => continue,
            };
            match sent {
                Ok(response) if response.status() == StatusCode::METHOD_NOT_ALLOWED => return,
                Ok(response) if is_stream(&response) => {
                    pause = Duration::from_secs(1);
                    let nobody =
                        Errand { line: Bytes::new(), ids: Vec::new(), kind: Kind::Other, headers: None };
                    let _ = self.take_stream(&nobody, response).await;
                }
                Ok(_) | Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(30));
        }
    }

    /// Ends what is still under way here, and the session at the broker.
    pub(in crate::downstream) async fn end(&self) {
        self.ending.cancel();
        let headers = self.session_headers();
        if !headers.contains_key(&header::SESSION_ID) {
            return;
        }
        if let Err(error) = self.send(Method::DELETE, headers, Bytes::new(), true).await {
            tracing::debug!(%error, "the session could not be ended");
        }
    }
}

/// A poisoned lock still holds a whole value: nothing in here can stop half way.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
