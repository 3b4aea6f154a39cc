//! How long things wait and how many may: every limit has a name and a default here.

use std::time::Duration;

use serde::Deserialize;

/// `[approval]`, `[limits]` and `[ledger]` of the configuration, as far as the broker uses them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// This process's name on the ledger.
    pub replica: String,
    /// Base of links in answers and messages, no trailing slash.
    pub public_url: String,
    /// A call whose agent left without a ticket is cancelled after this.
    pub detach_grace: Duration,
    /// Upper bound of a call's whole wait, extensions included.
    pub max_wait: Duration,
    /// How long a dispatched call is another replica's hands-off.
    pub lease: Duration,
    pub skew: Duration,
    /// An undelivered answer, or a person's denial, is given to the same call again for this long.
    pub redelivery: Duration,
    pub pending_per_agent: usize,
    pub pending: usize,
    /// Sum of the arguments of parked calls, bytes.
    pub pending_bytes: usize,
    /// Largest answer kept for later delivery, bytes.
    pub kept_answer: usize,
    /// Largest answer to a call that waited, bytes; a larger one is lost.
    pub largest_answer: usize,
    /// Allowed calls are written behind (`Batched`) or before they run (`Durable`).
    pub allowed: AllowedLedger,
    /// Largest arguments kept for an allowed call, bytes; 0 keeps none.
    pub allowed_arguments: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllowedLedger {
    #[default]
    Batched,
    Durable,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            replica: "countersign".into(),
            public_url: "http://127.0.0.1:8787".into(),
            detach_grace: Duration::from_secs(120),
            max_wait: Duration::from_secs(24 * 3600),
            lease: Duration::from_secs(24 * 3600),
            skew: Duration::from_secs(5),
            redelivery: Duration::from_secs(600),
            pending_per_agent: 1_000,
            pending: 100_000,
            pending_bytes: 1 << 30,
            kept_answer: 1 << 20,
            largest_answer: 64 << 20,
            allowed: AllowedLedger::Batched,
            allowed_arguments: 0,
        }
    }
}
