//! What calls took of their limits is on the ledger, so that a restart opens no window anew.
//!
//! `dispatched` says what was taken, `failed` what was given back; nothing else is kept. With the policies
//! it is known how far back their windows reach: that far those entries of earlier boots are read, once.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use super::{Inner, Rules};
use crate::{
    call::{CallId, Event, Timestamp, Used},
    ledger::{Entry, Fact, Stream},
    policy::{Limits, Taken},
    store::StoreError,
};

/// From when on every use is counted, and the last entry of the boots before.
#[derive(Debug)]
pub(super) struct Counted {
    from: Mutex<Timestamp>,
    head: u64,
}

impl Counted {
    /// This process counts its own uses as they come; of those before it, none yet.
    pub(super) fn after(head: u64) -> Self {
        Self { from: Mutex::new(Timestamp(i64::MAX)), head }
    }

    fn from(&self) -> Timestamp {
        *self.from.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// As it stands in the entry of the claim.
pub(super) fn used(taken: Option<&Taken>) -> Vec<Used> {
    let uses = taken.map(|taken| taken.uses.as_slice()).unwrap_or_default();
    uses.iter()
        .map(|used| Used {
            counter: used.counter.clone(),
            window: used.window.to_string(),
            amount: used.amount.to_string(),
        })
        .collect()
}

impl Inner {
    /// Counts what earlier boots took of the windows that these policies look at.
    pub(super) async fn count_earlier(&self, rules: &Rules) -> Result<(), StoreError> {
        let Some(longest) = rules.longest_window() else { return Ok(()) };
        let (now, counted) = (self.clock.now(), self.counted.from());
        let length = i64::try_from(longest.as_millis()).unwrap_or(i64::MAX);
        // A slot of a sliding window counts until the whole of it has left.
        let from = Timestamp(now.0.saturating_sub(length).saturating_sub(length / 32));
        if from >= counted {
            return Ok(());
        }
        let mut entries = self.store.taken(from, counted).await?;
        entries.retain(|entry| entry.number <= self.counted.head);
        let mut limits = self.limits();
        count(&mut limits, entries);
        limits.sweep(now);
        *self.counted.from.lock().unwrap_or_else(PoisonError::into_inner) = from;
        Ok(())
    }
}

fn count(limits: &mut Limits, entries: Vec<Entry>) {
    let mut open: HashMap<CallId, (Timestamp, Vec<Used>)> = HashMap::new();
    for entry in entries {
        let (Stream::Call(call), Fact::Call(event)) = (entry.stream, entry.fact) else { continue };
        if let Event::Dispatched { taken, .. } = event {
            open.insert(call, (entry.at, taken));
        } else {
            open.remove(&call);
        }
    }
    for (at, used) in open.into_values().flat_map(|(at, taken)| taken.into_iter().map(move |used| (at, used)))
    {
        match (used.window.parse(), used.amount.parse()) {
            (Ok(window), Ok(amount)) => limits.rebuild(&used.counter, window, amount, at),
            _ => {
                tracing::warn!(counter = used.counter, "what the audit log says of a limit cannot be counted")
            }
        }
    }
}
