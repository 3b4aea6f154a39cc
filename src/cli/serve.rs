//! `countersign serve`: the broker, until SIGTERM or Ctrl-C.

use std::process::ExitCode;

use super::{orders::At, signals::Signals};
use crate::serve::{self, Running};

pub(super) fn run(at: &At, listen: Option<String>) -> anyhow::Result<ExitCode> {
    crate::telemetry::log_to_stderr();
    let mut config = at.load()?;
    if let Some(listen) = listen {
        config.listen_on(listen);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::listen()?;
        let running = serve::start(&config).await?;
        greet(&running);
        signals.ended().await;
        running.drain().await;
        Ok(ExitCode::SUCCESS)
    })
}

/// Where it listens, and what is missing before a first call can be decided.
fn greet(running: &Running) {
    eprintln!("countersign listens on {}", running.local_url);
    if running.public_url != running.local_url {
        eprintln!("its public address, in links and for agents elsewhere, is {}", running.public_url);
    }
    if running.broker.upstreams().servers().is_empty() {
        eprintln!("no server yet; add the first: countersign servers add NAME -- COMMAND ARG…");
    }
    if running.broker.people().0.is_empty() {
        eprintln!("no reviewer yet; add the first: countersign reviewers add NAME");
    }
}
