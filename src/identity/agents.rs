//! Agents: grants of the configuration and of the store, added, rotated, revoked.

use super::{
    ATTEMPTS, Grant, GrantSettings, Identity, IdentityError, NewSecret, Source, check_name, is_conflict,
    rows::{self, AgentRow},
    token::{self, TokenKind},
};
use crate::{
    call::Timestamp,
    ledger::{AgentEvent, Fact, Stream},
    store::Put,
};

/// Shorter ones can be guessed; ours have 53 characters.
const SHORTEST_TOKEN: usize = 20;
/// Who changed a grant of the configuration, on the ledger.
const CONFIG: &str = "(config)";

impl Identity {
    /// Grants of the configuration; a name that is in both is an error. Only what changed since the last
    /// time is written to the ledger.
    ///
    /// # Errors
    /// A name that the store has too, an invalid name, a token that is too short or somebody else's.
    pub async fn set_config(
        &self,
        grants: &[(String, GrantSettings)],
        now: Timestamp,
    ) -> Result<(), IdentityError> {
        let mut configured = self.writing.lock().await;
        let wanted = grants
            .iter()
            .map(|(name, settings)| Ok((name.clone(), self.configured_row(name, settings)?)))
            .collect::<Result<Vec<_>, IdentityError>>()?;
        for (i, (name, row)) in wanted.iter().enumerate() {
            if wanted[..i]
                .iter()
                .any(|(other, before)| other == name || (row.hash.is_some() && row.hash == before.hash))
            {
                return Err(IdentityError::Invalid(format!("grants.{name}: name or token is there twice")));
            }
        }
        for _ in 0..ATTEMPTS {
            let (facts, puts) = self.config_changes(&wanted).await?;
            let done = if facts.is_empty() {
                self.read(true).await
            } else {
                self.commit(self.agents_now(), facts, puts, now, true).await
            };
            match done {
                Err(error) if is_conflict(&error) => {}
                Err(error) => return Err(error),
                Ok(()) => {
                    *configured = true;
                    return Ok(());
                }
            }
        }
        Err(busy())
    }

    /// A new agent with a token of its own.
    ///
    /// # Errors
    /// `Exists`, `Invalid` (a name), or the store's.
    pub async fn add_agent(
        &self,
        name: &str,
        settings: GrantSettings,
        by: &str,
        now: Timestamp,
    ) -> Result<NewSecret, IdentityError> {
        check_settings(name, &settings)?;
        if settings.token.is_some() {
            return Err(IdentityError::Invalid("a stored agent's token is made, not given".into()));
        }
        let secret = token::fresh(TokenKind::Grant);
        let row = AgentRow {
            hash: Some(token::key(&secret.hash)),
            token_id: secret.id.clone(),
            source: Source::Store,
            settings,
        };
        self.change(now, || {
            if self.directory().agents.contains_key(name) {
                self.stored_agent(name)?;
                return Err(IdentityError::Exists(format!(
                    "agent {name} is there already; `countersign agents servers {name} --add SERVER` lets it reach \
                     more, `countersign agents rotate {name}` gives it a new token, or choose another name"
                )));
            }
            Ok((added(name, &row, by), rows::put(rows::AGENTS, name, &row)?))
        })
        .await?;
        Ok(NewSecret { name: name.to_owned(), token: secret.text, link: None })
    }

    /// A new token; the old one is void at once.
    ///
    /// # Errors
    /// `Unknown`, `FromConfig`, or the store's.
    pub async fn rotate_agent(
        &self,
        name: &str,
        by: &str,
        now: Timestamp,
    ) -> Result<NewSecret, IdentityError> {
        let secret = token::fresh(TokenKind::Grant);
        self.change(now, || {
            let grant = self.stored_agent(name)?;
            let row = AgentRow {
                hash: Some(token::key(&secret.hash)),
                token_id: secret.id.clone(),
                source: Source::Store,
                settings: grant.settings.clone(),
            };
            let event = AgentEvent::AgentRotated {
                agent: name.to_owned(),
                token: secret.id.clone(),
                by: by.to_owned(),
            };
            Ok((event, rows::put(rows::AGENTS, name, &row)?))
        })
        .await?;
        Ok(NewSecret { name: name.to_owned(), token: secret.text, link: None })
    }

