//! One condition on the arguments: eleven operators, each exact, each with an answer for every value.
//!
//! An answer is yes, no, or a fault. A fault never counts as the answer that would loosen the policy:
//! the caller turns it into a refusal or a question to a person.

use std::cmp::Ordering;

use regex::Regex;

use super::number;
use super::path::Path;
use super::tree::{Node, Value};

#[derive(Debug)]
pub(super) struct Condition {
    pub path: Path,
    pub test: Test,
    pub ignore_case: bool,
}

/// An operator with the value it compares to.
#[derive(Debug)]
pub(super) enum Test {
    Eq(Value),
    Neq(Value),
    Lt(String),
    Lte(String),
    Gt(String),
    Gte(String),
    In(Vec<Node>),
    NotIn(Vec<Node>),
    /// True: something must be there. False: nothing may be.
    Exists(bool),
    Regex(Box<Regex>),
    Contains(Value),
}

/// The operators, as a policy writes them.
pub(super) const OPERATORS: [&str; 11] =
    ["eq", "neq", "lt", "lte", "gt", "gte", "in", "not_in", "exists", "regex", "contains"];

/// Which values of a path with `[*]` must agree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Quantity {
    /// One is enough: for rules that tighten when they match.
    Any,
    /// Each must, and there must be one: for rules that tighten when they do not.
    Every,
}

/// `Err` says why there is no answer, without the values of the arguments.
pub(super) type Answer = Result<bool, String>;

/// All conditions must match. One that surely does not outweighs one that cannot be answered.
pub(super) fn all_match(conditions: &[Condition], arguments: &Node, quantity: Quantity) -> Answer {
    let mut answer = Ok(true);
    for condition in conditions {
        match condition.holds(arguments, quantity) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(fault) => answer = Err(fault),
        }
    }
    answer
}

impl Condition {
    fn holds(&self, arguments: &Node, quantity: Quantity) -> Answer {
        let found = self.path.find(arguments);
        if let Test::Exists(wanted) = self.test {
            return match (found.values.is_empty(), found.fault) {
                (true, Some(fault)) => Err(fault),
                (empty, _) => Ok(empty != wanted),
            };
        }
        let mut answer = match (found.values.is_empty(), found.fault) {
            (_, Some(fault)) => Err(fault),
            (true, None) => return Ok(quantity == Quantity::Any && self.test.holds_of_nothing()),
            (false, None) => Ok(quantity == Quantity::Every),
        };
        for value in found.values {
            match (self.test.of(value, self.ignore_case), quantity) {
                (Ok(true), Quantity::Any) => return Ok(true),
                (Ok(false), Quantity::Every) => return Ok(false),
                (Ok(true), Quantity::Every) | (Ok(false), Quantity::Any) => {}
                (Err(fault), _) => answer = Err(format!("{} {fault}", self.path.text)),
            }
        }
        answer
    }

    /// The condition in words: `args.amount gt 10000`.
    pub fn words(&self) -> String {
        let (operator, value) = match &self.test {
            Test::Eq(value) => ("eq", show(value)),
            Test::Neq(value) => ("neq", show(value)),
            Test::Lt(number) => ("lt", number.clone()),
            Test::Lte(number) => ("lte", number.clone()),
            Test::Gt(number) => ("gt", number.clone()),
            Test::Gte(number) => ("gte", number.clone()),
            Test::In(nodes) => ("in", show_list(nodes)),
            Test::NotIn(nodes) => ("not_in", show_list(nodes)),
            Test::Exists(wanted) => ("exists", wanted.to_string()),
            Test::Regex(regex) => ("regex", format!("{:?}", regex.as_str())),
            Test::Contains(value) => ("contains", show(value)),
        };
        let case = if self.ignore_case { " (ignoring case)" } else { "" };
        format!("{} {operator} {value}{case}", self.path.text)
    }
}

impl Test {
    /// Absent is not an error: what is not there differs from everything.
    fn holds_of_nothing(&self) -> bool {
        match self {
            Self::Neq(_) | Self::NotIn(_) => true,
            Self::Eq(_)
            | Self::Lt(_)
            | Self::Lte(_)
            | Self::Gt(_)
            | Self::Gte(_)
            | Self::In(_)
            | Self::Exists(_)
            | Self::Regex(_)
            | Self::Contains(_) => false,
        }
    }

