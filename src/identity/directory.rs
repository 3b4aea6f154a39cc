//! Everyone who may speak to the broker, as one snapshot that is read without a lock.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use serde::Deserialize;

use crate::{
    call::{People, Person, Timestamp},
    store::{Store, StoreError},
};

/// When a repeated call joins the one that waits (ruling 4).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Join {
    /// Only a call that nobody waits for.
    #[default]
    Detached,
    /// Also while one waits.
    Grant,
    Never,
}

/// `[grants.NAME]` of the configuration, secrets already read.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrantSettings {
    pub token: Option<String>,
    /// Empty: none. `["*"]`: every server.
    pub servers: Vec<String>,
    pub owner: Option<String>,
    /// Used by several agents at once: `join = "grant"` is refused.
    pub shared: bool,
    pub join: Join,
    /// Unknown MCP methods that pass although the policy's default is not `allow`.
    pub methods: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    Config,
    Store,
}

/// The credential that names an agent and what it may reach.
#[derive(Clone, Debug)]
pub struct Grant {
    pub name: String,
    pub settings: GrantSettings,
    /// Id of the token (never the secret).
    pub token_id: String,
    pub source: Source,
}

impl Grant {
    #[must_use]
    pub fn reaches(&self, server: &str) -> bool {
        self.settings.servers.iter().any(|name| name == "*" || name == server)
    }
}

/// One moment's people and grants.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// By SHA-256 of the token.
    pub grants: HashMap<[u8; 32], Arc<Grant>>,
    pub people: People,
    /// Versions of the `reviewers` and `agents` streams that this snapshot reflects.
    pub reviewers_version: u64,
    pub agents_version: u64,
}

/// How a person proved who they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Token,
    Session,
}

/// Shown once.
#[derive(Clone, Debug)]
pub struct NewSecret {
    pub name: String,
    pub token: String,
    /// One-time sign-in path (`/login/…`), for reviewers; valid 15 minutes.
    pub link: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    #[error("there is a {0} already; choose another name, or revoke that one first")]
    Exists(String),
    #[error("there is no {0}; `list` shows who there is")]
    Unknown(String),
    #[error("{0} comes from the configuration file; change it there")]
    FromConfig(String),
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The one place that knows credentials. Tokens are 256 random bits, kept as SHA-256.
pub struct Identity {
    pub(super) store: Arc<dyn Store>,
    pub(super) directory: ArcSwap<Directory>,
}

#[expect(clippy::unimplemented, unused_variables, reason = "skeleton: filled in by the identity work")]
impl Identity {
    /// Loads people and grants of the store; `set_config` adds those of the configuration.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(store: Arc<dyn Store>) -> Result<Arc<Self>, IdentityError> {
        unimplemented!()
    }

    /// Grants of the configuration; a name that is in both is an error.
    ///
    /// # Errors
    /// A name that the store has too, or an invalid name.
    pub async fn set_config(
        &self,
        grants: &[(String, GrantSettings)],
        now: Timestamp,
    ) -> Result<(), IdentityError> {
        unimplemented!()
    }

    /// This moment's snapshot.
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// The grant that this bearer token names; a few hundred nanoseconds, no lock, no await.
    pub fn grant(&self, bearer: &str) -> Option<Arc<Grant>> {
        unimplemented!()
    }

    pub async fn add_agent(
        &self,
        name: &str,
        settings: GrantSettings,
        by: &str,
        now: Timestamp,
    ) -> Result<NewSecret, IdentityError> {
        unimplemented!()
    }
    pub async fn rotate_agent(
        &self,
        name: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<NewSecret, IdentityError> {
        unimplemented!()
    }
    pub async fn revoke_agent(&self, name: &str, by: &str, now: Timestamp) -> Result<(), IdentityError> {
        unimplemented!()
    }
    pub async fn add_reviewer(
        &self,
        person: Person,
        by: &str,
        now: Timestamp,
    ) -> Result<NewSecret, IdentityError> {
        unimplemented!()
    }
    pub async fn revoke_reviewer(&self, name: &str, by: &str, now: Timestamp) -> Result<(), IdentityError> {
        unimplemented!()
    }
    /// A one-time sign-in link's path for an existing reviewer (used by `demo`, `open`).
    pub async fn sign_in_link(
        &self,
        reviewer: &str,
        ttl: Duration,
        now: Timestamp,
    ) -> Result<String, IdentityError> {
        unimplemented!()
    }
    /// Spends a link; the new session's cookie value.
    pub async fn spend_link(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<(Person, String)>, IdentityError> {
        unimplemented!()
    }
    /// A session for a reviewer token.
    pub async fn sign_in(
        &self,
        bearer: &str,
        now: Timestamp,
    ) -> Result<Option<(Person, String)>, IdentityError> {
        unimplemented!()
    }
    pub async fn sign_out(&self, session: &str) -> Result<(), IdentityError> {
        unimplemented!()
    }
    /// The person behind a reviewer's bearer token or session cookie. Never a grant's token.
    pub async fn person(&self, access: Access, secret: &str, now: Timestamp) -> Option<Person> {
        unimplemented!()
    }
}
