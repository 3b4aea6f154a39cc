//! Edits of a message that touch one field and leave every other byte as it was.

use std::{borrow::Cow, ops::Range};

use super::{Json, Kind};

/// Edits of one JSON text, in the order in which they are made.
#[derive(Clone, Debug)]
pub struct Edits<'a> {
    /// Valid JSON throughout: each edit puts one value in the place of another.
    text: Cow<'a, str>,
}

impl<'a> Edits<'a> {
    #[must_use]
    pub fn of(source: Json<'a>) -> Self {
        Self { text: Cow::Borrowed(source.as_str()) }
    }

    /// Replaces the member at `path` with `value` (JSON text), or inserts it last in its object (with
    /// missing objects on the way). `false` when something on the way is not an object.
    pub fn set(&mut self, path: &[&str], value: &str) -> bool {
        let mut here = Json(&self.text);
        for (depth, name) in path.iter().enumerate() {
            if here.kind() != Kind::Object {
                return false;
            }
            let Some(next) = here.get(name) else {
                let Some((at, comma)) = end_of_members(here, &self.text) else { return false };
                let member = format!("{comma}{}", nested(&path[depth..], value));
                self.splice(at..at, &member);
                return true;
            };
            here = next;
        }
        let Some(span) = here.span_in(self.text.as_bytes()) else { return false };
        self.splice(span, value);
        true
    }

    /// Removes the member at `path`, with its comma. `false` when it is not there.
    pub fn remove(&mut self, path: &[&str]) -> bool {
        let Some(span) = self.span_to_remove(path) else { return false };
        self.splice(span, "");
        true
    }

