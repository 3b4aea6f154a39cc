//! JSON as a tree that remembers where each value stood, and keeps numbers as their text.
//!
//! One reader serves the policy document (with `//` comments, for error positions) and the arguments
//! of a call (without): positions make good errors, and number text loses no digit.

use std::collections::HashSet;

/// Deeper nesting is refused: the reader recurses.
const MAX_DEPTH: usize = 128;

/// A value and the bytes it came from: `text[at..end]`.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub at: usize,
    pub end: usize,
    pub value: Value,
}

#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    /// As written, and valid by JSON's grammar.
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

#[derive(Clone, Debug)]
pub(super) struct Member {
    pub key: String,
    pub key_at: usize,
    pub node: Node,
}

/// Why a text is not the JSON we read, and at which byte.
#[derive(Debug)]
pub(super) struct Fault {
    pub at: usize,
    pub message: String,
    pub hint: Option<String>,
}

/// What may stand between the tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Comments {
    Accepted,
    Refused,
}

/// Reads exactly one value. Duplicate keys, lone surrogates and text after the value are faults.
pub(super) fn read(text: &str, comments: Comments) -> Result<Node, Fault> {
    let mut reader = Reader { text, bytes: text.as_bytes(), at: 0, comments };
    // Some editors begin a file with a byte order mark.
    if comments == Comments::Accepted && text.starts_with('\u{feff}') {
        reader.at = '\u{feff}'.len_utf8();
    }
    reader.skip()?;
    let node = reader.value(0)?;
    reader.skip()?;
    if reader.at < reader.bytes.len() {
        return Err(reader.fault("text after the end of the document"));
    }
    Ok(node)
}

impl Value {
    /// The kind of value, with its article, for sentences.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Number(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "a list",
            Self::Object(_) => "an object",
        }
    }
}

impl Node {
    /// The member of this name, when this is an object that has it.
    pub fn member(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Object(members) => members.iter().find(|member| member.key == key).map(|m| &m.node),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => None,
        }
    }

    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Object(_) => None,
        }
    }
}

struct Reader<'t> {
    text: &'t str,
    bytes: &'t [u8],
    at: usize,
    comments: Comments,
}

