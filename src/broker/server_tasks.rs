//! Tasks of servers' own, which calls go on as.
//!
//! Whoever knows the name that the server gave can ask the server about the task, and bring it answers. Hence whose
//! such a task is lies beside the ledger. What people were asked about takes nothing that they did not see.

use std::{borrow::Cow, time::Duration};

use serde::{Deserialize, Serialize};

use super::{
    Broker, Inner,
    owners::{Noted, Owners, Whose},
};
use crate::{
    call::{Call, CallId, Fingerprint, FingerprintParts, Timestamp, fingerprint},
    mcp::{Limits, strict},
    store::{Put, Store, StoreError},
    upstream::aside,
};

/// By the server and its name for the task, and by the agent whose call it came of.
const SPACE: &str = "server_tasks";

/// So long after its call is whose it is known.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    /// The call, if people were asked about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    call: Option<CallId>,
    at: Timestamp,
}

/// What is known of a task of a server's own, as one agent asks about it.
#[derive(Debug)]
pub enum Standing {
    /// It was made before anybody looked, elsewhere, or long ago; or what its call was is not known any more.
    Unknown,
    /// It came of calls of other agents.
    Anothers,
    /// It came of a call of this agent.
    Own,
    /// It came of this call of this agent, which people were asked about.
    Reviewed(Box<Call>),
}

impl Broker {
    /// Whose this task of its server's own is, when this agent asks about it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn standing(&self, agent: &str, server: &str, task: &str) -> Result<Standing, StoreError> {
        let inner = &self.inner;
        let task = inner.server_task(server, task);
        match inner.owners.whose(task, agent) {
            Whose::Unknown => return Ok(Standing::Unknown),
            Whose::Own => {}
            Whose::Anothers => {
                inner.metrics.refused_of_task(server, "of another agent");
                tracing::warn!(
                    agent.name = agent,
                    server.name = server,
                    "a server's own task is another agent's: what was asked about it was refused"
                );
                return Ok(Standing::Anothers);
            }
        }
        inner.own(task, agent).await
    }

    /// Is this task of its server's own known to be that of other agents only?
    #[must_use]
    pub fn is_anothers_task(&self, agent: &str, server: &str, task: &str) -> bool {
        self.inner.owners.whose(self.inner.server_task(server, task), agent) == Whose::Anothers
    }

    /// Keeps whose task this is, if the server goes on with a call of this agent as one of its own. An answer that
    /// nobody was asked about comes by here before its agent has it.
    pub async fn note_task(&self, agent: &str, server: &str, answer: &[u8]) {
        let tasks = aside(answer.len(), || own_tasks(answer))
            .into_iter()
            .map(|task| self.inner.server_task(server, &task));
        let puts: Vec<Put> = tasks.flat_map(|task| self.inner.noted(task, agent)).collect();
        if !puts.is_empty()
            && let Err(error) = self.inner.store.put(puts).await
        {
            tracing::error!(%error, "whose a server's task is will not be known after a restart");
        }
    }

    /// May its agent bring the server of this call more than the call had, with nobody asked? Only where the
    /// policies of this moment allow the call outright, or nobody was asked about it.
    pub async fn may_bring_more(&self, call: &Call) -> bool {
        if call.terms.is_none() || self.inner.allows_outright(call).await {
            return true;
        }
        self.inner.metrics.refused_of_task(&call.request.server, "unseen answers");
        tracing::warn!(
            call.id = %call.id,
            agent.name = call.request.agent,
            server.name = call.request.server,
            tool.name = call.request.tool,
            "answers for a server's own task were refused: nobody has seen them"
        );
        false
    }

    /// May this agent bring the server answers for a task of which nothing is known? A server may know the task of a
    /// reviewed call by this name too: not where any call of this agent may wait for people.
    #[must_use]
    pub fn may_bring_unknown(&self, agent: &str, server: &str) -> bool {
        if !self.rules().of(agent, server).iter().any(|policy| policy.asks_anyone()) {
            return true;
        }
        self.inner.metrics.refused_of_task(server, "unseen answers");
        tracing::warn!(
            agent.name = agent,
            server.name = server,
            "answers for a server's own task were refused: nobody has seen them, and whose it is is not known"
        );
        false
    }
}

impl Inner {
    /// What is kept with an answer that goes on as a task of its server's own.
    pub(super) async fn as_server_task(&self, id: CallId, message: &[u8]) -> Vec<Put> {
        let tasks = own_tasks(message);
        if tasks.is_empty() {
            return Vec::new();
        }
        let Ok(Some(call)) = self.store.call(id).await else { return Vec::new() };
        let agent = &call.request.agent;
        let tasks = tasks.iter().map(|task| self.server_task(&call.request.server, task));
        if call.terms.is_none() {
            return tasks.flat_map(|task| self.noted(task, agent)).collect();
        }
        let reviewed = |task| {
            self.owners.keep(task, agent);
            put(task, agent, Some(Row { call: Some(id), at: self.clock.now() }))
        };
        tasks.map(reviewed).collect()
    }

