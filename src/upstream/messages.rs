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
/// What a reader may leave untaken, whatever others do.
const LITTLE: usize = 64 << 10;

/// A stream of JSON messages, each without a line end.
#[derive(Debug)]
pub struct Messages {
    receiver: mpsc::UnboundedReceiver<Item>,
    queued: Arc<AtomicUsize>,
    all: Untaken,
    /// Told when this is dropped before the response came.
    request: Option<(Arc<dyn Pipe>, u64)>,
    /// Taken from the receiver to see that it is there.
    first: Option<Item>,
}

/// Bytes of all messages of one server that nobody has taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Untaken(Arc<AtomicUsize>);

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
    all: Untaken,
}

impl Messages {
    pub(super) fn channel(all: &Untaken) -> (Sink, Self) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let queued = Arc::new(AtomicUsize::new(0));
        let sink = Sink { sender, queued: queued.clone(), all: all.clone() };
        (sink, Self { receiver, queued, all: all.clone(), request: None, first: None })
    }

    /// A stream that has ended.
    pub(super) fn none() -> Self {
        Self::channel(&Untaken::default()).1
    }

    /// A stream of this one message.
    pub(super) fn once(message: Vec<u8>) -> Self {
        let (sink, messages) = Self::channel(&Untaken::default());
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
        let cost = cost(&item);
        self.queued.fetch_add(cost, Ordering::Relaxed);
        self.all.0.fetch_add(cost, Ordering::Relaxed);
        let sent = self.sender.send(item).is_ok();
        if !sent {
            self.all.0.fetch_sub(cost, Ordering::Relaxed);
        }
        sent
    }

    /// Is more held for this reader than it may leave untaken? When all readers of the server together leave so
    /// much, each may leave little.
    pub(super) fn is_full(&self, patience: usize) -> bool {
        let queued = self.queued.load(Ordering::Relaxed);
        queued > patience || (queued > LITTLE && self.all.0.load(Ordering::Relaxed) > patience)
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
                self.all.0.fetch_sub(cost(item), Ordering::Relaxed);
            }
            Poll::Ready(None) => self.request = None,
            Poll::Pending => {}
        }
        item
    }
}

impl Drop for Messages {
    fn drop(&mut self) {
        // Nothing comes after this.
        self.receiver.close();
        let mut left = self.first.take().as_ref().map_or(0, cost);
        while let Ok(item) = self.receiver.try_recv() {
            left += cost(&item);
        }
        self.all.0.fetch_sub(left, Ordering::Relaxed);
        if let Some((pipe, request)) = self.request.take() {
            pipe.abandon(request);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn small_messages_count_with_what_each_takes() {
        let (sink, mut messages) = Messages::channel(&Untaken::default());
        let queued = || sink.queued.load(Ordering::Relaxed);
        for _ in 0..10 {
            assert!(sink.send(Ok(Bytes::from_static(b"{}"))));
        }
        assert!(queued() >= 10 * 100, "{}", queued());
        messages.readable().await;
        for _ in 0..10 {
            messages.next().await.unwrap().unwrap();
        }
        assert_eq!(queued(), 0);
    }

    #[tokio::test]
    async fn what_all_readers_of_a_server_leave_counts_against_each_of_them() {
        let all = Untaken::default();
        let large = || Ok(Bytes::from(vec![b'x'; LITTLE]));
        let (first, mut untaken) = Messages::channel(&all);
        let (second, other) = Messages::channel(&all);
        assert!(first.send(large()) && first.send(large()));
        assert!(!first.is_full(3 * LITTLE), "it is alone");
        assert!(!second.is_full(LITTLE), "it has left nothing");
        assert!(second.send(large()) && second.send(large()));
        assert!(first.is_full(3 * LITTLE) && second.is_full(3 * LITTLE));
        untaken.readable().await;
        drop((untaken, other));
        assert!(!first.send(large()), "its reader is gone");
        assert_eq!(all.0.load(Ordering::Relaxed), 0);
    }
}