    fn of(&self, value: &Value, ignore_case: bool) -> Answer {
        match self {
            Self::Eq(wanted) => same(value, wanted, ignore_case),
            Self::Neq(wanted) => same(value, wanted, ignore_case).map(|same| !same),
            Self::Lt(number) => order(value, number).map(Ordering::is_lt),
            Self::Lte(number) => order(value, number).map(Ordering::is_le),
            Self::Gt(number) => order(value, number).map(Ordering::is_gt),
            Self::Gte(number) => order(value, number).map(Ordering::is_ge),
            Self::In(nodes) => among(value, nodes, ignore_case),
            Self::NotIn(nodes) => among(value, nodes, ignore_case).map(|among| !among),
            Self::Exists(wanted) => Ok(*wanted),
            Self::Regex(regex) => match value {
                Value::Text(text) => Ok(regex.is_match(text)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::List(_) | Value::Object(_) => {
                    Err(not(value, "a string"))
                }
            },
            Self::Contains(wanted) => contains(value, wanted, ignore_case),
        }
    }
}

fn order(value: &Value, number: &str) -> Result<Ordering, String> {
    match value {
        Value::Number(text) => {
            number::compare(text, number).ok_or_else(|| "is a number beyond reason".into())
        }
        Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Object(_) => {
            Err(not(value, "a number"))
        }
    }
}

/// Equal, different, or a fault when the kinds differ: `"5"` may be 5 to a server. `null` is only itself.
fn same(value: &Value, wanted: &Value, ignore_case: bool) -> Answer {
    match (value, wanted) {
        (Value::Null, other) | (other, Value::Null) => Ok(matches!(other, Value::Null)),
        (Value::Bool(a), Value::Bool(b)) => Ok(a == b),
        (Value::Number(a), Value::Number(b)) => {
            number::compare(a, b).map(Ordering::is_eq).ok_or_else(|| "is a number beyond reason".into())
        }
        (Value::Text(a), Value::Text(b)) => same_text(a, b, ignore_case),
        (Value::List(a), Value::List(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            all_same(a.iter().zip(b).map(|(a, b)| same(&a.value, &b.value, ignore_case)))
        }
        (Value::Object(a), Value::Object(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            all_same(a.iter().map(|member| {
                b.iter()
                    .find(|other| other.key == member.key)
                    .map_or(Ok(false), |other| same(&member.node.value, &other.node.value, ignore_case))
            }))
        }
        (Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) | Value::Object(_), _) => {
            Err(not(value, wanted.kind()))
        }
    }
}

fn all_same(parts: impl Iterator<Item = Answer>) -> Answer {
    let mut answer = Ok(true);
    for part in parts {
        match part {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(fault) => answer = Err(fault),
        }
    }
    answer
}

fn any_of(parts: impl Iterator<Item = Answer>) -> Answer {
    let mut answer = Ok(false);
    for part in parts {
        match part {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(fault) => answer = Err(fault),
        }
    }
    answer
}

fn among(value: &Value, nodes: &[Node], ignore_case: bool) -> Answer {
    any_of(nodes.iter().map(|node| same(value, &node.value, ignore_case)))
}

fn contains(value: &Value, wanted: &Value, ignore_case: bool) -> Answer {
    match (value, wanted) {
        (Value::Text(text), Value::Text(part)) if !ignore_case => Ok(text.contains(part.as_str())),
        (Value::Text(text), Value::Text(part)) => {
            let narrow = lower(text).contains(&lower(part));
            sure(narrow, fold(text).contains(&fold(part)))
        }
        (Value::List(nodes), wanted) => {
            any_of(nodes.iter().map(|node| same(&node.value, wanted, ignore_case)))
        }
        (Value::Null | Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::Object(_), _) => {
            Err(not(value, "a string or list that can be searched for this"))
        }
    }
}

fn same_text(a: &str, b: &str, ignore_case: bool) -> Answer {
    if a == b || !ignore_case {
        return Ok(a == b);
    }
    if a.is_ascii() && b.is_ascii() {
        return Ok(a.eq_ignore_ascii_case(b));
    }
    sure(lower(a) == lower(b), fold(a) == fold(b))
}

/// Servers fold case up or down, and that differs (`ſ` is `S` in capitals): then nobody can be sure.
fn sure(narrow: bool, wide: bool) -> Answer {
    if narrow == wide { Ok(narrow) } else { Err("has letters whose capitals are ambiguous".into()) }
}

fn lower(text: &str) -> String {
    text.to_lowercase()
}

fn fold(text: &str) -> String {
    text.to_uppercase().to_lowercase()
}

fn not(value: &Value, wanted: &str) -> String {
    format!("is {}, not {wanted}", value.kind())
}

fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(text) => text.clone(),
        Value::Text(text) => format!("{text:?}"),
        Value::List(nodes) => show_list(nodes),
        Value::Object(_) => "{…}".into(),
    }
}

fn show_list(nodes: &[Node]) -> String {
    let shown: Vec<String> = nodes.iter().map(|node| show(&node.value)).collect();
    format!("[{}]", shown.join(", "))
}
