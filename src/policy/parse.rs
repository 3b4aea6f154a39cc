//! The text of a policy → a compiled `Policy`, or every mistake in it.

use std::collections::HashMap;
use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use super::document::{Action, Approval, Class, Default, Join, Policy, Risk, Section, Severity, Tools};
use super::glob::{Glob, Names};
use super::problem::{Problem, Problems};
use super::reader::{Keys, member};
use super::tree::{self, Comments, Node, Value};
use crate::call::Quorum;

const POLICY: Keys = Keys {
    of: "the policy",
    known: &[
        "$schema",
        "version",
        "description",
        "default",
        "hide",
        "all_tools",
        "tools",
        "resources",
        "prompts",
    ],
    later: &["arguments", "mode", "pins", "justification", "methods"],
};

const TOOL: Keys = Keys {
    of: "a tool's section",
    known: &[
        "description",
        "action",
        "reason",
        "risk",
        "require",
        "deny_if",
        "approve_if",
        "limits",
        "rate_limit",
        "approval",
    ],
    later: &["arguments", "mode", "pins", "standing", "evidence", "justification", "notify"],
};

const ALL_TOOLS: Keys = Keys {
    of: "all_tools",
    known: &["description", "require", "deny_if", "approve_if", "limits", "rate_limit", "approval"],
    later: TOOL.later,
};

const APPROVAL: Keys = Keys {
    of: "approval",
    known: &["quorums", "expires_after", "use_within", "join"],
    later: &[
        "step_up",
        "justification",
        "evidence",
        "edit",
        "standing",
        "notify",
        "detach_grace",
        "max_wait",
    ],
};

const QUORUM: Keys = Keys { of: "a quorum", known: &["group", "approvals"], later: &[] };

const RISK: Keys = Keys { of: "risk", known: &["class", "severity"], later: &[] };

const DEFAULTS: [(&str, Default); 3] =
    [("allow", Default::Allow), ("deny", Default::Deny), ("require_approval", Default::Review)];

const ACTIONS: [(&str, Action); 4] = [
    ("allow", Action::Allow),
    ("deny", Action::Deny),
    ("hide", Action::Hide),
    ("require_approval", Action::Review),
];

/// Reads and compiles a policy; `name` is its file name, as problems show it.
///
/// # Errors
/// Every mistake found, in the order of the text. A policy with a mistake is no policy.
pub fn check(name: &str, text: &str) -> Result<Policy, Vec<Problem>> {
    let mut problems = Problems::new(name, text);
    let policy = match tree::read(text, Comments::Accepted) {
        Ok(root) => policy(&mut problems, &root, name, text),
        Err(fault) => {
            problems.add(fault.at, fault.message, fault.hint);
            None
        }
    };
    match policy {
        Some(policy) if problems.is_empty() => Ok(policy),
        Some(_) | None => Err(problems.into_sorted()),
    }
}

impl Policy {
    /// As [`check`].
    ///
    /// # Errors
    /// Every mistake found.
    pub fn parse(name: &str, text: &str) -> Result<Self, Vec<Problem>> {
        check(name, text)
    }
}

fn policy(problems: &mut Problems<'_>, root: &Node, name: &str, text: &str) -> Option<Policy> {
    let members = problems.object(root, &POLICY)?;
    if let Some(version) = problems.required(root, members, "version", POLICY.of)
        && version.text() != Some("1")
    {
        let hint = Some("write \"version\": \"1\", in quotes".to_owned());
        problems.add(version.at, "this version reads policies of version \"1\"", hint);
    }
    let default = problems.required(root, members, "default", POLICY.of);
    let default = problems.word(default, &DEFAULTS);
    let _: Option<&str> = problems.text(member(members, "$schema"));
    let mut hide = Names::default();
    for node in problems.list(member(members, "hide"), "names of tools") {
        if let Some(name) = problems.text(Some(node)) {
            hide.insert(name);
        }
    }
    let switch = [("allow", true), ("deny", false)];
    Some(Policy {
        digest: hex(&Sha256::digest(text.as_bytes())).into(),
        name: name.to_owned(),
        description: problems.text(member(members, "description")).map(str::to_owned),
        hide,
        resources: problems.word(member(members, "resources"), &switch),
        prompts: problems.word(member(members, "prompts"), &switch),
        tools: tools(problems, member(members, "tools"), member(members, "all_tools")),
        default: default?,
    })
}

