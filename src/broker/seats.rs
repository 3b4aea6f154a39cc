//! Who sits at which call in this process: the wake-up of waiters.
//!
//! Every append to a call passes its new state here, so a waiter never polls the store.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::watch;

use crate::call::{Attachment, Call, CallId};

/// The newest state of a call that somebody here waits for.
pub(super) type Seat = watch::Receiver<Arc<Call>>;

#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: Mutex<HashMap<CallId, Vec<Place>>>,
}

#[derive(Debug)]
struct Place {
    attachment: Attachment,
    /// Its stream broke, and its agent may still take it up again.
    away: bool,
    call: watch::Sender<Arc<Call>>,
}

impl Seats {
    fn taken(&self) -> MutexGuard<'_, HashMap<CallId, Vec<Place>>> {
        // A panic elsewhere cannot leave this map half-changed: each use is one operation.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place at `call`. Taken before the attachment is appended, so that no news is missed.
    pub(super) fn take(&self, attachment: Attachment, call: Arc<Call>) -> Seat {
        let id = call.id;
        let (sender, seat) = watch::channel(call);
        let mut taken = self.taken();
        let places = taken.entry(id).or_insert_with(|| Vec::with_capacity(1));
        places.push(Place { attachment, away: false, call: sender });
        seat
    }

    pub(super) fn leave(&self, id: CallId, attachment: Attachment) {
        let mut taken = self.taken();
        let Some(places) = taken.get_mut(&id) else { return };
        places.retain(|place| place.attachment != attachment);
        if places.is_empty() {
            taken.remove(&id);
        }
    }

    /// Tells whoever sits at it. Older states never replace newer ones.
    pub(super) fn publish(&self, call: &Arc<Call>) {
        for place in self.taken().get(&call.id).into_iter().flatten() {
            place.call.send_if_modified(|known| {
                let newer = known.version < call.version;
                if newer {
                    *known = Arc::clone(call);
                }
                newer
            });
        }
    }

    pub(super) fn any(&self) -> bool {
        !self.taken().is_empty()
    }

    /// How many sit at it, or listen.
    pub(super) fn number(&self, id: CallId) -> usize {
        self.taken().get(&id).map_or(0, Vec::len)
    }

    /// Does somebody of this process sit at it, with an agent on the line?
    pub(super) fn is_taken(&self, id: CallId) -> bool {
        self.taken().get(&id).is_some_and(|places| places.iter().any(|place| !place.away))
    }

    pub(super) fn step_away(&self, id: CallId, attachment: Attachment, away: bool) {
        for place in self.taken().get_mut(&id).into_iter().flatten() {
            if place.attachment == attachment {
                place.away = away;
            }
        }
    }
}
