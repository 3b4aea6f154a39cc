//! How a destination is doing, for `/readyz`.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Shared between a follower and whoever asks.
#[derive(Clone, Debug, Default)]
pub(super) struct Status(Arc<Mutex<Health>>);

#[derive(Debug, Default)]
struct Health {
    /// Why the last try failed; `None` when it did not.
    failing: Option<String>,
    /// Messages given up of late.
    dead: u64,
}

impl Status {
    pub(super) fn well(&self) {
        self.health().failing = None;
    }

    pub(super) fn ill(&self, why: String) {
        self.health().failing = Some(why);
    }

    pub(super) fn dead(&self, letters: u64) {
        self.health().dead = letters;
    }

    pub(super) fn troubles(&self, name: &str) -> Vec<String> {
        let health = self.health();
        let failing = health.failing.as_ref().map(|why| format!("notify.{name} cannot be told: {why}"));
        let dead = (health.dead > 0)
            .then(|| format!("notify.{name}: {} messages were given up in the last seven days", health.dead));
        failing.into_iter().chain(dead).collect()
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
