//! One message's way to the broker, and its answers' way back.

use std::time::Duration;

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ACCEPT, CONTENT_TYPE},
};
use http_body_util::BodyExt as _;
use tokio::{sync::SemaphorePermit, time::Instant};

use super::{
    headers::SERVER,
    joint::{Errand, Joint, Kind, LARGE, NOTICE, SMALL, Session, lock},
    way::Response,
};
use crate::mcp::{
    self, Answer, Frame, Message, answer, header,
    sse::{Event, Splitter},
};

/// One event of a stream.
const MAX_EVENT: usize = 64 << 20;
/// Between two tries to connect.
const KNOCK: Duration = Duration::from_millis(100);

/// How soon a stream is taken up again, unless it says so itself.
const RETRY: Duration = Duration::from_secs(1);
/// How often that is tried while nothing new comes of it.
const TRIES: u32 = 5;

/// Where a stream is to go on.
#[derive(Default)]
struct Place {
    id: Option<HeaderValue>,
    retry: Option<Duration>,
}

impl Place {
    fn note(&mut self, event: &Event) {
        if let Some(id) = event.id.as_deref().and_then(|id| HeaderValue::from_str(id).ok()) {
            self.id = Some(id);
        }
        if let Some(retry) = event.retry {
            self.retry = Some(Duration::from_millis(retry).min(NOTICE));
        }
    }
}

/// What is held of one answer that is not said yet.
#[derive(Default)]
struct Held<'l> {
    bytes: usize,
    large: Option<SemaphorePermit<'l>>,
    huge: Option<SemaphorePermit<'l>>,
}

impl Joint {
    pub(super) async fn exchange(&self, errand: &mut Errand) {
        let until = Instant::now() + self.settings.reconnect;
        loop {
            let begun = tokio::select! {
                begun = self.begin(errand) => begun,
                // Whoever has not answered there is no broker of ours.
                () = self.settings.moved() => continue,
            };
            match begun {
                Ok(response) => {
                    // It is not sent again, and its answer may have to wait for a reader.
                    errand.line = Bytes::new();
                    return self.take(errand, response).await;
                }
                // Nothing was sent: the same message may find the broker that comes up now.
                Err(error) if error.is_connect() && Instant::now() < until => {
                    tokio::time::sleep(KNOCK).await;
                }
                Err(error) => return self.fail(errand, &self.unreachable(&error)).await,
            }
        }
    }

    async fn begin(&self, errand: &Errand) -> reqwest::Result<Response> {
        match errand.kind {
            Kind::Initialize => {
                *lock(&self.session) = Session { hello: Some(errand.line.clone()), ..Session::default() };
                self.post(errand.line.clone(), errand.headers.as_ref(), errand.ids.is_empty()).await
            }
            Kind::Initialized | Kind::Cancel | Kind::Tools | Kind::Other => {
                self.post_in_session(errand).await
            }
        }
    }

    /// A session that the broker no longer knows is opened again, once: a 404 says that nothing was done.
    async fn post_in_session(&self, errand: &Errand) -> reqwest::Result<Response> {
        let quick = errand.ids.is_empty();
        let used = lock(&self.session).id.clone();
        let response = self.post(errand.line.clone(), errand.headers.as_ref(), quick).await?;
        let forgotten = response.status() == StatusCode::NOT_FOUND && errand.headers.is_none();
        if !forgotten || used.is_none() || !self.greet_again(used.as_ref()).await? {
            return Ok(response);
        }
        self.post(errand.line.clone(), None, quick).await
    }

