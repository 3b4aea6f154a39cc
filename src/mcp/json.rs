//! `Json`: a borrowed text that is known to be one valid JSON value, walked without a tree.

use std::{borrow::Cow, ops::Range};

use super::scanner::plain_until;

/// One valid JSON value without white space around it. Made by `strict::check`, or a part of such a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Json<'a>(pub(super) &'a str);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// One member of an object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member<'a> {
    /// The decoded name; as written, if it has half of a surrogate pair (only a server's may).
    pub name: Cow<'a, str>,
    /// The name as written, with its quotes.
    pub name_raw: Json<'a>,
    pub value: Json<'a>,
}

impl<'a> Json<'a> {
    pub const NULL: Json<'static> = Json("null");

    #[must_use]
    pub fn as_str(self) -> &'a str {
        self.0
    }

    #[must_use]
    pub fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::Array,
            Some(b'"') => Kind::String,
            Some(b't' | b'f') => Kind::Bool,
            Some(b'n') | None => Kind::Null,
            Some(_) => Kind::Number,
        }
    }

    /// The decoded string; `None` when it is something else, or has half of a surrogate pair (only a server's
    /// may), which is no text and equals none.
    #[must_use]
    pub fn string(self) -> Option<Cow<'a, str>> {
        let inner = self.unquoted()?;
        if !inner.contains('\\') {
            return Some(Cow::Borrowed(inner));
        }
        serde_json::from_str(self.0).ok().map(Cow::Owned)
    }

    /// The string as written.
    fn unquoted(self) -> Option<&'a str> {
        self.0.strip_prefix('"')?.strip_suffix('"')
    }

    /// The members in order; none when it is not an object.
    #[must_use]
    pub fn members(self) -> Members<'a> {
        Members { rest: self.0.strip_prefix('{').unwrap_or_default() }
    }

    /// The elements in order; none when it is not an array.
    #[must_use]
    pub fn elements(self) -> Elements<'a> {
        Elements { rest: self.0.strip_prefix('[').unwrap_or_default() }
    }

    /// The member named `name` (the last, if a server sent it twice); `None` when absent or not an object.
    #[must_use]
    pub fn get(self, name: &str) -> Option<Json<'a>> {
        self.members().filter(|m| m.name == name).last().map(|m| m.value)
    }

    /// `get` along a path of names.
    #[must_use]
    pub fn at(self, path: &[&str]) -> Option<Json<'a>> {
        path.iter().try_fold(self, |json, name| json.get(name))
    }

    /// The same id, however each side writes it: strings decoded, numbers as the doubles that most
    /// languages read them into.
    #[must_use]
    pub fn is_same_id(self, other: Json<'_>) -> bool {
        if self.0 == other.0 {
            return true;
        }
        match (self.string(), other.string()) {
            (Some(one), Some(two)) => one == two,
            (None, None) if self.kind() == Kind::Number && other.kind() == Kind::Number => {
                self.0.parse::<f64>().is_ok_and(|one| other.0.parse::<f64>().is_ok_and(|two| one == two))
            }
            (_, _) => false,
        }
    }

    /// Where this value lies in `whole`, of which it must be a part (else `None`).
    #[must_use]
    pub fn span_in(self, whole: &[u8]) -> Option<Range<usize>> {
        let start = (self.0.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
        let end = start + self.0.len();
        (end <= whole.len()).then_some(start..end)
    }
}

/// Iterator of `Json::members`.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Members<'a> {
    type Item = Member<'a>;

    fn next(&mut self) -> Option<Member<'a>> {
        let name_raw = take_value(&mut self.rest)?;
        let value = take_value(&mut self.rest)?;
        // What cannot be decoded does not hide the members after it.
        let name = name_raw.string().or_else(|| name_raw.unquoted().map(Cow::Borrowed))?;
        Some(Member { name, name_raw, value })
    }
}

/// Iterator of `Json::elements`.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a str,
}

impl<'a> Iterator for Elements<'a> {
    type Item = Json<'a>;

    fn next(&mut self) -> Option<Json<'a>> {
        take_value(&mut self.rest)
    }
}

/// Takes the next value after white space, a comma or a colon; `None` at the closing bracket.
fn take_value<'a>(rest: &mut &'a str) -> Option<Json<'a>> {
    let text = rest.trim_start_matches([' ', '\n', '\r', '\t', ',', ':']);
    let end = end_of_value(text.as_bytes());
    if end == 0 {
        return None;
    }
    let (value, after) = text.split_at_checked(end)?;
    *rest = after;
    Some(Json(value))
}

/// Length of the value that begins here, in a text that is known to be valid.
fn end_of_value(bytes: &[u8]) -> usize {
    match bytes.first() {
        Some(b'"') => end_of_string(bytes, 0),
        Some(b'{' | b'[') => end_of_nest(bytes),
        _ => bytes
            .iter()
            .position(|b| matches!(b, b',' | b']' | b'}' | b':' | b' ' | b'\n' | b'\r' | b'\t'))
            .unwrap_or(bytes.len()),
    }
}

fn end_of_nest(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = end_of_string(bytes, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// Where the string that opens at `at` ends.
fn end_of_string(bytes: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    loop {
        at = plain_until(bytes, at);
        match bytes.get(at) {
            Some(b'"') => return at + 1,
            Some(b'\\') => at += 2,
            Some(_) => at += 1,
            None => return bytes.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_and_elements_are_walked_in_order_with_their_spans() {
        let whole = br#"{ "a" : [1, {"x":"]}\""}, "s" ] ,"\u0062":-1.5e3,"c":{}, "d":null }"#;
        let json = Json(std::str::from_utf8(whole).unwrap());
        let names: Vec<_> = json.members().map(|m| m.name.into_owned()).collect();
        assert_eq!(names, ["a", "b", "c", "d"]);
        let elements: Vec<_> = json.get("a").unwrap().elements().map(Json::as_str).collect();
        assert_eq!(elements, ["1", r#"{"x":"]}\""}"#, "\"s\""]);
        assert_eq!(json.at(&["b"]).unwrap().as_str(), "-1.5e3");
        assert_eq!(&whole[json.get("d").unwrap().span_in(whole).unwrap()], b"null");
        assert!(json.at(&["a", "x"]).is_none());
    }

    #[test]
    fn an_id_is_a_value_and_not_its_spelling() {
        let same = |one, two| Json(one).is_same_id(Json(two)) && Json(two).is_same_id(Json(one));
        for (one, two) in [
            ("7", "7"),
            ("7.0", "7"),
            ("1e2", "100"),
            ("-0", "0"),
            ("9007199254740993", "9007199254740992"),
            (r#""\u0041""#, r#""A""#),
            (r#""a/é""#, r#""a\/\u00e9""#),
            (r#""\ud800""#, r#""\ud800""#),
        ] {
            assert!(same(one, two), "{one} {two}");
        }
        for (one, two) in
            [("7", "8"), ("7", r#""7""#), (r#""a""#, r#""b""#), (r#""\ud800""#, r#""\ud801""#), ("null", "0")]
        {
            assert!(!same(one, two), "{one} {two}");
        }
    }
}
