//! The door for people, wired: what it tells of things that lie beside the broker.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use axum::Router;
use tokio_util::sync::CancellationToken;

use crate::{
    api::{self, ApiParts, Catalog, Origins, PolicyFile},
    broker::{Broker, Rules},
    policy::{Policy, check},
    store::sqlite::Sqlite,
    telemetry::Metrics,
};

/// The routes for people.
pub(super) fn routes(
    broker: &Broker,
    store: &Arc<Sqlite>,
    public_url: &str,
    listen: SocketAddr,
    ending: CancellationToken,
) -> Router {
    let catalog = Arc::new(Beside { broker: broker.clone(), store: Arc::clone(store) });
    let origins = Origins::new(public_url, listen);
    api::router(ApiParts::new(broker.clone(), catalog, Metrics::new(), origins, ending))
}

struct Beside {
    broker: Broker,
    store: Arc<Sqlite>,
}

impl Catalog for Beside {
    /// The files of the policies in force, as they lie on the disk at this moment.
    fn policies(&self) -> Vec<PolicyFile> {
        let rules = self.broker.rules();
        let in_force: BTreeMap<&str, &Policy> =
            policies(&rules).map(|policy| (policy.name.as_str(), policy)).collect();
        in_force.into_iter().map(|(name, policy)| file(name, policy)).collect()
    }

    fn checkpoint(&self) -> Option<String> {
        self.store.signed_head().map(|head| head.to_string())
    }

    fn troubles(&self) -> Vec<String> {
        if self.store.is_open() { Vec::new() } else { vec!["the store refused a write".to_owned()] }
    }
}

fn policies(rules: &Rules) -> impl Iterator<Item = &Policy> {
    let own = rules.by_grant.values().flat_map(|own| own.by_server.values().chain([&own.everywhere]));
    rules.by_server.values().chain(own).flatten().map(AsRef::as_ref)
}

fn file(name: &str, policy: &Policy) -> PolicyFile {
    let (text, error) = match std::fs::read_to_string(name) {
        Ok(text) => {
            let problems = check(name, &text).err().unwrap_or_default();
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            (text, lines.join("\n"))
        }
        Err(error) => (String::new(), format!("the file cannot be read: {error}")),
    };
    let error = Some(error).filter(|error| !error.is_empty());
    PolicyFile { name: name.to_owned(), digest: policy.digest.clone(), error, text }
}
