//! Text of others, made safe to look at: everything but printable text becomes its escape, `⟦U+202E⟧`; tabs and
//! line breaks, which are ordinary in code, become the marks that the pages have for them, `⟦⇥⟧` and `⟦↵⟧`.

/// Marks that may stack on one letter before the rest is shown as code points: enough for every language,
/// too few to cover the line above.
const STACK: usize = 3;

/// `text` on one line, with every character that is not plain as its code point, or as the mark of its own.
#[must_use]
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut marks = 0;
    for c in text.chars() {
        marks = if is_mark(c) { marks + 1 } else { 0 };
        match c {
            // What is written by hand is none of our marks.
            '⟦' | '⟧' => shown.push_str(&format!("⟦U+{:04X}⟧", u32::from(c))),
            '\t' => shown.push_str("⟦⇥⟧"),
            '\n' => shown.push_str("⟦↵⟧"),
            _ if is_plain(c) && marks <= STACK => shown.push(c),
            _ => shown.push_str(&format!("⟦U+{:04X}⟧", u32::from(c))),
        }
    }
    shown
}

/// Nothing that moves the cursor, changes the direction, cannot be seen, or looks like a plain space
/// without being one.
#[must_use]
pub fn is_plain(c: char) -> bool {
    let hidden = matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
        | '\u{180b}'..='\u{180f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}'
        | '\u{3164}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}'
        | '\u{e000}'..='\u{f8ff}' | '\u{e0000}'..='\u{e0fff}' | '\u{f0000}'..='\u{10ffff}');
    let space =
        matches!(c, '\u{a0}' | '\u{1680}' | '\u{2000}'..='\u{200f}' | '\u{202f}' | '\u{205f}' | '\u{3000}');
    !(c.is_control() || hidden || space)
}

/// Drawn over or under the letter before it.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{483}'..='\u{489}' | '\u{1ab0}'..='\u{1aff}'
        | '\u{1dc0}'..='\u{1dff}' | '\u{20d0}'..='\u{20ff}' | '\u{fe20}'..='\u{fe2f}')
}

#[cfg(test)]
mod tests {
    use super::visible;

    #[test]
    fn a_direction_mark_an_escape_and_a_carriage_return_are_shown_as_their_code_points() {
        assert_eq!(visible("a\u{1b}[31mb\u{202e}c\rd"), "a⟦U+001B⟧[31mb⟦U+202E⟧c⟦U+000D⟧d");
        assert_eq!(visible("x\u{200b}\u{e0041}\u{a0}y"), "x⟦U+200B⟧⟦U+E0041⟧⟦U+00A0⟧y");
    }

    #[test]
    fn tabs_and_line_breaks_have_marks_of_their_own_and_stay_on_the_line() {
        assert_eq!(visible("if a\n\t\tb\n"), "if a⟦↵⟧⟦⇥⟧⟦⇥⟧b⟦↵⟧");
    }

    #[test]
    fn a_mark_that_is_written_by_hand_is_shown_as_written() {
        assert_eq!(visible("--⟦↵⟧ W"), "--⟦U+27E6⟧↵⟦U+27E7⟧ W");
        assert_ne!(visible("⟦U+202E⟧"), visible("\u{202e}"));
    }

    #[test]
    fn marks_that_pile_up_are_counted_out() {
        assert_eq!(visible("e\u{301}"), "e\u{301}");
        assert_eq!(visible("e\u{301}\u{301}\u{301}\u{301}"), "e\u{301}\u{301}\u{301}⟦U+0301⟧");
    }

    #[test]
    fn text_of_any_script_stays_as_it_is() {
        assert_eq!(visible("Łódź 東京 naïve 🙂"), "Łódź 東京 naïve 🙂");
    }
}