fn tools(problems: &mut Problems<'_>, node: Option<&Node>, all_tools: Option<&Node>) -> Tools {
    let nothing = Node { at: 0, end: 0, value: Value::Object(Vec::new()) };
    let everywhere = section(problems, all_tools.unwrap_or(&nothing), "/all_tools".into(), &ALL_TOOLS);
    let mut tools = Tools { everywhere, exact: HashMap::new(), globs: Vec::new(), slashed: false };
    let members = match node.map(|node| (&node.value, node)) {
        None => return tools,
        Some((Value::Object(members), _)) => members,
        Some((_, node)) => {
            problems.expected(node, "an object (tool names and their sections)");
            return tools;
        }
    };
    for one in members {
        if one.key.is_empty() {
            problems.add(one.key_at, "a tool's name may not be empty", None);
        }
        let pointer = format!("/tools/{}", one.key.replace('~', "~0").replace('/', "~1"));
        let section = section(problems, &one.node, pointer, &TOOL);
        match Glob::new(&one.key) {
            Some(glob) => tools.globs.push((glob, section)),
            None => {
                tools.slashed |= one.key.contains('/');
                tools.exact.insert(one.key.clone(), section);
            }
        }
    }
    tools
}

fn section(problems: &mut Problems<'_>, node: &Node, pointer: String, keys: &Keys) -> Section {
    let members = problems.object(node, keys).unwrap_or(&[]);
    let rules = |problems: &mut Problems<'_>, key: &str| {
        let id = format!("{pointer}/{key}");
        problems.rules(member(members, key), &id)
    };
    let section = Section {
        action: problems.word(member(members, "action"), &ACTIONS),
        reason: problems.text(member(members, "reason")).map(str::to_owned),
        risk: member(members, "risk").and_then(|node| risk(problems, node)),
        require: rules(problems, "require"),
        deny_if: rules(problems, "deny_if"),
        approve_if: rules(problems, "approve_if"),
        limits: problems.limits(member(members, "limits"), member(members, "rate_limit"), &pointer),
        approval: member(members, "approval").map(|node| approval(problems, node)).unwrap_or_default(),
        pointer,
    };
    let _: Option<&str> = problems.text(member(members, "description"));
    if let Some(approval) = member(members, "approval")
        && keys.of != ALL_TOOLS.of
        && !asks(&section)
    {
        problems.add(
            approval.at,
            "`approval` says how an approval must go, but nothing here asks for one",
            Some("add \"action\": \"require_approval\" or an `approve_if`".into()),
        );
    }
    section
}

fn asks(section: &Section) -> bool {
    section.action == Some(Action::Review)
        || !section.approve_if.is_empty()
        || section.limits.iter().any(|limit| limit.on_limit_review)
}

fn risk(problems: &mut Problems<'_>, node: &Node) -> Option<Risk> {
    let members = problems.object(node, &RISK)?;
    let class = problems.required(node, members, "class", RISK.of);
    let class = problems.word(class, &Class::ALL.map(|class| (class.as_str(), class)));
    let severity = problems.required(node, members, "severity", RISK.of);
    let severity = problems.word(severity, &Severity::ALL.map(|severity| (severity.as_str(), severity)));
    Some(Risk { class: class?, severity: severity? })
}

fn approval(problems: &mut Problems<'_>, node: &Node) -> Approval {
    let members = problems.object(node, &APPROVAL).unwrap_or(&[]);
    let quorums = member(members, "quorums");
    let nodes = problems.list(quorums, "quorums");
    if let Some(node) = quorums
        && matches!(&node.value, Value::List(nodes) if nodes.is_empty())
    {
        problems.add(
            node.at,
            "expected at least one quorum",
            Some("leave `quorums` out: one approval".into()),
        );
    }
    Approval {
        quorums: nodes.iter().filter_map(|node| quorum(problems, node)).collect(),
        expires_after: problems.duration(member(members, "expires_after")),
        use_within: problems.duration(member(members, "use_within")),
        join: problems.word(member(members, "join"), &Join::ALL.map(|join| (join.as_str(), join))),
    }
}

fn quorum(problems: &mut Problems<'_>, node: &Node) -> Option<Quorum> {
    let members = problems.object(node, &QUORUM)?;
    let group = problems.text(member(members, "group")).map(str::to_owned);
    let approvals = match member(members, "approvals") {
        None => 1,
        Some(node) => problems.whole(node, 1..=100)?,
    };
    Some(Quorum { group, approvals })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a string cannot fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}