    /// The agent reaches `add` too, and `remove` no more; its token stays. Gives what it reaches from here on.
    ///
    /// # Errors
    /// `Unknown`, `FromConfig`, `Invalid` (it does not have what is to be removed, or has every server, or nothing changes), or the
    /// store's.
    pub async fn change_servers(
        &self,
        name: &str,
        (add, remove): (&[String], &[String]),
        by: &str,
        now: Timestamp,
    ) -> Result<Vec<String>, IdentityError> {
        self.change(now, || {
            let grant = self.stored_agent(name)?;
            let servers = changed(&grant, add, remove)?;
            let directory = self.directory();
            let hash = directory.grants.iter().find(|(_, other)| other.name == name).map(|(hash, _)| hash);
            let row = AgentRow {
                hash: hash.map(token::key),
                token_id: grant.token_id.clone(),
                source: Source::Store,
                settings: GrantSettings { servers, ..grant.settings.clone() },
            };
            Ok((added(name, &row, by), rows::put(rows::AGENTS, name, &row)?))
        })
        .await?;
        Ok(self.stored_agent(name)?.settings.servers.clone())
    }

    /// The agent's token is void when this returns.
    ///
    /// # Errors
    /// `Unknown`, `FromConfig`, or the store's.
    pub async fn revoke_agent(&self, name: &str, by: &str, now: Timestamp) -> Result<(), IdentityError> {
        self.change(now, || {
            self.stored_agent(name)?;
            let event = AgentEvent::AgentRevoked { agent: name.to_owned(), by: by.to_owned() };
            Ok((event, rows::delete(rows::AGENTS, name)))
        })
        .await
    }

    async fn change(
        &self,
        now: Timestamp,
        decide: impl Fn() -> Result<(AgentEvent, Put), IdentityError>,
    ) -> Result<(), IdentityError> {
        let configured = self.writing.lock().await;
        for _ in 0..ATTEMPTS {
            let (event, put) = decide()?;
            let done =
                self.commit(self.agents_now(), vec![Fact::Agent(event)], vec![put], now, *configured).await;
            match done {
                Err(error) if is_conflict(&error) => {}
                done => return done,
            }
        }
        Err(busy())
    }

    fn agents_now(&self) -> (Stream, u64) {
        (Stream::Agents, self.directory.load().agents_version)
    }

    fn stored_agent(&self, name: &str) -> Result<std::sync::Arc<Grant>, IdentityError> {
        let grant = self
            .directory()
            .agents
            .get(name)
            .cloned()
            .ok_or_else(|| IdentityError::Unknown(format!("agent {name}")))?;
        match grant.source {
            Source::Store => Ok(grant),
            Source::Config => Err(IdentityError::FromConfig(name.to_owned())),
        }
    }

    fn configured_row(&self, name: &str, settings: &GrantSettings) -> Result<AgentRow, IdentityError> {
        check_settings(name, settings)?;
        let directory = self.directory();
        if directory.agents.get(name).is_some_and(|grant| grant.source == Source::Store) {
            return Err(IdentityError::Invalid(format!(
                "grants.{name}: there is an agent of this name already, added by command; \
                 `countersign agents revoke {name}`, or choose another name here"
            )));
        }
        let hash = settings.token.as_deref().map(token::hash);
        if settings.token.as_ref().is_some_and(|token| token.len() < SHORTEST_TOKEN) {
            return Err(IdentityError::Invalid(format!(
                "grants.{name}: the token is shorter than {SHORTEST_TOKEN} characters, so it can be guessed"
            )));
        }
        let taken = hash.is_some_and(|hash| {
            directory.reviewers.contains_key(&hash)
                || directory.grants.get(&hash).is_some_and(|other| other.source == Source::Store)
        });
        if taken {
            return Err(IdentityError::Invalid(format!("grants.{name}: the token is somebody else's")));
        }
        let token_id = hash.map(|hash| token::id(TokenKind::Grant, &hash)).unwrap_or_default();
        let settings = GrantSettings { token: None, ..settings.clone() };
        Ok(AgentRow { hash: hash.map(|hash| token::key(&hash)), token_id, source: Source::Config, settings })
    }

