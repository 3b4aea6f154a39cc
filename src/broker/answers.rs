//! An upstream's reply to a call that waited, message by message, until its response.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt as _;

use super::{HttpError, compose::json};
use crate::{
    mcp::{
        Answer, Json, Kind, Malformed, Message, Response,
        sse::{Event, Splitter},
        strict::{self, Limits},
    },
    upstream::{BrokenReply, BytesBody, Messages, Reply, ReplyBody, aside, cannot_have_run},
};

/// Longest piece of an upstream's refusal that is quoted on the ledger.
const QUOTE: usize = 300;
/// Longest body of an HTTP error that is passed on to the agent.
const LONGEST_ERROR: usize = 1 << 20;

pub(super) enum Arrival {
    /// On its way to the agent: a notification or a request.
    Message(Bytes),
    /// The upstream's whole response.
    Response { message: Bytes, is_error: bool },
    /// It refused before any effect; in its own words, if it was an HTTP error.
    Refused(String, Option<Box<HttpError>>),
    /// It was sent, and no response came; likewise.
    Lost(String, Option<Box<HttpError>>),
    /// The server hung up, and named where its stream goes on (2025-11-25).
    HungUp(Place),
}

/// Where a stream goes on after its connection.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The last event's id.
    pub event: String,
    /// How long the server asked its client to wait.
    pub retry: Option<Duration>,
    /// Why the call is lost when the rest cannot be had.
    pub why: String,
}

pub(super) struct Arrivals {
    source: Source,
    /// Raw id of the request.
    id: Bytes,
    cap: usize,
    /// What the events said of coming back for more.
    event: Option<String>,
    retry: Option<Duration>,
    /// What the first message was that went to nobody.
    dropped: Option<String>,
}

/// What a message is to the call.
enum Sort {
    Answer {
        is_error: bool,
    },
    OnItsWay,
    /// It answers what nobody asked.
    Stray,
}

enum Source {
    Json(BytesBody),
    Events {
        body: BytesBody,
        splitter: Splitter,
        ready: std::collections::VecDeque<Bytes>,
    },
    Messages(Messages),
    /// Not the status that a response comes with.
    Status {
        status: StatusCode,
        headers: HeaderMap,
        body: Option<BytesBody>,
    },
    Over,
}

impl Source {
    fn of(reply: Reply, cap: usize) -> Self {
        let Reply { status, headers, body } = reply;
        let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let is_events = kind.starts_with("text/event-stream");
        match body {
            ReplyBody::Messages(messages) => Self::Messages(messages),
            ReplyBody::Bytes(body) if status.as_u16() != 200 => {
                Self::Status { status, headers, body: Some(body) }
            }
            ReplyBody::Bytes(body) if is_events => {
                Self::Events { body, splitter: Splitter::new(cap), ready: std::collections::VecDeque::new() }
            }
            ReplyBody::Bytes(body) => Self::Json(body),
            ReplyBody::Empty => Self::Status { status, headers, body: None },
        }
    }
}

impl Arrivals {
    pub(super) fn of(reply: Reply, id: Bytes, cap: usize) -> Self {
        Self { source: Source::of(reply, cap), id, cap, event: None, retry: None, dropped: None }
    }

    /// The stream goes on in another reply.
    pub(super) fn go_on(&mut self, reply: Reply) {
        self.source = Source::of(reply, self.cap);
    }

    pub(super) async fn next(&mut self) -> Arrival {
        match std::mem::replace(&mut self.source, Source::Over) {
            Source::Json(body) => self.json(body).await,
            Source::Status { status, headers, body } => refusal(status, headers, body).await,
            Source::Messages(messages) => self.messages(messages).await,
            Source::Events { body, splitter, ready } => self.events(body, splitter, ready).await,
            Source::Over => lost("the server ended without an answer"),
        }
    }

    /// A message is the response when it answers the request's id, or is an error about a request whose
    /// id the server could not tell: one POST has one request.
    fn read(&self, message: &[u8]) -> Result<Sort, Malformed> {
        let read = || match Message::of(strict::check(message, &Limits::of_servers(usize::MAX))?)? {
            Message::Request(_) | Message::Notification(_) => Ok(Sort::OnItsWay),
            Message::Response(response) if self.is_answered(&response) => {
                Ok(Sort::Answer { is_error: is_error(response.raw) })
            }
            Message::Response(_) => Ok(Sort::Stray),
        };
        aside(message.len(), read)
    }

    /// What an agent could take for an answer, and we do not, goes to nobody: it would be told twice, and
    /// differently, how its call ended. `None`: the stream goes on after it.
    fn sort(&mut self, message: Bytes) -> Option<Arrival> {
        match self.read(&message) {
            Ok(Sort::Answer { is_error }) => Some(Arrival::Response { message, is_error }),
            Ok(Sort::OnItsWay) => Some(Arrival::Message(message)),
            Ok(Sort::Stray) => self.skip("an answer to nothing that was asked".to_owned()),
            Err(malformed) if is_like_an_answer(&message) => Some(unreadable(&malformed)),
            Err(malformed) => self.skip(format!("what cannot be read: {malformed}")),
        }
    }

    /// A server that sends much of it fills no log.
    fn skip(&mut self, what: String) -> Option<Arrival> {
        if self.dropped.is_none() {
            tracing::warn!(what, "a server's message to a call that waits was dropped");
            self.dropped = Some(what);
        }
        None
    }

