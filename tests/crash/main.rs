//! The broker is killed (SIGKILL) at random moments under load, and nothing that it promised is lost.
//!
//! `COUNTERSIGN_CRASH_CYCLES` says how often (4 unless said), `COUNTERSIGN_CRASH_SEED` repeats the
//! choices of a run, `COUNTERSIGN_CRASH_BROKER` names another broker to kill. A folder with the store, the log and the upstream's file stays when it fails.

mod broker;
mod checks;
mod claims;
mod http;
mod load;
mod upstream;

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use countersign::call::Timestamp;
use rand::{RngExt as _, rngs::StdRng};
use tokio::{sync::watch, task::JoinSet};

use broker::{AGENTS, Broker, REVIEWERS};
use checks::Lives;
use claims::{Claims, Stage};
use http::Target;
use load::{Agent, Reviewer};
use upstream::Upstream;

/// Deaths of one store; then a new one, so that reading the whole ledger each time stays cheap.
const DEATHS: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_killed_at_random_moments_keeps_every_promise() {
    let cycles = number("COUNTERSIGN_CRASH_CYCLES").unwrap_or(4);
    let seed = number("COUNTERSIGN_CRASH_SEED").unwrap_or_else(rand::random);
    eprintln!("seed {seed}, {cycles} cycles");
    let mut total = Tally::default();
    for (life, first) in (0..cycles).step_by(DEATHS).enumerate() {
        let deaths = DEATHS.min(usize::try_from(cycles - first).unwrap());
        live(seed.wrapping_add(life as u64), deaths, &mut total).await;
    }
    eprintln!("{total:?}");
    assert!(total.dispatched > 0 && total.votes > 0, "no load: nothing was tried");
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|value| value.parse().ok())
}

#[derive(Debug, Default)]
struct Tally {
    deaths: usize,
    calls: usize,
    dispatched: usize,
    reached: usize,
    lost: usize,
    denied: usize,
    expired: usize,
    cancelled: usize,
    twins_and_more: usize,
    votes: usize,
    answers: usize,
    repeats: u64,
    departures: u64,
    broken_connections: u64,
    under_way_at_death: usize,
    pending_at_death: usize,
    slowest_start_ms: u128,
}

/// One store through several deaths of its broker.
async fn live(seed: u64, deaths: usize, total: &mut Tally) {
    let folder = tempfile::tempdir().unwrap().keep();
    let upstream = Upstream::start(&folder).await;
    let mut broker = Broker::new(&folder, upstream.address);
    let mut random = load::random(seed, 0);
    let (up, is_up) = watch::channel(false);
    let stage = Stage { claims: Arc::new(Claims::default()), up: is_up };
    let parties = parties(&broker, &stage, seed);
    broker.start().await;
    for _ in 0..deaths {
        up.send_replace(true);
        tokio::time::sleep(Duration::from_millis(random.random_range(150..1_500))).await;
        broker.kill().await;
        up.send_replace(false);
        upstream.quiet().await;
        let dead = checks::read(&broker);
        audit(&broker, &dead, &upstream, &stage.claims, &folder);
        total.slowest_start_ms = total.slowest_start_ms.max(broker.start().await.as_millis());
        after_restart(&broker, &dead, &folder).await;
        total.deaths += 1;
        total.under_way_at_death += dead.values().filter(|life| life.is_under_way()).count();
        total.pending_at_death += dead.values().filter(|life| life.expires_at().is_some()).count();
    }
    drop(parties);
    broker.kill().await;
    upstream.quiet().await;
    let lives = checks::read(&broker);
    audit(&broker, &lives, &upstream, &stage.claims, &folder);
    total.add(&lives, &upstream, &stage.claims);
    std::fs::remove_dir_all(&folder).unwrap();
}

fn parties(broker: &Broker, stage: &Stage, seed: u64) -> JoinSet<()> {
    let mut parties = JoinSet::new();
    for (number, party) in (0..AGENTS).zip(1..) {
        let target = Target::new(broker.address, "/mcp/rec", &Broker::agent_token(number));
        let random = load::random(seed, party);
        parties.spawn(Agent { number, modern: number % 2 == 0, target, stage: stage.clone(), random }.work());
    }
    for (name, party) in REVIEWERS.into_iter().zip(100..) {
        let target = Target::new(broker.address, "/", &broker.add_reviewer(name));
        let random: StdRng = load::random(seed, party);
        parties.spawn(Reviewer { name, target, stage: stage.clone(), random }.work());
    }
    parties
}

fn audit(broker: &Broker, lives: &Lives, upstream: &Upstream, claims: &Claims, folder: &std::path::Path) {
    let broken = checks::broken_promises(lives, &upstream.markers(), claims);
    assert!(broken.is_empty(), "{}\nsee {}", broken.join("\n"), folder.display());
    if let Err(why) = broker.verify() {
        panic!("the ledger is not intact: {why}\nsee {}", folder.display());
    }
}

/// What was under way is lost, once and for all; deadlines went on while nobody was there.
async fn after_restart(broker: &Broker, dead: &Lives, folder: &std::path::Path) {
    let now = checks::read(broker);
    for (id, _) in dead.iter().filter(|(_, life)| life.is_under_way()) {
        assert!(now[id].has("lost"), "{id} was under way and is not lost; see {}", folder.display());
    }
    let clock = Timestamp(jiff::Timestamp::now().as_millisecond());
    let passed = |life: &checks::Life| {
        life.expires_at()
            .and_then(|at| at.parse::<jiff::Timestamp>().ok())
            .is_some_and(|at| at.as_millisecond() <= clock.0)
    };
    let mut due: Vec<&String> = dead.iter().filter(|(_, life)| passed(life)).map(|(id, _)| id).collect();
    let begun = Instant::now();
    while !due.is_empty() {
        let now = checks::read(broker);
        due.retain(|id| now[*id].settled().is_none());
        assert!(
            begun.elapsed() < Duration::from_secs(5),
            "{due:?} should have expired; see {}",
            folder.display()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

impl Tally {
    fn add(&mut self, lives: &Lives, upstream: &Upstream, claims: &Claims) {
        let having = |name| lives.values().filter(|life| life.has(name)).count();
        self.calls += lives.len();
        self.dispatched += having("dispatched");
        self.lost += having("lost");
        self.denied += having("denied");
        self.expired += having("expired");
        self.cancelled += having("cancelled");
        self.reached += upstream.markers().len();
        let mut markers: Vec<_> = lives.values().map(|life| &life.marker).collect();
        markers.sort();
        markers.dedup();
        self.twins_and_more += lives.len() - markers.len();
        self.votes += claims.kept().len();
        self.answers += claims.told().len();
        self.repeats += claims.repeats.load(Ordering::Relaxed);
        self.departures += claims.departures.load(Ordering::Relaxed);
        self.broken_connections += claims.broken.load(Ordering::Relaxed);
    }
}
