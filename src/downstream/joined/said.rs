//! What one server answered, read to its end: for answers that are put together from several.

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode, header};

use super::super::{
    answer::code,
    held::{Room, of_list},
    reply,
};
use crate::{
    mcp::{Answer, Json, Message, sse::Splitter},
    upstream::{BrokenReply, aside},
};

#[derive(Debug)]
pub(super) enum Said {
    /// A whole response with a result.
    Result(Bytes),
    /// An error of JSON-RPC; `down`: it says nothing of what the server knows.
    Error { code: i64, text: String, down: bool },
    /// No message at all.
    Nothing { why: String, down: bool },
}

impl Said {
    /// Reads a server's answer until its response is there.
    pub(super) async fn of(response: Response, mut room: Room) -> Self {
        let status = response.status();
        let read = if is_encoded(response.headers()) {
            Ok(Bytes::new())
        } else if is_stream(response.headers()) {
            response_in(response.into_body(), &mut room).await
        } else {
            room.collect(response.into_body()).await
        };
        let message = match read {
            Ok(message) => message,
            Err(why) => return Self::Nothing { why: of_list(why).to_string(), down: true },
        };
        match aside(message.len(), || reply::read(&message)) {
            Some(Message::Response(response)) => match response.answer {
                Answer::Result(_) => {}
                Answer::Error(error) => return Self::error(error, status),
            },
            Some(Message::Request(_) | Message::Notification(_)) | None => {
                return Self::Nothing {
                    why: format!("it answered HTTP {} and no message", status.as_u16()),
                    down: status.is_success() || status.is_server_error(),
                };
            }
        }
        Self::Result(room.keep(message))
    }

    fn error(error: Json<'_>, status: StatusCode) -> Self {
        let code = error.get("code").and_then(|code| code.as_str().parse().ok()).unwrap_or_default();
        let text = error.get("message").and_then(Json::string).unwrap_or_default().into_owned();
        let down = status.is_server_error() || code == i64::from(code::INTERNAL);
        Self::Error { code, text, down }
    }

    pub(super) fn late(seconds: u64) -> Self {
        Self::Nothing { why: format!("it did not answer within {seconds} s"), down: true }
    }

    /// The server does not know the method.
    pub(super) fn is_unknown_method(&self) -> bool {
        matches!(self, Self::Error { code, .. } if *code == i64::from(code::METHOD_NOT_FOUND))
    }

    /// The server is there, and does not speak like this.
    pub(super) fn is_other_era(&self) -> bool {
        matches!(self, Self::Error { down: false, .. } | Self::Nothing { down: false, .. })
    }

    /// Why there is no result.
    pub(super) fn why(&self) -> &str {
        match self {
            Self::Result(_) => "",
            Self::Error { text, .. } => text,
            Self::Nothing { why, .. } => why,
        }
    }
}

/// Nothing, when there is none in it.
async fn response_in(body: Body, room: &mut Room) -> Result<Bytes, BrokenReply> {
    let mut parts = body.into_data_stream();
    let mut splitter = Splitter::new(room.most());
    while let Some(Ok(part)) = parts.next().await {
        let events = splitter.push(&part).map_err(|_| BrokenReply::TooLarge(room.most()))?;
        room.hold(splitter.rest().len())?;
        for event in events {
            if let Some(data) = event.data.filter(|data| reply::is_response(data.as_bytes())) {
                return Ok(data.into());
            }
        }
    }
    Ok(Bytes::new())
}

pub(super) fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.as_bytes().get(..17));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
}

pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity")
}
