//! What a session is told in the answer to `initialize`: its version, and, from 2025-11-25 on, that every call which
//! may wait can be a task, beside those that the server itself has.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
};

use crate::mcp::{Json, Version, patch::Edits};

/// Tools of one session whose support is remembered.
const REMEMBERED: usize = 10_000;

/// What the server says of tasks of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Support {
    Optional,
    Required,
}

#[derive(Debug, Default)]
struct Theirs {
    calls: bool,
    lists: bool,
    tools: HashMap<String, Support>,
}

/// Nothing is offered until `initialize` was answered so.
#[derive(Debug, Default)]
pub(in crate::downstream) struct Offer {
    made: AtomicBool,
    /// The place of the session's version in `Version::ALL`, counted from one; 0: not known.
    version: AtomicU8,
    theirs: Mutex<Theirs>,
}

impl Offer {
    pub(in crate::downstream) fn is_made(&self) -> bool {
        self.made.load(Ordering::Acquire)
    }

    /// This session's client was never told of it.
    pub(in crate::downstream) fn withdraw(&self) {
        self.made.store(false, Ordering::Release);
    }

    /// The version that the answer to `initialize` names; `None` where it was not read here.
    pub(in crate::downstream) fn version(&self) -> Option<Version> {
        let place = usize::from(self.version.load(Ordering::Relaxed));
        Version::ALL.get(place.checked_sub(1)?).copied()
    }

    pub(in crate::downstream) fn agree(&self, version: Version) {
        self.version.store(version as u8 + 1, Ordering::Relaxed);
    }

    /// Does the server itself make a task of such a call?
    pub(super) fn server_takes(&self, tool: &str) -> bool {
        let theirs = self.theirs.lock().unwrap_or_else(PoisonError::into_inner);
        theirs.calls && theirs.tools.contains_key(tool)
    }

    /// Does the server run this tool as a task only?
    pub(super) fn server_insists(&self, tool: &str) -> bool {
        let theirs = self.theirs.lock().unwrap_or_else(PoisonError::into_inner);
        theirs.calls && theirs.tools.get(tool) == Some(&Support::Required)
    }

    pub(super) fn server_lists(&self) -> bool {
        self.theirs.lock().unwrap_or_else(PoisonError::into_inner).lists
    }

    /// The answer to `initialize`, with the capability; `None`: it is of another version.
    pub(in crate::downstream) fn advertised(&self, message: Json<'_>, result: Json<'_>) -> Option<Vec<u8>> {
        let version = Version::parse(&result.get("protocolVersion").and_then(Json::string)?)?;
        self.agree(version);
        if version != Version::V2025_11_25 {
            return None;
        }
        let at = |rest: &[&'static str]| [&["result", "capabilities", "tasks"], rest].concat();
        let has = |rest: &[&'static str]| message.at(&at(rest)).is_some();
        {
            let mut theirs = self.theirs.lock().unwrap_or_else(PoisonError::into_inner);
            (theirs.calls, theirs.lists) = (has(&["requests", "tools", "call"]), has(&["list"]));
        }
        let mut edits = Edits::of(message);
        for part in [&["list"][..], &["cancel"], &["requests", "tools", "call"]] {
            if !has(part) && !edits.set(&at(part), "{}") {
                return None;
            }
        }
        self.made.store(true, Ordering::Release);
        Some(edits.apply())
    }

    /// The tools of a list, each that may wait marked as one that can be a task.
    pub(in crate::downstream) fn mark(&self, edits: &mut Edits<'_>, mut may_wait: impl FnMut(&str) -> bool) {
        let mut theirs = self.theirs.lock().unwrap_or_else(PoisonError::into_inner);
        edits.each(&["result", "tools"], |tool| {
            let name = tool.get("name").and_then(Json::string)?;
            let said = tool.at(&["execution", "taskSupport"]).and_then(Json::string);
            let support = match said.as_deref() {
                Some("optional") => Some(Support::Optional),
                Some("required") => Some(Support::Required),
                Some(_) | None => None,
            };
            match support {
                Some(support) if theirs.tools.len() < REMEMBERED => {
                    theirs.tools.insert(name.into_owned(), support);
                }
                Some(_) => {}
                None => {
                    theirs.tools.remove(&*name);
                    let mut edits = Edits::of(tool);
                    let marked = may_wait(&name) && edits.set(&["execution", "taskSupport"], "\"optional\"");
                    return marked.then(|| edits.apply());
                }
            }
            None
        });
    }
}

pub(in crate::downstream) type Offered = Arc<Offer>;

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::mcp::{Limits, strict};

    #[test]
    fn a_list_of_very_many_tools_is_marked_soon() {
        const MANY: usize = 50_000;
        let tools = vec![r#"{"name":"a"}"#; MANY].join(" , ");
        let list = format!(r#"{{"id":1,"result":{{"tools":[ {tools} ]}}}}"#);
        let mut edits = Edits::of(strict::check(list.as_bytes(), &Limits::of_servers(list.len())).unwrap());
        let since = Instant::now();
        Offer::default().mark(&mut edits, |_| true);
        assert!(since.elapsed() < Duration::from_secs(5), "it took {:?}", since.elapsed());
        let marked = r#"{"name":"a","execution":{"taskSupport":"optional"}}"#;
        let expected = list.replace(r#"{"name":"a"}"#, marked);
        assert!(edits.apply() == expected.into_bytes(), "every other byte stays");
    }
}
