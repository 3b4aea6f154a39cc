//! What calls took of their limits is on the ledger, so that a restart opens no window anew.
//!
//! `dispatched` says what was taken, `failed` what was given back; nothing else is kept. A start reads
//! those entries again, as far back as a window reaches.

use std::{collections::HashMap, time::Duration};

use super::Clock;
use crate::{
    call::{CallId, Event, Timestamp, Used},
    ledger::{Fact, Stream},
    policy::{Limits, Taken},
    store::{Store, StoreError},
};

/// No window is longer: a year, as policies are read.
const LONGEST_WINDOW: Duration = Duration::from_secs(367 * 24 * 3600);

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

/// Every open window as the ledger tells it.
pub(super) async fn rebuild(store: &dyn Store, clock: &dyn Clock) -> Result<Limits, StoreError> {
    let now = clock.now();
    let since = i64::try_from(LONGEST_WINDOW.as_millis()).unwrap_or(i64::MAX);
    let mut open: HashMap<CallId, (Timestamp, Vec<Used>)> = HashMap::new();
    for entry in store.taken(Timestamp(now.0.saturating_sub(since))).await? {
        let (Stream::Call(call), Fact::Call(event)) = (entry.stream, entry.fact) else { continue };
        if let Event::Dispatched { taken, .. } = event {
            open.insert(call, (entry.at, taken));
        } else {
            open.remove(&call);
        }
    }
    let mut limits = Limits::default();
    for (at, used) in open.into_values().flat_map(|(at, taken)| taken.into_iter().map(move |used| (at, used)))
    {
        match (used.window.parse(), used.amount.parse()) {
            (Ok(window), Ok(amount)) => limits.rebuild(&used.counter, window, amount, at),
            _ => tracing::warn!(counter = used.counter, "what the ledger says of a limit cannot be counted"),
        }
    }
    limits.sweep(now);
    Ok(limits)
}
