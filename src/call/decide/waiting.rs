//! Who waits for the answer: they come, leave, come back, and are answered once.

use crate::call::{AttachKind, Attachment, Call, DetachReason, Event, HowDelivered, Refusal, Replica};

use super::{Decided, timers, wrong_state};

/// One waiter at a time. One whose broker has restarted is gone, even if no timer said so yet.
pub(super) fn attach(
    call: &Call,
    attachment: Attachment,
    kind: AttachKind,
    session: Option<&str>,
    replica: &Replica,
) -> Decided {
    let gone = timers::left_by_restart(call, replica);
    if call.waiter.is_some() && gone.is_none() {
        return Err(Refusal::AlreadyWaiting);
    }
    let attached =
        Event::Attached { attachment, kind, session: session.map(str::to_owned), replica: replica.clone() };
    Ok(gone.into_iter().chain([attached]).collect())
}

/// Leaving withdraws nothing: the state stays, and a timer looks after it.
pub(super) fn detach(call: &Call, attachment: Attachment, why: DetachReason) -> Decided {
    let Some(waiter) = call.waiter.as_ref().filter(|waiter| waiter.attachment == attachment) else {
        return Err(Refusal::NotWaiting);
    };
    // A task needs no connection, so a broker that goes takes none away.
    if waiter.kind == AttachKind::Task && why == DetachReason::Restart {
        return Err(Refusal::Nothing);
    }
    Ok(vec![Event::Detached { attachment, why }])
}

/// The answer of a settled call is given once.
pub(super) fn deliver(call: &Call, how: HowDelivered) -> Decided {
    if !call.state.is_settled() {
        return Err(wrong_state(call));
    }
    match call.delivered {
        None => Ok(vec![Event::Delivered { how }]),
        Some(_) => Err(Refusal::AlreadyDelivered),
    }
}
