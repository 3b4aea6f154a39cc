//! A call as its entries make it: what any row that speaks of the call must agree with.

use super::{Entry, Fact};
use crate::call::{Call, CallId, fold};

/// `None` for entries that are not those of one call from its first on.
#[must_use]
pub fn refold(id: CallId, entries: &[Entry]) -> Option<Call> {
    let mut events = Vec::with_capacity(entries.len());
    for (before, entry) in (0..).zip(entries) {
        let Fact::Call(event) = &entry.fact else { return None };
        if entry.version != before + 1 {
            return None;
        }
        events.push((event, entry.at));
    }
    fold(id, events)
}
