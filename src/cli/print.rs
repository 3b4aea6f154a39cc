//! Stdout, and nothing else: data for people or, with `--json`, for programs.

use std::io::{self, Write as _};

use serde_json::Value;

pub(super) use crate::card::visible;

/// One line of data.
pub(super) fn line(text: &str) {
    // A reader that closed the pipe has seen enough.
    let _ = writeln!(io::stdout(), "{text}");
}

/// One JSON document.
pub(super) fn json(value: &Value) {
    line(&value.to_string());
}

/// Bytes as they are; a pipe that its reader closed is no error.
pub(super) fn bytes(bytes: &[u8]) -> io::Result<()> {
    match io::stdout().write_all(bytes) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// Columns as wide as their widest cell; the first row is the head.
pub(super) fn table(rows: &[Vec<String>]) {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        line(cells.join("  ").trim_end());
    }
}
