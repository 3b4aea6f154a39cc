//! Tasks of servers' own, which calls that people were asked about go on as.
//!
//! Whoever knows the name that the server gave can ask the server about the task, and bring it answers. What people
//! were asked about takes nothing that they did not see: hence whose such a task is lies beside the ledger.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Broker, Inner, compose::json};
use crate::{
    call::{Call, CallId, FingerprintParts, Timestamp, fingerprint},
    mcp::Json,
    store::{Put, Store, StoreError},
};

/// By the server and its name for the task.
const SPACE: &str = "server_tasks";

/// So long after its call is whose it is known.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

#[derive(Debug, Serialize, Deserialize)]
struct Row {
    call: CallId,
    at: Timestamp,
}

impl Broker {
    /// The call that people were asked about and that goes on as this task of its server's own.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn goes_on_as(&self, server: &str, task: &str) -> Result<Option<Call>, StoreError> {
        let inner = &self.inner;
        let Some(row) = inner.store.get(SPACE, inner.server_task_key(server, task)).await? else {
            return Ok(None);
        };
        let row: Row = serde_json::from_slice(&row)
            .map_err(|error| StoreError::Damaged(format!("whose a server's task is: {error}")))?;
        inner.store.call(row.call).await
    }

    /// May its agent bring the server of this call more than the call had, with nobody asked? Only where the
    /// policies of this moment allow the call outright, or nobody was asked about it.
    pub async fn may_bring_more(&self, call: &Call) -> bool {
        if call.terms.is_none() || self.inner.allows_outright(call).await {
            return true;
        }
        tracing::warn!(
            call.id = %call.id,
            agent.name = call.request.agent,
            server.name = call.request.server,
            tool.name = call.request.tool,
            "answers for a server's own task were refused: nobody has seen them"
        );
        false
    }
}

impl Inner {
    /// What is kept with an answer that goes on as a task of its server's own.
    pub(super) async fn as_server_task(&self, id: CallId, message: &[u8]) -> Option<Put> {
        let task = own_task(message)?;
        let call = self.store.call(id).await.ok()?.filter(|call| call.terms.is_some())?;
        let key = self.server_task_key(&call.request.server, &task);
        let value = serde_json::to_vec(&Row { call: id, at: self.clock.now() }).ok()?;
        Some(Put { space: SPACE, key, value: Some(value) })
    }

    fn server_task_key(&self, server: &str, task: &str) -> String {
        let arguments = task.as_bytes();
        let parts =
            FingerprintParts { agent: "", server, tool: "tasks/update", arguments, input_responses: b"" };
        fingerprint(&self.fingerprint_key, &parts).to_text()
    }
}

/// The server's name for the task that it answers with, in either dialect.
fn own_task(message: &[u8]) -> Option<String> {
    let result = json(message)?.get("result")?;
    let is_task = result.get("resultType").and_then(Json::string).is_some_and(|kind| kind == "task");
    let id = if is_task { result.get("taskId") } else { result.at(&["task", "taskId"]) };
    Some(id?.string()?.into_owned())
}

/// Of old tasks it is no longer known.
pub(super) async fn forget_old(store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
    let is_old = |row: &[u8]| serde_json::from_slice::<Row>(row).is_ok_and(|row| now.since(row.at) > KEPT);
    let rows = store.list(SPACE).await?.into_iter().filter(|(_, row)| is_old(row));
    let puts: Vec<Put> = rows.map(|(key, _)| Put { space: SPACE, key, value: None }).collect();
    if puts.is_empty() { Ok(()) } else { store.put(puts).await }
}
