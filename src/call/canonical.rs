//! RFC 8785 with one deviation: number tokens stay as their text, so that no digit is lost.
//!
//! A strict parser of its own writes the canonical form as it reads. It refuses what two readers
//! could take differently: duplicate members, lone surrogates, invalid UTF-8, text after the value.

/// Deeper nesting is refused, so that recursion stays bounded.
const MAX_DEPTH: usize = 128;

/// The canonical form of strictly valid JSON: members sorted by UTF-16 code units, no white space,
/// minimal string escapes, numbers as written. `None` when `json` is not valid JSON.
/// Serves the fingerprint only; what is sent are the client's own bytes.
#[must_use]
pub fn canonical(json: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader { text: std::str::from_utf8(json).ok()?, at: 0 };
    let mut out = String::with_capacity(json.len());
    reader.value(&mut out, 0)?;
    reader.skip_white();
    (reader.at == json.len()).then(|| out.into_bytes())
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, out: &mut String, depth: usize) -> Option<()> {
        self.skip_white();
        match self.peek()? {
            b'{' if depth < MAX_DEPTH => self.object(out, depth + 1),
            b'[' if depth < MAX_DEPTH => self.array(out, depth + 1),
            b'"' => {
                write_string(out, &self.string()?);
                Some(())
            }
            b't' => self.word("true", out),
            b'f' => self.word("false", out),
            b'n' => self.word("null", out),
            b'-' | b'0'..=b'9' => {
                out.push_str(self.number()?);
                Some(())
            }
            _ => None,
        }
    }

    fn object(&mut self, out: &mut String, depth: usize) -> Option<()> {
        let mut members: Vec<(Vec<u16>, String)> = Vec::new();
        self.expect(b'{')?;
        if !self.take(b'}') {
            loop {
                self.skip_white();
                let name = self.string()?;
                self.expect(b':')?;
                let mut member = String::new();
                write_string(&mut member, &name);
                member.push(':');
                self.value(&mut member, depth)?;
                members.push((name.encode_utf16().collect(), member));
                if self.take(b'}') {
                    break;
                }
                self.expect(b',')?;
            }
        }
        members.sort_by(|a, b| a.0.cmp(&b.0));
        if members.windows(2).any(|pair| pair[0].0 == pair[1].0) {
            return None;
        }
        out.push('{');
        for (index, (_, member)) in members.iter().enumerate() {
            if index > 0 {
                out.push(',');
            }
            out.push_str(member);
        }
        out.push('}');
        Some(())
    }

    fn array(&mut self, out: &mut String, depth: usize) -> Option<()> {
        self.expect(b'[')?;
        out.push('[');
        if !self.take(b']') {
            loop {
                self.value(out, depth)?;
                if self.take(b']') {
                    break;
                }
                self.expect(b',')?;
                out.push(',');
            }
        }
        out.push(']');
        Some(())
    }

    fn word(&mut self, word: &str, out: &mut String) -> Option<()> {
        self.text[self.at..].starts_with(word).then(|| {
            self.at += word.len();
            out.push_str(word);
        })
    }

    /// A number's own text, checked against the grammar of RFC 8259.
    fn number(&mut self) -> Option<&'a str> {
        let start = self.at;
        self.next_if(|byte| byte == b'-');
        let zero = self.next_if(|byte| byte == b'0');
        if zero == (self.digits() > 0) {
            return None;
        }
        if self.next_if(|byte| byte == b'.') && self.digits() == 0 {
            return None;
        }
        if self.next_if(|byte| matches!(byte, b'e' | b'E')) {
            self.next_if(|byte| matches!(byte, b'+' | b'-'));
            if self.digits() == 0 {
                return None;
            }
        }
        Some(&self.text[start..self.at])
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while self.next_if(|byte| byte.is_ascii_digit()) {}
        self.at - start
    }

    /// A string's value, escapes resolved.
    fn string(&mut self) -> Option<String> {
        if !self.next_if(|byte| byte == b'"') {
            return None;
        }
        let mut value = String::new();
        loop {
            let rest = &self.text[self.at..];
            let plain = rest.find(|c: char| c == '"' || c == '\\' || c < ' ')?;
            value.push_str(&rest[..plain]);
            self.at += plain + 1;
            match rest.as_bytes()[plain] {
                b'"' => return Some(value),
                b'\\' => value.push(self.escape()?),
                _ => return None,
            }
        }
    }

    fn escape(&mut self) -> Option<char> {
        let byte = self.peek()?;
        self.at += 1;
        Some(match byte {
            b'"' => '"',
            b'\\' => '\\',
            b'/' => '/',
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => return self.code_point(),
            _ => return None,
        })
    }

    /// `\uXXXX`, or two of them that make a surrogate pair.
    fn code_point(&mut self) -> Option<char> {
        let first = self.hex4()?;
        if !(0xd800..0xe000).contains(&first) {
            return char::from_u32(u32::from(first));
        }
        if !self.text[self.at..].starts_with("\\u") {
            return None;
        }
        self.at += 2;
        let pair = [first, self.hex4()?];
        char::decode_utf16(pair).next()?.ok()
    }

    fn hex4(&mut self) -> Option<u16> {
        let digits = self.text.get(self.at..self.at + 4)?;
        self.at += 4;
        let hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if hex { u16::from_str_radix(digits, 16).ok() } else { None }
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Steps over one ASCII byte that fits.
    fn next_if(&mut self, fits: impl Fn(u8) -> bool) -> bool {
        let fits = self.peek().is_some_and(fits);
        self.at += usize::from(fits);
        fits
    }

    fn skip_white(&mut self) {
        while self.next_if(|byte| matches!(byte, b' ' | b'\t' | b'\n' | b'\r')) {}
    }

    /// White space, then this byte, if it comes.
    fn take(&mut self, byte: u8) -> bool {
        self.skip_white();
        self.next_if(|next| next == byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.take(byte).then_some(())
    }
}

/// Only what must be escaped is: the quote, the backslash and control characters.
fn write_string(out: &mut String, value: &str) {
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            '\0'..='\u{1f}' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            _ => out.push(c),
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::{MAX_DEPTH, canonical};

    fn form(json: &str) -> Option<String> {
        canonical(json.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn members_sort_by_utf_16_code_units() {
        // RFC 8785, 3.2.3: the emoji's high surrogate sorts before U+FB33.
        let json = r#"{"\u20ac":"Euro Sign","\r":"Carriage Return","\ufb33":"Hebrew Letter Dalet With Dagesh",
            "1":"One","\ud83d\ude00":"Emoji: Grinning Face","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis"}"#;
        assert_eq!(
            form(json).unwrap(),
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\
             \"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\
             \"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
        );
    }

    #[test]
    fn strings_keep_only_the_escapes_they_need() {
        // RFC 8785, 3.2.2 and 3.2.4, numbers left out.
        let json = r#" { "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false] } "#;
        assert_eq!(
            form(json).unwrap(),
            r#"{"literals":[null,true,false],"string":"€$\u000f\nA'B\"\\\\\"/"}"#
        );
        assert_eq!(form(r#""\b\f\t\u0000\u007f""#).unwrap(), "\"\\b\\f\\t\\u0000\u{7f}\"");
    }

    #[test]
    fn numbers_stay_as_written() {
        for number in ["0", "-0", "1.0", "1E+2", "12345678901234567890123", "0.10", "-1e-7"] {
            assert_eq!(form(number).as_deref(), Some(number));
        }
    }

    #[test]
    fn nested_objects_and_white_space() {
        let json = "{ \"b\" : [ 1 ,\t{ \"d\":{}, \"c\":[ ] } ],\r\n\"a\":\"\" }";
        assert_eq!(form(json).unwrap(), r#"{"a":"","b":[1,{"c":[],"d":{}}]}"#);
    }

    #[test]
    fn what_is_not_strictly_json_has_no_form() {
        let wrong = [
            "",
            " ",
            "01",
            "-",
            "+1",
            "1.",
            ".5",
            "1e",
            "1e+",
            "0x1",
            "NaN",
            "tru",
            "nul",
            "True",
            "'a'",
            "\"",
            "\"\n\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u+123\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "[1,]",
            "[,1]",
            "[1 2]",
            "[",
            "]",
            "{",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "{\"a\":1 \"b\":2}",
            "1 2",
            "{}x",
            "{\"a\":1,\"a\":1}",
            "{\"a\":1,\"\\u0061\":2}",
            "\u{feff}1",
            "\u{a0}1",
            "// x\n1",
        ];
        for json in wrong {
            assert_eq!(form(json), None, "{json}");
        }
        assert_eq!(canonical(b"\"\xff\""), None);
        assert_eq!(canonical(b"\"\xed\xa0\x80\""), None);
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(form(&nested(MAX_DEPTH)), Some(nested(MAX_DEPTH)));
        assert_eq!(form(&nested(MAX_DEPTH + 1)), None);
        assert_eq!(form(&"[".repeat(1_000_000)), None);
    }
}