    fn is_answered(&self, response: &Response<'_>) -> bool {
        let nameless = response.id.kind() == Kind::Null && matches!(response.answer, Answer::Error(_));
        nameless || json(&self.id).is_some_and(|id| id.is_same_id(response.id))
    }

    async fn json(&self, body: BytesBody) -> Arrival {
        match body.collect().await {
            Ok(message) => match self.read(&message) {
                Ok(Sort::Answer { is_error }) => Arrival::Response { message, is_error },
                Ok(Sort::OnItsWay | Sort::Stray) => lost("the server's answer is not an answer to this call"),
                Err(malformed) => unreadable(&malformed),
            },
            Err(error) => lost(&error.to_string()),
        }
    }

    async fn messages(&mut self, mut messages: Messages) -> Arrival {
        loop {
            match messages.next().await {
                Some(Ok(message)) => {
                    let Some(arrival) = self.sort(message) else { continue };
                    self.source = Source::Messages(messages);
                    return arrival;
                }
                Some(Err(error)) => return lost(&error.to_string()),
                None => return self.ended("the server ended without an answer"),
            }
        }
    }

    async fn events(
        &mut self,
        mut body: BytesBody,
        mut splitter: Splitter,
        mut ready: std::collections::VecDeque<Bytes>,
    ) -> Arrival {
        loop {
            if let Some(message) = ready.pop_front() {
                let Some(arrival) = self.sort(message) else { continue };
                self.source = Source::Events { body, splitter, ready };
                return arrival;
            }
            let frame = match body.frame().await {
                Some(Ok(frame)) => frame,
                Some(Err(BrokenReply::Broken(why))) => return self.ended(&why),
                Some(Err(error @ (BrokenReply::TooLarge(_) | BrokenReply::Idle(_)))) => {
                    return lost(&error.to_string());
                }
                None => return self.ended("the server's stream ended without an answer"),
            };
            let Some(chunk) = frame.data_ref() else { continue };
            match splitter.push(chunk) {
                Ok(events) => {
                    for event in events {
                        self.note(&event);
                        let data = event.data.filter(|data| !data.is_empty()).map(Bytes::from);
                        ready.extend(data.into_iter().flat_map(each));
                    }
                }
                Err(error) => return lost(&format!("the server sent {error} (at most {})", self.cap)),
            }
        }
    }

    fn note(&mut self, event: &Event) {
        if let Some(id) = &event.id {
            self.event = Some(id.clone()).filter(|id| !id.is_empty());
        }
        self.retry = event.retry.map(Duration::from_millis).or(self.retry);
    }

    /// The connection is over, and the answer was not on it.
    fn ended(&mut self, why: &str) -> Arrival {
        let dropped = self.dropped.as_ref().map(|what| format!("; before that it sent {what}"));
        let why = format!("{why}{}", dropped.unwrap_or_default());
        match self.event.clone() {
            Some(event) => Arrival::HungUp(Place { event, retry: self.retry, why }),
            None => lost(&why),
        }
    }
}

/// The messages of a batch (2025-03-26); else the one that it is.
fn each(message: Bytes) -> Vec<Bytes> {
    if !message.trim_ascii_start().starts_with(b"[") {
        return vec![message];
    }
    match strict::check(&message, &Limits::of_servers(usize::MAX)) {
        Ok(batch) => {
            let spans = batch.elements().filter_map(|one| one.span_in(&message));
            spans.map(|span| message.slice(span)).collect()
        }
        Err(_) => vec![message],
    }
}

/// Of what cannot be read, as far as its beginning says.
fn is_like_an_answer(message: &[u8]) -> bool {
    let text = String::from_utf8_lossy(message);
    let says = |head: Json<'_>| head.get("result").or(head.get("error")).is_some();
    strict::beginning(&text).is_some_and(says)
}

fn unreadable(malformed: &Malformed) -> Arrival {
    lost(&format!("the server's answer cannot be read: {malformed}"))
}

/// A tool's own error, or a JSON-RPC error.
fn is_error(response: Json<'_>) -> bool {
    response.get("error").is_some()
        || response.at(&["result", "isError"]).is_some_and(|value| value.as_str() == "true")
}

fn lost(why: &str) -> Arrival {
    Arrival::Lost(why.to_owned(), None)
}

async fn refusal(status: StatusCode, headers: HeaderMap, body: Option<BytesBody>) -> Arrival {
    let (body, whole) = match body {
        Some(body) => beginning(body).await,
        None => (Bytes::new(), true),
    };
    let quote = String::from_utf8_lossy(&body[..body.len().min(QUOTE)]);
    let why = format!("the server answered HTTP {}: {quote}", status.as_u16());
    let said = (whole && !status.is_success()).then(|| Box::new(HttpError { status, headers, body }));
    if cannot_have_run(status) { Arrival::Refused(why, said) } else { Arrival::Lost(why, said) }
}

/// As much of a body as is passed on, and whether that is all of it.
async fn beginning(mut body: BytesBody) -> (Bytes, bool) {
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else { return (read.freeze(), false) };
        read.extend_from_slice(frame.data_ref().map_or(&[], |chunk| chunk));
        if read.len() > LONGEST_ERROR {
            return (read.freeze(), false);
        }
    }
    (read.freeze(), true)
}
