//! Which events follow from a command, or why none do.
//!
//! One table per state names every command, so that a new state or a new command does not compile
//! until each pair was thought about. What a command then does lies in the file named after it.

mod authority;
mod dispatch;
mod submit;
mod timers;
mod vote;
mod waiting;

use std::time::Duration;

pub use timers::next_deadline;

use super::{By, Call, Command, Event, Refusal, State, Timestamp};

/// How long an undelivered answer, or a person's denial, is given to the same call again.
pub const DELIVERY_WINDOW: Duration = Duration::from_secs(600);

type Decided = Result<Vec<Event>, Refusal>;

/// Pure: the same call, command and moment always give the same events.
///
/// # Errors
/// A `Refusal` says why the command is not possible now.
pub fn decide(call: Option<&Call>, command: &Command, now: Timestamp) -> Decided {
    let Some(call) = call else { return first(command, now) };
    match &call.state {
        State::Pending { expires_at } => pending(call, *expires_at, command, now),
        State::Permitted { use_by, expires_at: _ } => permitted(call, *use_by, command, now),
        State::Dispatched { by, lease_until, at, taken } => {
            dispatched(call, dispatch::Sent { by, lease_until: *lease_until, at: *at, taken }, command, now)
        }
        State::Lost { .. } => lost(call, command, now),
        State::Completed { .. }
        | State::Failed { .. }
        | State::Denied { .. }
        | State::Expired { .. }
        | State::Cancelled { .. } => settled(call, command, now),
    }
}

/// Only a request can be the first thing that happens to a call.
fn first(command: &Command, now: Timestamp) -> Decided {
    match command {
        Command::Submit { request, digest, verdict, people, waiter } => {
            Ok(submit::submit(request, *digest, verdict, people, waiter.as_ref(), now))
        }
        Command::Attach { .. }
        | Command::Detach { .. }
        | Command::Vote { .. }
        | Command::WithdrawVote { .. }
        | Command::Extend { .. }
        | Command::Repark { .. }
        | Command::Reconsider { .. }
        | Command::Revoke { .. }
        | Command::Claim { .. }
        | Command::Complete { .. }
        | Command::Fail { .. }
        | Command::Lose { .. }
        | Command::Cancel { .. }
        | Command::Tick { .. }
        | Command::Deliver { .. }
        | Command::Resolve { .. }
        | Command::AnswerLate { .. }
        | Command::Lift { .. } => Err(Refusal::NotFound),
    }
}

/// People decide; nothing is sent.
fn pending(call: &Call, expires_at: Timestamp, command: &Command, now: Timestamp) -> Decided {
    match command {
        Command::Attach { attachment, kind, session, replica } => {
            waiting::attach(call, *attachment, *kind, session.as_deref(), replica)
        }
        Command::Detach { attachment, why } => waiting::detach(call, *attachment, *why),
        Command::Vote { reviewer, vote, digest, reason, once, people } => {
            in_time(expires_at, now)?;
            let (vote, digest, reason, once) = (*vote, *digest, *reason, *once);
            vote::vote(call, &vote::Ballot { reviewer, vote, digest, reason, once, people }, now)
        }
        Command::WithdrawVote { reviewer } => {
            in_time(expires_at, now)?;
            vote::withdraw(call, reviewer)
        }
        Command::Extend { by, extra, max_wait } => {
            in_time(expires_at, now)?;
            authority::extend(call, expires_at, by, *extra, *max_wait)
        }
        Command::Repark { why, digest, terms, policy, people } => {
            in_time(expires_at, now)?;
            let round = authority::Round { why, digest: *digest, terms, policy, people };
            authority::repark(call, &round, now)
        }
        Command::Reconsider { people } => {
            in_time(expires_at, now)?;
            authority::reconsider(call, people)
        }
        Command::Revoke { by, reason } => Ok(vec![authority::revoke(by, reason)]),
        Command::Cancel { by, reason } => {
            Ok(vec![Event::Cancelled { by: by.clone(), reason: reason.clone() }])
        }
        Command::Tick { by, detach_grace, skew: _ } => {
            timers::tick_waiting(call, timers::Due::expires(expires_at), by, *detach_grace, now)
        }
        Command::Submit { .. } => Err(Refusal::Exists(call.id)),
        Command::Claim { .. }
        | Command::Complete { .. }
        | Command::Fail { .. }
        | Command::Lose { .. }
        | Command::Deliver { .. }
        | Command::Resolve { .. }
        | Command::AnswerLate { .. }
        | Command::Lift { .. } => Err(wrong_state(call)),
    }
}

/// It may be sent once, for someone who waits, until `use_by`.
fn permitted(call: &Call, use_by: Timestamp, command: &Command, now: Timestamp) -> Decided {
    match command {
        Command::Claim { by, attachment, digest, lease, authority, taken } => {
            in_time(use_by, now)?;
            let claim = dispatch::Claim { by, attachment: *attachment, digest: *digest, authority, taken };
            dispatch::claim(call, &claim, now.plus(*lease))
        }
        Command::Attach { attachment, kind, session, replica } => {
            waiting::attach(call, *attachment, *kind, session.as_deref(), replica)
        }
        Command::Detach { attachment, why } => waiting::detach(call, *attachment, *why),
        Command::WithdrawVote { reviewer } => {
            in_time(use_by, now)?;
            vote::withdraw(call, reviewer)
        }
        Command::Repark { why, digest, terms, policy, people } => {
            in_time(use_by, now)?;
            let round = authority::Round { why, digest: *digest, terms, policy, people };
            authority::repark(call, &round, now)
        }
        Command::Revoke { by, reason } => Ok(vec![authority::revoke(by, reason)]),
        Command::Cancel { by, reason } => {
            Ok(vec![Event::Cancelled { by: by.clone(), reason: reason.clone() }])
        }
        Command::Tick { by, detach_grace, skew: _ } => {
            timers::tick_waiting(call, timers::Due::lapses(use_by), by, *detach_grace, now)
        }
        Command::Submit { .. } => Err(Refusal::Exists(call.id)),
        Command::Vote { .. }
        | Command::Extend { .. }
        | Command::Reconsider { .. }
        | Command::Complete { .. }
        | Command::Fail { .. }
        | Command::Lose { .. }
        | Command::Deliver { .. }
        | Command::Resolve { .. }
        | Command::AnswerLate { .. }
        | Command::Lift { .. } => Err(wrong_state(call)),
    }
}

