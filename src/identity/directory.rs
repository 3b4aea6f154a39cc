//! Everyone who may speak to the broker, as one snapshot that is read without a lock.

use std::{collections::HashMap, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    call::{People, Person},
    store::StoreError,
};

/// `[grants.NAME]` of the configuration, secrets already read.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GrantSettings {
    /// Never written anywhere: the store keeps its hash.
    #[serde(skip_serializing)]
    pub token: Option<String>,
    /// Empty: none. `["*"]`: every server.
    pub servers: Vec<String>,
    pub owner: Option<String>,
    /// Used by several agents at once: a policy with `join: grant` is refused for it.
    pub shared: bool,
    /// Unknown MCP methods that pass although the policy's default is not `allow`.
    pub methods: Vec<String>,
    /// Policy file of a grant that was added by command; the configuration's lie in its own tables.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
}

impl std::fmt::Debug for GrantSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrantSettings")
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("servers", &self.servers)
            .field("owner", &self.owner)
            .field("shared", &self.shared)
            .field("methods", &self.methods)
            .field("policy", &self.policy)
            .finish()
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    /// Every grant by name, also those of the configuration that have no token.
    pub agents: HashMap<String, Arc<Grant>>,
    pub people: People,
    /// Reviewers' names by SHA-256 of their token.
    pub reviewers: HashMap<[u8; 32], String>,
    /// Versions of the `reviewers` and `agents` streams that this snapshot reflects.
    pub reviewers_version: u64,
    pub agents_version: u64,
}

impl Directory {
    /// What the grant let in when it was read, at this server or (`None`) at the door, it lets in still.
    #[must_use]
    pub fn holds(&self, grant: &Grant, server: Option<&str>) -> bool {
        self.agents.get(&grant.name).is_some_and(|now| {
            now.token_id == grant.token_id && server.is_none_or(|server| now.reaches(server))
        })
    }
}

/// How a person proved who they are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    Token,
    Session,
}

/// Shown once.
#[derive(Clone)]
pub struct NewSecret {
    pub name: String,
    pub token: String,
    /// One-time sign-in path (`/login/…`), for reviewers; valid 15 minutes.
    pub link: Option<String>,
}

impl std::fmt::Debug for NewSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewSecret").field("name", &self.name).finish_non_exhaustive()
    }
}

/// A person who has signed in, and the cookie that speaks for them.
pub type SignedIn = (Person, String);

#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Who is there already, and what to do.
    #[error("the {0}")]
    Exists(String),
    #[error("there is no {0}; `list` shows who there is")]
    Unknown(String),
    /// The agent of this name.
    #[error(
        "the agent {0} comes from the configuration file: change [grants.{0}] there; a running broker follows by itself"
    )]
    FromConfig(String),
    #[error("{0}")]
    Invalid(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A name that is safe in a URL, a log line, a file name and a command line.
///
/// # Errors
/// `Invalid`, saying what a name may be.
pub fn check_name(what: &str, name: &str) -> Result<(), IdentityError> {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = (1..=63).contains(&name.len())
        && name.starts_with(letter)
        && name.chars().all(|c| letter(c) || matches!(c, '_' | '.' | '-'));
    if good {
        return Ok(());
    }
    Err(IdentityError::Invalid(format!(
        "{name:?} cannot be {what}: use 1 to 63 of a-z, 0-9, `_`, `.`, `-`, beginning with a letter or digit"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_plain() {
        for good in ["a", "0", "ci-bot", "ann.smith_2", &"a".repeat(63)] {
            assert!(check_name("an agent's name", good).is_ok(), "{good}");
        }
        for bad in ["", "-a", ".a", "_a", "Ann", "a b", "a/b", "é", "a\n", &"a".repeat(64)] {
            assert!(check_name("an agent's name", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_does_not_show_in_debug_output_or_json() {
        let settings = GrantSettings { token: Some("s3cret".into()), ..GrantSettings::default() };
        assert!(!format!("{settings:?}").contains("s3cret"));
        assert!(!serde_json::to_string(&settings).unwrap().contains("s3cret"));
        let new = NewSecret { name: "a".into(), token: "s3cret".into(), link: Some("s3cret".into()) };
        assert!(!format!("{new:?}").contains("s3cret"));
    }
}
