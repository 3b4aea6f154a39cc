//! Reads rules and limits: entries of `require`, `deny_if`, `approve_if`, `limits`, and `rate_limit`.

use std::time::Duration;

use regex::RegexBuilder;

use super::document::{Limit, Rule};
use super::matcher::{Condition, OPERATORS, Test};
use super::path::Path;
use super::problem::Problems;
use super::reader::{Keys, Members, member};
use super::tree::{Node, Value};
use super::{Scope, Window};

const RULE: Keys =
    Keys { of: "a rule", known: &["description", "conditions", "on_deny", "reason"], later: &["cel"] };

/// A rule of one condition, written without `conditions`.
const BARE: Keys = Keys {
    of: "a rule",
    known: &["description", "path", "op", "value", "ignore_case", "on_deny", "reason"],
    later: &["cel"],
};

const CONDITION: Keys =
    Keys { of: "a condition", known: &["path", "op", "value", "ignore_case"], later: &["cel"] };

const LIMIT: Keys = Keys {
    of: "a limit",
    known: &[
        "description",
        "counter",
        "window",
        "max",
        "scope",
        "increment_from",
        "on_limit",
        "on_deny",
        "reason",
        "conditions",
    ],
    later: &["increment", "cel"],
};

const RATE_LIMIT: Keys =
    Keys { of: "rate_limit", known: &["max", "window", "on_deny", "reason"], later: &[] };

const SCOPES: [(&str, Scope); 5] = [
    ("grant", Scope::Grant),
    ("agent", Scope::Agent),
    ("session", Scope::Session),
    ("server", Scope::Server),
    ("global", Scope::Global),
];

