//! Whose a thing is that a request names (a tool or prompt, a resource, a task), and what it is called here.
//!
//! A task that waits for people has a name of ours, which is of one agent at one server already, and stays. The
//! name that a server gave is sealed together with that server's for this agent: no two servers' tasks are ever
//! the same, and nobody asks about one that he was not told of.

use serde_json::json;

use super::{names, tour::Tour};
use crate::{downstream::Door, identity::Grant};

/// By what a thing is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum By {
    /// A tool, a prompt.
    Name,
    /// A resource, or a template of some.
    Uri,
    Task,
}

/// What the names of servers' tasks are sealed for.
const TASKS: &str = "joined/tasks";

/// Bytes of the name of a task: each server that may have made it is tried.
const LONGEST_TASK: usize = 16 << 10;

impl Tour {
    /// The server, and its own name of the thing; `None`: it is of none that this grant reaches.
    pub(super) fn find(&self, by: By, name: &str) -> Option<(String, String)> {
        let (server, own) = match by {
            By::Name => {
                let (server, own) = self.door.inner.settings.joined_separator.split(name)?;
                (server.to_owned(), own.to_owned())
            }
            By::Uri => self.of_uri(name)?,
            By::Task => self.of_task(name)?,
        };
        self.server(&server).map(|_| (server, own))
    }

    /// What a server's thing is called here.
    pub(super) fn named(&self, by: By, server: &str, own: &str) -> String {
        match by {
            By::Name => self.door.inner.settings.joined_separator.name(server, own),
            By::Uri => names::uri(server, own),
            By::Task => task(&self.door, &self.grant, server, own).unwrap_or_else(|| own.to_owned()),
        }
    }

    /// A URI as a server wrote it (a tool's result may hold one) is that of the only server with resources.
    fn of_uri(&self, uri: &str) -> Option<(String, String)> {
        if let Some((server, own)) = names::split_uri(uri) {
            return Some((server.to_owned(), own.to_owned()));
        }
        let mut servers = self.with_resources().into_iter();
        let only = servers.next().filter(|_| servers.next().is_none())?;
        Some((only, uri.to_owned()))
    }

    fn of_task(&self, name: &str) -> Option<(String, String)> {
        let broker = &self.door.inner.broker;
        if name.len() > LONGEST_TASK || !broker.is_ours(name) {
            return None;
        }
        if let Some(pair) = broker.unsealed(&[TASKS, &self.grant.name], name) {
            return serde_json::from_str(&pair).ok();
        }
        let mut servers = self.servers().into_iter();
        let own = servers.find(|server| broker.names_task(&self.grant.name, server.name(), name))?;
        Some((own.name().to_owned(), name.to_owned()))
    }

    fn with_resources(&self) -> Vec<String> {
        let Some(session) = &self.session else {
            return self.servers().iter().map(|server| server.name().to_owned()).collect();
        };
        let parts = self.parts_now(session).into_iter().filter(|(_, part)| part.has("resources"));
        parts.map(|(server, _)| server.name().to_owned()).collect()
    }

    /// Why the thing of that name was not found.
    pub(super) fn unknown(&self, by: By, method: &str, name: &str) -> String {
        match (by, method) {
            (By::Uri, _) => {
                let servers = self.with_resources().join(", ");
                format!(
                    "this URI names no server: write joined:SERVER:URI, where SERVER is one of: {servers}"
                )
            }
            (By::Task, _) => "Task not found: it is not of this agent; make the call again".to_owned(),
            (By::Name, "tools/call") => format!("Unknown tool: {name}"),
            (By::Name, _) => format!("Unknown prompt: {name}"),
        }
    }
}

/// What the agent calls a server's task; `None`: as the server does, for the name is ours.
pub(super) fn task(door: &Door, grant: &Grant, server: &str, own: &str) -> Option<String> {
    let broker = &door.inner.broker;
    if broker.names_task(&grant.name, server, own) {
        return None;
    }
    broker.sealed(&[TASKS, &grant.name], &json!([server, own]).to_string())
}
