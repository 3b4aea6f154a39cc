//! Folds events into a call.

use super::{Call, CallId, Event, Timestamp};

/// One more event. `None` for an event that no first event can be, or that follows nothing.
#[must_use]
pub fn evolve(_id: CallId, call: Option<Call>, _event: &Event, _at: Timestamp) -> Option<Call> {
    call
}

/// The state is nothing but its events.
#[must_use]
pub fn fold<'a>(id: CallId, events: impl IntoIterator<Item = (&'a Event, Timestamp)>) -> Option<Call> {
    events.into_iter().fold(None, |call, (event, at)| evolve(id, call, event, at))
}
