//! Whether an agent stayed for its answer: a handle that outlives the request but not the connection.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const BROKEN: u8 = 2;

/// Kept by the accept loop for as long as the connection lives.
#[derive(Debug, Default)]
pub struct Connected(Arc<AtomicU8>);

/// The other end of one connection; put into each request's extensions by the accept loop.
#[derive(Clone, Debug)]
pub struct Peer(Arc<AtomicU8>);

impl Connected {
    #[must_use]
    pub fn peer(&self) -> Peer {
        Peer(Arc::clone(&self.0))
    }

    /// `stream`, with an eye on how the other end leaves it. HTTP tells a reset between two requests from
    /// a close no more than its readers need.
    pub fn watch<S>(&self, stream: S) -> Watched<S> {
        Watched { stream, end: self.peer() }
    }

    /// The connection ended as HTTP ends: all that was written is taken.
    pub fn close(self) {
        self.peer().end(CLOSED);
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.peer().end(BROKEN);
    }
}

impl Peer {
    fn end(&self, how: u8) {
        // What came first stays.
        let _ = self.0.compare_exchange(OPEN, how, Ordering::AcqRel, Ordering::Acquire);
    }

    /// A reset is told once: to the read or to the write that comes first.
    fn see<T>(&self, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if let Poll::Ready(Err(_)) = &done {
            self.end(BROKEN);
        }
        done
    }

    /// Did the connection break? Then nobody knows what the other end has read. A peer that closes
    /// after its answer has read it: closing with something unread resets the connection.
    #[must_use]
    pub fn broke(&self) -> bool {
        self.0.load(Ordering::Acquire) == BROKEN
    }
}

/// The bytes of one connection.
#[derive(Debug)]
pub struct Watched<S> {
    stream: S,
    end: Peer,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.end.see(read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.end.see(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.end.see(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
