//! The skills extension (SEP-2640) at the joined endpoint: a skill and its files are resources of one server.
//!
//! A server that declares the extension answers three methods of its own, so this endpoint, which declares what
//! its servers do, answers them too. Whether they may pass to a server says its plain endpoint's gate, as ever.

use super::{carry::located, names};
use crate::mcp::{Json, patch::Edits};

pub(super) const LIST: &str = "skills/list";
pub(super) const GET: &str = "skills/get";
pub(super) const DIRECTORY: &str = "resources/directory/read";
pub(super) const METHODS: [&str; 3] = [LIST, GET, DIRECTORY];

/// A server's skill with its own URI and those of its files as the agent knows them.
pub(super) fn named(server: &str, skill: Json<'_>) -> String {
    let mut edits = Edits::of(skill);
    if let Some(uri) = skill.get("uri").and_then(Json::string) {
        edits.set(&["uri"], &names::quoted(&names::uri(server, &uri)));
    }
    edits.each(&["resources"], |file| Some(located(server, file, "uri").into_bytes()));
    String::from_utf8(edits.apply()).unwrap_or_default()
}