impl Problems<'_> {
    pub fn rules(&mut self, node: Option<&Node>, id: &str) -> Vec<Rule> {
        let nodes = self.list(node, "rules");
        nodes
            .iter()
            .enumerate()
            .filter_map(|(index, node)| self.rule(node, format!("{id}/{index}")))
            .collect()
    }

    pub fn limits(&mut self, limits: Option<&Node>, rate: Option<&Node>, pointer: &str) -> Vec<Limit> {
        let nodes = self.list(limits, "limits");
        let limits = nodes.iter().enumerate();
        let limits = limits.filter_map(|(index, node)| self.limit(node, format!("{pointer}/limits/{index}")));
        let mut limits: Vec<Limit> = limits.collect();
        limits.extend(rate.and_then(|node| self.rate_limit(node, format!("{pointer}/rate_limit"))));
        limits
    }

    fn rule(&mut self, node: &Node, id: String) -> Option<Rule> {
        let bare = node.member("conditions").is_none() && node.member("path").is_some();
        let members = self.object(node, if bare { &BARE } else { &RULE })?;
        let conditions = if bare {
            vec![self.condition(node, members)?]
        } else {
            let conditions = match member(members, "conditions") {
                // `cel` was already refused by name: one problem is enough.
                None if member(members, "cel").is_some() => None,
                _ => self.required(node, members, "conditions", RULE.of),
            };
            self.conditions(conditions)?
        };
        let _: Option<&str> = self.text(member(members, "description"));
        Some(Rule { id, conditions, text: self.reason(members) })
    }

    /// `on_deny` or `reason`.
    fn reason(&mut self, members: Members<'_>) -> Option<String> {
        let on_deny = self.text(member(members, "on_deny"));
        let reason = self.text(member(members, "reason"));
        on_deny.or(reason).map(str::to_owned)
    }

    /// None when one of them has a problem.
    fn conditions(&mut self, node: Option<&Node>) -> Option<Vec<Condition>> {
        let nodes = self.list(node, "conditions");
        let read = |node| {
            let members = self.object(node, &CONDITION)?;
            self.condition(node, members)
        };
        nodes.iter().map(read).collect()
    }

    fn condition(&mut self, node: &Node, members: Members<'_>) -> Option<Condition> {
        let path = self.required(node, members, "path", CONDITION.of);
        let path = path.and_then(|node| self.path(node));
        let ignore_case = self.flag(member(members, "ignore_case")).unwrap_or(false);
        let op = self.required(node, members, "op", CONDITION.of);
        let op = self.word(op, &OPERATORS.map(|operator| (operator, operator)))?;
        let value = match member(members, "value") {
            Some(value) => value,
            None if op == "exists" => {
                return Some(Condition { path: path?, test: Test::Exists(true), ignore_case });
            }
            None => self.required(node, members, "value", CONDITION.of)?,
        };
        let test = self.test(op, value, ignore_case)?;
        Some(Condition { path: path?, test, ignore_case })
    }

    fn path(&mut self, node: &Node) -> Option<Path> {
        match Path::parse(self.text(Some(node))?) {
            Ok(path) => Some(path),
            Err(message) => {
                self.add(node.at, message, None);
                None
            }
        }
    }

    fn test(&mut self, op: &str, node: &Node, ignore_case: bool) -> Option<Test> {
        let value = || node.value.clone();
        Some(match op {
            "eq" => Test::Eq(value()),
            "neq" => Test::Neq(value()),
            "lt" => Test::Lt(self.number(node)?),
            "lte" => Test::Lte(self.number(node)?),
            "gt" => Test::Gt(self.number(node)?),
            "gte" => Test::Gte(self.number(node)?),
            "in" => Test::In(self.values(node)?),
            "not_in" => Test::NotIn(self.values(node)?),
            "exists" => Test::Exists(self.flag(Some(node))?),
            "regex" => Test::Regex(Box::new(self.regex(node, ignore_case)?)),
            _ => Test::Contains(value()),
        })
    }

    fn number(&mut self, node: &Node) -> Option<String> {
        match &node.value {
            Value::Number(text) => Some(text.clone()),
            Value::Null | Value::Bool(_) | Value::Text(_) | Value::List(_) | Value::Object(_) => {
                self.expected(node, "a number to compare with");
                None
            }
        }
    }

    fn values(&mut self, node: &Node) -> Option<Vec<Node>> {
        let Value::List(nodes) = &node.value else {
            self.expected(node, "a list of values");
            return None;
        };
        Some(nodes.clone())
    }

    fn regex(&mut self, node: &Node, ignore_case: bool) -> Option<regex::Regex> {
        let pattern = self.text(Some(node))?;
        match RegexBuilder::new(pattern).case_insensitive(ignore_case).build() {
            Ok(regex) => Some(regex),
            Err(error) => {
                let why = error.to_string();
                let why = why.lines().last().unwrap_or("it cannot be read").trim_start_matches("error: ");
                self.add(node.at, format!("not a regular expression: {why}"), None);
                None
            }
        }
    }

    fn limit(&mut self, node: &Node, id: String) -> Option<Limit> {
        let members = self.object(node, &LIMIT)?;
        let counter = self.required(node, members, "counter", LIMIT.of);
        let counter = self.text(counter).map(str::to_owned);
        let window = self.required(node, members, "window", LIMIT.of);
        let window = window.and_then(|node| self.window(node));
        let max = self.required(node, members, "max", LIMIT.of);
        let max = max.and_then(|node| self.amount(node));
        let on_limit = [("require_approval", true), ("deny", false)];
        let _: Option<&str> = self.text(member(members, "description"));
        Some(Limit {
            id,
            conditions: self.conditions(member(members, "conditions"))?,
            scope: self.word(member(members, "scope"), &SCOPES).unwrap_or(Scope::Grant),
            increment_from: member(members, "increment_from").and_then(|node| self.path(node)),
            on_limit_review: self.word(member(members, "on_limit"), &on_limit).unwrap_or(false),
            text: self.reason(members),
            counter: counter?,
            window: window?,
            max: max?,
        })
    }

    fn window(&mut self, node: &Node) -> Option<Window> {
        match self.text(Some(node))?.parse() {
            Ok(window) => Some(window),
            Err(message) => {
                self.add(node.at, message, None);
                None
            }
        }
    }

    /// The vendor's other spelling: `{"max": 10, "window": 60}`, in seconds, per agent session.
    fn rate_limit(&mut self, node: &Node, id: String) -> Option<Limit> {
        let members = self.object(node, &RATE_LIMIT)?;
        let max = self.required(node, members, "max", RATE_LIMIT.of);
        let max = max.and_then(|node| self.amount(node));
        let window = self.required(node, members, "window", RATE_LIMIT.of)?;
        let window = if window.text().is_some() {
            self.window(window)
        } else {
            let seconds = self.whole(window, 1..=31_622_400);
            seconds.map(|seconds| Window::Sliding(Duration::from_secs(seconds.into())))
        };
        Some(Limit {
            counter: id.clone(),
            id,
            conditions: Vec::new(),
            window: window?,
            max: max?,
            scope: Scope::Session,
            increment_from: None,
            on_limit_review: false,
            text: self.reason(members),
        })
    }
}
