//! The broker's house: store, policies, people, and the agents' door on a free port.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc, time::Duration};

use countersign::{
    broker::{Broker, Parts, Rules, Settings, SystemClock},
    call::{Call, HowDelivered, Person, Role, StateName, Timestamp, Vote},
    downstream::{Connected, Door, DoorSettings, routes},
    identity::{GrantSettings, Identity},
    policy::Policy,
    store::{
        Filter, Store, StoreError,
        sqlite::{OpenOptions, Sqlite},
    },
    upstream::{ServerSettings, UpstreamSettings, Upstreams},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use serde_json::Value;
use tempfile::TempDir;

use super::Agent;

const POLICY: &str = r#"{
  "version": "1", "default": "allow", "hide": ["secret"],
  "tools": {
    "cancel": { "action": "require_approval", "reason": "there is no undo" },
    "forbidden": { "action": "deny", "reason": "not here" }
  }
}"#;

/// What a story changes of the house.
pub struct Plan {
    pub servers: Vec<(&'static str, ServerSettings)>,
    pub policy: &'static str,
    pub door: DoorSettings,
    pub broker: Settings,
    pub upstream: UpstreamSettings,
}

impl Plan {
    /// One server named `rig` at `url`; little times, so that no story waits long.
    pub fn at(url: &str) -> Self {
        let server = ServerSettings { url: Some(url.to_owned()), ..ServerSettings::default() };
        Self::of(server)
    }

    /// Two servers, named `a` and `b`.
    pub fn two(a: &str, b: &str) -> Self {
        let named = |name, url: &str| (name, Self::at(url).servers.remove(0).1);
        Self { servers: vec![named("a", a), named("b", b)], ..Self::at(a) }
    }

    pub fn of(server: ServerSettings) -> Self {
        let door =
            DoorSettings { grace_ms: 40, heartbeat_ms: 25, delivery_ms: 30, ..DoorSettings::default() };
        Self {
            servers: vec![("rig", server)],
            policy: POLICY,
            door,
            broker: Settings::default(),
            upstream: UpstreamSettings::default(),
        }
    }
}

pub struct House {
    pub broker: Broker,
    pub door: Door,
    pub address: SocketAddr,
    token: String,
    folder: TempDir,
}

impl House {
    pub async fn open(plan: Plan) -> Self {
        Self::open_in(tempfile::tempdir().unwrap(), plan).await
    }

    /// In a folder where another house may have been: its agent gets a new token.
    pub async fn open_in(folder: TempDir, plan: Plan) -> Self {
        let store = Sqlite::open(&folder.path().join("countersign.db"), OpenOptions::default()).unwrap();
        let fingerprint_key = *store.fingerprint_key();
        let store: Arc<dyn Store> = Arc::new(store);
        let identity = Identity::open(store.clone()).await.unwrap();
        let upstreams = Upstreams::new(plan.upstream);
        let servers: BTreeMap<_, _> =
            plan.servers.into_iter().map(|(name, s)| (name.to_owned(), s)).collect();
        let names: Vec<_> = servers.keys().cloned().collect();
        upstreams.replace(servers).unwrap();
        let clock = Arc::new(SystemClock);
        let parts = Parts {
            store,
            identity,
            upstreams,
            clock,
            settings: plan.broker,
            fingerprint_key,
            metrics: countersign::telemetry::Metrics::new(),
        };
        let broker = Broker::start(parts).await.unwrap();
        put_in_force(&broker, plan.policy, names).await.unwrap();
        let now = broker.clock().now();
        let grant = GrantSettings { servers: vec!["*".into()], ..GrantSettings::default() };
        let token = match broker.identity().add_agent("bot", grant, "test", now).await {
            Ok(added) => added.token,
            Err(_) => broker.identity().rotate_agent("bot", "test", now).await.unwrap().token,
        };
        let _ = broker.identity().add_reviewer(ann(), "test", now).await;
        let door = Door::new(broker.clone(), plan.door);
        let address = listen(door.clone()).await;
        Self { broker, door, address, token, folder }
    }

    /// A copy of the store as it is now, with its key, in a folder of its own.
    pub fn copied(&self) -> TempDir {
        let copy = tempfile::tempdir().unwrap();
        let place = copy.path().join("countersign.db");
        self.vandal().execute("VACUUM INTO ?1", [place.to_str().unwrap()]).unwrap();
        let key = "countersign.db.key";
        std::fs::copy(self.folder.path().join(key), copy.path().join(key)).unwrap();
        copy
    }

