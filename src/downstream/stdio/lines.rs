//! Lines of bounded length from a pipe.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt as _};

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line {
    /// Without its line end; never blank.
    Text(Vec<u8>),
    /// Longer than the limit; it was read over.
    TooLong,
    End,
}

/// The next line that is not blank.
pub(super) async fn read_line(input: &mut (impl AsyncBufRead + Unpin), most: usize) -> io::Result<Line> {
    let (mut line, mut too_long) = (Vec::new(), false);
    loop {
        let chunk = input.fill_buf().await?;
        let ended = chunk.is_empty();
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let taken = end.unwrap_or(chunk.len());
        too_long |= line.len() + taken > most;
        if !too_long {
            line.extend_from_slice(&chunk[..taken]);
        }
        let used = end.map_or(taken, |end| end + 1);
        input.consume(used);
        if !ended && end.is_none() {
            continue;
        }
        if too_long {
            return Ok(Line::TooLong);
        }
        if !line.trim_ascii().is_empty() {
            return Ok(Line::Text(line));
        }
        if ended {
            return Ok(Line::End);
        }
        line.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lines_are_read_whole_and_a_long_one_is_read_over() {
        let mut input = tokio::io::BufReader::with_capacity(3, &b"one\r\n\n0123456789\nlast"[..]);
        assert_eq!(read_line(&mut input, 5).await.unwrap(), Line::Text(b"one\r".to_vec()));
        assert_eq!(read_line(&mut input, 5).await.unwrap(), Line::TooLong);
        assert_eq!(read_line(&mut input, 5).await.unwrap(), Line::Text(b"last".to_vec()));
        assert_eq!(read_line(&mut input, 5).await.unwrap(), Line::End);
    }
}
