//! The one conductor: every call passes here on its way in, through people's hands, and out.
//!
//! `submit` judges and records; `review` and its kin record what people say; `dispatch` spends the
//! permit. Each of them loads, decides and appends through `record`; nothing else changes a call.

mod ask;
mod clock;
mod outcome;
mod rules;
mod settings;
mod waiter;

pub use ask::{Allowed, Ask, Live, Submission};
pub use clock::{Clock, SystemClock, TestClock};
pub use outcome::{Brief, End, Outcome, Rejection};
pub use rules::Rules;
pub use settings::Settings;
pub use waiter::{Exchange, Part, Turn, Waiter};

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use crate::{
    call::{Call, CallId, Digest, HowDelivered, Person, Resolution, Vote},
    identity::Identity,
    ledger::{Entry, StopScope},
    store::{Filter, Page, Store, StoreError},
};

/// A cheap handle to the one broker of this process.
#[derive(Clone)]
pub struct Broker {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    identity: Arc<Identity>,
    clock: Arc<dyn Clock>,
    settings: Settings,
}

/// One step of a call's timeline, with the words that lie beside it.
#[derive(Clone, Debug)]
pub struct Step {
    pub entry: Entry,
    /// The reason, comment or note that the entry commits to, unless erased.
    pub text: Option<String>,
}

/// Everything a person may see of one call.
#[derive(Clone, Debug)]
pub struct CallView {
    pub call: Call,
    /// Raw `params`; `None` when erased.
    pub params: Option<bytes::Bytes>,
    pub timeline: Vec<Step>,
    /// The upstream's whole response, if kept.
    pub answer: Option<bytes::Bytes>,
}

#[expect(clippy::unimplemented, unused_variables, reason = "skeleton")]
impl Broker {
    // ── the agents' door ──────────────────────────────────────────────
    /// Judges and records one `tools/call`.
    pub async fn submit(&self, ask: Ask) -> Submission {
        unimplemented!()
    }
    /// Forwards an allowed call; its record is completed when the reply ends or is dropped.
    // pub async fn pass(&self, allowed: Allowed, link: &Link, out: Outbound) -> Result<Reply, SendError>
    /// Waits for the next change of a call; cancel-safe.
    pub async fn turn(&self, waiter: &mut Waiter) -> Turn {
        unimplemented!()
    }
    /// Patience is used up: detach with a ticket; the answer to give.
    pub async fn ticket(&self, waiter: Waiter) -> Outcome {
        unimplemented!()
    }
    /// `notifications/cancelled`: detach; nothing is withdrawn.
    pub async fn leave(&self, waiter: Waiter) {
        unimplemented!()
    }
    // Claims the permit, sends the stored bytes, and records the outcome whatever becomes of the agent.
    // pub async fn dispatch(&self, waiter: Waiter, link: Arc<Link>, live: Live, headers) -> Exchange
    /// The agent has its answer (the response ended cleanly and the peer stayed).
    pub async fn delivered(&self, call: CallId, how: HowDelivered) {
        unimplemented!()
    }

    // ── people's door ─────────────────────────────────────────────────
    pub async fn review(
        &self,
        id: CallId,
        reviewer: Person,
        vote: Vote,
        digest: Digest,
        reason: Option<String>,
    ) -> Result<Call, Rejection> {
        unimplemented!()
    }
    pub async fn withdraw_vote(&self, id: CallId, reviewer: Person) -> Result<Call, Rejection> {
        unimplemented!()
    }
    pub async fn cancel(&self, id: CallId, by: Person, reason: Option<String>) -> Result<Call, Rejection> {
        unimplemented!()
    }
    pub async fn extend(&self, id: CallId, by: Person, extra: Duration) -> Result<Call, Rejection> {
        unimplemented!()
    }
    pub async fn resolve(
        &self,
        id: CallId,
        by: Person,
        outcome: Resolution,
        note: Option<String>,
    ) -> Result<Call, Rejection> {
        unimplemented!()
    }
    /// Denies what is pending and permitted in the scope, at once; until resumed nothing of it passes.
    pub async fn stop(&self, scope: StopScope, by: &str, reason: &str) -> Result<(), Rejection> {
        unimplemented!()
    }
    pub async fn resume(&self, scope: StopScope, by: &str, reason: &str) -> Result<(), Rejection> {
        unimplemented!()
    }
    /// What is stopped now: scope, who, why.
    pub fn stops(&self) -> Vec<(StopScope, String, String)> {
        unimplemented!()
    }

    // ── reading ───────────────────────────────────────────────────────
    pub async fn calls(&self, filter: Filter) -> Result<Page, StoreError> {
        self.inner.store.calls(filter).await
    }
    /// Raw `params` of each call, in order (for lists).
    pub async fn params(&self, id: CallId) -> Result<Option<bytes::Bytes>, StoreError> {
        unimplemented!()
    }
    pub async fn view(&self, id: CallId) -> Result<Option<CallView>, StoreError> {
        unimplemented!()
    }
    pub async fn entries(&self, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.inner.store.entries(after, limit).await
    }
    /// Number of the last committed entry; changes wake every follower.
    pub fn head(&self) -> watch::Receiver<u64> {
        self.inner.store.head()
    }
    /// False after a failed write: `/readyz` says so, and nothing is forwarded.
    pub fn is_open(&self) -> bool {
        unimplemented!()
    }
    pub fn identity(&self) -> &Arc<Identity> {
        &self.inner.identity
    }
    pub fn settings(&self) -> &Settings {
        &self.inner.settings
    }
    pub fn clock(&self) -> &dyn Clock {
        &*self.inner.clock
    }
}
