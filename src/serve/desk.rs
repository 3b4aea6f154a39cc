//! What an operator may order on this machine: agents, reviewers, sign-in links, stop and resume.
//!
//! The same orders come over the admin socket of a running broker, or from the command line alone when
//! none runs.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::sign_in;
use crate::{
    broker::Broker,
    call::{Person, Role},
    identity::{GrantSettings, NewSecret, Source},
    ledger::StopScope,
};

/// A sign-in link is good for this long.
const LINK: Duration = Duration::from_secs(15 * 60);

/// One order; `by` is the operating-system user who gave it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    AgentAdd {
        name: String,
        servers: Vec<String>,
        owner: Option<String>,
        policy: Option<PathBuf>,
        by: String,
    },
    AgentServers {
        name: String,
        add: Vec<String>,
        remove: Vec<String>,
        by: String,
    },
    AgentRotate {
        name: String,
        by: String,
    },
    AgentRevoke {
        name: String,
        by: String,
    },
    Agents,
    ReviewerAdd {
        name: String,
        groups: Vec<String>,
        auditor: bool,
        by: String,
    },
    ReviewerRevoke {
        name: String,
        by: String,
    },
    Reviewers,
    SignInLink {
        reviewer: Option<String>,
    },
    /// Where the running broker is.
    Address,
    /// Begin to sign in at a server; only a running broker can end it.
    ServerLogin {
        server: String,
    },
    /// How far that sign-in is.
    ServerLoginStage {
        login: String,
    },
    /// How the broker stands with the servers that want its sign-in.
    ServerSignIns,
    /// Forget the tokens for a server.
    ServerLogout {
        server: String,
    },
    Stop {
        scope: StopScope,
        reason: String,
        by: String,
    },
    Resume {
        scope: StopScope,
        reason: String,
        by: String,
    },
}

/// Who carries the orders out.
#[derive(Clone)]
pub struct Desk {
    pub broker: Broker,
    /// Tells the running process that an agent with a policy came or went.
    pub changed: std::sync::Arc<tokio::sync::Notify>,
    local_url: String,
}

impl Desk {
    /// `local_url`: where the broker listens on this machine; empty where it does not.
    #[must_use]
    pub fn new(broker: Broker, local_url: String) -> Self {
        Self { broker, changed: std::sync::Arc::default(), local_url }
    }

    /// Does it; the answer is what `--json` prints.
    ///
    /// # Errors
    /// In words for whoever gave the order.
    pub async fn carry_out(&self, order: Order) -> anyhow::Result<Value> {
        let (identity, now) = (self.broker.identity(), self.broker.clock().now());
        match order {
            Order::AgentAdd { name, servers, owner, policy, by } => {
                let policy = policy.map(|path| path.display().to_string());
                let settings = GrantSettings { servers, owner, policy, ..GrantSettings::default() };
                let secret = identity.add_agent(&name, settings, &by, now).await?;
                self.changed.notify_one();
                Ok(shown(&secret))
            }
            Order::AgentServers { name, add, remove, by } => {
                let servers = identity.change_servers(&name, (&add, &remove), &by, now).await?;
                Ok(json!({ "name": name, "servers": servers }))
            }
            Order::AgentRotate { name, by } => Ok(shown(&identity.rotate_agent(&name, &by, now).await?)),
            Order::AgentRevoke { name, by } => {
                identity.revoke_agent(&name, &by, now).await?;
                self.broker.grant_revoked(&name, &by).await?;
                self.changed.notify_one();
                Ok(json!({ "name": name, "revoked": true }))
            }
            Order::Agents => Ok(self.agents()),
            Order::ReviewerAdd { name, groups, auditor, by } => {
                let role = if auditor { Role::Auditor } else { Role::Reviewer };
                let person = Person { name, groups, role, token: String::new() };
                Ok(self.with_link(shown(&identity.add_reviewer(person, &by, now).await?)))
            }
            Order::ReviewerRevoke { name, by } => {
                identity.revoke_reviewer(&name, &by, now).await?;
                self.broker.people_changed();
                Ok(json!({ "name": name, "revoked": true }))
            }
            Order::Reviewers => {
                let people = identity.directory().people.clone();
                let person = |p: &Person| json!({ "name": p.name, "groups": p.groups, "role": p.role });
                Ok(json!({ "reviewers": people.0.iter().map(person).collect::<Vec<_>>() }))
            }
            Order::Address => {
                Ok(json!({ "local": self.local_url, "public": self.broker.settings().public_url }))
            }
            Order::SignInLink { reviewer } => self.sign_in_link(reviewer).await,
            Order::ServerLogin { server } => sign_in::begin(&self.broker, &server).await,
            Order::ServerLoginStage { login } => Ok(sign_in::stage(&self.broker, &login)),
            Order::ServerSignIns => Ok(sign_in::standings(&self.broker)),
            Order::ServerLogout { server } => sign_in::forget(&self.broker, &server).await,
            Order::Stop { scope, reason, by } => {
                let what = words(&scope);
                let denied = self.broker.stop(scope, &by, &reason).await?;
                Ok(json!({ "stopped": what, "denied": denied }))
            }
            Order::Resume { scope, reason, by } => {
                let what = words(&scope);
                self.broker.resume(scope, &by, &reason).await?;
                Ok(json!({ "resumed": what }))
            }
        }
    }

