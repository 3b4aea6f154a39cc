//! What the store keeps of credentials: one small JSON value each, never a secret.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{GrantSettings, Source};
use crate::{
    call::{Person, Timestamp},
    store::{Put, Store, StoreError},
};

pub(super) const AGENTS: &str = "agent";
pub(super) const REVIEWERS: &str = "reviewer";
pub(super) const SESSIONS: &str = "session";
pub(super) const LINKS: &str = "link";

/// An agent, by name.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct AgentRow {
    /// Base64url of the token's SHA-256; none for a configured grant without token.
    pub hash: Option<String>,
    pub token_id: String,
    pub source: Source,
    pub settings: GrantSettings,
}

/// A reviewer, by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ReviewerRow {
    pub hash: String,
    /// With the id of their token.
    pub person: Person,
}

/// A session, by its hash.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SessionRow {
    pub reviewer: String,
    /// Id of the reviewer's token at sign-in: who is added anew under an old name has no old sessions.
    pub credential: String,
    pub id: String,
    pub since: Timestamp,
    pub seen: Timestamp,
}

/// A one-time link, by its hash.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct LinkRow {
    pub reviewer: String,
    pub credential: String,
    pub expires_at: Timestamp,
}

/// Writes `value` under `key`.
pub(super) fn put(
    space: &'static str,
    key: impl Into<String>,
    value: &impl Serialize,
) -> Result<Put, StoreError> {
    let value = serde_json::to_vec(value).map_err(|error| StoreError::Damaged(error.to_string()))?;
    Ok(Put { space, key: key.into(), value: Some(value) })
}

pub(super) fn delete(space: &'static str, key: impl Into<String>) -> Put {
    Put { space, key: key.into(), value: None }
}

pub(super) async fn get<T: DeserializeOwned>(
    store: &dyn Store,
    space: &'static str,
    key: &str,
) -> Result<Option<T>, StoreError> {
    let Some(value) = store.get(space, key.to_owned()).await? else { return Ok(None) };
    parse(space, key, &value).map(Some)
}

pub(super) async fn list<T: DeserializeOwned>(
    store: &dyn Store,
    space: &'static str,
) -> Result<Vec<(String, T)>, StoreError> {
    let rows = store.list(space).await?;
    rows.into_iter().map(|(key, value)| parse(space, &key, &value).map(|row| (key, row))).collect()
}

fn parse<T: DeserializeOwned>(space: &str, key: &str, value: &[u8]) -> Result<T, StoreError> {
    serde_json::from_slice(value).map_err(|error| StoreError::Damaged(format!("{space} {key}: {error}")))
}
