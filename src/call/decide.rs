//! Which events follow from a command, or why none do.

use std::time::Duration;

use super::{Call, Command, Event, Refusal, Timestamp};

/// How long an undelivered answer, or a person's denial, is given to the same call again.
pub const DELIVERY_WINDOW: Duration = Duration::from_secs(600);

/// Pure: the same call, command and moment always give the same events.
///
/// # Errors
/// A `Refusal` says why the command is not possible now.
pub fn decide(_call: Option<&Call>, _command: &Command, _now: Timestamp) -> Result<Vec<Event>, Refusal> {
    Err(Refusal::Nothing)
}

/// When a `Tick` will next have something to do; `None` for a settled call.
#[must_use]
pub fn next_deadline(_call: &Call, _detach_grace: Duration, _skew: Duration) -> Option<Timestamp> {
    None
}
