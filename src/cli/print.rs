//! Stdout, and nothing else: data for people or, with `--json`, for programs.

use std::io::{self, Write as _};

use serde_json::Value;

/// One line of data.
pub(super) fn line(text: &str) {
    // A reader that closed the pipe has seen enough.
    let _ = writeln!(io::stdout(), "{text}");
}

/// One JSON document.
pub(super) fn json(value: &Value) {
    line(&value.to_string());
}

/// Bytes as they are.
pub(super) fn bytes(bytes: &[u8]) -> io::Result<()> {
    io::stdout().write_all(bytes)
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

/// What others wrote, safe for a terminal: everything but printable text becomes its escape.
pub(super) fn visible(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if is_plain(c) {
            shown.push(c)
        } else {
            shown.push_str(&format!("⟦U+{:04X}⟧", c as u32))
        }
        shown
    })
}

/// Nothing that moves the cursor, changes the direction or cannot be seen.
fn is_plain(c: char) -> bool {
    let hidden = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}');
    !c.is_control() && !hidden
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn a_terminal_never_sees_an_escape_or_a_direction_mark() {
        assert_eq!(visible("a\u{1b}[31mb\u{202e}c\nd"), "a⟦U+001B⟧[31mb⟦U+202E⟧c⟦U+000A⟧d");
        assert_eq!(visible("Łódź 東京"), "Łódź 東京");
    }
}
