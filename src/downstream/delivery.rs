//! Whether an agent has its answer: known a while after its response ended, or when it asks for more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio_util::task::TaskTracker;

use super::{Door, Peer, lines::Line};
use crate::{
    broker::{Ask, End, Outcome, Submission},
    call::{CallId, HowDelivered},
};

/// The answers that were given a moment ago.
#[derive(Default)]
pub(super) struct Deliveries {
    pub tasks: TaskTracker,
    given: Mutex<HashMap<CallId, Arc<Given>>>,
}

/// One answer, and who was to read it.
struct Given {
    how: HowDelivered,
    peer: Option<Peer>,
    line: Option<Line>,
}

impl Given {
    /// The connection broke, or the agent cancelled, so it may be without its answer.
    fn is_in_doubt(&self) -> bool {
        self.peer.as_ref().is_some_and(Peer::broke) || self.line.as_ref().is_some_and(Line::has_left)
    }
}

impl Deliveries {
    /// Unless the call's answer was given once more since.
    fn forget(&self, call: CallId, given: &Arc<Given>) {
        let mut known = self.given();
        if known.get(&call).is_some_and(|newest| Arc::ptr_eq(newest, given)) {
            known.remove(&call);
        }
    }

    fn given(&self) -> MutexGuard<'_, HashMap<CallId, Arc<Given>>> {
        // Each use is one operation, so a panic elsewhere leaves no half of one.
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Delivered, when the connection did not break and nobody cancelled for a while after the answer.
pub(super) fn watch(door: Door, call: CallId, how: HowDelivered, peer: Option<Peer>, line: Option<Line>) {
    let stay = Duration::from_millis(door.inner.settings.delivery_ms);
    let given = Arc::new(Given { how, peer, line });
    door.inner.deliveries.given().insert(call, Arc::clone(&given));
    let tasks = door.inner.deliveries.tasks.clone();
    tasks.spawn(async move {
        tokio::time::sleep(stay).await;
        // First recorded, then forgotten: the same call between the two would be given this answer again.
        if !given.is_in_doubt() {
            door.inner.broker.delivered(call, how).await;
        }
        door.inner.deliveries.forget(call, &given);
    });
}

/// The same call again, a moment after its answer was given. Whoever stayed, and asks again, has read it
/// and means to do the thing once more; only who may have left without it is given it again.
pub(super) async fn recall(door: &Door, outcome: Outcome, ask: Box<Ask>) -> Submission {
    let given = to_deliver(&outcome)
        .and_then(|call| Some((call, door.inner.deliveries.given().get(&call).cloned()?)));
    match given {
        Some((call, given)) if !given.is_in_doubt() => {
            door.inner.broker.delivered(call, given.how).await;
            door.inner.broker.submit(*ask).await
        }
        Some(_) => Submission::Recalled(outcome, ask),
        // Since it was looked up its delivery may have been recorded. If not, it is told the same again.
        None => door.inner.broker.submit(*ask).await,
    }
}

/// The call whose delivery this answer is, unless it only says to come again.
pub(super) fn to_deliver(outcome: &Outcome) -> Option<CallId> {
    let call = outcome.call.as_ref()?;
    match &outcome.end {
        End::Ticket | End::ComeBack { .. } | End::Refused { .. } | End::Unavailable | End::Limit { .. } => {
            None
        }
        End::Completed { .. }
        | End::CompletedNotKept { .. }
        | End::PolicyDenied { .. }
        | End::DeniedBy { .. }
        | End::Stopped { .. }
        | End::Expired
        | End::Lapsed
        | End::WithdrawnBy { .. }
        | End::Cancelled
        | End::Failed { .. }
        | End::Lost { .. }
        | End::HttpError(_) => Some(call.id),
    }
}
