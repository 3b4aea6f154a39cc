//! A link to a waiting call's page, shown by the agent's client to the person before it (URL elicitation).
//!
//! Opt-in, by the client's name, for clients that say they can show links. What the client answers (accept,
//! decline, cancel) is dropped: it is no verdict, for a client may answer by itself. Only who signed in at
//! the page decides there; the link lets nobody in.

use serde_json::json;

use super::settings::DoorSettings;
use crate::{
    broker::{Brief, LINK},
    call::ClientInfo,
    mcp::{
        Json, Kind, Limits, Message, Meta, answer,
        strict::{self},
    },
};

/// Begins the id of each request of ours to a client.
const OURS: &str = "countersign-link-";

/// How far the link of one call has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Offer {
    /// Its client is not asked to show one.
    #[default]
    None,
    Due,
    Made,
}

impl Offer {
    /// For a client that says it `can` show links.
    pub(super) fn of(settings: &DoorSettings, client: &ClientInfo, can: impl FnOnce() -> bool) -> Self {
        if settings.shows_links(client) && can() { Self::Due } else { Self::None }
    }
}

/// Does an `initialize` say so?
pub(super) fn announced_in(body: &[u8]) -> bool {
    params_of(body, |params| can_show(params.get("capabilities")))
}

/// Does this very request say so (2026-07-28)?
pub(super) fn declared_in(body: &[u8]) -> bool {
    params_of(body, |params| can_show(Meta::of(Some(params)).client_capabilities))
}

fn params_of(body: &[u8], holds: impl FnOnce(Json<'_>) -> bool) -> bool {
    let message = strict::check(body, &Limits::of_servers(usize::MAX)).ok();
    message.and_then(|message| message.get("params")).is_some_and(holds)
}

fn can_show(capabilities: Option<Json<'_>>) -> bool {
    capabilities
        .and_then(|said| said.at(&["elicitation", "url"]))
        .is_some_and(|url| url.kind() == Kind::Object)
}

/// The request to the client (2025-11-25).
pub(super) fn request(brief: &Brief) -> Vec<u8> {
    let mut params = params(brief);
    params["elicitationId"] = json!(brief.id);
    let id = format!("{OURS}{}", brief.id);
    json!({"jsonrpc": "2.0", "id": id, "method": "elicitation/create", "params": params}).to_string().into()
}

/// Nobody need follow the link any more (2025-11-25).
pub(super) fn complete(brief: &Brief) -> Vec<u8> {
    let params = json!({"elicitationId": brief.id}).to_string();
    answer::notification("notifications/elicitation/complete", Some(&params))
}

/// `inputRequests` of a call that is to come back (2026-07-28).
pub(super) fn input_requests(brief: &Brief) -> String {
    json!({LINK: {"method": "elicitation/create", "params": params(brief)}}).to_string()
}

fn params(brief: &Brief) -> serde_json::Value {
    let message = format!(
        "The call {} waits until a reviewer approves or denies it on its page. Closing this decides nothing.",
        brief.digest.short_code()
    );
    json!({"mode": "url", "url": brief.url, "message": message})
}

/// A client's answer to a request of ours: nothing of it goes on.
pub(super) fn is_answer(message: &Message<'_>) -> bool {
    match message {
        Message::Response(response) => response.id.string().is_some_and(|id| id.starts_with(OURS)),
        Message::Request(_) | Message::Notification(_) => false,
    }
}
