//! A person votes on what they saw, or takes the vote back.

use std::time::Duration;

use crate::call::{
    By, Call, Commitment, Digest, Event, People, Person, Refusal, Review, Role, State, Timestamp, Vote, Why,
    denial_answers, evolve, tally,
};

use super::{Decided, wrong_state};

pub(super) struct Ballot<'a> {
    pub(super) reviewer: &'a Person,
    pub(super) vote: Vote,
    pub(super) digest: Digest,
    pub(super) reason: Option<Commitment>,
    pub(super) once: bool,
    pub(super) people: &'a People,
}

/// The caller has checked that the deadline has not passed.
pub(super) fn vote(call: &Call, ballot: &Ballot<'_>, now: Timestamp) -> Decided {
    let Some(terms) = &call.terms else {
        return Err(Refusal::NotEligible("the policy asked nobody about this call".into()));
    };
    if ballot.digest != call.digest {
        return Err(Refusal::Changed { digest: call.digest });
    }
    let reviewer = tally::eligible(terms, &call.request, ballot.people, &ballot.reviewer.name)
        .map_err(Refusal::NotEligible)?;
    if call.reviews.iter().any(|review| review.reviewer.name == reviewer.name) {
        return Err(Refusal::AlreadyVoted);
    }
    let reviewer = Person { token: ballot.reviewer.token.clone(), ..reviewer.clone() };
    let review = Review {
        self_approved: ballot.vote == Vote::Approve && call.request.owner.as_ref() == Some(&reviewer.name),
        reviewer: reviewer.clone(),
        vote: ballot.vote,
        digest: ballot.digest,
        at: now,
        reason: ballot.reason,
        once: ballot.once && ballot.vote == Vote::Deny,
    };
    let voted = Event::Voted { review };
    let next = match ballot.vote {
        Vote::Deny => Some(Event::Denied {
            by: By::Reviewer { person: reviewer },
            reason: Why { reason: None, text: ballot.reason },
        }),
        Vote::Approve => evolve(call.id, Some(call.clone()), &voted, now)
            .filter(|voted| tally(voted, ballot.people).met)
            .map(|_| Event::Permitted { use_by: now.plus(terms.use_within) }),
    };
    Ok(std::iter::once(voted).chain(next).collect())
}

/// The fold itself goes back to pending when the quorum no longer holds.
pub(super) fn withdraw(call: &Call, reviewer: &Person) -> Decided {
    let voted = call.reviews.iter().any(|review| review.reviewer.name == reviewer.name);
    if !voted {
        return Err(Refusal::NoVote);
    }
    Ok(vec![Event::VoteWithdrawn { reviewer: reviewer.clone() }])
}

/// Whoever may decide may let the same call ask again.
pub(super) fn lift(call: &Call, by: &Person, within: Duration, now: Timestamp) -> Decided {
    if by.role != Role::Reviewer {
        return Err(Refusal::NotEligible(format!("{} may look, not decide", by.name)));
    }
    let State::Denied { by: By::Reviewer { .. }, lifted, .. } = &call.state else {
        return Err(wrong_state(call));
    };
    if *lifted {
        return Err(Refusal::AlreadyLifted);
    }
    if !denial_answers(call, within, now) {
        return Err(Refusal::Nothing);
    }
    Ok(vec![Event::Lifted { by: by.clone() }])
}
