//! A stream of whole messages: what a request on a child's pipe brings back.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::mpsc;

use super::BrokenReply;

type Item = Result<Bytes, BrokenReply>;

/// Bytes that a queued message takes beside its own; many small ones would count for next to nothing otherwise.
const BESIDE: usize = 128;

/// A stream of JSON messages, each without a line end.
#[derive(Debug)]
pub struct Messages {
    receiver: mpsc::UnboundedReceiver<Item>,
    queued: Arc<AtomicUsize>,
    /// Told when this is dropped before the response came.
    request: Option<(Arc<dyn Pipe>, u64)>,
    /// Taken from the receiver to see that it is there.
    first: Option<Item>,
}

/// What a stream of messages comes out of.
pub(super) trait Pipe: std::fmt::Debug + Send + Sync {
    /// The reader of this request left before the answer.
    fn abandon(&self, number: u64);
}

/// Where a child's messages for one reader go.
#[derive(Clone, Debug)]
pub(super) struct Sink {
    sender: mpsc::UnboundedSender<Item>,
    queued: Arc<AtomicUsize>,
}

impl Messages {
    pub(super) fn channel() -> (Sink, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        (Sink { sender, queued: queued.clone() }, Self { receiver, queued, request: None, first: None })
    }

    /// A stream that has ended.
    pub(super) fn none() -> Self {
        Self::channel().1
    }

    /// A stream of this one message.
    pub(super) fn once(message: Vec<u8>) -> Self {
        let (sink, messages) = Self::channel();
        sink.send(Ok(message.into()));
        messages
    }

    pub(super) fn of_request(mut self, pipe: Arc<dyn Pipe>, request: u64) -> Self {
        self.request = Some((pipe, request));
        self
    }

    /// Resolves when there is something to read, or the stream has ended; takes nothing.
    pub(super) async fn readable(&mut self) {
        if self.first.is_none() {
            self.first = self.receiver.recv().await;
        }
    }
}

impl Sink {
    /// `false` when the reader is gone.
    pub(super) fn send(&self, item: Item) -> bool {
        self.queued.fetch_add(cost(&item), Ordering::Relaxed);
        self.sender.send(item).is_ok()
    }

    /// Bytes held for what the reader has not taken.
    pub(super) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }
}

fn cost(item: &Item) -> usize {
    BESIDE + item.as_ref().map_or(0, Bytes::len)
}

impl Stream for Messages {
    type Item = Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Item>> {
        let item = match self.first.take() {
            Some(first) => Poll::Ready(Some(first)),
            None => self.receiver.poll_recv(cx),
        };
        match &item {
            Poll::Ready(Some(item)) => {
                self.queued.fetch_sub(cost(item), Ordering::Relaxed);
            }
            Poll::Ready(None) => self.request = None,
            Poll::Pending => {}
        }
        item
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        if let Some((pipe, request)) = self.request.take() {
            pipe.abandon(request);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::StreamExt as _;

    use super::Messages;

    #[tokio::test]
    async fn small_messages_count_with_what_each_takes() {
        let (sink, mut messages) = Messages::channel();
        for _ in 0..10 {
            assert!(sink.send(Ok(Bytes::from_static(b"{}"))));
        }
        assert!(sink.queued() >= 10 * 100, "{}", sink.queued());
        messages.readable().await;
        for _ in 0..10 {
            messages.next().await.unwrap().unwrap();
        }
        assert_eq!(sink.queued(), 0);
    }
}
