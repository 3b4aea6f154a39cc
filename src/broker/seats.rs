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
    taken: Mutex<HashMap<CallId, Place>>,
}

#[derive(Debug)]
struct Place {
    /// Whose place it is; a newer waiter replaces an older one.
    attachment: Attachment,
    call: watch::Sender<Arc<Call>>,
}

impl Seats {
    fn taken(&self) -> MutexGuard<'_, HashMap<CallId, Place>> {
        // A panic elsewhere cannot leave this map half-changed: each use is one operation.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the place at `call` for `attachment`.
    pub(super) fn take(&self, attachment: Attachment, call: &Arc<Call>) -> Seat {
        let (sender, seat) = watch::channel(Arc::clone(call));
        self.taken().insert(call.id, Place { attachment, call: sender });
        seat
    }

    /// Gives the place up, unless a newer waiter has it.
    pub(super) fn leave(&self, id: CallId, attachment: Attachment) {
        let mut taken = self.taken();
        if taken.get(&id).is_some_and(|place| place.attachment == attachment) {
            taken.remove(&id);
        }
    }

    /// Tells whoever sits at it. Older states never replace newer ones.
    pub(super) fn publish(&self, call: &Arc<Call>) {
        if let Some(place) = self.taken().get(&call.id) {
            place.call.send_if_modified(|known| {
                let newer = known.version < call.version;
                if newer {
                    *known = Arc::clone(call);
                }
                newer
            });
        }
    }

    /// Does somebody of this process sit at it?
    pub(super) fn is_taken(&self, id: CallId) -> bool {
        self.taken().contains_key(&id)
    }
}
