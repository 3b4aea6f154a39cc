//! Lines of a child's stdout, with a cap: a longer one is passed over, and the next is read as usual.

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

/// Reads lines of at most `cap` bytes.
#[derive(Debug)]
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    cap: usize,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its line end.
    Whole(Vec<u8>),
    /// How a line began that was over the cap.
    TooLong { head: Vec<u8> },
}

/// Enough of a refused line to find the id in.
const HEAD: usize = 4096;

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R, cap: usize) -> Self {
        Self { reader: BufReader::with_capacity(64 << 10, reader), cap }
    }

    /// `None` at the end; bytes after the last line end are dropped, for they are half a line.
    pub(super) async fn next(&mut self) -> std::io::Result<Option<Line>> {
        let mut line = Vec::new();
        let mut too_long = false;
        loop {
            let available = self.reader.fill_buf().await?;
            if available.is_empty() {
                return Ok(None);
            }
            let end = available.iter().position(|b| *b == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            if !too_long {
                line.extend_from_slice(part);
                if line.len() > self.cap {
                    too_long = true;
                    line.truncate(HEAD);
                    line.shrink_to_fit();
                }
            }
            let used = part.len() + usize::from(end.is_some());
            self.reader.consume(used);
            if end.is_some() {
                return Ok(Some(if too_long { Line::TooLong { head: line } } else { Line::Whole(line) }));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_over_the_cap_is_passed_over_and_half_a_line_is_dropped() {
        let mut lines = Lines::new(&b"one\n123456\ntwo\r\n\nhalf"[..], 5);
        let mut got = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            got.push(line);
        }
        let whole = |text: &str| Line::Whole(text.into());
        assert_eq!(got, [whole("one"), Line::TooLong { head: "123456".into() }, whole("two\r"), whole("")]);
    }
}