impl Reader<'_> {
    fn fault(&self, message: impl Into<String>) -> Fault {
        Fault { at: self.at, message: message.into(), hint: None }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn skip(&mut self) -> Result<(), Fault> {
        while let Some(byte) = self.peek() {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => self.at += 1,
                b'/' if self.comments == Comments::Accepted => {
                    if self.bytes.get(self.at + 1) != Some(&b'/') {
                        return Err(Fault {
                            hint: Some("a comment is `//` up to the end of the line".into()),
                            ..self.fault("unexpected `/`")
                        });
                    }
                    while self.peek().is_some_and(|byte| byte != b'\n') {
                        self.at += 1;
                    }
                }
                _ => break,
            }
        }
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Result<Node, Fault> {
        if depth > MAX_DEPTH {
            return Err(self.fault(format!("nested deeper than {MAX_DEPTH} levels")));
        }
        let at = self.at;
        let value = match self.peek() {
            Some(b'{') => self.object(depth)?,
            Some(b'[') => self.list(depth)?,
            Some(b'"') => Value::Text(self.string()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b't') => self.word("true", Value::Bool(true))?,
            Some(b'f') => self.word("false", Value::Bool(false))?,
            Some(b'n') => self.word("null", Value::Null)?,
            Some(_) => return Err(self.fault("expected a value")),
            None => return Err(self.fault("the document ends where a value was expected")),
        };
        Ok(Node { at, end: self.at, value })
    }

    fn word(&mut self, word: &str, value: Value) -> Result<Value, Fault> {
        if !self.bytes[self.at..].starts_with(word.as_bytes()) {
            return Err(self.fault("expected a value"));
        }
        self.at += word.len();
        Ok(value)
    }

    fn list(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut nodes = Vec::new();
        self.at += 1;
        self.skip()?;
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(Value::List(nodes));
        }
        loop {
            nodes.push(self.value(depth + 1)?);
            if self.ends_after_item(b']')? {
                return Ok(Value::List(nodes));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Value, Fault> {
        let mut members = Vec::new();
        self.at += 1;
        self.skip()?;
        if self.peek() == Some(b'}') {
            self.at += 1;
            return Ok(Value::Object(members));
        }
        loop {
            let key_at = self.at;
            if self.peek() != Some(b'"') {
                return Err(self.fault("expected a key in double quotes"));
            }
            let key = self.string()?;
            self.skip()?;
            if self.peek() != Some(b':') {
                return Err(self.fault("expected `:` after the key"));
            }
            self.at += 1;
            self.skip()?;
            members.push(Member { key, key_at, node: self.value(depth + 1)? });
            if self.ends_after_item(b'}')? {
                no_duplicates(&members)?;
                return Ok(Value::Object(members));
            }
        }
    }

    /// After an item: true at the closing bracket, false when another item follows.
    fn ends_after_item(&mut self, close: u8) -> Result<bool, Fault> {
        self.skip()?;
        match self.peek() {
            Some(byte) if byte == close => {
                self.at += 1;
                Ok(true)
            }
            Some(b',') => {
                let comma = self.at;
                self.at += 1;
                self.skip()?;
                if self.peek() == Some(close) {
                    return Err(Fault {
                        at: comma,
                        message: "a comma with nothing after it".into(),
                        hint: Some("take the comma out".into()),
                    });
                }
                Ok(false)
            }
            Some(_) => Err(self.fault(format!("expected `,` or `{}`", char::from(close)))),
            None => Err(self.fault(format!("the document ends before `{}`", char::from(close)))),
        }
    }

    fn number(&mut self) -> Result<Value, Fault> {
        let start = self.at;
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
        if matches!(self.peek(), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(self.peek(), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Value::Number(self.text[start..self.at].to_owned()))
    }

    fn digits(&mut self) -> Result<(), Fault> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if start == self.at { Err(self.fault("expected a digit")) } else { Ok(()) }
    }

    fn string(&mut self) -> Result<String, Fault> {
        self.at += 1;
        let mut out = String::new();
        loop {
            let start = self.at;
            while self.peek().is_some_and(|byte| byte != b'"' && byte != b'\\' && byte >= 0x20) {
                self.at += 1;
            }
            out.push_str(&self.text[start..self.at]);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(out);
                }
                Some(b'\\') => out.push(self.escape()?),
                Some(_) => return Err(self.fault("a control character in a string must be escaped")),
                None => return Err(self.fault("the document ends inside a string")),
            }
        }
    }

    fn escape(&mut self) -> Result<char, Fault> {
        self.at += 1;
        let letter = self.peek();
        self.at += 1;
        Ok(match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode(),
            _ => {
                self.at -= 1;
                return Err(self.fault("unknown escape in a string"));
            }
        })
    }

    fn unicode(&mut self) -> Result<char, Fault> {
        let mut code = self.hex4()?;
        if (0xD800..0xDC00).contains(&code) && self.bytes[self.at..].starts_with(b"\\u") {
            self.at += 2;
            let low = self.hex4()?;
            if !(0xDC00..0xE000).contains(&low) {
                return Err(self.fault("half of a surrogate pair"));
            }
            code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        }
        char::from_u32(code).ok_or_else(|| self.fault("half of a surrogate pair"))
    }

    fn hex4(&mut self) -> Result<u32, Fault> {
        let digits = self.bytes.get(self.at..self.at + 4).filter(|d| d.iter().all(u8::is_ascii_hexdigit));
        let code = digits
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u32::from_str_radix(digits, 16).ok())
            .ok_or_else(|| self.fault("expected four hexadecimal digits"))?;
        self.at += 4;
        Ok(code)
    }
}

/// Up to so many keys are compared with each other, more are hashed.
const FEW: usize = 8;

fn no_duplicates(members: &[Member]) -> Result<(), Fault> {
    let twice = if members.len() <= FEW {
        let twice = |(n, member): &(usize, &Member)| members.iter().take(*n).any(|m| m.key == member.key);
        members.iter().enumerate().find(twice).map(|(_, member)| member)
    } else {
        let mut seen = HashSet::with_capacity(members.len());
        members.iter().find(|member| !seen.insert(member.key.as_str()))
    };
    match twice {
        None => Ok(()),
        Some(member) => Err(Fault {
            at: member.key_at,
            message: format!("the key `{}` stands here twice", member.key),
            hint: Some("only one of them could count: take one out".into()),
        }),
    }
}
