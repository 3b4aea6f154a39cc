//! What each mutant does wrong.
//!
//! A mutant shows the real `decide` something untrue, or changes what it answered: a check left
//! out, a clock ignored, a state mistaken for another.

use std::time::Duration;

use countersign::call::{
    AttachKind, By, Call, CallId, Command, Event, HowDelivered, Person, Refusal, Resolution, Review, Role,
    State, Timestamp, Waiter, decide, evolve,
};

use crate::world::Decided;

/// The real decision on another call than the one there is.
fn on(call: Option<&Call>, command: &Command, now: Timestamp, change: impl FnMut(&mut Call)) -> Decided {
    let mut call = call.cloned();
    call.iter_mut().for_each(change);
    decide(call.as_ref(), command, now)
}

pub fn vote_on_any_digest(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    let (Some(present), Command::Vote { digest, .. }) = (call, command) else {
        return decide(call, command, now);
    };
    let mut asked = command.clone();
    if let Command::Vote { digest, .. } = &mut asked {
        *digest = present.digest;
    }
    let mut events = decide(call, &asked, now)?;
    if let Some(Event::Voted { review }) = events.first_mut() {
        review.digest = *digest;
    }
    Ok(events)
}

pub fn vote_late(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    let vote = matches!(command, Command::Vote { .. });
    on(call, command, now, |call| {
        if let (true, State::Pending { expires_at }) = (vote, &mut call.state) {
            *expires_at = Timestamp(i64::MAX);
        }
    })
}

/// The real decision, had the voter been somebody else in the eyes of `people`.
fn vote_as(call: Option<&Call>, command: &Command, now: Timestamp, change: fn(&mut Person)) -> Decided {
    let mut asked = command.clone();
    let Command::Vote { people, .. } = &mut asked else { return decide(call, command, now) };
    let before = people.clone();
    people.0.iter_mut().for_each(change);
    let mut events = decide(call, &asked, now)?;
    for event in &mut events {
        if let Event::Voted { review: Review { reviewer: voter, .. } }
        | Event::Denied { by: By::Reviewer { person: voter }, .. } = event
        {
            *voter = before.named(&voter.name).cloned().unwrap_or(voter.clone());
        }
    }
    Ok(events)
}

pub fn owner_votes(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| call.request.owner = None)
}

pub fn auditor_votes(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    vote_as(call, command, now, |person| person.role = Role::Reviewer)
}

pub fn groups_do_not_matter(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    vote_as(call, command, now, |person| person.groups.push("sre".into()))
}

pub fn vote_twice(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| {
        if matches!(command, Command::Vote { .. }) {
            call.reviews.iter_mut().for_each(|review| review.reviewer.name.push('\''));
        }
    })
}

pub fn one_quorum(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| {
        call.terms.iter_mut().for_each(|terms| terms.quorums.truncate(1));
    })
}

fn without(decided: Decided, drop: impl Fn(&Event) -> bool) -> Decided {
    decided.map(|events| events.into_iter().filter(|event| !drop(event)).collect())
}

pub fn deny_ends_nothing(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    let votes = matches!(command, Command::Vote { .. });
    without(decide(call, command, now), |event| votes && matches!(event, Event::Denied { .. }))
}

pub fn waits_for_nobody(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    let submits = matches!(command, Command::Submit { .. });
    without(decide(call, command, now), |event| submits && matches!(event, Event::Denied { .. }))
}

pub fn left_counts(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    let mut asked = command.clone();
    if let (Command::Claim { authority, .. }, Some(call)) = (&mut asked, call) {
        authority.people.0.extend(call.reviews.iter().map(|review| review.reviewer.clone()));
    }
    decide(call, &asked, now)
}

pub fn own_vote_hidden(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    let mut events = decide(call, command, now)?;
    if let Some(Event::Voted { review }) = events.first_mut() {
        review.self_approved = false;
    }
    Ok(events)
}

pub fn any_policy(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    let mut asked = command.clone();
    if let Command::Claim { authority, .. } = &mut asked {
        authority.policy_unchanged = true;
    }
    decide(call, &asked, now)
}

pub fn extend_for_ever(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| call.requested_at = now)
}

pub fn same_digest(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    let mut events = decide(call, command, now)?;
    if let (Some(Event::Reparked { digest, .. }), Some(call)) = (events.first_mut(), call) {
        *digest = call.digest;
    }
    Ok(events)
}

/// A claim takes a call in another state for one that policy permits.
fn claim_from(call: Option<&Call>, command: &Command, now: Timestamp, from: fn(&State) -> bool) -> Decided {
    on(call, command, now, |call| {
        if matches!(command, Command::Claim { .. }) && from(&call.state) {
            call.terms = None;
            call.state = State::Permitted { use_by: Timestamp(i64::MAX), expires_at: now };
        }
    })
}

pub fn denied_is_sent(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    claim_from(call, command, now, |state| matches!(state, State::Denied { .. }))
}

pub fn lost_is_sent(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    claim_from(call, command, now, |state| matches!(state, State::Lost { .. }))
}

pub fn claim_other(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| {
        if let Command::Claim { digest, .. } = command {
            call.digest = *digest;
            call.reviews.iter_mut().for_each(|review| review.digest = *digest);
        }
    })
}

