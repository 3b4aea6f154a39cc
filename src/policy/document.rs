//! A policy as it was compiled: what each section of the document says, ready to be looked up.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::glob::{Glob, Names, qualified};
use super::matcher::Condition;
use super::path::Path;
use super::{Scope, Window};
use crate::call::Quorum;

/// A parsed, compiled policy document, ready for the hot path.
#[derive(Debug)]
pub struct Policy {
    /// Digest of the document's bytes, hex, as it stands in ledger entries.
    pub digest: Arc<str>,
    /// File name, for people.
    pub name: String,
    pub(super) description: Option<String>,
    pub(super) default: Default,
    pub(super) hide: Names,
    pub(super) resources: Option<bool>,
    pub(super) prompts: Option<bool>,
    pub(super) tools: Tools,
}

/// The parts of a server, other than tools, that a policy opens or closes as a whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reads {
    Resources,
    Prompts,
}

/// How dangerous the policy's author holds a tool to be; overrides the classifier.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Risk {
    pub severity: Severity,
    pub class: Class,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Severity {
    Low,
    Medium,
    High,
    Critical,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub enum Class {
    Read,
    Other,
    Write,
    Execute,
    Financial,
    Destructive,
}

impl Severity {
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl Class {
    pub const ALL: [Self; 6] =
        [Self::Read, Self::Write, Self::Execute, Self::Destructive, Self::Financial, Self::Other];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Execute => "execute",
            Self::Destructive => "destructive",
            Self::Financial => "financial",
            Self::Other => "other",
        }
    }
}

impl Policy {
    /// What its author wrote about the whole document.
    #[must_use]
    pub fn description(&self) -> Option<&str> {
        self.description.as_deref()
    }

    /// Is this tool out of sight: absent from `tools/list`, and unknown when called?
    #[must_use]
    pub fn hides(&self, server: &str, tool: &str) -> bool {
        self.hide.contains(server, tool)
            || self.tools.matching(server, tool).any(|section| section.action == Some(Action::Hide))
    }

    /// False: `tools/list` needs no filter.
    #[must_use]
    pub fn hides_anything(&self) -> bool {
        !self.hide.is_empty() || self.tools.all().any(|section| section.action == Some(Action::Hide))
    }

    /// May the agent use the methods of this part (`resources/*`, `prompts/*`)? As the policy says;
    /// unsaid, as `default` says, where asking for an approval counts as no.
    #[must_use]
    pub fn allows_reads(&self, part: Reads) -> bool {
        let said = match part {
            Reads::Resources => self.resources,
            Reads::Prompts => self.prompts,
        };
        said.unwrap_or(self.default == Default::Allow)
    }

    /// May methods that no version of the protocol knows pass?
    #[must_use]
    pub fn default_allows_unknown_methods(&self) -> bool {
        self.default == Default::Allow
    }

    /// The longest window of a limit whose uses must outlive a restart.
    #[must_use]
    pub fn longest_window(&self) -> Option<Duration> {
        let sections = self.tools.all().chain([&self.tools.everywhere]);
        let limits = sections.flat_map(|section| &section.limits).filter(|limit| limit.is_durable());
        limits.map(|limit| limit.window.length()).max()
    }

    /// Does anything in it let a repeat take the place of an agent that waits (`join: grant`)?
    #[must_use]
    pub fn joins_by_grant(&self) -> bool {
        self.tools
            .all()
            .chain([&self.tools.everywhere])
            .any(|section| section.approval.join == Some(Join::Grant))
    }

    /// Can any call have to wait for people?
    #[must_use]
    pub fn asks_anyone(&self) -> bool {
        let mut sections = self.tools.all().chain([&self.tools.everywhere]);
        self.default == Default::Review || sections.any(Section::asks_anyone)
    }

    /// May a call of this tool be asked about? Arguments and limits decide in the end.
    #[must_use]
    pub fn may_ask(&self, server: &str, tool: &str) -> bool {
        let mut sections = self.tools.matching(server, tool).chain([&self.tools.everywhere]);
        let says = |section: &Section| section.action.is_some();
        let unsaid = self.default == Default::Review && !self.tools.matching(server, tool).any(says);
        unsaid || sections.any(Section::asks_anyone)
    }

