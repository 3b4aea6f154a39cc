//! Wiring: from a configuration to a running broker with its doors, and back to a clean end.

mod accept;
mod catalog;
mod desk;
mod reload;
mod sign_in;
mod socket;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context as _;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use catalog::Shelf;

use crate::{
    api::{self, ApiParts, Origins},
    broker::{Broker, Clock as _, Parts, SystemClock},
    config::{Composed, Config, Policies},
    downstream::{self, Door, well_known},
    identity::Identity,
    notify::Notify,
    oauth::{Accounts, Introduction, Now},
    store::{
        Store,
        sqlite::{OpenOptions, Sqlite},
    },
    telemetry::Metrics,
    upstream::Upstreams,
};

use accept::Entrance;
pub use desk::{Desk, Order, stop};
pub use reload::apply;
pub use socket::{path_beside, send};

/// How long a drain waits for each thing that is under way.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often idle sessions are looked for.
const SWEEP: Duration = Duration::from_secs(30);

/// A broker with its doors open.
pub struct Running {
    pub broker: Broker,
    pub store: Arc<Sqlite>,
    pub address: SocketAddr,
    /// Where it listens on this machine.
    pub local_url: String,
    pub public_url: String,
    door: Door,
    notify: Arc<Notify>,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Opens the store, starts the broker, and opens the doors.
///
/// # Errors
/// Says what is wrong and what to do: a store in use, an address in use, a policy with a mistake.
pub async fn start(config: &Config) -> anyhow::Result<Running> {
    // Looked at before it is read: a change while we start is seen as one.
    let seen = reload::contents(config);
    let composed = config.compose()?;
    let policies = Policies::load(config)?;
    let listener = accept::listen(composed.listen).with_context(|| {
        format!(
            "cannot listen on {}; is another broker running? choose another port with --listen",
            composed.listen
        )
    })?;
    let address = listener.local_addr()?;
    let composed = with_port(composed, config, address);
    let local_url = format!("{}://{address}", if composed.tls.is_some() { "https" } else { "http" });
    let (broker, store) = open(config, &composed).await?;
    let shelf = Arc::new(Shelf::new(Arc::clone(&store)));
    apply(&broker, config, &composed, policies, &shelf).await?;
    let door = Door::new(broker.clone(), composed.door.clone());
    let origins = Origins::new(&composed.public_url, address);
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let notify = Arc::new(Notify::start(broker.clone(), composed.notify.clone(), stop.child_token()).await?);
    shelf.notify.get_or_init(|| Arc::clone(&notify));
    let catalog: Arc<Shelf> = Arc::clone(&shelf);
    let metrics = Arc::clone(broker.metrics());
    let told = if composed.door.wait_tool { downstream::told_with_wait_tool } else { downstream::told };
    let people = ApiParts::new(broker.clone(), catalog, metrics, origins, stop.clone(), told);
    let entrance = Entrance {
        door: door.clone(),
        router: api::router(people).merge(well_known(door.clone())).merge(sign_in::routes(broker.clone())),
        tls: composed.tls.as_ref().map(accept::tls).transpose()?,
        trusted_proxies: composed.trusted_proxies.as_slice().into(),
    };
    let desk = Desk::new(broker.clone(), local_url.clone());
    socket::serve(path_beside(store.path()), desk.clone(), stop.clone()).await?;
    tasks.spawn(reload::watch(desk, shelf, config.clone(), seen, stop.clone()));
    tasks.spawn(accept::accept(listener, entrance, stop.clone()));
    tasks.spawn(sweep(door.clone(), stop.clone()));
    let public_url = composed.public_url;
    Ok(Running { broker, store, address, local_url, public_url, door, notify, stop, tasks })
}

/// Port 0 becomes the port that the system chose, in links too.
fn with_port(mut composed: Composed, config: &Config, address: SocketAddr) -> Composed {
    if composed.listen.port() == 0 && config.file.public_url.is_none() {
        composed.public_url = composed.public_url.replace(&composed.listen.to_string(), &address.to_string());
        composed.broker.public_url.clone_from(&composed.public_url);
    }
    composed.listen = address;
    composed
}

async fn open(config: &Config, composed: &Composed) -> anyhow::Result<(Broker, Arc<Sqlite>)> {
    let path = config.store_path()?;
    let store = Arc::new(Sqlite::open(&path, OpenOptions::default())?);
    let shared: Arc<dyn Store> = Arc::<Sqlite>::clone(&store);
    let identity = Identity::open(Arc::clone(&shared)).await?;
    let now: Now = Arc::new(|| SystemClock.now());
    let us = Introduction::of(&composed.public_url, composed.client_metadata_url.as_deref());
    let accounts = Accounts::open(&path, us, now, reload::fetch).map_err(anyhow::Error::msg)?;
    let parts = Parts {
        store: shared,
        identity,
        upstreams: Upstreams::with_accounts(config.file.upstream.clone(), accounts),
        clock: Arc::new(SystemClock),
        settings: composed.broker.clone(),
        fingerprint_key: *store.fingerprint_key(),
        metrics: Metrics::new(),
    };
    Ok((Broker::start(parts).await?, store))
}

/// The desk of a store that no broker serves: for the command line alone. The broker must be drained.
///
/// # Errors
/// The store is in use or cannot be opened.
pub async fn open_desk(config: &Config) -> anyhow::Result<(Desk, Arc<Sqlite>)> {
    let composed = config.compose()?;
    let policies = Policies::load(config)?;
    let (broker, store) = open(config, &composed).await?;
    let shelf = Shelf::new(Arc::clone(&store));
    apply(&broker, config, &composed, policies, &shelf).await?;
    Ok((Desk::new(broker, String::new()), store))
}

async fn sweep(door: Door, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(SWEEP) => door.sweep().await,
        }
    }
}

impl Running {
    /// Stops accepting, gives waiting agents their tickets, finishes what is sent, seals the ledger.
    pub async fn drain(self) {
        self.stop.cancel();
        // Whatever agents, people and servers do, the last head is signed.
        in_time(self.door.drain(), "some answers were not taken in time").await;
        self.broker.drain(PATIENCE).await;
        self.tasks.close();
        in_time(self.tasks.wait(), "some connections did not end in time").await;
        // Side by side: all of it stays under the 90 s after which service managers end what is left.
        tokio::join!(
            in_time(
                self.notify.end(),
                "some messages did not arrive in time; they go out after the next start"
            ),
            in_time(self.broker.upstreams().drain(), "some servers did not end their sessions in time"),
        );
        if let Err(error) = self.store.drain().await {
            tracing::error!(%error, "the audit log's last head could not be signed");
        }
    }
}

/// Waits for a part of the end, and not for long.
async fn in_time(end: impl Future<Output = ()>, late: &str) {
    if tokio::time::timeout(PATIENCE, end).await.is_err() {
        tracing::warn!("{late}");
    }
}
