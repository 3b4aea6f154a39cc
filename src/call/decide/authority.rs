//! The authority behind a call changes: more time, a new round, or none any more.

use std::time::Duration;

use crate::call::{
    By, Call, Digest, Event, People, Person, Reason, Refusal, Role, Terms, Timestamp, Why, tally,
};

use super::{Decided, submit};

pub(super) struct Round<'a> {
    pub(super) why: &'a str,
    pub(super) digest: Digest,
    pub(super) terms: &'a Terms,
    pub(super) policy: &'a str,
    pub(super) people: &'a People,
}

/// Votes start anew, on a new digest; a round that nobody could end is denied at once.
pub(super) fn repark(call: &Call, round: &Round<'_>, now: Timestamp) -> Decided {
    if round.digest == call.digest {
        return Err(Refusal::Nothing);
    }
    let reparked = Event::Reparked {
        why: round.why.to_owned(),
        round: call.round.saturating_add(1),
        digest: round.digest,
        terms: round.terms.clone(),
        policy: round.policy.to_owned(),
        expires_at: now.plus(round.terms.expires_after),
    };
    let denied = tally::shortfall(round.terms, &call.request, round.people)
        .map(|text| submit::denied(&round.terms.reason.rule, text));
    Ok(std::iter::once(reparked).chain(denied).collect())
}

/// People have left, or lost a group: nobody should wait until the deadline for those who are not there.
pub(super) fn reconsider(call: &Call, people: &People) -> Decided {
    let terms = call.terms.as_ref().ok_or(Refusal::Nothing)?;
    let text = tally::shortfall(terms, &call.request, people).ok_or(Refusal::Nothing)?;
    Ok(vec![submit::denied(&terms.reason.rule, text)])
}

/// Policy, grant or stop takes back what was not sent yet.
pub(super) fn revoke(by: &By, reason: &Reason) -> Event {
    Event::Denied { by: by.clone(), reason: Why { reason: Some(reason.clone()), text: None } }
}

/// `max_wait` counts from the request, so that extensions cannot add up for ever.
pub(super) fn extend(
    call: &Call,
    expires_at: Timestamp,
    by: &Person,
    extra: Duration,
    max_wait: Duration,
) -> Decided {
    if by.role != Role::Reviewer {
        return Err(Refusal::NotEligible(format!("{} may look, not decide", by.name)));
    }
    let extended = expires_at.plus(extra);
    if extended == expires_at {
        return Err(Refusal::Nothing);
    }
    if extended > call.requested_at.plus(max_wait) {
        return Err(Refusal::TooLong { max_wait });
    }
    Ok(vec![Event::Extended { by: by.clone(), expires_at: extended }])
}
