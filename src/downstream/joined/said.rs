//! What one server answered, read to its end: for answers that are put together from several.

use axum::{
    body::{Body, to_bytes},
    response::Response,
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode, header};

use super::super::{answer::code, reply};
use crate::mcp::{Answer, Json, Message, sse::Splitter};

/// Bytes of one answer, and of one event.
pub(super) const LARGEST: usize = 64 << 20;

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
    pub(super) async fn of(response: Response) -> Self {
        let status = response.status();
        let message = if is_encoded(response.headers()) {
            None
        } else if is_stream(response.headers()) {
            response_in(response.into_body()).await
        } else {
            to_bytes(response.into_body(), LARGEST).await.ok()
        };
        let read = message.as_deref().and_then(reply::read);
        match (read, message.as_ref()) {
            (Some(Message::Response(response)), Some(message)) => match response.answer {
                Answer::Result(_) => Self::Result(message.clone()),
                Answer::Error(error) => Self::error(error, status),
            },
            _ => Self::Nothing {
                why: format!("it answered HTTP {} and no message", status.as_u16()),
                down: status.is_success() || status.is_server_error(),
            },
        }
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

async fn response_in(body: Body) -> Option<Bytes> {
    let mut parts = body.into_data_stream();
    let mut splitter = Splitter::new(LARGEST);
    while let Some(Ok(part)) = parts.next().await {
        for event in splitter.push(&part).ok()? {
            if let Some(data) = event.data.filter(|data| reply::is_response(data.as_bytes())) {
                return Some(data.into());
            }
        }
    }
    None
}

pub(super) fn is_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.as_bytes().get(..17));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
}

pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity")
}
