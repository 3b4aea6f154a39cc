//! People as the tally sees them: who may vote now, with what authority.

use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// May vote.
    #[default]
    Reviewer,
    /// May look at everything and decide nothing.
    Auditor,
}

/// A reviewer as they were at one moment; recorded with each vote.
#[derive(Clone, PartialEq, Eq, Debug, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Person {
    pub name: String,
    #[serde(default)]
    pub groups: Vec<String>,
    #[serde(default)]
    pub role: Role,
    /// Id of the credential that spoke for them (never the secret).
    #[serde(default)]
    pub token: String,
}

/// Everyone who may vote at this moment.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct People(pub Vec<Person>);

impl People {
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Person> {
        self.0.iter().find(|person| person.name == name)
    }
}
