//! What comes back: a status, the headers that may pass down, and the body as it arrives.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use http::{HeaderMap, StatusCode};
use hyper::body::Frame;

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

/// A body that passes through: `hyper::body::Body` with `Bytes` data.
#[derive(Debug)]
pub struct BytesBody(());

impl hyper::body::Body for BytesBody {
    type Data = Bytes;
    type Error = BrokenReply;
    fn poll_frame(
        self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenReply>>> {
        let _ = self.0;
        Poll::Ready(None)
    }
}

impl BytesBody {
    /// The whole body; for answers that must be looked at.
    ///
    /// # Errors
    /// The body broke off or is over the cap.
    pub async fn collect(self) -> Result<Bytes, BrokenReply> {
        unimplemented!()
    }
}

/// A stream of JSON messages, each without a line end.
#[derive(Debug)]
pub struct Messages(());

impl Stream for Messages {
    type Item = Result<Bytes, BrokenReply>;
    fn poll_next(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let _ = self.0;
        Poll::Ready(None)
    }
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

/// The statuses with which a server says that it refused before any effect (ruling 12).
#[must_use]
pub fn cannot_have_run(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 401 | 403 | 404 | 405 | 413 | 415 | 429)
}