    /// What is kept of a task that came of a call which nobody was asked about.
    fn noted(&self, task: Fingerprint, agent: &str) -> Vec<Put> {
        let Noted::Now(forgotten) = self.owners.note(task, agent) else { return Vec::new() };
        let now = put(task, agent, Some(Row { call: None, at: self.clock.now() }));
        forgotten.map(|task| put(task, agent, None)).into_iter().chain([now]).collect()
    }

    /// What is known of a task of this agent. Without its row, or its call, people may have been asked about it.
    async fn own(&self, task: Fingerprint, agent: &str) -> Result<Standing, StoreError> {
        let Some(row) = self.store.get(SPACE, key(task, agent)).await? else { return Ok(Standing::Unknown) };
        let row: Row = serde_json::from_slice(&row)
            .map_err(|error| StoreError::Damaged(format!("whose a server's task is: {error}")))?;
        let Some(call) = row.call else { return Ok(Standing::Own) };
        let call = self.store.call(call).await?;
        Ok(call.map_or(Standing::Unknown, |call| Standing::Reviewed(Box::new(call))))
    }

    fn server_task(&self, server: &str, task: &str) -> Fingerprint {
        let task = folded(task);
        let arguments = task.as_bytes();
        let parts =
            FingerprintParts { agent: "", server, tool: "tasks/update", arguments, input_responses: b"" };
        fingerprint(&self.fingerprint_key, &parts)
    }
}

/// One spelling of those that a server may take for one name: case and space around it say nothing, nor does how a
/// UUID is written. Of other names a hyphen is a part: `1-11` is not `11-1`.
fn folded(task: &str) -> String {
    let lower = task.trim().to_lowercase();
    let digits = lower.replace("urn:", "").replace("uuid:", "").replace(['{', '}', '-'], "");
    if digits.len() != 32 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return lower;
    }
    let at = |from: usize, to: usize| digits.get(from..to).unwrap_or_default();
    [at(0, 8), at(8, 12), at(12, 16), at(16, 20), at(20, 32)].join("-")
}

fn key(task: Fingerprint, agent: &str) -> String {
    format!("{}/{agent}", task.to_text())
}

fn put(task: Fingerprint, agent: &str, row: Option<Row>) -> Put {
    // Plain values are always JSON; an empty row would be one that cannot be read.
    let value = row.map(|row| serde_json::to_vec(&row).unwrap_or_default());
    Put { space: SPACE, key: key(task, agent), value }
}

/// The server's names for the task that it answers with: wherever in the result either dialect has it, and whatever
/// the result says that it is. Whoever reads it otherwise than we do knows the task by one of them.
fn own_tasks(message: &[u8]) -> Vec<String> {
    let json = strict::check(message, &Limits::of_servers(usize::MAX)).ok();
    let Some(result) = json.and_then(|json| json.get("result")) else { return Vec::new() };
    let [one, other] = [&["taskId"][..], &["task", "taskId"]].map(|path| result.at(path)?.string());
    let other = other.filter(|other| one.as_ref() != Some(other));
    one.into_iter().chain(other).map(Cow::into_owned).collect()
}

/// Whose the tasks are that are known; of old ones it is forgotten.
pub(super) async fn remembered(store: &dyn Store, now: Timestamp) -> Result<Owners, StoreError> {
    let mut rows = Vec::new();
    for (key, row) in store.list(SPACE).await? {
        let row: Row = serde_json::from_slice(&row)
            .map_err(|error| StoreError::Damaged(format!("whose a server's task is: {error}")))?;
        rows.push((row.at, key, row.call));
    }
    // An agent with too many forgets its oldest.
    rows.sort_unstable_by_key(|(at, ..)| *at);
    let owners = Owners::default();
    let mut old = Vec::new();
    for (at, key, call) in rows {
        let named =
            key.split_once('/').and_then(|(task, agent)| Some((Fingerprint::from_text(task)?, agent)));
        match (named, call) {
            (Some((task, agent)), Some(_)) if now.since(at) <= KEPT => owners.keep(task, agent),
            (Some((task, agent)), None) if now.since(at) <= KEPT => drop(owners.note(task, agent)),
            _ => old.push(Put { space: SPACE, key, value: None }),
        }
    }
    if !old.is_empty() {
        store.put(old).await?;
    }
    Ok(owners)
}

#[cfg(test)]
mod tests {
    use super::folded;

    #[test]
    fn a_uuid_is_one_name_however_it_is_written_and_other_names_keep_their_hyphens() {
        let uuid = "7ae9c7bd-0f0a-4d5e-9c3b-0123456789ab";
        for spelt in [
            uuid,
            "7AE9C7BD-0F0A-4D5E-9C3B-0123456789AB",
            "7ae9c7bd0f0a4d5e9c3b0123456789ab",
            "urn:uuid:7ae9c7bd-0f0a-4d5e-9c3b-0123456789ab",
            "URN:UUID:{7ae9c7bd-0f0a-4d5e-9c3b-0123456789ab}",
            " 7ae9c7bd0f0a-4d5e9c3b-0123456789ab\t",
        ] {
            assert_eq!(folded(spelt), uuid);
        }
        assert_eq!(folded(" Task-1 "), "task-1");
        assert_ne!(folded("1-11"), folded("11-1"));
    }
}
