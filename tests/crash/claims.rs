//! What the broker has told the outside world: from then on it must be true, whatever dies.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

/// A command of a reviewer that was answered with 2xx.
#[derive(Clone, Debug)]
pub struct Kept {
    pub call: String,
    /// The event that must be on the ledger.
    pub event: &'static str,
    pub by: String,
    pub vote: Option<&'static str>,
}

/// What an agent heard of its call.
#[derive(Clone, Debug)]
pub struct Told {
    pub marker: String,
    /// The server's answer has no call in it.
    pub call: Option<String>,
    pub state: String,
}

#[derive(Default)]
pub struct Claims {
    kept: Mutex<Vec<Kept>>,
    told: Mutex<Vec<Told>>,
    pub repeats: AtomicU64,
    pub departures: AtomicU64,
    pub broken: AtomicU64,
}

impl Claims {
    pub fn keep(&self, kept: Kept) {
        self.kept.lock().unwrap().push(kept);
    }

    pub fn tell(&self, told: Told) {
        self.told.lock().unwrap().push(told);
    }

    pub fn kept(&self) -> Vec<Kept> {
        self.kept.lock().unwrap().clone()
    }

    pub fn told(&self) -> Vec<Told> {
        self.told.lock().unwrap().clone()
    }

    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What every party of the load shares.
#[derive(Clone)]
pub struct Stage {
    pub claims: Arc<Claims>,
    /// Is the broker up? Parties wait for it instead of knocking at a closed door.
    pub up: tokio::sync::watch::Receiver<bool>,
}

impl Stage {
    pub async fn wait_until_up(&mut self) {
        // The sender goes only with the test.
        let _ = self.up.wait_for(|up| *up).await;
    }
}
