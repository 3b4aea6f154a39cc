//! How many streams without an end of their own are open: GET, `subscriptions/listen`, HTTP+SSE of 2024-11-05.
//!
//! Each is a connection, and mostly another at its server; an agent may open them faster than it needs them.

use super::held::{Held, Room};

pub(super) const TOO_MANY: &str =
    "too many streams are open (one agent may have half of all); close one, or try again later";

/// The open streams of all agents, bounded in number: each holds one of so many.
#[derive(Debug)]
pub(super) struct Listeners(Held);

/// One open stream; its place is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Listening {
    _place: Room,
}

impl Listeners {
    pub(super) fn new(most: usize) -> Self {
        Self(Held::new(most))
    }

    /// `None`: there are too many, or this grant has its half of them.
    pub(super) fn take(&self, grant: &str) -> Option<Listening> {
        let mut place = self.0.room(None, grant, 1);
        place.hold(1).ok()?;
        Some(Listening { _place: place })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_grant_has_half_and_what_is_closed_is_given_back() {
        let listeners = Listeners::new(5);
        let mut own: Vec<_> = (0..3).map(|_| listeners.take("bot").unwrap()).collect();
        assert!(listeners.take("bot").is_none(), "it has its half");
        let others: Vec<_> = (0..2).map(|_| listeners.take("ann-bot").unwrap()).collect();
        assert!(listeners.take("eve").is_none(), "there are no more");
        own.pop();
        own.push(listeners.take("bot").unwrap());
        drop((own, others));
        let all: Vec<_> = (0..5).map_while(|n| listeners.take(["bot", "eve"][n % 2])).collect();
        assert_eq!(all.len(), 5);
    }
}
