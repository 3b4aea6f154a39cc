//! Server-sent events: an incremental splitter that keeps each event's bytes, and a writer.

use std::borrow::Cow;

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

impl Event {
    /// Its bytes without its id; nothing, where it only gave one. For a stream put together of several: an
    /// id of one says nothing of the others.
    #[must_use]
    pub fn without_id(self) -> Vec<u8> {
        if self.id.is_none() {
            return self.raw;
        }
        if self.data.is_none_or(|data| data.is_empty()) {
            return Vec::new();
        }
        let mut out = Vec::with_capacity(self.raw.len());
        let mut after_cr = false;
        for line in self.raw.split_inclusive(|b| matches!(b, b'\n' | b'\r')) {
            // The second half of a line end belongs to the line before it.
            if !(is_id(line) || after_cr && line == b"\n") {
                out.extend_from_slice(line);
            }
            after_cr = is_id(line) && line.ends_with(b"\r");
        }
        out
    }
}

fn is_id(line: &[u8]) -> bool {
    let line = line.trim_ascii_end();
    line.strip_prefix(b"id").is_some_and(|rest| rest.first().is_none_or(|b| *b == b':'))
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
    /// What is no event within the cap is left out, instead of an error.
    leaves_out: bool,
    /// The event that has not ended yet is left out.
    is_left_out: bool,
    /// Bytes of the event that has not ended yet.
    pending: Vec<u8>,
    /// Where the unfinished line begins in `pending`.
    line: usize,
    /// A carriage return ended the last line; a line feed right after it belongs to it.
    after_cr: bool,
    fields: Event,
}

impl Splitter {
    /// `cap`: bytes of one event.
    #[must_use]
    pub fn new(cap: usize) -> Self {
        Self {
            cap,
            leaves_out: false,
            is_left_out: false,
            pending: Vec::new(),
            line: 0,
            after_cr: false,
            fields: Event::default(),
        }
    }

    /// The same for who only reads along: larger events are left out, and what is not UTF-8 is read as if it were.
    #[must_use]
    pub fn reading_along(cap: usize) -> Self {
        Self { leaves_out: true, ..Self::new(cap) }
    }

    /// Leaves out the event that has not ended yet, and gives its memory back.
    pub fn leave_out(&mut self) {
        // One byte says that the line is not blank.
        let is_blank = self.pending.len() == self.line;
        self.pending = if is_blank { Vec::new() } else { vec![b':'] };
        (self.line, self.is_left_out, self.fields) = (0, true, Event::default());
    }

    /// Takes a chunk; gives each event that it completes, in order.
    ///
    /// # Errors
    /// After an error the stream cannot be split any further. There is none when reading along.
    pub fn push(&mut self, mut chunk: &[u8]) -> Result<Vec<Event>, BadEvent> {
        let mut events = Vec::new();
        if std::mem::take(&mut self.after_cr) && chunk.first() == Some(&b'\n') {
            self.pending.push(b'\n');
            self.line = self.pending.len();
            chunk = &chunk[1..];
        }
        while let Some(end) = chunk.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            self.take(&chunk[..end])?;
            let blank = self.end_line()?;
            let width = if chunk[end..].starts_with(b"\r\n") { 2 } else { 1 };
            self.after_cr = width == 1 && chunk[end] == b'\r' && end + 1 == chunk.len();
            self.pending.extend_from_slice(&chunk[end..end + width]);
            self.line = self.pending.len();
            chunk = &chunk[end + width..];
            if blank {
                self.line = 0;
                let raw = std::mem::take(&mut self.pending);
                let fields = std::mem::take(&mut self.fields);
                if !std::mem::take(&mut self.is_left_out) {
                    events.push(Event { raw, ..fields });
                }
            }
        }
        self.take(chunk)?;
        Ok(events)
    }

    /// The bytes after the last complete event; a client discards them when the stream ends here.
    #[must_use]
    pub fn rest(&self) -> &[u8] {
        &self.pending
    }

    fn take(&mut self, part: &[u8]) -> Result<(), BadEvent> {
        let is_over = self.pending.len() + part.len() > self.cap;
        if is_over && !self.leaves_out {
            return Err(BadEvent::TooLong(self.cap));
        }
        if is_over || self.is_left_out {
            self.pending.extend(part.first());
            self.leave_out();
            return Ok(());
        }
        self.pending.extend_from_slice(part);
        Ok(())
    }

    /// Reads the line that ends here into `fields`; whether it was blank.
    fn end_line(&mut self) -> Result<bool, BadEvent> {
        let line = String::from_utf8_lossy(&self.pending[self.line..]);
        if matches!(line, Cow::Owned(_)) && !self.leaves_out {
            return Err(BadEvent::NotUtf8);
        }
        let line = line.strip_prefix('\u{feff}').unwrap_or(&line);
        if line.is_empty() {
            return Ok(true);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.fields.event = Some(value.to_owned()),
            "id" if !value.contains('\0') => self.fields.id = Some(value.to_owned()),
            "retry" if value.bytes().all(|b| b.is_ascii_digit()) => self.fields.retry = value.parse().ok(),
            "data" => match &mut self.fields.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.fields.data = Some(value.to_owned()),
            },
            _ => {}
        }
        Ok(false)
    }
}

/// One event with an optional id; `data` may have line ends.
#[must_use]
pub fn write(id: Option<&str>, data: &str) -> Vec<u8> {
    write_with(id, None, data)
}

