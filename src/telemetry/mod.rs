//! Logs and metrics: one field name per thing, never arguments, tokens or results.

mod metrics;

pub use metrics::Metrics;

use tracing_subscriber::EnvFilter;

/// Structured logs on stderr: text on a terminal, JSON lines otherwise; `COUNTERSIGN_LOG` sets the level.
pub fn log_to_stderr() {
    log_to_stderr_from("info");
}

/// The same for a program whose words matter more: from `level` on, unless `COUNTERSIGN_LOG` says so.
pub fn log_to_stderr_from(level: &str) {
    let filter = EnvFilter::try_from_env("COUNTERSIGN_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    // A second subscriber in the same process (a test) keeps the first.
    let _ = if std::io::IsTerminal::is_terminal(&std::io::stderr()) {
        builder.try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
}
