//! An upstream's reply to a call that waited, message by message, until its response.

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;

use super::compose::json;
use crate::{
    mcp::{Json, Message, sse::Splitter},
    upstream::{BytesBody, Messages, Reply, ReplyBody, cannot_have_run},
};

/// Longest piece of an upstream's refusal that is quoted.
const QUOTE: usize = 300;

pub(super) enum Arrival {
    /// On its way to the agent: a notification or a request.
    Message(Bytes),
    /// The upstream's whole response.
    Response { message: Bytes, is_error: bool },
    /// It refused before any effect.
    Refused(String),
    /// It was sent, and no response came.
    Lost(String),
}

pub(super) struct Arrivals {
    source: Source,
    /// Raw id of the request.
    id: Bytes,
    cap: usize,
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
        code: http::StatusCode,
        body: Option<BytesBody>,
    },
    Over,
}

impl Arrivals {
    pub(super) fn of(reply: Reply, id: Bytes, cap: usize) -> Self {
        let Reply { status, headers, body } = reply;
        let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let source = match body {
            ReplyBody::Messages(messages) => Source::Messages(messages),
            ReplyBody::Bytes(body) if status.as_u16() != 200 => {
                Source::Status { code: status, body: Some(body) }
            }
            ReplyBody::Bytes(body) if kind.starts_with("text/event-stream") => Source::Events {
                body,
                splitter: Splitter::new(cap),
                ready: std::collections::VecDeque::new(),
            },
            ReplyBody::Bytes(body) => Source::Json(body),
            ReplyBody::Empty => Source::Status { code: status, body: None },
        };
        Self { source, id, cap }
    }

    pub(super) async fn next(&mut self) -> Arrival {
        match std::mem::replace(&mut self.source, Source::Over) {
            Source::Json(body) => self.json(body).await,
            Source::Status { code, body } => status(code, body).await,
            Source::Messages(mut messages) => match messages.next().await {
                Some(Ok(message)) => {
                    self.source = Source::Messages(messages);
                    self.sort(message)
                }
                Some(Err(error)) => Arrival::Lost(error.to_string()),
                None => Arrival::Lost("the server ended without an answer".into()),
            },
            Source::Events { body, splitter, ready } => self.events(body, splitter, ready).await,
            Source::Over => Arrival::Lost("the server ended without an answer".into()),
        }
    }

    /// A message is the response when it answers the request's id; everything else is on its way.
    fn sort(&self, message: Bytes) -> Arrival {
        let response =
            json(&message).and_then(|json| Message::of(json).ok()).and_then(|message| match message {
                Message::Response(response) => {
                    Some((response.id.as_str().to_owned(), is_error(response.raw)))
                }
                Message::Request(_) | Message::Notification(_) => None,
            });
        match response {
            Some((id, is_error)) if id.as_bytes() == &*self.id => Arrival::Response { message, is_error },
            Some(_) | None => Arrival::Message(message),
        }
    }

    async fn json(&self, body: BytesBody) -> Arrival {
        match body.collect().await {
            Ok(message) => match self.sort(message) {
                Arrival::Message(_) => {
                    Arrival::Lost("the server's answer is not an answer to this call".into())
                }
                arrival @ (Arrival::Response { .. } | Arrival::Refused(_) | Arrival::Lost(_)) => arrival,
            },
            Err(error) => Arrival::Lost(error.to_string()),
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
                Some(Err(error)) => return Arrival::Lost(error.to_string()),
                None => return Arrival::Lost("the server's stream ended without an answer".into()),
            };
            let Some(chunk) = frame.data_ref() else { continue };
            match splitter.push(chunk) {
                Ok(events) => {
                    let data =
                        events.into_iter().filter_map(|event| event.data).filter(|data| !data.is_empty());
                    ready.extend(data.map(Bytes::from));
                }
                Err(error) => {
                    return Arrival::Lost(format!("the server sent {error} (at most {})", self.cap));
                }
            }
        }
    }
}

/// A tool's own error, or a JSON-RPC error.
fn is_error(response: Json<'_>) -> bool {
    response.get("error").is_some()
        || response.at(&["result", "isError"]).is_some_and(|value| value.as_str() == "true")
}

async fn status(code: http::StatusCode, body: Option<BytesBody>) -> Arrival {
    let mut quote = BytesMut::new();
    if let Some(mut body) = body {
        while let Some(Ok(frame)) = body.frame().await {
            if let Some(chunk) = frame.data_ref() {
                quote.extend_from_slice(&chunk[..chunk.len().min(QUOTE)]);
            }
            if quote.len() >= QUOTE {
                break;
            }
        }
    }
    quote.truncate(QUOTE);
    let why = format!("the server answered HTTP {}: {}", code.as_u16(), String::from_utf8_lossy(&quote));
    if cannot_have_run(code) { Arrival::Refused(why) } else { Arrival::Lost(why) }
}
