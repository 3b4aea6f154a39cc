//! The rows of credentials against the ledger: who may do what must be what the entries say.
//!
//! A row that somebody put there by hand would open a door. What no entry says is not proven here: whether
//! a grant is shared, its methods, one-time links (they live for minutes).

use std::collections::{BTreeMap, HashSet};

use super::{
    Source,
    rows::{self, AgentRow, ReviewerRow, SessionRow},
    token::{self, TokenKind},
};
use crate::{
    call::Person,
    ledger::{AgentEvent, Bad, Entry, Fact, ReviewerEvent, Stream},
    store::{StoreError, sqlite::ReadOnly},
};

/// The first credential that is not as the ledger makes it.
///
/// # Errors
/// The store cannot be read.
pub fn first_changed(store: &ReadOnly) -> Result<Option<Bad>, StoreError> {
    let (streams, spaces) = store
        .together(&[Stream::Agents, Stream::Reviewers], &[rows::AGENTS, rows::REVIEWERS, rows::SESSIONS])?;
    let ([agents, reviewers], [agent_rows, reviewer_rows, session_rows]) = (&streams[..], &spaces[..]) else {
        return Ok(None);
    };
    Ok(changed_agent(agents, agent_rows).or_else(|| changed_person(reviewers, reviewer_rows, session_rows)))
}

type Row = (String, Vec<u8>);

/// What the entries say, each with the number of the entry that said it last.
type Said<T> = BTreeMap<String, (u64, T)>;

struct Agent {
    token: String,
    owner: Option<String>,
    servers: Vec<String>,
}

fn changed_agent(entries: &[Entry], rows: &[Row]) -> Option<Bad> {
    let mut said: Said<Agent> = Said::new();
    for entry in entries {
        let Fact::Agent(event) = &entry.fact else { continue };
        match event {
            AgentEvent::AgentAdded { agent, owner, servers, token, .. } => {
                let new = Agent { token: token.clone(), owner: owner.clone(), servers: servers.clone() };
                said.insert(agent.clone(), (entry.number, new));
            }
            AgentEvent::AgentRotated { agent, token, .. } => {
                if let Some((number, agent)) = said.get_mut(agent) {
                    (*number, agent.token) = (entry.number, token.clone());
                }
            }
            AgentEvent::AgentRevoked { agent, .. } => drop(said.remove(agent)),
        }
    }
    differs("agent", said, rows, last(entries), |said: &Agent, row: &AgentRow| {
        let settings = &row.settings;
        row.token_id == said.token
            && settings.owner == said.owner
            && settings.servers == said.servers
            && match &row.hash {
                Some(hash) => is_of(TokenKind::Grant, hash, &said.token),
                None => row.source == Source::Config,
            }
    })
}

fn changed_person(entries: &[Entry], rows: &[Row], sessions: &[Row]) -> Option<Bad> {
    let (mut said, mut signed_in): (Said<Person>, HashSet<(&str, &str)>) = Default::default();
    for entry in entries {
        let Fact::Reviewer(event) = &entry.fact else { continue };
        match event {
            ReviewerEvent::ReviewerAdded { person, .. } => {
                said.insert(person.name.clone(), (entry.number, person.clone()));
            }
            ReviewerEvent::ReviewerRevoked { reviewer, .. } => drop(said.remove(reviewer)),
            ReviewerEvent::SignedIn { reviewer, token } => {
                signed_in.insert((reviewer, token));
            }
        }
    }
    let forged = sessions.iter().any(|(key, value)| {
        !serde_json::from_slice::<SessionRow>(value).is_ok_and(|row| {
            let person = said.get(&row.reviewer).map(|(_, person)| person);
            person.is_some_and(|person| person.token == row.credential)
                && signed_in.contains(&(row.reviewer.as_str(), row.id.as_str()))
                && is_of(TokenKind::Session, key, &row.id)
        })
    });
    if forged {
        return Some(Bad { number: last(entries), why: "a session is here that no entry says".into() });
    }
    differs("reviewer", said, rows, last(entries), |said: &Person, row: &ReviewerRow| {
        row.person == *said && is_of(TokenKind::Reviewer, &row.hash, &said.token)
    })
}

/// The first that is in one and not in the other, or differs.
fn differs<T, R: serde::de::DeserializeOwned>(
    what: &str,
    mut said: Said<T>,
    rows: &[Row],
    last: u64,
    same: impl Fn(&T, &R) -> bool,
) -> Option<Bad> {
    for (name, value) in rows {
        let Some((number, said)) = said.remove(name) else {
            return Some(Bad { number: last, why: format!("the row of {what} {name} belongs to no entry") });
        };
        if !serde_json::from_slice(value).is_ok_and(|row| same(&said, &row)) {
            return Some(Bad { number, why: format!("the row of {what} {name} says something else") });
        }
    }
    let (name, (number, _)) = said.pop_first()?;
    Some(Bad { number, why: format!("there is no row of {what} {name}") })
}

/// Is this the hash of the secret that the ledger knows by this name?
fn is_of(kind: TokenKind, hash: &str, id: &str) -> bool {
    token::unkey(hash).is_some_and(|hash| token::id(kind, &hash) == id)
}

fn last(entries: &[Entry]) -> u64 {
    entries.last().map_or(1, |entry| entry.number)
}
