//! Puts a configuration into force: servers, grants and policies as one, at start and at each change.

use crate::{
    broker::Broker,
    config::{Composed, Config, Policies},
    ledger::{PolicyEvent, ServerEvent},
};

/// Servers, grants and policies of `config` from here on. What the ledger does not know yet, it is told.
///
/// # Errors
/// A name that is in the configuration and in the store, or a ledger that cannot be written.
pub async fn apply(
    broker: &Broker,
    _config: &Config,
    composed: &Composed,
    policies: Policies,
) -> anyhow::Result<()> {
    let before = broker.upstreams().servers();
    broker.upstreams().replace(composed.servers.clone())?;
    broker.identity().set_config(&composed.grants, broker.clock().now()).await?;
    let after = broker.upstreams().servers();
    let mut facts = Vec::new();
    for server in &after {
        if !before.iter().any(|old| old.name() == server.name() && old.identity() == server.identity()) {
            let (server, identity) = (server.name().to_owned(), server.identity().to_owned());
            facts.push(ServerEvent::ServerConfigured { server, identity });
        }
    }
    for old in before.iter().filter(|old| !after.iter().any(|server| server.name() == old.name())) {
        facts.push(ServerEvent::ServerRemoved { server: old.name().to_owned() });
    }
    if !facts.is_empty() {
        broker.note_servers(facts).await?;
    }
    let loaded = policies.files.iter().map(|(name, file)| PolicyEvent::PolicyLoaded {
        name: name.clone(),
        digest: file.policy.digest.clone(),
    });
    let loaded = loaded.collect();
    broker.set_rules(policies.rules, loaded).await?;
    Ok(())
}
