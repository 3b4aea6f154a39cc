//! Folds events into a call.

use super::{
    Attachment, Call, CallId, DetachReason, Digest, Event, People, State, Terms, Timestamp, Waiter, tally,
};

/// One more event. `None` for an event that no first event can be, or that follows nothing.
#[must_use]
pub fn evolve(id: CallId, call: Option<Call>, event: &Event, at: Timestamp) -> Option<Call> {
    let Some(mut call) = call else { return submitted(id, event, at) };
    call.version += 1;
    apply(&mut call, event, at)?;
    if call.state.is_settled() && call.settled_at.is_none() {
        call.settled_at = Some(at);
        call.detached_at = None;
    }
    Some(call)
}

/// The state is nothing but its events.
#[must_use]
pub fn fold<'a>(id: CallId, events: impl IntoIterator<Item = (&'a Event, Timestamp)>) -> Option<Call> {
    events.into_iter().try_fold(None, |call, (event, at)| evolve(id, call, event, at).map(Some)).flatten()
}

/// Pending until the policy's own `permitted` or `denied` follows: half an append sends nothing.
fn submitted(id: CallId, event: &Event, at: Timestamp) -> Option<Call> {
    let Event::Submitted { request, digest, rule, terms, expires_at } = event else { return None };
    Some(Call {
        id,
        version: 1,
        policy: request.policy.clone(),
        request: (**request).clone(),
        digest: *digest,
        round: 0,
        rule: rule.clone(),
        terms: terms.clone(),
        reviews: Vec::new(),
        waiter: None,
        ticket: false,
        detached_at: Some(at),
        delivered: None,
        requested_at: at,
        settled_at: None,
        state: State::Pending { expires_at: *expires_at },
    })
}

fn apply(call: &mut Call, event: &Event, at: Timestamp) -> Option<()> {
    match event {
        Event::Submitted { .. } => return None,
        Event::Attached { attachment, kind, session, replica } => {
            call.detached_at = None;
            call.waiter = Some(Waiter {
                attachment: *attachment,
                kind: *kind,
                session: session.clone(),
                replica: replica.clone(),
            });
        }
        Event::Detached { attachment, why } => detached(call, *attachment, *why, at),
        Event::Voted { review } => call.reviews.push(review.clone()),
        Event::VoteWithdrawn { reviewer } => withdrawn(call, &reviewer.name),
        Event::Extended { expires_at, .. } => call.state = State::Pending { expires_at: *expires_at },
        Event::Reparked { round, digest, terms, policy, expires_at, .. } => {
            reparked(call, *round, *digest, terms, policy, *expires_at);
        }
        Event::Permitted { use_by } => {
            let State::Pending { expires_at } = call.state else { return None };
            call.state = State::Permitted { use_by: *use_by, expires_at };
        }
        Event::Dispatched { by, lease_until, taken, .. } => {
            let taken = taken.clone();
            call.state = State::Dispatched { by: by.clone(), lease_until: *lease_until, at, taken };
        }
        Event::Delivered { how } => call.delivered = Some(*how),
        Event::Resolved { .. } | Event::LateAnswer { .. } => learnt(call, event)?,
        Event::Lifted { .. } => {
            let State::Denied { lifted, .. } = &mut call.state else { return None };
            *lifted = true;
        }
        Event::Completed { .. }
        | Event::Failed { .. }
        | Event::Lost { .. }
        | Event::Denied { .. }
        | Event::Expired { .. }
        | Event::Cancelled { .. } => call.state = outcome(event)?,
    }
    Some(())
}

fn detached(call: &mut Call, attachment: Attachment, why: DetachReason, at: Timestamp) {
    if call.waiter.as_ref().is_some_and(|waiter| waiter.attachment == attachment) {
        call.waiter = None;
        call.detached_at = Some(at);
    }
    call.ticket |= why == DetachReason::Ticket;
}

/// The recorded voters say whether the quorum still holds; the old deadline goes on.
fn withdrawn(call: &mut Call, name: &str) {
    call.reviews.retain(|review| review.reviewer.name != name);
    let voters = People(call.reviews.iter().map(|review| review.reviewer.clone()).collect());
    if let State::Permitted { expires_at, .. } = call.state
        && !tally(call, &voters).met
    {
        call.state = State::Pending { expires_at };
    }
}

fn reparked(call: &mut Call, round: u32, digest: Digest, terms: &Terms, policy: &str, expires_at: Timestamp) {
    call.round = round;
    call.digest = digest;
    call.rule.clone_from(&terms.reason.rule);
    call.terms = Some(terms.clone());
    policy.clone_into(&mut call.policy);
    call.reviews.clear();
    call.state = State::Pending { expires_at };
}

/// What a lost call's late news says; the state stays `lost`.
fn learnt(call: &mut Call, event: &Event) -> Option<()> {
    let State::Lost { resolved, late_answer, .. } = &mut call.state else { return None };
    if let Event::Resolved { outcome, .. } = event {
        *resolved = Some(*outcome);
    } else {
        *late_answer = true;
    }
    Some(())
}

fn outcome(event: &Event) -> Option<State> {
    match event {
        Event::Completed { is_error, duration_ms, .. } => {
            Some(State::Completed { is_error: *is_error, duration_ms: *duration_ms })
        }
        Event::Failed { why, .. } => Some(State::Failed { why: why.clone() }),
        Event::Lost { why, .. } => Some(State::Lost { why: why.clone(), resolved: None, late_answer: false }),
        Event::Denied { by, reason } => {
            Some(State::Denied { by: by.clone(), reason: reason.clone(), lifted: false })
        }
        Event::Expired { lapsed } => Some(State::Expired { lapsed: *lapsed }),
        Event::Cancelled { by, reason } => Some(State::Cancelled { by: by.clone(), reason: reason.clone() }),
        Event::Submitted { .. }
        | Event::Attached { .. }
        | Event::Detached { .. }
        | Event::Voted { .. }
        | Event::VoteWithdrawn { .. }
        | Event::Extended { .. }
        | Event::Reparked { .. }
        | Event::Permitted { .. }
        | Event::Dispatched { .. }
        | Event::Delivered { .. }
        | Event::Resolved { .. }
        | Event::LateAnswer { .. }
        | Event::Lifted { .. } => None,
    }
}