    /// The highest risk that any matching section states.
    #[must_use]
    pub fn risk(&self, server: &str, tool: &str) -> Option<Risk> {
        self.tools.matching(server, tool).filter_map(|section| section.risk).max()
    }
}

/// What happens to a tool that no section names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Default {
    Allow,
    Deny,
    Review,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    Allow,
    Deny,
    Hide,
    Review,
}

/// The sections of a policy, by the names they are for.
#[derive(Debug)]
pub(super) struct Tools {
    /// For every tool; it lists none.
    pub everywhere: Section,
    pub exact: HashMap<String, Section>,
    pub globs: Vec<(Glob, Section)>,
    /// Some exact key has a slash: only then `server/tool` must be looked up.
    pub slashed: bool,
}

impl Tools {
    /// The sections that name this tool: exact ones first, then globs in the document's order.
    pub fn matching<'s>(&'s self, server: &'s str, tool: &'s str) -> impl Iterator<Item = &'s Section> {
        let of_server = if self.slashed { self.exact.get(&qualified(server, tool)) } else { None };
        let globs = self.globs.iter().filter(move |(glob, _)| glob.matches(server, tool));
        self.exact.get(tool).into_iter().chain(of_server).chain(globs.map(|(_, section)| section))
    }

    pub fn all(&self) -> impl Iterator<Item = &Section> {
        self.exact.values().chain(self.globs.iter().map(|(_, section)| section))
    }
}

/// What the document says under one key of `tools`, or under `all_tools`.
#[derive(Debug)]
pub(super) struct Section {
    /// The section's place, e.g. `/tools/create_charge`.
    pub pointer: String,
    pub action: Option<Action>,
    pub reason: Option<String>,
    pub risk: Option<Risk>,
    pub require: Vec<Rule>,
    pub deny_if: Vec<Rule>,
    pub approve_if: Vec<Rule>,
    pub limits: Vec<Limit>,
    pub approval: Approval,
}

impl Section {
    fn asks_anyone(&self) -> bool {
        let by_limit = self.limits.iter().any(|limit| limit.on_limit_review);
        self.action == Some(Action::Review) || !self.approve_if.is_empty() || by_limit
    }
}

/// An entry of `require`, `deny_if` or `approve_if`.
#[derive(Debug)]
pub(super) struct Rule {
    /// E.g. `/tools/create_charge/deny_if/0`.
    pub id: String,
    /// All must match; none is unconditional.
    pub conditions: Vec<Condition>,
    pub text: Option<String>,
}

#[derive(Debug)]
pub(super) struct Limit {
    pub id: String,
    /// Only calls that match are counted; none counts every call.
    pub conditions: Vec<Condition>,
    pub counter: String,
    pub window: Window,
    pub max: f64,
    pub scope: Scope,
    pub increment_from: Option<Path>,
    pub on_limit_review: bool,
    pub text: Option<String>,
}

impl Limit {
    /// Longer than a minute, or of amounts: the call is on the disk before it runs.
    pub fn is_durable(&self) -> bool {
        self.window.length() > Window::MINUTE.length() || self.increment_from.is_some()
    }
}

/// How a review of this section's tools must go, as far as it says.
#[derive(Debug, Default)]
pub(super) struct Approval {
    pub quorums: Vec<Quorum>,
    pub expires_after: Option<Duration>,
    pub use_within: Option<Duration>,
    pub join: Option<Join>,
}

/// When the same call, made again, joins the one that waits; a later one is stricter.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub enum Join {
    /// Also while one waits: the newer takes its place.
    Grant,
    /// Only a call that nobody waits for.
    #[default]
    Detached,
    /// Each is a call of its own. What a settled one has still to tell (an answer that was missed, a person's
    /// denial) is told all the same.
    Never,
}

impl Join {
    pub const ALL: [Self; 3] = [Self::Grant, Self::Detached, Self::Never];

    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Detached => "detached",
            Self::Never => "never",
        }
    }
}
