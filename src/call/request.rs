//! What the agent asked for: immutable from the moment it was submitted.

use serde::{Deserialize, Serialize};

use super::{CallId, Commitment};

/// `legacy`: initialize handshake, up to 2025-11-25. `modern`: stateless, from 2026-07-28.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Era {
    Legacy,
    Modern,
}

/// The client's own name and version: tunes patience, never authority.
#[derive(Clone, PartialEq, Eq, Debug, Default, Hash, Serialize, Deserialize)]
pub struct ClientInfo {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub version: String,
}

/// A `tools/call`, as far as the ledger tells it. Arguments lie beside, as payload.
#[derive(Clone, PartialEq, Eq, Debug, Hash, Serialize, Deserialize)]
pub struct Request {
    /// The grant's name.
    pub agent: String,
    /// The person who answers for the agent, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    pub server: String,
    pub tool: String,
    /// The MCP session it came on (legacy); none in the modern era.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    pub era: Era,
    /// The exact protocol version, `2025-06-18`, where the session or the request said it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    #[serde(default)]
    pub client: ClientInfo,
    /// Names of the top-level arguments: what Slack may show without showing a value.
    #[serde(default)]
    pub argument_names: Vec<String>,
    /// Digest of the policies that judged it.
    pub policy: String,
    /// Proof of the raw `params` that lie beside as payload.
    pub params: Commitment,
    /// The call whose `input_required` this one answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<CallId>,
    /// An identical call that already waits: the cards link each other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub twin: Option<CallId>,
}