    fn agents(&self) -> Value {
        let directory = self.broker.identity().directory();
        let stops = self.broker.stops();
        let mut grants: Vec<_> = directory.agents.values().collect();
        grants.sort_by(|a, b| a.name.cmp(&b.name));
        let agent = |grant: &&std::sync::Arc<crate::identity::Grant>| {
            let source = match grant.source {
                Source::Config => "config",
                Source::Store => "store",
            };
            let settings = &grant.settings;
            let covers = |scope: &StopScope| match scope {
                StopScope::All => true,
                StopScope::Agent(name) => *name == grant.name,
                StopScope::Server(_) => false,
            };
            let stopped = stops.iter().filter(|(scope, ..)| covers(scope));
            let stopped: Vec<Value> = stopped.map(|(scope, by, reason)| stop(scope, by, reason)).collect();
            json!({ "name": grant.name, "servers": settings.servers, "owner": settings.owner,
                "policy": settings.policy, "source": source, "stopped": stopped })
        };
        json!({ "agents": grants.iter().map(agent).collect::<Vec<_>>() })
    }

    /// A link for the named reviewer, or for the only one there is.
    async fn sign_in_link(&self, reviewer: Option<String>) -> anyhow::Result<Value> {
        let people = self.broker.people();
        let reviewer = match (reviewer, people.0.as_slice()) {
            (Some(name), _) => name,
            (None, [only]) => only.name.clone(),
            (None, []) => anyhow::bail!("there is no reviewer yet; add one: countersign reviewers add NAME"),
            (None, [first, ..]) => {
                anyhow::bail!("there are several reviewers; say which: --reviewer {}", first.name)
            }
        };
        let now = self.broker.clock().now();
        let link = self.broker.identity().sign_in_link(&reviewer, LINK, now).await?;
        Ok(self.with_link(json!({ "name": reviewer, "link": link })))
    }

    /// Links are shown whole.
    fn with_link(&self, mut shown: Value) -> Value {
        let path = shown.get("link").and_then(Value::as_str).map(str::to_owned);
        if let Some(path) = path {
            shown["link"] = Value::String(format!("{}{path}", self.broker.settings().public_url));
        }
        shown
    }
}

fn shown(secret: &NewSecret) -> Value {
    match &secret.link {
        Some(link) => json!({ "name": secret.name, "token": secret.token, "link": link }),
        None => json!({ "name": secret.name, "token": secret.token }),
    }
}

/// A stop that stands, as lists show it.
#[must_use]
pub fn stop(scope: &StopScope, by: &str, reason: &str) -> Value {
    json!({ "what": words(scope), "by": by, "reason": reason })
}

fn words(scope: &StopScope) -> String {
    match scope {
        StopScope::Agent(name) => format!("agent {name}"),
        StopScope::Server(name) => format!("server {name}"),
        StopScope::All => "everything".to_owned(),
    }
}
