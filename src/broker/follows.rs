//! Which call this one goes on with: the next leg of one that the server answered with `input_required`.
//!
//! A client sends the same call again with `inputResponses` and the server's `requestState`, byte for byte.
//! That is a call of its own, judged and asked about anew; reviewers see which one it follows. What is kept
//! for it beside the ledger is a hint: lost, a card has one line less; wrong, it is not believed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Ask, Inner, compose::json};
use crate::{
    call::{Call, CallId, FingerprintParts, State, Timestamp, canonical, fingerprint},
    mcp::{Json, Limits, strict},
    store::{PayloadKind, Put, Store, StoreError},
};

const SPACE: &str = "follows";

/// A server's state is of no use for longer.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// A completed call whose server waits for the client's input.
pub(super) struct Awaited {
    key: String,
    leg: Leg,
}

#[derive(Serialize, Deserialize)]
struct Leg {
    call: CallId,
    at: Timestamp,
}

impl Awaited {
    /// The row that goes into the transaction of the answer.
    pub(super) fn put(&self) -> Put {
        // Two plain values are always JSON; an empty row would only be no hint.
        let value = serde_json::to_vec(&self.leg).unwrap_or_default();
        Put { space: SPACE, key: self.key.clone(), value: Some(value) }
    }
}

impl Inner {
    /// Does this answer ask the client for more? What its next leg will be known by.
    pub(super) async fn awaits_more(&self, id: CallId, message: &[u8]) -> Option<Awaited> {
        let result = asking(message)?;
        let call = self.store.call(id).await.ok()??;
        let state = result.get("requestState").map(Json::as_str);
        let stored = self.store.payload(id, PayloadKind::Params, 0).await.ok()??;
        let arguments = json(&stored.bytes)?.at(&["params", "arguments"]).map(Json::as_str);
        let request = &call.request;
        let key = self.leg_key([&request.agent, &request.server, &request.tool], state, arguments);
        Some(Awaited { key, leg: Leg { call: id, at: self.clock.now() } })
    }

    /// The call that this one goes on with.
    pub(super) async fn followed(&self, ask: &Ask) -> Option<CallId> {
        let state = json(&ask.body).and_then(|message| message.at(&["params", "requestState"]));
        if state.is_none() && ask.input_responses().is_empty() {
            return None;
        }
        let arguments = std::str::from_utf8(ask.arguments()).ok();
        let key = self.leg_key(
            [&ask.grant.name, &ask.server, &ask.tool],
            state.map(|state| state.as_str()),
            arguments,
        );
        let row = self.store.get(SPACE, key).await.ok()??;
        let leg: Leg = serde_json::from_slice(&row).ok()?;
        let call = self.store.call(leg.call).await.ok()??;
        is_before(&call, ask).then_some(call.id)
    }

    /// By the arguments, and the server's own state where it gave one: other arguments go on with nothing.
    fn leg_key(
        &self,
        [agent, server, tool]: [&str; 3],
        state: Option<&str>,
        arguments: Option<&str>,
    ) -> String {
        let arguments = arguments.unwrap_or_default().as_bytes();
        let arguments = canonical(arguments).unwrap_or_else(|| arguments.to_vec());
        let state = state.unwrap_or("null").as_bytes();
        let parts = FingerprintParts { agent, server, tool, arguments: &arguments, input_responses: state };
        fingerprint(&self.fingerprint_key, &parts).to_text()
    }
}

/// The result of a server that asks its client for more.
pub(super) fn asking(message: &[u8]) -> Option<Json<'_>> {
    let result = strict::check(message, &Limits::of_servers(usize::MAX)).ok()?.get("result")?;
    (result.get("resultType")?.as_str() == "\"input_required\"").then_some(result)
}

fn is_before(call: &Call, ask: &Ask) -> bool {
    let request = &call.request;
    request.agent == ask.grant.name
        && *request.server == *ask.server
        && request.tool == ask.tool
        && matches!(call.state, State::Completed { .. })
}

/// States that no client comes back for are cleared away.
pub(super) async fn forget_old(store: &dyn Store, now: Timestamp) -> Result<(), StoreError> {
    let rows = store.list(SPACE).await?;
    let old = rows
        .into_iter()
        .filter(|(_, row)| serde_json::from_slice::<Leg>(row).map_or(true, |leg| now.since(leg.at) > LIFE));
    let puts: Vec<Put> = old.map(|(key, _)| Put { space: SPACE, key, value: None }).collect();
    if puts.is_empty() { Ok(()) } else { store.put(puts).await }
}
