//! How many calls per second are parked and decided, each step durable, on a real SQLite file.
//!
//! The broker runs in the bench, in release mode, without doors: `submit`, a person's review, and what
//! follows. `cargo bench --bench decide`; the bar is 2,000 cycles per second on two cores.

mod rig;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use countersign::{
    broker::{Ask, Broker, Live, Part, Parts, Rules, Settings, Submission, SystemClock, Turn, Waiter},
    call::{AttachKind, ClientInfo, Era, HowDelivered, Person, Role, Vote},
    identity::{Grant, GrantSettings, Identity},
    policy::Policy,
    store::{
        Store,
        sqlite::{OpenOptions, Sqlite},
    },
    telemetry::Metrics,
    upstream::{Conversation, Link, ServerSettings, UpstreamSettings, Upstreams},
};

const PER_RUN: Duration = Duration::from_secs(4);
const POLICY: &str = r#"{"version":"1","default":"deny","tools":{"wipe":{"action":"require_approval"}}}"#;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(async {
        for agents in [1, 16, 128] {
            cycles("parked and denied", agents, Then::Deny).await;
            cycles("parked, approved, sent, answered, delivered", agents, Then::Run).await;
        }
    });
}

#[derive(Clone, Copy)]
enum Then {
    Deny,
    Run,
}

struct House {
    broker: Broker,
    grant: Arc<Grant>,
    link: Link,
    ann: Person,
    _folder: tempfile::TempDir,
}

async fn cycles(what: &str, agents: usize, then: Then) {
    let house = Arc::new(House::open().await);
    let cpu = rig::cpu_of(std::process::id());
    let (begun, end) = (Instant::now(), Instant::now() + PER_RUN);
    let tasks: Vec<_> = (0..agents)
        .map(|agent| {
            let house = Arc::clone(&house);
            tokio::spawn(async move {
                let mut took = Vec::new();
                while Instant::now() < end {
                    let begun = Instant::now();
                    house.cycle(&format!("{agent}-{}", took.len()), then).await;
                    took.push(begun.elapsed());
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("an agent"));
    }
    let rate = took.len() as f64 / begun.elapsed().as_secs_f64();
    took.sort_unstable();
    let (p50, p99) = (rig::at(&took, 0.5), rig::at(&took, 0.99));
    // On a machine that is shared, CPU tells more than the clock.
    let cpu = (rig::cpu_of(std::process::id()) - cpu).as_secs_f64() * 1e6 / took.len() as f64;
    println!(
        "{what}, {agents:>3} at a time: {rate:>6.0}/s, p50 {p50:?}, p99 {p99:?}, {cpu:.0} µs of CPU each"
    );
}

impl House {
    async fn open() -> Self {
        let echo = rig::Echo::start().await;
        let folder = tempfile::tempdir().expect("a folder");
        let store = Sqlite::open(&folder.path().join("bench.db"), OpenOptions::default()).expect("a store");
        let fingerprint_key = *store.fingerprint_key();
        let store: Arc<dyn Store> = Arc::new(store);
        let identity = Identity::open(Arc::clone(&store)).await.expect("people");
        let upstreams = Upstreams::new(UpstreamSettings::default());
        let server =
            ServerSettings { url: Some(format!("http://{}/mcp", echo.address)), ..Default::default() };
        upstreams.replace(BTreeMap::from([("echo".to_owned(), server)])).expect("a server");
        let (clock, settings, metrics) = (Arc::new(SystemClock), Settings::default(), Metrics::new());
        let parts = Parts { store, identity, upstreams, clock, settings, fingerprint_key, metrics };
        let broker = Broker::start(parts).await.expect("a broker");
        let policy = Arc::new(Policy::parse("bench.json", POLICY).expect("a policy"));
        let by_server = [("echo".to_owned(), vec![policy])].into();
        broker.set_rules(Rules { by_server, ..Rules::default() }, Vec::new()).await.expect("rules");
        let now = broker.clock().now();
        let ann =
            Person { name: "ann".into(), groups: Vec::new(), role: Role::Reviewer, token: String::new() };
        broker.identity().add_reviewer(ann.clone(), "bench", now).await.expect("a reviewer");
        let grant = GrantSettings { servers: vec!["*".into()], ..GrantSettings::default() };
        broker.identity().add_agent("bot", grant, "bench", now).await.expect("an agent");
        let grant = broker.identity().directory().grants.values().next().expect("a grant").clone();
        let server = broker.upstreams().server("echo").expect("a server");
        let link = broker.upstreams().link(&server, Conversation::Shared { grant: "bot" });
        Self { broker, grant, link, ann, _folder: folder }
    }

    async fn cycle(&self, marker: &str, then: Then) {
        let mut waiter = self.park(marker).await;
        let vote = match then {
            Then::Deny => Vote::Deny,
            Then::Run => Vote::Approve,
        };
        let (id, digest) = (waiter.call(), waiter.brief.digest);
        self.broker.review(id, self.ann.clone(), vote, digest, None).await.expect("a vote");
        loop {
            match self.broker.turn(&mut waiter).await {
                Turn::Changed(_) => {}
                Turn::Settled(_) => return,
                Turn::Permitted => break,
            }
        }
        let live = Live { id: Bytes::from_static(b"1"), ..Live::default() };
        let mut exchange = self.broker.dispatch(waiter, self.link.clone(), live);
        while let Some(part) = exchange.next().await {
            assert!(matches!(part, Part::Message(_) | Part::End(_)), "nothing is asked again");
        }
        self.broker.delivered(id, HowDelivered::Line).await;
    }

    async fn park(&self, marker: &str) -> Waiter {
        let arguments = format!(r#"{{"marker":"{marker}","region":"eu-1"}}"#);
        let before = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"wipe","arguments":"#;
        let body = Bytes::from(format!("{before}{arguments}}}}}"));
        let ask = Ask {
            grant: Arc::clone(&self.grant),
            server: "echo".into(),
            server_identity: "echo".into(),
            session: None,
            era: Era::Modern,
            protocol: None,
            client: ClientInfo { name: "bench".into(), version: "1".into() }.into(),
            tool: "wipe".into(),
            arguments: Some(before.len()..before.len() + arguments.len()),
            input_responses: None,
            unseen: false,
            kind: AttachKind::Line,
            as_task: false,
            body,
        };
        match self.broker.submit(ask).await {
            Submission::Waiting(waiter) => *waiter,
            other => panic!("it must wait: {other:?}"),
        }
    }
}