pub fn claim_twice(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    claim_from(call, command, now, |state| matches!(state, State::Dispatched { .. }))
}

pub fn claim_late(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    claim_from(call, command, now, |state| matches!(state, State::Permitted { .. }))
}

pub fn claim_alone(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| {
        let Command::Claim { by, attachment, .. } = command else { return };
        let (attachment, replica) = (*attachment, by.clone());
        let kind = AttachKind::Line;
        call.waiter.get_or_insert(Waiter { attachment, kind, session: None, replica });
    })
}

pub fn claim_dead(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| {
        let (Command::Claim { by, .. }, Some(waiter)) = (command, &mut call.waiter) else { return };
        if waiter.replica.name == by.name {
            waiter.replica.epoch = by.epoch;
        }
    })
}

pub fn two_wait(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| {
        if matches!(command, Command::Attach { .. }) {
            call.waiter = None;
        }
    })
}

pub fn never_gives_up(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| call.ticket = true)
}

pub fn ticket_given_up(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| call.ticket = false)
}

pub fn never_lapses(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    let decided = decide(call, command, now)?;
    let lapses = decided.iter().any(|event| matches!(event, Event::Expired { lapsed: true }));
    if lapses { Err(Refusal::Nothing) } else { Ok(decided) }
}

pub fn anyone_completes(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| {
        if let (Command::Complete { by, .. }, State::Dispatched { by: sent, .. }) = (command, &mut call.state)
        {
            sent.clone_from(by);
        }
    })
}

pub fn anyone_loses(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| {
        if let (Command::Lose { by, .. }, State::Dispatched { by: sent, .. }) = (command, &mut call.state) {
            sent.clone_from(by);
        }
    })
}

pub fn cancel_sent(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| {
        if let (Command::Cancel { .. }, State::Dispatched { .. }) = (command, &call.state) {
            call.state = State::Pending { expires_at: now };
        }
    })
}

pub fn resolve_twice(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| {
        if let State::Lost { resolved, .. } = &mut call.state {
            *resolved = None::<Resolution>;
        }
    })
}

pub fn late_twice(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| {
        if let State::Lost { late_answer, .. } = &mut call.state {
            *late_answer = false;
        }
    })
}

pub fn deliver_twice(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| call.delivered = None::<HowDelivered>)
}

pub fn lease_for_ever(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| {
        if let State::Dispatched { lease_until, .. } = &mut call.state {
            *lease_until = Timestamp(i64::MAX);
        }
    })
}

pub fn early(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    let now = if matches!(command, Command::Tick { .. }) { now.plus(Duration::from_secs(5)) } else { now };
    decide(call, command, now)
}

pub fn votes_survive(id: CallId, call: Option<Call>, event: &Event, at: Timestamp) -> Option<Call> {
    let mut votes = call.as_ref().map(|call| call.reviews.clone()).unwrap_or_default();
    let mut call = evolve(id, call, event, at)?;
    if matches!(event, Event::Reparked { .. }) {
        votes.iter_mut().for_each(|vote| vote.digest = call.digest);
        call.reviews = votes;
    }
    Some(call)
}

pub fn withdraw_extends(id: CallId, call: Option<Call>, event: &Event, at: Timestamp) -> Option<Call> {
    let mut call = evolve(id, call, event, at)?;
    if let (Event::VoteWithdrawn { .. }, State::Pending { expires_at }) = (event, &mut call.state) {
        *expires_at = at.plus(Duration::from_secs(10));
    }
    Some(call)
}

pub fn withdraw_changes_nothing(
    id: CallId,
    call: Option<Call>,
    event: &Event,
    at: Timestamp,
) -> Option<Call> {
    let state = call.as_ref().map(|call| (call.state.clone(), call.terms.clone()));
    let mut call = evolve(id, call, event, at)?;
    if let (Event::VoteWithdrawn { .. }, Some((state @ State::Permitted { .. }, _))) = (event, state) {
        (call.state, call.terms) = (state, None);
    }
    Some(call)
}

pub fn lifts_twice(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| {
        if let (Command::Lift { .. }, State::Denied { lifted, .. }) = (command, &mut call.state) {
            *lifted = false;
        }
    })
}

pub fn lifts_late(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| {
        if matches!(command, Command::Lift { .. }) {
            call.settled_at = Some(now);
        }
    })
}

pub fn lifts_any_denial(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| {
        if let (Command::Lift { by: person, .. }, State::Denied { by, .. }) = (command, &mut call.state) {
            *by = By::Reviewer { person: person.clone() };
        }
    })
}

pub fn auditor_lifts(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    let mut asked = command.clone();
    let Command::Lift { by, .. } = &mut asked else { return decide(call, command, now) };
    let before = by.clone();
    by.role = Role::Reviewer;
    decide(call, &asked, now)?;
    Ok(vec![Event::Lifted { by: before }])
}

pub fn waits_in_vain(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    let leaves = matches!(command, Command::Reconsider { .. });
    if leaves { Err(Refusal::Nothing) } else { decide(call, command, now) }
}

pub fn keeps_what_it_took(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    on(call, command, now, |call| {
        if let (Command::Fail { .. }, State::Dispatched { taken, .. }) = (command, &mut call.state) {
            taken.clear();
        }
    })
}