    /// What the ledger must say so that the store's configured grants are `wanted`.
    async fn config_changes(
        &self,
        wanted: &[(String, AgentRow)],
    ) -> Result<(Vec<Fact>, Vec<Put>), IdentityError> {
        let mut before = rows::list::<AgentRow>(&*self.store, rows::AGENTS).await?;
        before.retain(|(_, row)| row.source == Source::Config);
        let (mut facts, mut puts) = (Vec::new(), Vec::new());
        for (name, row) in wanted {
            let old = before.iter().find(|(other, _)| other == name).map(|(_, old)| old);
            let event = match old {
                Some(old) if old == row => continue,
                Some(old) if old.settings == row.settings => AgentEvent::AgentRotated {
                    agent: name.clone(),
                    token: row.token_id.clone(),
                    by: CONFIG.to_owned(),
                },
                Some(_) | None => added(name, row, CONFIG),
            };
            facts.push(Fact::Agent(event));
            puts.push(rows::put(rows::AGENTS, name, row)?);
        }
        for (name, _) in before.iter().filter(|(name, _)| !wanted.iter().any(|(other, _)| other == name)) {
            let event = AgentEvent::AgentRevoked { agent: name.clone(), by: CONFIG.to_owned() };
            facts.push(Fact::Agent(event));
            puts.push(rows::delete(rows::AGENTS, name));
        }
        Ok((facts, puts))
    }
}

/// The servers of a grant with some more and some less.
fn changed(grant: &Grant, add: &[String], remove: &[String]) -> Result<Vec<String>, IdentityError> {
    let before = &grant.settings.servers;
    let has = before.join(", ");
    if let Some(absent) = remove.iter().find(|server| !before.contains(server)) {
        let why = format!("the agent {} has no server {absent:?} to remove; it has: {has}", grant.name);
        return Err(IdentityError::Invalid(why));
    }
    let mut servers: Vec<String> = before.iter().filter(|server| !remove.contains(server)).cloned().collect();
    for server in add {
        if !servers.iter().any(|known| known == "*" || known == server) {
            servers.push(server.clone());
        }
    }
    if !remove.is_empty() && servers.iter().any(|server| server == "*") {
        let why = format!(
            "with \"*\" the agent {} reaches every server, also what is removed; it has: {has}; \
             remove \"*\", and add those that it is to keep",
            grant.name
        );
        return Err(IdentityError::Invalid(why));
    }
    if servers == *before {
        let why = format!("nothing changes: the agent {} has these servers already: {has}", grant.name);
        return Err(IdentityError::Invalid(why));
    }
    Ok(servers)
}

/// A grant as it is from here on, new or changed.
fn added(name: &str, row: &AgentRow, by: &str) -> AgentEvent {
    AgentEvent::AgentAdded {
        agent: name.to_owned(),
        owner: row.settings.owner.clone(),
        servers: row.settings.servers.clone(),
        token: row.token_id.clone(),
        by: by.to_owned(),
    }
}

fn check_settings(name: &str, settings: &GrantSettings) -> Result<(), IdentityError> {
    check_name("an agent's name", name)?;
    if let Some(owner) = &settings.owner {
        check_name("an owner", owner)?;
    }
    Ok(())
}

pub(super) fn busy() -> IdentityError {
    IdentityError::Invalid("others keep changing the same list; try again".into())
}
