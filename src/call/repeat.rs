//! What a person's denial means for the same call made again.

use std::time::Duration;

use super::{By, Call, State, Timestamp, Vote};

/// Is a repeat of this call told the same person's denial, without asking anyone? For `within`, unless it
/// was lifted. One that was meant for this call only is told once: to whoever did not hear it yet.
#[must_use]
pub fn denial_answers(call: &Call, within: Duration, now: Timestamp) -> bool {
    let State::Denied { by: By::Reviewer { .. }, lifted: false, .. } = &call.state else { return false };
    let fresh = call.settled_at.is_some_and(|at| now < at.plus(within));
    let once = call.reviews.iter().any(|review| review.vote == Vote::Deny && review.once);
    fresh && (!once || call.delivered.is_none())
}
