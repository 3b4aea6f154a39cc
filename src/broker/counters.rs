//! What calls took of their limits, kept beside the ledger, so that a restart opens no window anew.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Clock, Inner};
use crate::{
    call::{CallId, Timestamp},
    policy::{Limits, Taken, Use},
    store::{Put, Store, StoreError},
};

const SPACE: &str = "counter";

/// No window is longer than a day.
const LONGEST_WINDOW: Duration = Duration::from_secs(25 * 3600);

#[derive(Serialize, Deserialize)]
struct Kept {
    counter: String,
    window: String,
    amount: f64,
    at: Timestamp,
}

impl Kept {
    fn of(used: &Use) -> Self {
        Self {
            counter: used.counter.clone(),
            window: used.window.to_string(),
            amount: used.amount,
            at: used.at,
        }
    }
}

/// The row that goes into the transaction of the claim.
pub(super) fn kept(call: CallId, taken: &Taken) -> Option<Put> {
    if taken.uses.is_empty() {
        return None;
    }
    let uses: Vec<Kept> = taken.uses.iter().map(Kept::of).collect();
    let value = serde_json::to_vec(&uses).ok()?;
    Some(Put { space: SPACE, key: call.to_string(), value: Some(value) })
}

/// A call that did not run counts no longer.
pub(super) fn forgotten(call: CallId) -> Put {
    Put { space: SPACE, key: call.to_string(), value: None }
}

/// Every open window as the claims left it; closed ones are cleared away.
pub(super) async fn rebuild(store: &dyn Store, clock: &dyn Clock) -> Result<Limits, StoreError> {
    let mut limits = Limits::default();
    let mut closed = Vec::new();
    let now = clock.now();
    for (key, value) in store.list(SPACE).await? {
        let uses: Vec<Kept> = serde_json::from_slice(&value).unwrap_or_default();
        if uses.iter().all(|used| now.since(used.at) > LONGEST_WINDOW) {
            closed.push(Put { space: SPACE, key, value: None });
            continue;
        }
        for used in uses {
            match used.window.parse() {
                Ok(window) => limits.rebuild(&used.counter, window, used.amount, used.at),
                Err(_) => tracing::warn!(counter = used.counter, "a kept limit has an unknown window"),
            }
        }
    }
    if !closed.is_empty() {
        store.put(closed).await?;
    }
    Ok(limits)
}

impl Inner {
    /// What a call took, by its row; given back when the call cannot have run.
    pub(super) async fn give_back(&self, call: CallId) {
        let Ok(Some(value)) = self.store.get(SPACE, call.to_string()).await else { return };
        let uses: Vec<Kept> = serde_json::from_slice(&value).unwrap_or_default();
        let uses = uses.into_iter().filter_map(|used| {
            let window = used.window.parse().ok()?;
            Some(Use { counter: used.counter, window, amount: used.amount, at: used.at })
        });
        self.limits().give_back(Taken { uses: uses.collect() });
    }
}