    /// A connection of somebody who changes rows behind the broker's back.
    pub fn vandal(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.folder.path().join("countersign.db")).unwrap()
    }

    pub fn agent(&self) -> Agent {
        Agent::new(self.address, "rig", &self.token)
    }

    pub fn agent_of(&self, server: &str) -> Agent {
        Agent::new(self.address, server, &self.token)
    }

    /// Another policy for the server, from here on.
    pub async fn rule(&self, policy: &str) -> Result<(), StoreError> {
        put_in_force(&self.broker, policy, vec!["rig".to_owned()]).await
    }

    /// An agent of a grant of its own.
    pub async fn other_agent(&self, name: &str, servers: &[&str]) -> Agent {
        let servers = servers.iter().map(|&server| server.to_owned()).collect();
        let grant = GrantSettings { servers, ..GrantSettings::default() };
        let now = self.now();
        let token = self.broker.identity().add_agent(name, grant, "test", now).await.unwrap().token;
        Agent::new(self.address, "rig", &token)
    }

    pub fn now(&self) -> Timestamp {
        self.broker.clock().now()
    }

    pub async fn calls(&self, states: &[StateName]) -> Vec<Call> {
        let filter = Filter { states: states.into(), limit: 200, ..Filter::default() };
        self.broker.calls(filter).await.unwrap().calls
    }

    /// The one call for which `holds`, as soon as there is one.
    pub async fn until(&self, holds: impl Fn(&Call) -> bool) -> Call {
        let mut head = self.broker.head();
        let found = async {
            loop {
                head.borrow_and_update();
                if let Some(call) = self.calls(&[]).await.into_iter().find(&holds) {
                    return call;
                }
                head.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(10), found).await.expect("it happens within 10 s")
    }

    pub async fn pending(&self) -> Call {
        self.until(|call| call.state.name() == StateName::Pending).await
    }

    /// So many agents are away from their streams, as soon as it is so.
    pub async fn away(&self, number: usize) {
        let mut away = self.door.away();
        let found = away.wait_for(|away| *away == number);
        tokio::time::timeout(Duration::from_secs(10), found).await.expect("within 10 s").unwrap();
    }

    pub async fn delivered(&self, how: HowDelivered) -> Call {
        self.until(|call| call.delivered == Some(how)).await
    }

    pub async fn approve(&self, call: &Call) {
        self.broker.review(call.id, ann(), Vote::Approve, call.digest, None).await.unwrap();
    }

    /// The call runs, and its agent dies with the answer unread, of which these are words.
    pub async fn missed_by(&self, agent: &Agent, call: &Value, words: &str) {
        let stream = agent.post_unread(call);
        self.approve(&self.pending().await).await;
        self.until(|call| call.state.is_settled()).await;
        Agent::unread(&stream, words).await;
    }

    pub async fn deny_once(&self, call: &Call) {
        self.broker.deny_once(call.id, ann(), call.digest, Some("not now".into())).await.unwrap();
    }

    pub async fn deny(&self, call: &Call, reason: &str) {
        let reason = Some(reason.to_owned());
        self.broker.review(call.id, ann(), Vote::Deny, call.digest, reason).await.unwrap();
    }
}

async fn put_in_force(broker: &Broker, policy: &str, servers: Vec<String>) -> Result<(), StoreError> {
    let policy = Arc::new(Policy::parse("rig.json", policy).unwrap());
    let by_server = servers.into_iter().map(|name| (name, vec![policy.clone()])).collect();
    broker.set_rules(Rules { by_server, ..Rules::default() }, Vec::new()).await
}

pub fn ann() -> Person {
    Person { name: "ann".into(), groups: Vec::new(), role: Role::Reviewer, token: String::new() }
}

/// The accept loop, as `serve` has it.
async fn listen(door: Door) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = routes(door);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let connected = Connected::default();
            let peer = connected.peer();
            let service = TowerToHyperService::new(router.clone().layer(axum::Extension(peer)));
            tokio::spawn(async move {
                let http = hyper::server::conn::http1::Builder::new();
                if http.serve_connection(TokioIo::new(connected.watch(stream)), service).await.is_ok() {
                    connected.close();
                }
            });
        }
    });
    address
}
