//! An upstream's reply to a call that waited, message by message, until its response.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use http_body_util::BodyExt as _;

use super::{HttpError, compose::json};
use crate::{
    mcp::{
        Answer, Json, Kind, Message, Response,
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
        Self { source: Source::of(reply, cap), id, cap, event: None, retry: None }
    }

    /// The stream goes on in another reply.
    pub(super) fn go_on(&mut self, reply: Reply) {
        self.source = Source::of(reply, self.cap);
    }

    pub(super) async fn next(&mut self) -> Arrival {
        match std::mem::replace(&mut self.source, Source::Over) {
            Source::Json(body) => self.json(body).await,
            Source::Status { status, headers, body } => refusal(status, headers, body).await,
            Source::Messages(mut messages) => match messages.next().await {
                Some(Ok(message)) => {
                    self.source = Source::Messages(messages);
                    self.sort(message)
                }
                Some(Err(error)) => lost(&error.to_string()),
                None => lost("the server ended without an answer"),
            },
            Source::Events { body, splitter, ready } => self.events(body, splitter, ready).await,
            Source::Over => lost("the server ended without an answer"),
        }
    }

    /// A message is the response when it answers the request's id, or is an error about a request whose
    /// id the server could not tell: one POST has one request. Everything else is on its way.
    fn sort(&self, message: Bytes) -> Arrival {
        let whole = |message| strict::check(message, &Limits::of_servers(usize::MAX)).ok();
        let response = || match Message::of(whole(&message)?).ok()? {
            Message::Response(response) => self.is_answered(&response).then(|| is_error(response.raw)),
            Message::Request(_) | Message::Notification(_) => None,
        };
        let response = aside(message.len(), response);
        match response {
            Some(is_error) => Arrival::Response { message, is_error },
            None => Arrival::Message(message),
        }
    }

    fn is_answered(&self, response: &Response<'_>) -> bool {
        let nameless = response.id.kind() == Kind::Null && matches!(response.answer, Answer::Error(_));
        nameless || json(&self.id).is_some_and(|id| id.is_same_id(response.id))
    }

    async fn json(&self, body: BytesBody) -> Arrival {
        match body.collect().await {
            Ok(message) => match self.sort(message) {
                Arrival::Message(_) => lost("the server's answer is not an answer to this call"),
                arrival @ (Arrival::Response { .. }
                | Arrival::Refused(..)
                | Arrival::Lost(..)
                | Arrival::HungUp(_)) => arrival,
            },
            Err(error) => lost(&error.to_string()),
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
                self.source = Source::Events { body, splitter, ready };
                return self.sort(message);
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
                        ready.extend(event.data.filter(|data| !data.is_empty()).map(Bytes::from));
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
        match self.event.clone() {
            Some(event) => Arrival::HungUp(Place { event, retry: self.retry, why: why.to_owned() }),
            None => lost(why),
        }
    }
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
