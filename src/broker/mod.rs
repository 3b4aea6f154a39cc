//! The one conductor: every call passes here on its way in, through people's hands, and out.
//!
//! `submit` judges and records; `review` and its kin record what people say; `dispatch` spends the
//! permit. Each of them loads, decides and appends through `record`; nothing else changes a call.

mod answers;
mod ask;
mod claim;
mod clock;
mod collect;
mod compose;
mod counters;
mod deadlines;
mod dispatch;
mod enter;
mod follows;
mod join;
mod lap;
mod legs;
mod measure;
mod outcome;
mod owners;
mod parked;
mod people;
mod proof;
mod read;
mod reconsider;
mod record;
mod repeats;
mod rest;
mod rules;
mod seal;
mod seats;
mod segments;
mod server_tasks;
mod settings;
mod start;
mod stops;
mod submit;
mod task;
mod waiter;
mod ways;
mod withdraw;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError, Weak,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use ask::{Allowed, Ask, Live, Submission};
pub use clock::{Clock, SystemClock, TestClock};
pub use collect::{Collected, Holder};
pub use lap::{LINK, Returned};
pub use legs::{MOST_ASKED, Moves};
pub use outcome::{Brief, End, HttpError, Outcome, Rejection};
pub use read::{CallView, Step};
pub use rules::{GrantRules, Rules};
pub use segments::Recording;
pub use server_tasks::Standing;
pub use settings::{AllowedLedger, Settings};
pub use start::Parts;
pub use task::Task;
pub use waiter::{Exchange, Part, Turn, Waiter};

use crate::{
    call::Replica, identity, identity::Identity, policy::Limits, store::Store, telemetry::Metrics,
    upstream::Upstreams,
};

/// A cheap handle to the one broker of this process.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
}

struct Inner {
    /// For the tasks that must outlive whoever started them.
    me: Weak<Inner>,
    store: Arc<dyn Store>,
    identity: Arc<Identity>,
    upstreams: Upstreams,
    clock: Arc<dyn Clock>,
    settings: Settings,
    replica: Replica,
    fingerprint_key: [u8; 32],
    rules: ArcSwap<Rules>,
    stops: ArcSwap<stops::Stops>,
    /// Wakes the streams that a stop ends.
    stops_moved: watch::Sender<()>,
    limits: Mutex<Limits>,
    counted: counters::Counted,
    seats: seats::Seats,
    parked: parked::Parked,
    deadlines: deadlines::Deadlines,
    reconsidered: reconsider::Reconsidered,
    repeats: repeats::Repeats,
    seal: seal::Seal,
    legs: legs::Legs,
    ways: ways::Ways,
    /// Of servers' own tasks.
    owners: owners::Owners,
    /// True from when a door is there: before, no policy and no server is.
    serves_tasks: AtomicBool,
    segments: segments::Segments,
    metrics: Arc<Metrics>,
    /// False after the first failed write: nothing is forwarded any more.
    open: AtomicBool,
    /// Calls between their claim and their outcome.
    dispatching: AtomicUsize,
    tasks: TaskTracker,
    ending: CancellationToken,
}

impl Inner {
    fn is_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    fn limits(&self) -> MutexGuard<'_, Limits> {
        // A panic elsewhere cannot leave the counters half-changed: each use is one operation.
        self.limits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn allowed_durably(&self) -> bool {
        self.settings.allowed == AllowedLedger::Durable
    }
}

impl Broker {
    /// False after a failed write: `/readyz` says so, and nothing is forwarded.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.inner.is_open()
    }

    #[must_use]
    pub fn identity(&self) -> &Arc<Identity> {
        &self.inner.identity
    }

    /// What a browser must show beside this session's cookie to change anything.
    #[must_use]
    pub fn page_key(&self, session: &str) -> String {
        identity::page_key(&self.inner.fingerprint_key, session)
    }

    #[must_use]
    pub fn upstreams(&self) -> &Upstreams {
        &self.inner.upstreams
    }

    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }

    #[must_use]
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.inner.clock
    }

    /// The policies in force.
    #[must_use]
    pub fn rules(&self) -> Arc<Rules> {
        self.inner.rules.load_full()
    }

    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.inner.metrics
    }

    /// How many calls are unsettled now.
    #[must_use]
    pub fn parked(&self) -> usize {
        self.inner.parked.count()
    }
}
