//! Which servers are stopped, as the ledger has it: nothing is started or written to know that.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::{
    config::Config,
    ledger::{Fact, StopEvent, StopScope, Stream},
    serve::stop,
    store::sqlite::ReadOnly,
};

/// Who stopped it, and why.
pub(super) type Stops = BTreeMap<StopScope, (String, String)>;

/// The stops that stand. `None`, and a word on stderr, when the ledger cannot be read.
pub(super) fn standing(config: &Config) -> Option<Stops> {
    let read = || {
        let path = config.store_path()?;
        anyhow::Ok(if path.exists() { in_store(&ReadOnly::open(&path)?)? } else { Stops::new() })
    };
    read().map_err(|error| eprintln!("which servers are stopped is not known: {error:#}")).ok()
}

fn in_store(store: &ReadOnly) -> anyhow::Result<Stops> {
    let (streams, _) = store.together(&[Stream::Stops], &[])?;
    let mut stops = Stops::new();
    for entry in streams.into_iter().flatten() {
        let Fact::Stop(event) = entry.fact else { continue };
        match event {
            StopEvent::Stopped { scope, by, reason } => drop(stops.insert(scope, (by, reason))),
            StopEvent::Resumed { scope, .. } => drop(stops.remove(&scope)),
        }
    }
    Ok(stops)
}

/// The stops that cover one server; null when that is not known.
pub(super) fn of(stops: Option<&Stops>, server: &str) -> Value {
    let Some(stops) = stops else { return Value::Null };
    let scopes = [StopScope::Server(server.to_owned()), StopScope::All];
    let covering = scopes.iter().filter_map(|scope| stops.get(scope).map(|(by, why)| stop(scope, by, why)));
    covering.collect()
}