/// The same, saying how long a client waits before it comes back.
#[must_use]
pub fn write_with(id: Option<&str>, retry_ms: Option<u64>, data: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 32);
    if let Some(id) = id {
        field(&mut out, "id", id);
    }
    if let Some(retry) = retry_ms {
        field(&mut out, "retry", &retry.to_string());
    }
    for line in data.split('\n') {
        field(&mut out, "data", line.strip_suffix('\r').unwrap_or(line));
    }
    out.push(b'\n');
    out
}

/// One event of this name, as HTTP+SSE (2024-11-05) has them.
#[must_use]
pub fn named(event: &str, data: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 32);
    field(&mut out, "event", event);
    out.extend_from_slice(&write(None, data));
    out
}

/// A comment line: keeps the connection alive, says nothing to the client.
#[must_use]
pub fn comment(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 4);
    field(&mut out, "", text);
    out.push(b'\n');
    out
}

/// An event with an id and empty data, and how long to wait before coming back (polling, ≥ 2025-11-25).
#[must_use]
pub fn priming(id: &str, retry_ms: Option<u64>) -> Vec<u8> {
    write_with(Some(id), retry_ms, "")
}

/// A carriage return inside a value would end the line for the client: it becomes a space.
fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend(value.bytes().map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { b }));
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b"\xef\xbb\xbf: hello\n\nid: 1\r\nevent: message\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\ndata:x\rretry:50\r\rdata\n\ntail";

    #[test]
    fn every_way_to_cut_the_stream_gives_the_same_events() {
        let whole = Splitter::new(1000).push(STREAM).unwrap();
        assert_eq!(whole.len(), 4);
        assert_eq!(whole[0].data, None);
        assert_eq!(whole[1].data.as_deref(), Some("{\"a\":\n1}"));
        assert_eq!((whole[1].id.as_deref(), whole[1].event.as_deref()), (Some("1"), Some("message")));
        assert_eq!((whole[2].data.as_deref(), whole[2].retry), (Some("x"), Some(50)));
        assert_eq!(whole[3].data.as_deref(), Some(""));
        for size in 1..20 {
            let mut splitter = Splitter::new(1000);
            let mut cut = Vec::new();
            for chunk in STREAM.chunks(size) {
                cut.extend(splitter.push(chunk).unwrap());
            }
            let bytes: Vec<u8> =
                cut.iter().flat_map(|e| e.raw.clone()).chain(splitter.rest().to_vec()).collect();
            assert_eq!(bytes, STREAM, "cut by {size}");
            let fields = |events: &[Event]| -> Vec<Event> {
                events.iter().map(|e| Event { raw: Vec::new(), ..e.clone() }).collect()
            };
            assert_eq!(fields(&cut), fields(&whole), "cut by {size}");
        }
    }

    #[test]
    fn an_event_without_its_id_is_the_same_otherwise() {
        for (with, without) in [
            ("id: 1\ndata: x\n\n", "data: x\n\n"),
            ("event: m\r\nid: 1\r\ndata: x\r\n\r\n", "event: m\r\ndata: x\r\n\r\n"),
            (": c\rdata:x\rid\r\r", ": c\rdata:x\r\r"),
            ("data: id: 1\nidle: 2\n\n", "data: id: 1\nidle: 2\n\n"),
            ("id: 1\ndata:\n\n", ""),
            (": waiting\n\n", ": waiting\n\n"),
        ] {
            let event = Splitter::new(1000).push(with.as_bytes()).unwrap().remove(0);
            assert_eq!(String::from_utf8(event.without_id()).unwrap(), without, "{with:?}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut bytes = comment("waiting");
        bytes.extend(priming("e1", Some(500)));
        bytes.extend(write(Some("e2"), "{\n}"));
        bytes.extend(named("endpoint", "/m"));
        let events = Splitter::new(1000).push(&bytes).unwrap();
        assert_eq!((events[0].data.as_deref(), events[1].data.as_deref()), (None, Some("")));
        assert_eq!((events[1].retry, events[2].id.as_deref()), (Some(500), Some("e2")));
        assert_eq!(events[2].data.as_deref(), Some("{\n}"));
        assert_eq!((events[3].event.as_deref(), events[3].data.as_deref()), (Some("endpoint"), Some("/m")));
    }

    #[test]
    fn an_event_over_the_cap_ends_the_stream() {
        assert_eq!(Splitter::new(8).push(b"data: 123456"), Err(BadEvent::TooLong(8)));
        let mut splitter = Splitter::new(8);
        assert!(splitter.push(b"data: 1\n\ndata: 2\n\n").is_ok());
    }

    #[test]
    fn who_reads_along_leaves_out_a_large_event_and_reads_on() {
        let large = "x".repeat(100);
        let stream = format!("data: 1\n\ndata: {large}\r\ndata: a\r\n: more\r\n\r\ndata: 2\n\n");
        for size in [1, 2, 3, 7, 64, 500] {
            let mut splitter = Splitter::reading_along(40);
            let mut data = Vec::new();
            for chunk in stream.as_bytes().chunks(size) {
                data.extend(splitter.push(chunk).unwrap().into_iter().filter_map(|event| event.data));
                assert!(splitter.rest().len() <= 40, "cut by {size}");
            }
            assert_eq!(data, ["1", "2"], "cut by {size}");
        }
        let mut splitter = Splitter::reading_along(40);
        splitter.push(b"data: 1").unwrap();
        splitter.leave_out();
        let events = splitter.push(b"2\n\ndata: \xff3\n\n").unwrap();
        let data: Vec<_> = events.into_iter().filter_map(|event| event.data).collect();
        assert_eq!(data, ["\u{fffd}3"], "not UTF-8, and read all the same");
    }
}
