//! Whether an agent has its answer: known a while after its response ended.

use std::time::Duration;

use super::{Door, Peer, lines::Line};
use crate::{
    broker::{End, Outcome},
    call::{CallId, HowDelivered},
};

/// Delivered, when the peer neither closed nor cancelled for a while after it had the answer.
pub(super) fn watch(door: Door, call: CallId, how: HowDelivered, peer: Option<Peer>, line: Option<Line>) {
    let stay = Duration::from_millis(door.inner.settings.delivery_ms);
    let deliveries = door.inner.deliveries.clone();
    deliveries.spawn(async move {
        tokio::time::sleep(stay).await;
        let gone = peer.is_some_and(|peer| !peer.is_there()) || line.is_some_and(|line| line.has_left());
        if !gone {
            door.inner.broker.delivered(call, how).await;
        }
    });
}

/// The call whose delivery this answer is, unless it only says to come again.
pub(super) fn to_deliver(outcome: &Outcome) -> Option<CallId> {
    let call = outcome.call.as_ref()?;
    match &outcome.end {
        End::Ticket | End::Refused { .. } | End::Unavailable | End::Limit { .. } => None,
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
