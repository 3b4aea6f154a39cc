//! The pass itself: a JSON grammar without recursion, which remembers the names of the objects it is in.

use std::borrow::Cow;

use super::{
    Json,
    strict::{Defect, DefectKind, Limits},
};

/// The state of one pass.
pub(super) struct Scanner<'a, 'l> {
    text: &'a str,
    at: usize,
    limits: &'l Limits,
    open: Vec<Open>,
    /// The decoded names of all open objects, innermost last.
    names: Vec<Name<'a>>,
}

#[derive(Clone, Copy)]
enum Open {
    Array,
    Object {
        /// Where this object's names begin in `Scanner::names`.
        first: usize,
    },
}

struct Name<'a> {
    text: Cow<'a, str>,
    offset: usize,
}

/// Objects with more members are checked by sorting instead of pair by pair.
const PAIRWISE: usize = 12;

impl<'a, 'l> Scanner<'a, 'l> {
    pub(super) fn new(text: &'a str, limits: &'l Limits) -> Self {
        Self { text, at: 0, limits, open: Vec::with_capacity(8), names: Vec::with_capacity(32) }
    }

    /// The one value of the text, without the white space around it.
    pub(super) fn value(mut self) -> Result<Json<'a>, Defect> {
        self.skip_space();
        let start = self.at;
        self.values()?;
        let end = self.at;
        self.skip_space();
        if self.at < self.text.len() {
            return Err(self.defect(DefectKind::TrailingBytes));
        }
        Ok(Json(&self.text[start..end]))
    }

    /// Scans values until the outermost one is closed.
    fn values(&mut self) -> Result<(), Defect> {
        loop {
            self.skip_space();
            let closed = match self.peek() {
                Some(b'{') => !self.enter_object()?,
                Some(b'[') => !self.enter_array()?,
                Some(b'"') => self.string().map(|_| true)?,
                Some(b'-' | b'0'..=b'9') => self.number().map(|()| true)?,
                Some(_) => self.literal().map(|()| true)?,
                None => return Err(self.defect(DefectKind::Truncated)),
            };
            if closed && self.leave()? {
                return Ok(());
            }
        }
    }

    /// Whether the object has members; if so, its first name and colon are behind us.
    fn enter_object(&mut self) -> Result<bool, Defect> {
        self.deepen(Open::Object { first: self.names.len() })?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            self.open.pop();
            return Ok(false);
        }
        self.name()?;
        Ok(true)
    }

    fn enter_array(&mut self) -> Result<bool, Defect> {
        self.deepen(Open::Array)?;
        if self.peek() == Some(b']') {
            self.at += 1;
            self.open.pop();
            return Ok(false);
        }
        Ok(true)
    }

    fn deepen(&mut self, open: Open) -> Result<(), Defect> {
        if self.open.len() >= self.limits.depth {
            return Err(self.defect(DefectKind::TooDeep));
        }
        self.open.push(open);
        self.at += 1;
        self.skip_space();
        Ok(())
    }

    /// After a value: closes what ends here. `true` when nothing is open, `false` when a value follows.
    fn leave(&mut self) -> Result<bool, Defect> {
        loop {
            let Some(&open) = self.open.last() else { return Ok(true) };
            self.skip_space();
            match (open, self.peek()) {
                (Open::Array, Some(b',')) => {
                    self.at += 1;
                    return Ok(false);
                }
                (Open::Object { .. }, Some(b',')) => {
                    self.at += 1;
                    self.skip_space();
                    self.name()?;
                    return Ok(false);
                }
                (Open::Array, Some(b']')) => {}
                (Open::Object { first }, Some(b'}')) => self.names_are_unique(first)?,
                (_, None) => return Err(self.defect(DefectKind::Truncated)),
                (_, Some(_)) => return Err(self.defect(DefectKind::Grammar)),
            }
            self.at += 1;
            self.open.pop();
        }
    }

    /// A member's name and its colon.
    fn name(&mut self) -> Result<(), Defect> {
        let start = self.at;
        match self.peek() {
            Some(b'"') => {}
            Some(_) => return Err(self.defect(DefectKind::Grammar)),
            None => return Err(self.defect(DefectKind::Truncated)),
        }
        let escaped = self.string()?;
        if self.limits.unique_keys {
            let written = Json(&self.text[start..self.at]);
            let text = if escaped {
                written.string().unwrap_or_default()
            } else {
                Cow::Borrowed(&self.text[start + 1..self.at - 1])
            };
            self.names.push(Name { text, offset: start });
        }
        self.skip_space();
        match self.peek() {
            Some(b':') => self.at += 1,
            Some(_) => return Err(self.defect(DefectKind::Grammar)),
            None => return Err(self.defect(DefectKind::Truncated)),
        }
        Ok(())
    }

    /// Compares the names of the innermost object, and forgets them.
    fn names_are_unique(&mut self, first: usize) -> Result<(), Defect> {
        let names = &mut self.names[first..];
        let twice = if names.len() <= PAIRWISE {
            (1..names.len())
                .find(|&i| names[..i].iter().any(|n| n.text == names[i].text))
                .map(|i| names[i].offset)
        } else {
            names.sort_unstable_by(|a, b| a.text.cmp(&b.text).then(a.offset.cmp(&b.offset)));
            names.windows(2).filter(|w| w[0].text == w[1].text).map(|w| w[1].offset).min()
        };
        self.names.truncate(first);
        match twice {
            Some(offset) => Err(Defect { offset, kind: DefectKind::DuplicateKey }),
            None => Ok(()),
        }
    }

    /// Passes a string; whether it had escapes.
    fn string(&mut self) -> Result<bool, Defect> {
        let mut escaped = false;
        self.at += 1;
        loop {
            self.at = plain_until(self.text.as_bytes(), self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                Some(_) => return Err(self.defect(DefectKind::Grammar)),
                None => return Err(self.defect(DefectKind::Truncated)),
            }
        }
    }

    fn escape(&mut self) -> Result<(), Defect> {
        let start = self.at;
        match self.byte(start + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.at += 2;
                return Ok(());
            }
            Some(b'u') => {}
            Some(_) => return Err(self.defect(DefectKind::Grammar)),
            None => return Err(self.defect(DefectKind::Truncated)),
        }
        let unit = self.hex4(start + 2)?;
        self.at = start + 6;
        if !(0xD800..0xE000).contains(&unit) {
            return Ok(());
        }
        let follows = self.byte(self.at) == Some(b'\\') && self.byte(self.at + 1) == Some(b'u');
        if unit < 0xDC00 && follows && (0xDC00..0xE000).contains(&self.hex4(self.at + 2)?) {
            self.at += 6;
            return Ok(());
        }
        if self.limits.whole_pairs {
            return Err(Defect { offset: start, kind: DefectKind::LoneSurrogate });
        }
        Ok(())
    }

    fn hex4(&self, start: usize) -> Result<u32, Defect> {
        (start..start + 4).try_fold(0, |unit, at| {
            let Some(byte) = self.byte(at) else {
                return Err(Defect { offset: at, kind: DefectKind::Truncated });
            };
            let digit =
                char::from(byte).to_digit(16).ok_or(Defect { offset: at, kind: DefectKind::Grammar })?;
            Ok(unit * 16 + digit)
        })
    }

    fn number(&mut self) -> Result<(), Defect> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    /// At least one digit.
    fn digits(&mut self) -> Result<(), Defect> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at > start {
            return Ok(());
        }
        Err(self.defect(if self.peek().is_some() { DefectKind::Grammar } else { DefectKind::Truncated }))
    }

    fn literal(&mut self) -> Result<(), Defect> {
        let rest = &self.text.as_bytes()[self.at..];
        for word in ["true", "false", "null"] {
            if rest.starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(());
            }
            if word.as_bytes().starts_with(rest) {
                return Err(self.defect(DefectKind::Truncated));
            }
        }
        Err(self.defect(DefectKind::Grammar))
    }

    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.byte(self.at)
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn defect(&self, kind: DefectKind) -> Defect {
        Defect { offset: self.at, kind }
    }
}

/// The first byte from `at` on that is a quote, a backslash or a control character; eight at a time.
pub(super) fn plain_until(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let zero_in = |word: u64| word.wrapping_sub(ONES) & !word & TOPS;
    while let Some(chunk) = bytes.get(at..at + 8).and_then(|c| <[u8; 8]>::try_from(c).ok()) {
        let word = u64::from_le_bytes(chunk);
        let quote = zero_in(word ^ (ONES * u64::from(b'"')));
        let slash = zero_in(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & TOPS;
        let found = quote | slash | control;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while bytes.get(at).is_some_and(|&b| b != b'"' && b != b'\\' && b >= 0x20) {
        at += 1;
    }
    at
}
