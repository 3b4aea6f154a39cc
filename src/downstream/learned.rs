//! What is learned of clients that hang up while they wait: the next time they are told to call again before that.
//!
//! A client is known by its grant and its name. Once may be a person who stopped it, or a broken network; twice
//! after about the same time is a clock. Lives in memory only, and only ever shortens what is configured.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

/// Clients that are learned of; beyond it no new ones.
const MOST: usize = 1_000;
/// Bytes of a client's name; of one with a longer name nothing is learned.
const LONGEST_NAME: usize = 128;
/// Two hang-ups are alike when a twentieth of the wait lies between them, or this.
const ALIKE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Learned {
    /// Shorter waits teach nothing; zero: none does.
    from: Duration,
    /// By grant and client's name.
    clients: Mutex<HashMap<(String, String), Seen>>,
}

#[derive(Debug, Default)]
struct Seen {
    last: Option<Duration>,
    budget: Option<Duration>,
}

impl Learned {
    pub(super) fn new(from: Duration) -> Self {
        Self { from, clients: Mutex::default() }
    }

    /// The client hung up after it had waited so long.
    pub(super) fn hung_up(&self, grant: &str, client: &str, after: Duration) {
        if self.from.is_zero() || after < self.from || client.len() > LONGEST_NAME {
            return;
        }
        let key = (grant.to_owned(), client.to_owned());
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if clients.len() >= MOST && !clients.contains_key(&key) {
            return;
        }
        let seen = clients.entry(key).or_default();
        let alike = seen.last.replace(after).filter(|last| last.abs_diff(after) <= ALIKE.max(after / 20));
        let Some(last) = alike else { return };
        let budget = last.min(after) * 4 / 5;
        if seen.budget.is_none_or(|known| budget < known) {
            seen.budget = Some(budget);
            tracing::info!(
                grant,
                client,
                ?after,
                ?budget,
                "a client hangs up early; it gets its ticket before"
            );
        }
    }

    /// How long this client is kept waiting, which is never longer than `patience` (`None`: without end).
    pub(super) fn shortened(
        &self,
        grant: &str,
        client: &str,
        patience: Option<Duration>,
    ) -> Option<Duration> {
        if self.from.is_zero() {
            return patience;
        }
        let clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let budget = clients.get(&(grant.to_owned(), client.to_owned())).and_then(|seen| seen.budget);
        match (patience, budget) {
            (Some(patience), Some(budget)) => Some(patience.min(budget)),
            (patience, budget) => patience.or(budget),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Learned, MOST};
    use std::time::Duration;

    const FROM: Duration = Duration::from_secs(10);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn two_hang_ups_alike_are_a_clock() {
        let learned = Learned::new(FROM);
        for (after, budget) in [(60, None), (30, None), (60, None), (62, Some(48)), (100, Some(48))] {
            learned.hung_up("bot", "gateway", seconds(after));
            assert_eq!(learned.shortened("bot", "gateway", None), budget.map(seconds), "{after}");
        }
        assert_eq!(learned.shortened("bot", "another", None), None);
        assert_eq!(learned.shortened("other", "gateway", None), None);
    }

    #[test]
    fn nobody_is_kept_longer_than_configured() {
        let learned = Learned::new(FROM);
        learned.hung_up("bot", "gateway", seconds(60));
        learned.hung_up("bot", "gateway", seconds(60));
        assert_eq!(learned.shortened("bot", "gateway", Some(seconds(20))), Some(seconds(20)));
        assert_eq!(learned.shortened("bot", "gateway", Some(seconds(50))), Some(seconds(48)));
    }

    #[test]
    fn short_waits_long_names_and_too_many_clients_teach_nothing() {
        let learned = Learned::new(FROM);
        let twice = |client: &str, after| (0..2).for_each(|_| learned.hung_up("bot", client, seconds(after)));
        let long = "x".repeat(129);
        twice("hasty", 9);
        twice(&long, 60);
        (0..MOST).for_each(|n| twice(&n.to_string(), 60));
        twice("late", 60);
        for client in ["hasty", &long, "late"] {
            assert_eq!(learned.shortened("bot", client, None), None, "{client}");
        }
        assert_eq!(learned.shortened("bot", "999", None), Some(seconds(48)));
        let never = Learned::new(Duration::ZERO);
        never.hung_up("bot", "gateway", seconds(60));
        never.hung_up("bot", "gateway", seconds(60));
        assert_eq!(never.shortened("bot", "gateway", None), None);
    }
}
