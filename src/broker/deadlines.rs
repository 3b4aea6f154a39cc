//! Timers: expire, lapse, give up. One timer for the soonest deadline, whatever the number of calls.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    Broker, Inner, Settings,
    record::{RecordError, alone},
};
use crate::call::{Call, CallId, Command, Refusal, Timestamp, next_deadline};

/// Longest sleep: a bound on what a jump of the wall clock can cost.
const NAP: Duration = Duration::from_secs(5);

/// How many calls one look at the store takes.
const PAGE: usize = 256;

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

impl Inner {
    /// Applies every deadline that has passed. Returns how many calls changed.
    pub(super) async fn run_due(&self) -> usize {
        let now = self.clock.now();
        self.deadlines.soonest.store(i64::MAX, Ordering::SeqCst);
        let mut changed = 0;
        loop {
            let due = match self.store.due(now, PAGE).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(%error, "deadlines could not be read");
                    return changed;
                }
            };
            let before = changed;
            for id in &due {
                changed += usize::from(self.tick(*id).await);
            }
            // A page of calls that nothing can be done about yet would come back for ever.
            if due.len() < PAGE || changed == before {
                return changed;
            }
        }
    }

    /// One call's timer. False when there was nothing to do.
    pub(super) async fn tick(&self, id: CallId) -> bool {
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
        // The store knows deadlines that this process has not seen yet (after a restart).
        let now = self.clock.now();
        let soonest = Timestamp(self.deadlines.soonest.load(Ordering::SeqCst));
        soonest.since(now).min(NAP)
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