/// It is under way: only its outcome is open, and nobody can call it back.
fn dispatched(call: &Call, sent: dispatch::Sent<'_>, command: &Command, now: Timestamp) -> Decided {
    match command {
        Command::Complete { by, answer, bytes, is_error } => {
            sent.only_by(by)?;
            let duration_ms = u64::try_from(now.since(sent.at).as_millis()).unwrap_or(u64::MAX);
            Ok(vec![Event::Completed {
                by: by.clone(),
                answer: *answer,
                bytes: *bytes,
                is_error: *is_error,
                duration_ms,
            }])
        }
        Command::Fail { by, why } => {
            sent.only_by(by)?;
            let given_back = sent.taken.to_vec();
            Ok(vec![Event::Failed { by: by.clone(), why: why.clone(), given_back }])
        }
        Command::Lose { by, why } => dispatch::lose(&sent, by, why, now),
        Command::Tick { by, detach_grace: _, skew } => timers::tick_sent(&sent, by, *skew, now),
        Command::Attach { attachment, kind, session, replica } => {
            waiting::attach(call, *attachment, *kind, session.as_deref(), replica)
        }
        Command::Detach { attachment, why } => waiting::detach(call, *attachment, *why),
        Command::Submit { .. } => Err(Refusal::Exists(call.id)),
        Command::Vote { .. }
        | Command::WithdrawVote { .. }
        | Command::Extend { .. }
        | Command::Repark { .. }
        | Command::Reconsider { .. }
        | Command::Revoke { .. }
        | Command::Claim { .. }
        | Command::Cancel { .. }
        | Command::Deliver { .. }
        | Command::Resolve { .. }
        | Command::AnswerLate { .. }
        | Command::Lift { .. } => Err(wrong_state(call)),
    }
}

/// Settled, but what became of it may still be learnt.
fn lost(call: &Call, command: &Command, now: Timestamp) -> Decided {
    match command {
        Command::Resolve { by, outcome, note } => dispatch::resolve(call, by, *outcome, *note),
        Command::AnswerLate { answer, bytes, is_error } => {
            dispatch::answer_late(call, *answer, *bytes, *is_error)
        }
        Command::Submit { .. }
        | Command::Attach { .. }
        | Command::Detach { .. }
        | Command::Vote { .. }
        | Command::WithdrawVote { .. }
        | Command::Extend { .. }
        | Command::Repark { .. }
        | Command::Reconsider { .. }
        | Command::Revoke { .. }
        | Command::Claim { .. }
        | Command::Complete { .. }
        | Command::Fail { .. }
        | Command::Lose { .. }
        | Command::Cancel { .. }
        | Command::Tick { .. }
        | Command::Deliver { .. }
        | Command::Lift { .. } => settled(call, command, now),
    }
}

/// Nothing is accepted any more, except that the answer was delivered, or answers repeats no longer.
fn settled(call: &Call, command: &Command, now: Timestamp) -> Decided {
    match command {
        Command::Deliver { how } => waiting::deliver(call, *how),
        Command::Lift { by, within } => vote::lift(call, by, *within, now),
        Command::Submit { .. } => Err(Refusal::Exists(call.id)),
        Command::Tick { .. } => Err(Refusal::Nothing),
        Command::Attach { .. }
        | Command::Detach { .. }
        | Command::Vote { .. }
        | Command::WithdrawVote { .. }
        | Command::Extend { .. }
        | Command::Repark { .. }
        | Command::Reconsider { .. }
        | Command::Revoke { .. }
        | Command::Claim { .. }
        | Command::Complete { .. }
        | Command::Fail { .. }
        | Command::Lose { .. }
        | Command::Cancel { .. }
        | Command::Resolve { .. }
        | Command::AnswerLate { .. } => Err(wrong_state(call)),
    }
}

/// A deadline holds by itself; a late timer gives nobody more time.
fn in_time(deadline: Timestamp, now: Timestamp) -> Result<(), Refusal> {
    if now < deadline { Ok(()) } else { Err(Refusal::TooLate) }
}

/// What stands in the way: somebody settled it, or it is not there yet (or no longer).
fn wrong_state(call: &Call) -> Refusal {
    let is = call.state.name();
    if !call.state.is_settled() {
        return Refusal::State { is };
    }
    Refusal::Settled { is, by: settled_by(&call.state), at: call.settled_at }
}

fn settled_by(state: &State) -> Option<String> {
    match state {
        State::Denied { by, .. } | State::Cancelled { by, .. } => match by {
            By::Policy => Some("the policy".into()),
            By::Reviewer { person } => Some(person.name.clone()),
            By::Stop { person } => Some(person.clone()),
            By::Agent => Some("the agent".into()),
            By::Timer => None,
        },
        State::Pending { .. }
        | State::Permitted { .. }
        | State::Dispatched { .. }
        | State::Completed { .. }
        | State::Failed { .. }
        | State::Lost { .. }
        | State::Expired { .. } => None,
    }
}
