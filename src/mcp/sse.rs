//! Server-sent events: an incremental splitter that keeps each event's bytes, and a writer.

/// One event of a stream.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Event {
    /// Its bytes as they came, with comments and the blank line that ended it.
    pub raw: Vec<u8>,
    pub event: Option<String>,
    /// The `data` lines joined by a line feed; `None` when there was no `data` line.
    pub data: Option<String>,
    pub id: Option<String>,
    /// Milliseconds.
    pub retry: Option<u64>,
}

/// The event grew over the splitter's cap, or was not UTF-8.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadEvent {
    #[error("an event of more than {0} bytes")]
    TooLong(usize),
    #[error("an event that is not UTF-8")]
    NotUtf8,
}

/// Splits chunks into events, whatever the line ends and the chunk boundaries.
#[derive(Debug)]
pub struct Splitter {
    cap: usize,
    buffer: Vec<u8>,
}

impl Splitter {
    /// `cap`: bytes of one event.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        Self { cap, buffer: Vec::new() }
    }

    /// Takes a chunk; gives each event that it completes, in order.
    ///
    /// # Errors
    /// After an error the stream cannot be split any further.
    pub fn push(&mut self, chunk: &[u8]) -> Result<Vec<Event>, BadEvent> {
        let _ = (chunk, self.cap, &self.buffer);
        unimplemented!()
    }
}

/// One event with an optional id; `data` may have line ends.
#[must_use]
pub fn write(id: Option<&str>, data: &str) -> Vec<u8> {
    let _ = (id, data);
    unimplemented!()
}

/// A comment line: keeps the connection alive, says nothing to the client.
#[must_use]
pub fn comment(text: &str) -> Vec<u8> {
    let _ = text;
    unimplemented!()
}

/// An event with an id and empty data, and how long to wait before coming back (polling, ≥ 2025-11-25).
#[must_use]
pub fn priming(id: &str, retry_ms: Option<u64>) -> Vec<u8> {
    let _ = (id, retry_ms);
    unimplemented!()
}
