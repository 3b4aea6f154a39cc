//! What `/metrics` tells: counters and histograms that the broker and the doors bump.
//!
//! Labels are names from the configuration and words of ours, never what an agent sent: the number of
//! series stays that of the servers.

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Verdict {
    server: String,
    verdict: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Outcome {
    server: String,
    outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Refused {
    server: String,
    why: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Destination {
    destination: String,
}

/// Every metric of this process. A clone of what `verdicts` gives may be kept: bumping it takes no lock.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    verdicts: Family<Verdict, Counter>,
    outcomes: Family<Outcome, Counter>,
    refused_of_tasks: Family<Refused, Counter>,
    notify_backlog: Family<Destination, Gauge>,
    notify_dead_letters: Family<Destination, Counter>,
    /// Calls that wait for a person.
    pub pending: Gauge,
    /// Websockets that follow the ledger.
    pub live_clients: Gauge,
    decision_seconds: Histogram,
    append_seconds: Histogram,
}

impl Metrics {
    #[must_use]
    pub fn new() -> Arc<Self> {
        let metrics = Self {
            registry: Registry::with_prefix("countersign"),
            verdicts: Family::default(),
            outcomes: Family::default(),
            refused_of_tasks: Family::default(),
            notify_backlog: Family::default(),
            notify_dead_letters: Family::default(),
            pending: Gauge::default(),
            live_clients: Gauge::default(),
            decision_seconds: Histogram::new(exponential_buckets(1.0, 2.0, 14)),
            append_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
        };
        Arc::new(metrics.registered())
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("calls", "Calls, by server and the policy's verdict", self.verdicts.clone());
        registry.register("outcomes", "Settled calls, by server and outcome", self.outcomes.clone());
        registry.register(
            "refused_of_tasks",
            "Requests about servers' own tasks that were not sent, by server and why",
            self.refused_of_tasks.clone(),
        );
        registry.register("pending", "Calls that wait for a person", self.pending.clone());
        registry.register("live_clients", "Websockets that follow the audit log", self.live_clients.clone());
        registry.register(
            "decision_seconds",
            "Time from a call's request to its decision by a person",
            self.decision_seconds.clone(),
        );
        registry.register(
            "append_seconds",
            "Time from an append to its place on the disk",
            self.append_seconds.clone(),
        );
        registry.register(
            "notify_backlog",
            "Ledger entries that a destination has not been told of",
            self.notify_backlog.clone(),
        );
        registry.register(
            "notify_dead_letters",
            "Messages that a destination would not take and that were given up",
            self.notify_dead_letters.clone(),
        );
        self
    }

    /// The counter of one verdict (`allow`, `review`, `deny`, `hide`) at one server.
    #[must_use]
    pub fn verdicts(&self, server: &str, verdict: &'static str) -> Counter {
        self.verdicts.get_or_create_owned(&Verdict { server: server.to_owned(), verdict })
    }

    /// The counter of one settled state at one server.
    #[must_use]
    pub fn outcomes(&self, server: &str, state: &'static str) -> Counter {
        self.outcomes.get_or_create_owned(&Outcome { server: server.to_owned(), outcome: state })
    }

    /// A request about one of this server's own tasks was not sent: `unseen answers`, `of another agent`.
    pub fn refused_of_task(&self, server: &str, why: &'static str) {
        let label = Refused { server: server.to_owned(), why };
        let _ = self.refused_of_tasks.get_or_create(&label).inc();
    }

    pub fn decided(&self, waited: Duration) {
        self.decision_seconds.observe(waited.as_secs_f64());
    }

    pub fn appended(&self, took: Duration) {
        self.append_seconds.observe(took.as_secs_f64());
    }

    /// How many entries `destination` has not been told of.
    pub fn backlog(&self, destination: &str, entries: u64) {
        let label = Destination { destination: destination.to_owned() };
        self.notify_backlog.get_or_create(&label).set(i64::try_from(entries).unwrap_or(i64::MAX));
    }

    /// One message to `destination` was given up.
    pub fn dead_letter(&self, destination: &str) {
        let label = Destination { destination: destination.to_owned() };
        let _ = self.notify_dead_letters.get_or_create(&label).inc();
    }

    /// The OpenMetrics text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            tracing::error!("the metrics could not be written as text");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_in_the_text() {
        let metrics = Metrics::new();
        metrics.verdicts("healthomics", "allow").inc();
        metrics.outcomes("healthomics", "denied").inc();
        metrics.refused_of_task("healthomics", "unseen answers");
        metrics.backlog("slack.genomics", 3);
        metrics.decided(Duration::from_secs(3));
        let text = metrics.text();
        for line in [
            r#"countersign_calls_total{server="healthomics",verdict="allow"} 1"#,
            r#"countersign_outcomes_total{server="healthomics",outcome="denied"} 1"#,
            r#"countersign_refused_of_tasks_total{server="healthomics",why="unseen answers"} 1"#,
            r#"countersign_notify_backlog{destination="slack.genomics"} 3"#,
            "countersign_decision_seconds_count 1",
            "# EOF",
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