    /// `initialize` and `initialized` once more; false when the server gives no session for it.
    async fn greet_again(&self, used: Option<&HeaderValue>) -> reqwest::Result<bool> {
        let before = lock(&self.session).clone();
        if before.id.as_ref() != used {
            // Another request has done it already.
            return Ok(before.id.is_some());
        }
        let Some(hello) = before.hello.clone() else { return Ok(false) };
        *lock(&self.session) = Session { hello: before.hello, begun: before.begun, ..Session::default() };
        let response = self.post(hello, None, true).await?;
        let given = response.headers().get(&header::SESSION_ID).cloned();
        if !response.status().is_success() || given.is_none() {
            return Ok(false);
        }
        lock(&self.session).id = given;
        lock(&self.session).version = before.version;
        let begun = answer::notification("notifications/initialized", None);
        self.post(begun.into(), None, true).await?;
        Ok(true)
    }

    async fn post(&self, line: Bytes, own: Option<&HeaderMap>, quick: bool) -> reqwest::Result<Response> {
        let mut headers = own.cloned().unwrap_or_else(|| self.session_headers());
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        self.send(Method::POST, headers, line, quick).await
    }

    pub(super) fn session_headers(&self) -> HeaderMap {
        let session = lock(&self.session).clone();
        let mut headers = HeaderMap::new();
        if let Some(id) = session.id {
            headers.insert(&header::SESSION_ID, id);
        }
        if let Some(version) = session.version {
            headers.insert(&header::PROTOCOL_VERSION, version);
        }
        headers
    }

    // ── answers ───────────────────────────────────────────────────────

    async fn take(&self, errand: &Errand, response: Response) {
        let status = response.status();
        if errand.kind == Kind::Initialize {
            lock(&self.session).id = response.headers().get(&header::SESSION_ID).cloned();
        }
        if errand.kind == Kind::Initialized && status.is_success() {
            lock(&self.session).begun = true;
        }
        let told = if is_stream(&response) {
            self.take_stream(errand, response).await
        } else {
            self.take_body(errand, status, response).await
        };
        if let Err(why) = told {
            self.fail(errand, &format!("the answer of the broker broke off: {why}")).await;
        }
    }

    /// A stream that breaks, or is closed, before its response goes on where its last event's id says.
    pub(super) async fn take_stream(&self, errand: &Errand, response: Response) -> Result<(), String> {
        let (mut left, mut place) = (errand.ids.clone(), Place::default());
        let mut ended = self.hear(errand, response, &mut left, &mut place).await;
        let mut tries = 0;
        while !left.is_empty() && tries < TRIES {
            let Some(id) = place.id.clone().filter(|_| errand.headers.is_none()) else { break };
            tokio::time::sleep(place.retry.unwrap_or(RETRY)).await;
            tries += 1;
            match self.resume(&id).await {
                Ok(response) if is_stream(&response) => {
                    ended = self.hear(errand, response, &mut left, &mut place).await;
                    if place.id.as_ref() != Some(&id) {
                        tries = 0;
                    }
                }
                Ok(response) => return Err(format!("its stream cannot be resumed: {}", response.status())),
                Err(error) => ended = Err(error.to_string()),
            }
        }
        if left.is_empty() {
            return Ok(());
        }
        ended.and_then(|()| Err("it ended without a response".into()))
    }

    async fn resume(&self, id: &HeaderValue) -> reqwest::Result<Response> {
        let mut headers = self.session_headers();
        headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
        headers.insert(&header::LAST_EVENT_ID, id.clone());
        self.send(Method::GET, headers, Bytes::new(), false).await
    }

