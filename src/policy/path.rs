//! Where in the arguments a condition looks: `args.items[0].name`, `args.items[*].id`, `args["a.b"]`.

use super::tree::{Node, Value};

#[derive(Clone, Debug)]
pub(super) struct Path {
    /// As written, for sentences.
    pub text: String,
    steps: Vec<Step>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Step {
    /// A member of an object; on a list, an index if it is one.
    Key(String),
    Index(usize),
    Every,
}

/// What a path leads to.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    pub values: Vec<&'a Value>,
    /// Why a part could not be looked into, if any.
    pub fault: Option<String>,
}

impl Path {
    /// Reads `args`, then steps. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some(mut rest) = text.strip_prefix("args") else {
            return Err(format!("`{text}` must start with `args`, e.g. `args.amount`"));
        };
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let (step, after) = if let Some(inner) = rest.strip_prefix('[') {
                bracket(inner).ok_or_else(|| format!("`{text}`: expected [number], [*] or [\"name\"]"))?
            } else if let Some(inner) = rest.strip_prefix('.') {
                let end = inner.find(['.', '[']).unwrap_or(inner.len());
                if end == 0 {
                    return Err(format!("`{text}` has an empty part"));
                }
                (key(&inner[..end]), &inner[end..])
            } else {
                return Err(format!("`{text}` must start with `args.`"));
            };
            steps.push(step);
            rest = after;
        }
        Ok(Self { text: text.to_owned(), steps })
    }

    /// Absent parts yield nothing; a part of the wrong kind is a fault. `null` counts as absent on the way.
    pub fn find<'a>(&self, root: &'a Node) -> Found<'a> {
        let mut found = Found { values: vec![&root.value], fault: None };
        for step in &self.steps {
            let mut next = Vec::new();
            for value in found.values {
                if let Err(kind) = step.take(value, &mut next) {
                    found.fault = Some(format!("a part of {} is {kind}", self.text));
                }
            }
            found.values = next;
        }
        found
    }
}

impl Step {
    fn take<'a>(&self, value: &'a Value, next: &mut Vec<&'a Value>) -> Result<(), &'static str> {
        match (self, value) {
            (_, Value::Null) => {}
            (Self::Key(key), Value::Object(members)) => {
                next.extend(
                    members.iter().find(|member| member.key == *key).map(|member| &member.node.value),
                );
            }
            (Self::Key(key), Value::List(nodes)) => {
                let Ok(index) = key.parse::<usize>() else { return Err(value.kind()) };
                next.extend(nodes.get(index).map(|node| &node.value));
            }
            (Self::Index(index), Value::List(nodes)) => {
                next.extend(nodes.get(*index).map(|node| &node.value));
            }
            (Self::Every, Value::List(nodes)) => next.extend(nodes.iter().map(|node| &node.value)),
            (Self::Key(_), Value::Bool(_) | Value::Number(_) | Value::Text(_))
            | (
                Self::Index(_) | Self::Every,
                Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Object(_),
            ) => return Err(value.kind()),
        }
        Ok(())
    }
}

fn key(text: &str) -> Step {
    if text == "*" { Step::Every } else { Step::Key(text.to_owned()) }
}

fn bracket(inner: &str) -> Option<(Step, &str)> {
    if let Some(quoted) = inner.strip_prefix('"') {
        let (name, after) = quoted.split_once("\"]")?;
        return Some((Step::Key(name.to_owned()), after));
    }
    let (index, after) = inner.split_once(']')?;
    if index == "*" {
        return Some((Step::Every, after));
    }
    Some((Step::Index(index.parse().ok()?), after))
}
