//! The permit is taken once, and what was sent comes to its outcome.

use crate::call::{
    AttachKind, Attachment, Authority, Call, Commitment, Digest, Event, Person, Refusal, Replica, Resolution,
    Role, State, Timestamp, Used, tally,
};

use super::{Decided, wrong_state};

pub(super) struct Claim<'a> {
    pub(super) by: &'a Replica,
    pub(super) attachment: Attachment,
    pub(super) digest: Digest,
    pub(super) authority: &'a Authority,
    pub(super) taken: &'a [Used],
}

/// The authority of this moment may only tighten. The caller has checked `use_by`.
pub(super) fn claim(call: &Call, claim: &Claim<'_>, lease_until: Timestamp) -> Decided {
    let waits = call.waiter.as_ref().is_some_and(|waiter| {
        waiter.attachment == claim.attachment
            && match waiter.kind {
                AttachKind::Line => waiter.replica == *claim.by,
                // A task has no connection, so any broker may serve it.
                AttachKind::Task => true,
            }
    });
    if !waits {
        return Err(Refusal::NotWaiting);
    }
    if claim.digest != call.digest {
        return Err(Refusal::Changed { digest: call.digest });
    }
    if !claim.authority.policy_unchanged {
        return Err(Refusal::PolicyChanged);
    }
    if call.terms.is_some() && !tally(call, &claim.authority.people).met {
        return Err(Refusal::QuorumGone);
    }
    Ok(vec![Event::Dispatched {
        by: claim.by.clone(),
        attachment: claim.attachment,
        digest: claim.digest,
        lease_until,
        taken: claim.taken.to_vec(),
    }])
}

/// A dispatch under way.
#[derive(Clone, Copy)]
pub(super) struct Sent<'a> {
    pub(super) by: &'a Replica,
    pub(super) lease_until: Timestamp,
    pub(super) at: Timestamp,
    pub(super) taken: &'a [Used],
}

impl Sent<'_> {
    /// Another boot of the same broker knows nothing of the answer either.
    pub(super) fn only_by(&self, replica: &Replica) -> Result<(), Refusal> {
        if self.by == replica { Ok(()) } else { Err(Refusal::NotDispatcher) }
    }

    /// A later boot of the dispatcher: the connection is certainly gone.
    pub(super) fn succeeded_by(&self, replica: &Replica) -> bool {
        self.by.name == replica.name && self.by.epoch < replica.epoch
    }
}

pub(super) fn lose(sent: &Sent<'_>, by: &Replica, why: &str, now: Timestamp) -> Decided {
    let own = sent.by == by || sent.succeeded_by(by);
    if !own && now < sent.lease_until {
        return Err(Refusal::LeaseHeld { until: sent.lease_until });
    }
    Ok(vec![Event::Lost { by: by.clone(), why: why.to_owned() }])
}

/// One person says, once, what became of a lost call.
pub(super) fn resolve(call: &Call, by: &Person, outcome: Resolution, note: Option<Commitment>) -> Decided {
    if by.role != Role::Reviewer {
        return Err(Refusal::NotEligible(format!("{} may look, not decide", by.name)));
    }
    let State::Lost { resolved, .. } = &call.state else { return Err(wrong_state(call)) };
    match resolved {
        None => Ok(vec![Event::Resolved { by: by.clone(), outcome, note }]),
        Some(_) => Err(Refusal::AlreadyResolved),
    }
}

pub(super) fn answer_late(call: &Call, answer: Commitment, bytes: u64, is_error: bool) -> Decided {
    let State::Lost { late_answer, .. } = &call.state else { return Err(wrong_state(call)) };
    if *late_answer {
        return Err(Refusal::Nothing);
    }
    Ok(vec![Event::LateAnswer { answer, bytes, is_error }])
}
