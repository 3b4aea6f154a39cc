//! A response's body on its way through; when it has ended, its connection goes back to the pool.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep, sleep};

use super::{
    BrokenReply,
    pool::{Connection, Pool},
};

/// A body that passes through: `hyper::body::Body` with `Bytes` data.
#[derive(Debug)]
pub struct BytesBody {
    incoming: Incoming,
    /// Taken when the body has ended. Dropped before that, it closes the connection.
    connection: Option<(Connection, Arc<Pool>)>,
    /// Bytes that may still come; `None` for a stream of events, which has no length.
    left: Option<usize>,
    cap: usize,
    idle: Option<(Duration, Pin<Box<Sleep>>)>,
}

impl BytesBody {
    pub(super) fn new(
        incoming: Incoming,
        connection: Connection,
        pool: Arc<Pool>,
        cap: (usize, bool),
        idle: Option<Duration>,
    ) -> Self {
        let (cap, streams) = cap;
        Self {
            incoming,
            connection: Some((connection, pool)),
            left: (!streams).then_some(cap),
            cap,
            idle: idle.map(|idle| (idle, Box::pin(sleep(idle)))),
        }
    }

    /// The whole body; for answers that must be looked at.
    ///
    /// # Errors
    /// The body broke off or is over the cap.
    pub async fn collect(self) -> Result<Bytes, BrokenReply> {
        let cap = self.cap;
        self.collect_within(cap).await
    }

    /// The same, of at most `cap` bytes.
    ///
    /// # Errors
    /// The body broke off or is over the smaller cap.
    pub async fn collect_within(mut self, cap: usize) -> Result<Bytes, BrokenReply> {
        self.cap = self.cap.min(cap);
        self.left = Some(self.cap);
        Ok(BodyExt::collect(self).await?.to_bytes())
    }

    /// It may say nothing for as long as it likes.
    pub(super) fn without_idle_end(mut self) -> Self {
        self.idle = None;
        self
    }

    fn count(&mut self, bytes: usize) -> Result<(), BrokenReply> {
        let Some(left) = &mut self.left else { return Ok(()) };
        *left = left.checked_sub(bytes).ok_or(BrokenReply::TooLarge(self.cap))?;
        Ok(())
    }

    fn give_back(&mut self) {
        if let Some((connection, pool)) = self.connection.take() {
            pool.put(connection);
        }
    }

    fn poll_idle(&mut self, cx: &mut Context<'_>) -> Poll<BrokenReply> {
        let Some((after, timer)) = &mut self.idle else { return Poll::Pending };
        timer
            .as_mut()
            .poll(cx)
            .map(|()| BrokenReply::Idle(u64::try_from(after.as_millis()).unwrap_or(u64::MAX)))
    }
}

impl Body for BytesBody {
    type Data = Bytes;
    type Error = BrokenReply;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenReply>>> {
        let this = &mut *self;
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => {
                if let Err(broken) = this.count(frame.data_ref().map_or(0, Bytes::len)) {
                    this.connection = None;
                    return Poll::Ready(Some(Err(broken)));
                }
                if let Some((after, timer)) = &mut this.idle {
                    timer.as_mut().reset(Instant::now() + *after);
                }
                if this.incoming.is_end_stream() {
                    this.give_back();
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                this.connection = None;
                Poll::Ready(Some(Err(BrokenReply::Broken(super::pool::said(&error)))))
            }
            Poll::Ready(None) => {
                this.give_back();
                Poll::Ready(None)
            }
            Poll::Pending => this.poll_idle(cx).map(|broken| Some(Err(broken))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
