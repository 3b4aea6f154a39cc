//! Timers: expire, lapse, give up. One timer for the soonest deadline, whatever the number of calls.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    Broker, Inner, Settings,
    record::{RecordError, alone},
};
use crate::call::{Call, CallId, Command, Refusal, Timestamp, next_deadline};

/// Longest sleep: a bound on what a jump of the wall clock can cost.
const NAP: Duration = Duration::from_secs(5);
/// Shortest sleep: a bound on what a deadline that cannot be applied can cost.
const BLINK: Duration = Duration::from_millis(5);

/// How many calls one look at the store takes.
const PAGE: usize = 256;
/// How many calls are changed side by side: they wait for the same commit instead of each for its own.
pub(super) const TOGETHER: usize = 256;

#[derive(Debug)]
pub(super) struct Deadlines {
    soonest: AtomicI64,
    sooner: Notify,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self { soonest: AtomicI64::new(i64::MAX), sooner: Notify::new() }
    }
}

impl Deadlines {
    /// A call's newest state may bring the next deadline nearer.
    pub(super) fn note(&self, call: &Call, settings: &Settings) {
        let Some(at) = next_deadline(call, settings.detach_grace, settings.skew) else { return };
        if self.soonest.fetch_min(at.0, Ordering::SeqCst) > at.0 {
            self.sooner.notify_one();
        }
    }
}

impl Deadlines {
    /// The timer looks around now.
    pub(super) fn wake(&self) {
        self.sooner.notify_one();
    }
}

impl Inner {
    /// Applies every deadline that has passed, and what people's coming and going means. Returns how many
    /// calls changed.
    pub(super) async fn run_due(&self) -> usize {
        let now = self.clock.now();
        // There is a next look within a nap anyway: only what is due before it needs to wake the timer.
        self.deadlines.soonest.store(now.plus(NAP).0, Ordering::SeqCst);
        let mut changed = 0;
        loop {
            let due = match self.store.due(now, PAGE).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(%error, "deadlines could not be read");
                    return changed;
                }
            };
            let (before, full) = (changed, due.len() == PAGE);
            changed += self.tick_all(due).await;
            // A page of calls that nothing can be done about yet would come back for ever.
            if !full || changed == before {
                break;
            }
        }
        changed += self.reconsider().await;
        self.look_ahead(now).await;
        changed
    }

    /// Finds the deadline that comes next: its call may have been quiet since before this process.
    async fn look_ahead(&self, now: Timestamp) {
        let Ok(due) = self.store.due(now.plus(NAP), 1).await else { return };
        let Some(id) = due.first() else { return };
        let Ok(Some(call)) = self.store.call(*id).await else { return };
        if let Some(at) = next_deadline(&call, self.settings.detach_grace, self.settings.skew) {
            self.deadlines.soonest.fetch_min(at.0, Ordering::SeqCst);
        }
    }

    /// The timers of many calls, side by side, so that they share commits. Returns how many changed.
    pub(super) async fn tick_all(&self, ids: Vec<CallId>) -> usize {
        let ticks = stream::iter(ids.into_iter().map(|id| self.tick(id))).buffer_unordered(TOGETHER);
        ticks.filter(|changed| std::future::ready(*changed)).count().await
    }

    /// One call's timer. False when there was nothing to do.
    async fn tick(&self, id: CallId) -> bool {
        let command = Command::Tick {
            by: self.replica.clone(),
            detach_grace: self.settings.detach_grace,
            skew: self.settings.skew,
        };
        match self.record(id, |_, _| command.clone(), alone).await {
            Ok(_) => true,
            Err(RecordError::Refused(Refusal::Nothing)) => false,
            Err(error) => {
                tracing::warn!(call.id = %id, ?error, "a deadline could not be applied");
                false
            }
        }
    }

    async fn next_nap(&self) -> Duration {
        let now = self.clock.now();
        let soonest = Timestamp(self.deadlines.soonest.load(Ordering::SeqCst));
        soonest.since(now).clamp(BLINK, NAP)
    }
}

impl Broker {
    /// Runs the timers until `stop`.
    pub(super) async fn keep_deadlines(self, stop: CancellationToken) {
        loop {
            self.inner.run_due().await;
            let nap = self.inner.next_nap().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.inner.deadlines.sooner.notified() => {}
                () = tokio::time::sleep(nap) => {}
            }
        }
    }

    /// Applies every deadline that has passed by the broker's clock; for tests, which move it.
    pub async fn run_deadlines(&self) -> usize {
        self.inner.run_due().await
    }
}
