//! Signs of life on streams that may be silent for days: nothing between takes them for dead, and an agent that went
//! without a word is noticed, for what is said to it stays unacknowledged.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use tokio::time::{Instant, Sleep, sleep};

use crate::mcp::sse;

/// A stream of events, with a comment between two of them whenever it was silent for a while.
pub(super) struct Beating<S> {
    stream: S,
    tail: Tail,
    every: Duration,
    due: Pin<Box<Sleep>>,
}

impl<S> Beating<S> {
    pub(super) fn of(stream: S, every: Duration) -> Self {
        Self { stream, tail: Tail::default(), every, due: Box::pin(sleep(every)) }
    }

    fn put_off(&mut self) {
        self.due.as_mut().reset(Instant::now() + self.every);
    }
}

impl<S, E> Stream for Beating<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    type Item = Result<Bytes, E>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let polled = self.stream.poll_next_unpin(context);
        if let Poll::Ready(Some(Ok(part))) = &polled {
            self.tail.add(part);
            self.put_off();
        }
        if polled.is_ready() {
            return polled;
        }
        loop {
            ready!(self.due.as_mut().poll(context));
            self.put_off();
            if self.tail.is_between() {
                return Poll::Ready(Some(Ok(sse::comment("listening").into())));
            }
        }
    }
}

/// What of a stream has passed: is it between two events?
pub(super) struct Tail {
    last: u8,
    /// Nothing stands on the line that has not ended.
    blank: bool,
    between: bool,
}

impl Default for Tail {
    fn default() -> Self {
        Self { last: 0, blank: true, between: true }
    }
}

impl Tail {
    pub(super) fn is_between(&self) -> bool {
        self.between
    }

    pub(super) fn add(&mut self, part: &[u8]) {
        for byte in part {
            match byte {
                // The second half of a line end.
                b'\n' if self.last == b'\r' => {}
                b'\n' | b'\r' => (self.between, self.blank) = (self.blank, true),
                _ => (self.between, self.blank) = (false, false),
            }
            self.last = *byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_ends_with_a_blank_line_however_it_is_written() {
        let between = |text: &str| {
            let mut tail = Tail::default();
            text.as_bytes().chunks(1).for_each(|part| tail.add(part));
            tail.is_between()
        };
        for ended in ["", "data: 1\n\n", "data: 1\r\n\r\n", "data: 1\r\r", ": c\n\n"] {
            assert!(between(ended), "{ended:?}");
        }
        for open in ["d", "data: 1", "data: 1\n", "data: 1\r\n", "data: 1\n\nid: 2\n"] {
            assert!(!between(open), "{open:?}");
        }
    }
}
