//! Puts a configuration into force: servers, grants and policies as one, at start and at each change.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc, time::Duration};

use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::{Desk, Shelf};
use crate::{
    broker::Broker,
    config::{Composed, Config, GrantServers, Policies},
    identity::Source,
    ledger::{PolicyEvent, ServerEvent},
    oauth::Fetch,
};

/// Servers, grants and policies of `config` from here on. What the ledger does not know yet, it is told.
///
/// # Errors
/// A name that is in the configuration and in the store, or a ledger that cannot be written.
pub async fn apply(
    broker: &Broker,
    config: &Config,
    composed: &Composed,
    mut policies: Policies,
    shelf: &Shelf,
) -> anyhow::Result<()> {
    let before = broker.upstreams().servers();
    broker.upstreams().replace(composed.servers.clone())?;
    broker.identity().set_config(&composed.grants, broker.clock().now()).await?;
    let fetch = composed.issuer.as_ref().map(|_| fetch()).transpose().map_err(anyhow::Error::msg)?;
    broker.identity().set_issuer(composed.issuer.clone(), fetch);
    for grant in broker.identity().directory().agents.values() {
        if let (Source::Store, Some(path)) = (grant.source, &grant.settings.policy) {
            policies.grant(config, &grant.name, path)?;
        }
    }
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
        digest: file.policy.digest.to_string(),
    });
    let loaded = loaded.collect();
    broker.set_rules(policies.rules.clone(), loaded).await?;
    // Who reads that a trouble is over has the new rules by then.
    shelf.put(&policies);
    Ok(())
}

/// The HTTP client for authorization servers.
pub(super) fn fetch() -> Result<Fetch, String> {
    Fetch::new(&crate::upstream::tls_config()?)
}

/// How often the files are looked at. Their content is compared, so a replaced link counts as a change.
const LOOK: Duration = Duration::from_secs(1);

/// Puts each change of the configuration and its policies into force, as one; keeps the old when the new
/// one is wrong, and says where it is wrong.
pub(super) async fn watch(
    desk: Desk,
    shelf: Arc<Shelf>,
    first: Config,
    mut seen: Contents,
    stop: CancellationToken,
) {
    let mut config = first;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = desk.changed.notified() => seen.clear(),
            () = tokio::time::sleep(LOOK) => {}
        }
        let now = contents(&config);
        if now == seen {
            continue;
        }
        seen = now;
        match reload(&desk.broker, &config, &shelf).await {
            Ok(reloaded) => {
                tracing::info!(
                    "servers, agents, policies and messages are in force as they are configured now"
                );
                seen = contents(&reloaded);
                config = reloaded;
            }
            Err(error) => {
                shelf.refuse(&format!("{error:#}"));
                tracing::error!(
                    error = format!("{error:#}"),
                    "the change is refused; the old configuration stays"
                );
                let refused =
                    PolicyEvent::PolicyRefused { name: "(configuration)".into(), why: format!("{error:#}") };
                if let Err(error) = desk.broker.note_policies(vec![refused]).await {
                    tracing::error!(%error, "the refusal could not be recorded");
                }
            }
        }
    }
}

async fn reload(broker: &Broker, config: &Config, shelf: &Shelf) -> anyhow::Result<Config> {
    let fresh = config.read_again()?;
    for key in fresh.file.waits_for_restart(&config.file) {
        tracing::warn!("`{key}` has changed: that needs a restart");
    }
    let composed = fresh.compose()?;
    let policies = Policies::load(&fresh)?;
    apply(broker, &fresh, &composed, policies, shelf).await?;
    if let Some(notify) = shelf.notify.get() {
        notify.replace(composed.notify).await?;
    }
    Ok(fresh)
}

/// What each file held when it was looked at.
pub(super) type Contents = BTreeMap<PathBuf, Option<[u8; 32]>>;

/// Digests of every file that the configuration consists of.
pub(super) fn contents(config: &Config) -> Contents {
    let file = &config.file;
    let servers = file.servers.values().filter_map(|server| server.policy.as_deref());
    let grants = file.grants.values().filter_map(|grant| grant.policy.as_deref());
    let each = file.grants.values().flat_map(|grant| match &grant.servers {
        GrantServers::Each(each) => each.values().filter_map(|own| own.policy.as_deref()).collect(),
        GrantServers::Names(_) => Vec::new(),
    });
    let paths = servers.chain(grants).chain(each).map(|path| config.path_of(path));
    let digest = |path: PathBuf| {
        let digest = std::fs::read(&path).ok().map(|bytes| Sha256::digest(bytes).into());
        (path, digest)
    };
    paths.chain(config.path.clone()).map(digest).collect()
}
