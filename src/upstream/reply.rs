//! What comes back: a status, the headers that may pass down, and the body as it arrives.

use http::{
    HeaderMap, HeaderName, HeaderValue, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER},
};

use super::{BytesBody, Messages};
use crate::mcp::header;

/// An upstream's answer, as soon as its headers are here.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    /// content-type, mcp-session-id, mcp-protocol-version and others that may pass.
    pub headers: HeaderMap,
    pub body: ReplyBody,
}

#[derive(Debug)]
pub enum ReplyBody {
    /// Nothing (202, 405, …).
    Empty,
    /// HTTP upstream: the body's bytes, untouched; `content-type` says JSON or SSE.
    Bytes(BytesBody),
    /// stdio upstream: whole JSON messages, the last being the response. A GET's never ends by itself.
    Messages(Messages),
}

impl Reply {
    pub(super) fn empty(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: ReplyBody::Empty }
    }

    pub(super) fn messages(status: StatusCode, messages: Messages) -> Self {
        Self { status, headers: HeaderMap::new(), body: ReplyBody::Messages(messages) }
    }

    /// As an answer to anything but `initialize` goes down: no session begins with it.
    #[must_use]
    pub fn without_session(mut self) -> Self {
        self.headers.remove(&header::SESSION_ID);
        self
    }

    /// The body is a stream of events (`content-type: text/event-stream`).
    #[must_use]
    pub fn is_event_stream(&self) -> bool {
        self.headers.get(CONTENT_TYPE).is_some_and(is_event_stream)
    }
}

pub(super) fn is_event_stream(content_type: &HeaderValue) -> bool {
    content_type.as_bytes().get(..17).is_some_and(|t| t.eq_ignore_ascii_case(b"text/event-stream"))
}

/// The headers of an answer that may reach the agent. Not among them: cookies, hop-by-hop headers,
/// `www-authenticate`, which speaks of the broker's own credentials, and what a server says of the protocol:
/// a client would take it for the broker's word. A session's id passes where one begins.
pub(super) fn passes_down(name: &HeaderName) -> bool {
    static BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
    let listed = [&CONTENT_TYPE, &CONTENT_ENCODING, &CACHE_CONTROL, &RETRY_AFTER, &ALLOW, &BUFFERING];
    listed.contains(&name) || *name == header::SESSION_ID
}

/// Why a send failed, by what may have happened at the server.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SendError {
    /// No byte reached the server: the call cannot have run.
    #[error("{0}")]
    NotSent(String),
    /// A byte may have left: whether the call ran is not known.
    #[error("{0}")]
    Unknown(String),
}

/// A reply that began and did not end: for a call, the outcome is not known.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BrokenReply {
    #[error("the server's answer is larger than {0} bytes")]
    TooLarge(usize),
    #[error("the server sent nothing for {0} ms")]
    Idle(u64),
    #[error("the server's answer broke off: {0}")]
    Broken(String),
}

/// The statuses with which a server says that it refused before any effect. A gateway's 502 to 504, or a
/// redirect, says nothing of that: the call may have run behind it.
#[must_use]
pub fn cannot_have_run(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 401 | 403 | 404 | 405 | 413 | 415 | 429)
}
