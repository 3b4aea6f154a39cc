//! Reads members of a spanned tree, and says of each mistake where it is and what was expected.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::problem::{Problems, nearest};
use super::tree::{Member, Node, Value};
use super::window;

/// The keys of one kind of object.
pub(super) struct Keys {
    /// What the object is, for sentences: `the policy`.
    pub of: &'static str,
    pub known: &'static [&'static str],
    /// Keys of the format that this version does not enforce.
    pub later: &'static [&'static str],
}

/// The members of an object whose keys were checked.
pub(super) type Members<'n> = &'n [Member];

pub(super) fn member<'n>(members: Members<'n>, key: &str) -> Option<&'n Node> {
    members.iter().find(|member| member.key == key).map(|member| &member.node)
}

impl Problems<'_> {
    /// `node` must be what the sentence says.
    pub fn expected(&mut self, node: &Node, wanted: &str) {
        self.add(node.at, format!("expected {wanted}, found {}", node.value.kind()), None);
    }

    /// The object's members; unknown keys are problems.
    pub fn object<'n>(&mut self, node: &'n Node, keys: &Keys) -> Option<Members<'n>> {
        let Value::Object(members) = &node.value else {
            self.expected(node, &format!("an object ({})", keys.of));
            return None;
        };
        for member in members {
            self.key(member, keys);
        }
        Some(members)
    }

    fn key(&mut self, member: &Member, keys: &Keys) {
        let key = member.key.as_str();
        if keys.known.contains(&key) {
            return;
        }
        if keys.later.contains(&key) {
            return self.add(
                member.key_at,
                format!("`{key}` is not enforced by this version, so the policy is refused"),
                Some(format!("take `{key}` out, or use a version that enforces it")),
            );
        }
        let hint = match nearest(key, keys.known.iter().chain(keys.later).copied()) {
            Some(name) => format!("did you mean `{name}`?"),
            None => format!("{} has {}", keys.of, keys.known.join(", ")),
        };
        self.add(member.key_at, format!("unknown key `{key}` in {}", keys.of), Some(hint));
    }

    /// A member that must be there.
    pub fn required<'n>(
        &mut self,
        node: &Node,
        members: Members<'n>,
        key: &str,
        of: &str,
    ) -> Option<&'n Node> {
        let found = member(members, key);
        if found.is_none() {
            self.add(node.at, format!("{of} needs `{key}`"), None);
        }
        found
    }

    pub fn list<'n>(&mut self, node: Option<&'n Node>, of: &str) -> &'n [Node] {
        let Some(node) = node else { return &[] };
        let Value::List(nodes) = &node.value else {
            self.expected(node, &format!("a list of {of}"));
            return &[];
        };
        nodes
    }

    pub fn text<'n>(&mut self, node: Option<&'n Node>) -> Option<&'n str> {
        let node = node?;
        if node.text().is_none() {
            self.expected(node, "a string");
        }
        node.text()
    }

    pub fn flag(&mut self, node: Option<&Node>) -> Option<bool> {
        let node = node?;
        let Value::Bool(flag) = node.value else {
            self.expected(node, "true or false");
            return None;
        };
        Some(flag)
    }

    /// A number that is finite and not negative.
    pub fn amount(&mut self, node: &Node) -> Option<f64> {
        let Value::Number(text) = &node.value else {
            self.expected(node, "a number");
            return None;
        };
        let amount = text.parse::<f64>().ok().filter(|amount| amount.is_finite() && *amount >= 0.0);
        if amount.is_none() {
            self.add(node.at, "expected a number from 0 up", None);
        }
        amount
    }

    /// A whole number within a range.
    pub fn whole(&mut self, node: &Node, range: RangeInclusive<u32>) -> Option<u32> {
        let number = match &node.value {
            Value::Number(text) => text.parse().ok().filter(|number| range.contains(number)),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Object(_) => None,
        };
        if number.is_none() {
            let wanted = format!("expected a whole number from {} to {}", range.start(), range.end());
            self.add(node.at, wanted, None);
        }
        number
    }

    pub fn duration(&mut self, node: Option<&Node>) -> Option<Duration> {
        let node = node?;
        let duration = window::duration(self.text(Some(node))?);
        if duration.is_none() {
            let hint = Some("a whole number and s, m, h or d: \"90s\", \"15m\"".to_owned());
            self.add(node.at, "expected a duration", hint);
        }
        duration
    }

    /// One word of a fixed set.
    pub fn word<T: Copy>(&mut self, node: Option<&Node>, words: &[(&'static str, T)]) -> Option<T> {
        let node = node?;
        let text = self.text(Some(node))?;
        let found = words.iter().find(|(word, _)| *word == text).map(|(_, value)| *value);
        if found.is_none() {
            let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
            let hint = nearest(text, all.iter().copied()).map(|word| format!("did you mean \"{word}\"?"));
            self.add(node.at, format!("expected one of {}, found \"{text}\"", all.join(", ")), hint);
        }
        found
    }
}