    /// Keeps the elements of the array at `path` for which `keep` holds; how many were dropped.
    pub fn retain(&mut self, path: &[&str], mut keep: impl FnMut(Json<'_>) -> bool) -> usize {
        let Some(array) = Json(&self.text).at(path) else { return 0 };
        let bytes = self.text.as_bytes();
        let (mut kept, mut dropped, mut written) = (String::new(), 0, false);
        let mut ends: Option<Range<usize>> = None;
        for element in array.elements() {
            let Some(span) = element.span_in(bytes) else { return 0 };
            let separator = ends.as_ref().map_or("", |e| &self.text[e.end..span.start]);
            ends = Some(ends.map_or(span.start, |e| e.start)..span.end);
            if !keep(element) {
                dropped += 1;
                continue;
            }
            if written {
                kept.push_str(if separator.is_empty() { "," } else { separator });
            }
            written = true;
            kept.push_str(element.as_str());
        }
        if let Some(span) = ends.filter(|_| dropped > 0) {
            self.splice(span, &kept);
        }
        dropped
    }

    /// Puts what `change` makes of an element of the array at `path` in its place; `None` keeps it.
    pub fn each(&mut self, path: &[&str], mut change: impl FnMut(Json<'_>) -> Option<Vec<u8>>) {
        let Some(array) = Json(&self.text).at(path) else { return };
        // Written once, however many change: a list may have very many.
        let (mut text, mut written) = (String::new(), 0);
        for element in array.elements() {
            let Some(with) = change(element).and_then(|with| String::from_utf8(with).ok()) else { continue };
            let Some(span) = element.span_in(self.text.as_bytes()) else { continue };
            text.push_str(&self.text[written..span.start]);
            text.push_str(&with);
            written = span.end;
        }
        if written > 0 {
            text.push_str(&self.text[written..]);
            self.text = Cow::Owned(text);
        }
    }

    /// Adds an element (JSON text) at the end of the array at `path`. `false` when there is no array.
    pub fn push(&mut self, path: &[&str], value: &str) -> bool {
        let Some(array) = Json(&self.text).at(path).filter(|array| array.kind() == Kind::Array) else {
            return false;
        };
        let bytes = self.text.as_bytes();
        let place = match array.elements().last() {
            Some(last) => last.span_in(bytes).map(|span| (span.end, ",")),
            None => array.span_in(bytes).map(|span| (span.start + 1, "")),
        };
        let Some((at, comma)) = place else { return false };
        self.splice(at..at, &format!("{comma}{value}"));
        true
    }

    /// Nothing was changed: the source bytes can be forwarded as they are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        matches!(self.text, Cow::Borrowed(_))
    }

    #[must_use]
    pub fn apply(self) -> Vec<u8> {
        self.text.into_owned().into_bytes()
    }

    fn span_to_remove(&self, path: &[&str]) -> Option<Range<usize>> {
        let (name, parents) = path.split_last()?;
        let bytes = self.text.as_bytes();
        let mut before = None;
        let mut members = Json(&self.text).at(parents)?.members();
        loop {
            let member = members.next()?;
            if member.name == *name {
                let (start, end) = (member.name_raw.span_in(bytes)?.start, member.value.span_in(bytes)?.end);
                let next = members.next().and_then(|m| m.name_raw.span_in(bytes));
                return Some(match (before, next) {
                    (Some(before), _) => before..end,
                    (None, Some(next)) => start..next.start,
                    (None, None) => start..end,
                });
            }
            before = Some(member.value.span_in(bytes)?.end);
        }
    }

    fn splice(&mut self, span: Range<usize>, with: &str) {
        let mut text = String::with_capacity(self.text.len() + with.len());
        text.push_str(&self.text[..span.start]);
        text.push_str(with);
        text.push_str(&self.text[span.end..]);
        self.text = Cow::Owned(text);
    }
}

/// Where a member can be added to `object`, and the comma that it needs.
fn end_of_members(object: Json<'_>, whole: &str) -> Option<(usize, &'static str)> {
    match object.members().last() {
        Some(member) => Some((member.value.span_in(whole.as_bytes())?.end, ",")),
        None => Some((object.span_in(whole.as_bytes())?.start + 1, "")),
    }
}

/// `"a":{"b":value}` for the path a, b.
fn nested(path: &[&str], value: &str) -> String {
    let name = |name: &str| serde_json::Value::from(name).to_string();
    match path {
        [] => value.to_owned(),
        [last] => format!("{}:{value}", name(last)),
        [first, rest @ ..] => format!("{}:{{{}}}", name(first), nested(rest, value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::strict::{Limits, check};

    fn edited(text: &str, edit: impl FnOnce(&mut Edits<'_>)) -> String {
        let mut edits = Edits::of(check(text.as_bytes(), &Limits::default()).unwrap());
        edit(&mut edits);
        String::from_utf8(edits.apply()).unwrap()
    }

    #[test]
    fn a_member_is_replaced_inserted_or_removed_and_nothing_else_moves() {
        let text = r#"{ "id" : 1e2 ,"params":{"_meta":{ "progressToken":"a" , "x":1.0}, "n":1} }"#;
        let is = |path: &[&str], value, result: &str| {
            assert_eq!(edited(text, |e| assert!(e.set(path, value))), result);
        };
        is(&["id"], "\"z\"", &text.replace("1e2", "\"z\""));
        is(&["params", "_meta", "progressToken"], "7", &text.replace("\"a\"", "7"));
        is(&["params", "_meta", "new"], "{}", &text.replace("1.0", "1.0,\"new\":{}"));
        is(
            &["result", "_meta", "k"],
            "1",
            &text.replace("\"n\":1}", "\"n\":1},\"result\":{\"_meta\":{\"k\":1}}"),
        );
        assert_eq!(edited("{ }", |e| assert!(e.set(&["a\""], "1"))), "{\"a\\\"\":1 }");
        assert_eq!(edited(text, |e| assert!(!e.set(&["id", "x"], "1"))), text);
        let gone = edited(text, |e| assert!(e.remove(&["params", "_meta", "progressToken"])));
        assert_eq!(gone, text.replace("\"progressToken\":\"a\" , ", ""));
        let gone = edited(text, |e| assert!(e.remove(&["params", "_meta", "x"])));
        assert_eq!(gone, text.replace(" , \"x\":1.0", ""));
        assert_eq!(edited("{\"a\":1 }", |e| assert!(e.remove(&["a"]))), "{ }");
    }

    #[test]
    fn elements_are_filtered_and_the_kept_ones_stay_as_they_were() {
        let text = "{\"result\":{\"tools\":[ {\"name\":\"a\"} ,\n{\"name\":\"b\"}, {\"name\":\"c\"} ]}}";
        let keep = |names: &'static str| {
            edited(text, |e| {
                e.retain(&["result", "tools"], |t| {
                    t.get("name").and_then(Json::string).is_some_and(|n| names.contains(&*n))
                });
            })
        };
        assert_eq!(keep("abc"), text);
        assert_eq!(keep("ac"), text.replace(" ,\n{\"name\":\"b\"}", ""));
        assert_eq!(keep("c"), "{\"result\":{\"tools\":[ {\"name\":\"c\"} ]}}");
        assert_eq!(keep(""), "{\"result\":{\"tools\":[  ]}}");
    }
}
