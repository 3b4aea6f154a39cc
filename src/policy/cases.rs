//! Runs the cases that lie beside a policy: requests, and the verdicts their author expects.

use super::explain::{verdict_name, verdict_rule};
use super::problem::{Problem, Problems};
use super::reader::{Keys, member};
use super::tree::{self, Comments, Node};
use super::{Facts, Limits, Policy, evaluate};
use crate::call::Timestamp;

const CASE: Keys = Keys {
    of: "a case",
    known: &["name", "tool", "arguments", "agent", "server", "session", "now", "times", "expect"],
    later: &[],
};

const EXPECT: Keys = Keys { of: "expect", known: &["verdict", "rule", "reason"], later: &[] };

const VERDICTS: [&str; 5] = ["allow", "deny", "hide", "require_approval", "limit"];

/// What came of one case.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CaseResult {
    pub name: String,
    /// Where the case stands in its file.
    pub line: usize,
    pub passed: bool,
    /// The verdict, the rule and the reason, as far as the case names them.
    pub expected: String,
    pub got: String,
}

/// Runs `NAME.cases.json`: `[{"name", "tool", "arguments"?, "agent"?, "server"?, "session"?, "now"?,
/// "times"?, "expect": {"verdict", "rule"?, "reason"?}}]`. Each case starts with fresh counters;
/// `times` makes the same call that often at the same moment, and expects of the last one.
///
/// # Errors
/// Every mistake in the cases' text, with the policy's name and `cases` as file.
pub fn run_cases(policy: &Policy, text: &str) -> Result<Vec<CaseResult>, Vec<Problem>> {
    let file = match policy.name.strip_suffix(".json") {
        Some(stem) => format!("{stem}.cases.json"),
        None => format!("{}.cases.json", policy.name),
    };
    let mut problems = Problems::new(&file, text);
    let cases = match tree::read(text, Comments::Accepted) {
        Ok(root) => {
            let nodes = problems.list(Some(&root), "cases");
            nodes.iter().filter_map(|node| case(&mut problems, node, text)).collect()
        }
        Err(fault) => {
            problems.add(fault.at, fault.message, fault.hint);
            Vec::new()
        }
    };
    if !problems.is_empty() {
        return Err(problems.into_sorted());
    }
    Ok(cases.iter().map(|case: &Case| case.run(policy)).collect())
}

struct Case {
    name: String,
    line: usize,
    tool: String,
    arguments: String,
    agent: String,
    server: String,
    session: Option<String>,
    now: Timestamp,
    times: u32,
    verdict: &'static str,
    rule: Option<String>,
    reason: Option<String>,
}

fn case(problems: &mut Problems<'_>, node: &Node, text: &str) -> Option<Case> {
    let members = problems.object(node, &CASE)?;
    let name = problems.required(node, members, "name", CASE.of);
    let tool = problems.required(node, members, "tool", CASE.of);
    let expect = problems.required(node, members, "expect", CASE.of);
    let expected = expect.and_then(|expect| problems.object(expect, &EXPECT));
    let verdict = match (expect, expected) {
        (Some(node), Some(members)) => problems.required(node, members, "verdict", EXPECT.of),
        _ => None,
    };
    let expected = expected.unwrap_or(&[]);
    let mut owned = |node: Option<&Node>| problems.text(node).map(str::to_owned);
    let case = Case {
        name: owned(name)?,
        tool: owned(tool)?,
        agent: owned(member(members, "agent")).unwrap_or_else(|| "agent".into()),
        server: owned(member(members, "server")).unwrap_or_else(|| "server".into()),
        session: owned(member(members, "session")),
        rule: owned(member(expected, "rule")),
        reason: owned(member(expected, "reason")),
        line: text.get(..node.at).unwrap_or("").matches('\n').count() + 1,
        arguments: arguments(problems, member(members, "arguments"), text),
        now: now(problems, member(members, "now")),
        times: match member(members, "times") {
            None => 1,
            Some(node) => problems.whole(node, 1..=100_000)?,
        },
        verdict: problems.word(verdict, &VERDICTS.map(|verdict| (verdict, verdict)))?,
    };
    Some(case)
}

/// The bytes as they stand in the file: what a server would get.
fn arguments(problems: &mut Problems<'_>, node: Option<&Node>, text: &str) -> String {
    let Some(node) = node else { return String::new() };
    let raw = text.get(node.at..node.end).unwrap_or("");
    if tree::read(raw, Comments::Refused).is_err() {
        problems.add(node.at, "arguments are sent as they stand, so they may hold no comments", None);
    }
    raw.to_owned()
}

fn now(problems: &mut Problems<'_>, node: Option<&Node>) -> Timestamp {
    let Some(node) = node else { return Timestamp::default() };
    let Some(text) = problems.text(Some(node)) else { return Timestamp::default() };
    text.parse().unwrap_or_else(|_| {
        problems.add(node.at, "expected a time such as \"2026-01-31T12:00:00Z\"", None);
        Timestamp::default()
    })
}

/// What a case came to: verdict, rule, reason.
type Outcome = (&'static str, String, String);

impl Case {
    fn run(&self, policy: &Policy) -> CaseResult {
        let (verdict, rule, reason) = self.outcome(policy);
        let passed = verdict == self.verdict
            && self.rule.as_ref().is_none_or(|wanted| *wanted == rule)
            && self.reason.as_ref().is_none_or(|wanted| *wanted == reason);
        CaseResult {
            name: self.name.clone(),
            line: self.line,
            passed,
            expected: words(self.verdict, self.rule.as_deref(), self.reason.as_deref()),
            got: words(verdict, Some(&rule), self.reason.as_ref().map(|_| reason.as_str())),
        }
    }

    fn outcome(&self, policy: &Policy) -> Outcome {
        let facts = Facts {
            agent: &self.agent,
            server: &self.server,
            tool: &self.tool,
            arguments: self.arguments.as_bytes(),
            session: self.session.as_deref(),
            now: self.now,
        };
        let evaluation = evaluate(&[policy], &facts);
        let mut limits = Limits::default();
        for _ in 0..self.times {
            if let Err(hit) = limits.reserve(&evaluation.reservations, self.now) {
                // Over a limit that only asks, a call that needs an approval anyway keeps its reason.
                if hit.review && verdict_name(&evaluation.verdict) == "require_approval" {
                    break;
                }
                let verdict = if hit.review { "require_approval" } else { "limit" };
                return (verdict, hit.rule, hit.on_deny.unwrap_or_default());
            }
        }
        let reason = match &evaluation.verdict {
            crate::call::Verdict::Review { terms } => terms.reason.text.clone(),
            crate::call::Verdict::Deny { reason } => reason.text.clone(),
            crate::call::Verdict::Allow { .. } | crate::call::Verdict::Hide { .. } => String::new(),
        };
        (verdict_name(&evaluation.verdict), verdict_rule(&evaluation.verdict).to_owned(), reason)
    }
}

fn words(verdict: &str, rule: Option<&str>, reason: Option<&str>) -> String {
    let mut words = verdict.to_owned();
    if let Some(rule) = rule {
        words = format!("{words} by {rule}");
    }
    if let Some(reason) = reason {
        words = format!("{words}: {reason}");
    }
    words
}