    /// Says what comes, until the connection ends.
    async fn hear(
        &self,
        errand: &Errand,
        response: Response,
        left: &mut Vec<String>,
        place: &mut Place,
    ) -> Result<(), String> {
        let mut splitter = Splitter::new(MAX_EVENT);
        let mut body = response.into_body();
        let mut held = Held::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| error.to_string())?;
            let Some(chunk) = frame.data_ref() else { continue };
            self.hold(&mut held, chunk.len()).await;
            for event in splitter.push(chunk).map_err(|why| why.to_string())? {
                place.note(&event);
                let Some(data) = event.data.filter(|data| !data.is_empty()) else { continue };
                self.note(errand, data.as_bytes(), left);
                self.say(data.into_bytes()).await;
                held = Held::default();
            }
        }
        Ok(())
    }

    async fn take_body(&self, errand: &Errand, status: StatusCode, response: Response) -> Result<(), String> {
        let (mut held, mut body, mut incoming) = (Held::default(), Vec::new(), response.into_body());
        while let Some(frame) = incoming.frame().await {
            let frame = frame.map_err(|error| error.to_string())?;
            let Some(chunk) = frame.data_ref() else { continue };
            self.hold(&mut held, chunk.len()).await;
            body.extend_from_slice(chunk);
        }
        let mut left = errand.ids.clone();
        self.note(errand, &body, &mut left);
        if left.len() < errand.ids.len() {
            self.say(body).await;
            return Ok(());
        }
        if errand.ids.is_empty() {
            return Ok(());
        }
        let why = self.explain(status, &body);
        self.fail(errand, &why).await;
        Ok(())
    }

    /// So much more of one answer is about to be held: a large one waits for leave, and what is behind it
    /// waits at the server. Who has the leave for the huge one has that for a large one: it waits for no other.
    async fn hold<'l>(&'l self, held: &mut Held<'l>, more: usize) {
        held.bytes = held.bytes.saturating_add(more);
        // They are never closed.
        if held.bytes > SMALL && held.large.is_none() {
            held.large = self.large.acquire().await.ok();
        }
        if held.bytes > LARGE && held.huge.is_none() {
            held.huge = self.huge.acquire().await.ok();
        }
    }

    /// Looks at what passes: which ids are answered, the version that was agreed, and what tools there are.
    fn note(&self, errand: &Errand, bytes: &[u8], left: &mut Vec<String>) {
        if errand.kind == Kind::Tools {
            self.params.learn(&SERVER.into(), bytes);
        }
        let limits = mcp::Limits::of_servers(usize::MAX);
        let messages = match Frame::parse(bytes, &limits) {
            Ok(Frame::One(message)) => vec![message],
            Ok(Frame::Batch(messages)) => messages,
            Err(_) => return,
        };
        for message in messages {
            let Message::Response(response) = message else { continue };
            left.retain(|id| id != response.id.as_str());
            if errand.kind == Kind::Initialize
                && let Answer::Result(result) = response.answer
                && let Some(version) = result.get("protocolVersion").and_then(mcp::Json::string)
            {
                lock(&self.session).version = HeaderValue::from_str(&version).ok();
            }
        }
    }

    /// What an HTTP error without an answer of its own means for a client on a pipe.
    fn explain(&self, status: StatusCode, body: &[u8]) -> String {
        let said = serde_json::from_slice::<serde_json::Value>(body).ok();
        let said = said.as_ref().and_then(|body| body["error"]["message"].as_str()).unwrap_or_default();
        let advice = match status {
            StatusCode::UNAUTHORIZED => "; make a token with `countersign agents add`",
            StatusCode::NOT_FOUND if lock(&self.session).id.is_some() => "; initialize again",
            StatusCode::NOT_FOUND => "; `countersign servers list` shows which servers there are",
            _ => "",
        };
        format!("the broker answered {status}: {said}{advice}")
    }

    fn unreachable(&self, error: &reqwest::Error) -> String {
        let url = self.settings.place();
        if error.is_connect() || error.is_timeout() {
            return format!("no countersign broker answers at {url}: {}", self.settings.hint);
        }
        format!("the connection to the broker at {url} broke off; call again with the same arguments")
    }

    async fn fail(&self, errand: &Errand, why: &str) {
        if errand.ids.is_empty() {
            tracing::warn!("{why}");
        }
        for id in &errand.ids {
            self.say(answer::error(id, -32603, why, None)).await;
        }
    }
}

pub(super) fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(http::header::CONTENT_TYPE);
    response.status().is_success()
        && kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"))
}
