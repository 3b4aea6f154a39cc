//! What the passing of time does: every call settles by timers alone.

use std::time::Duration;

use crate::call::{
    AttachKind, By, Call, DetachReason, Event, Reason, Refusal, Replica, State, Timestamp, Why,
};

use super::{Decided, dispatch::Sent};

/// When a `Tick` will next have something to do; `None` for a settled call.
///
/// It speaks of deadlines only: what a broker's restart makes due (a line that it held, a call that
/// it had sent) is due at once, so the broker ticks every unsettled call at its start.
#[must_use]
pub fn next_deadline(call: &Call, detach_grace: Duration, skew: Duration) -> Option<Timestamp> {
    let given_up = given_up_at(call, detach_grace);
    match &call.state {
        State::Pending { expires_at } => Some(given_up.map_or(*expires_at, |at| at.min(*expires_at))),
        State::Permitted { use_by, .. } => Some(given_up.map_or(*use_by, |at| at.min(*use_by))),
        State::Dispatched { lease_until, .. } => Some(lease_until.plus(skew)),
        State::Completed { .. }
        | State::Failed { .. }
        | State::Lost { .. }
        | State::Denied { .. }
        | State::Expired { .. }
        | State::Cancelled { .. } => None,
    }
}

/// The state's own deadline, and what passing it is called.
#[derive(Clone, Copy)]
pub(super) struct Due {
    at: Timestamp,
    lapsed: bool,
}

impl Due {
    pub(super) fn expires(at: Timestamp) -> Self {
        Self { at, lapsed: false }
    }

    pub(super) fn lapses(at: Timestamp) -> Self {
        Self { at, lapsed: true }
    }
}

/// A call that was not sent yet: the deadline that passed first is the one that counts.
pub(super) fn tick_waiting(call: &Call, due: Due, by: &Replica, grace: Duration, now: Timestamp) -> Decided {
    let given_up = given_up_at(call, grace).filter(|at| *at <= now);
    if due.at <= now && given_up.is_none_or(|at| due.at <= at) {
        return Ok(vec![Event::Expired { lapsed: due.lapsed }]);
    }
    if given_up.is_some() {
        let text = "the agent left and did not come back".into();
        let reason = Reason { rule: "(detach_grace)".into(), text };
        let reason = Why { reason: Some(reason), text: None };
        return Ok(vec![Event::Cancelled { by: By::Timer, reason }]);
    }
    left_by_restart(call, by).map(|event| vec![event]).ok_or(Refusal::Nothing)
}

/// A call under way: its broker restarted, or nobody answered for it within the lease.
pub(super) fn tick_sent(sent: &Sent<'_>, by: &Replica, skew: Duration, now: Timestamp) -> Decided {
    let why = if sent.succeeded_by(by) {
        "the broker restarted"
    } else if sent.lease_until.plus(skew) <= now {
        "no answer within the lease"
    } else {
        return Err(Refusal::Nothing);
    };
    Ok(vec![Event::Lost { by: by.clone(), why: why.to_owned() }])
}

/// A line that an earlier boot of this broker held is closed. A task needs no line.
pub(super) fn left_by_restart(call: &Call, by: &Replica) -> Option<Event> {
    let waiter = call.waiter.as_ref()?;
    let restarted = waiter.replica.name == by.name && waiter.replica.epoch < by.epoch;
    (waiter.kind == AttachKind::Line && restarted)
        .then_some(Event::Detached { attachment: waiter.attachment, why: DetachReason::Restart })
}

/// An agent without ticket or task that left is given up after the grace.
fn given_up_at(call: &Call, grace: Duration) -> Option<Timestamp> {
    let left = call.detached_at.filter(|_| call.waiter.is_none() && !call.ticket)?;
    Some(left.plus(grace))
}
