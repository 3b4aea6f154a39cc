//! `countersign serve`: the broker, until SIGTERM or Ctrl-C.

use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::orders::At;
use crate::serve;

pub(super) fn run(at: &At, listen: Option<String>) -> anyhow::Result<ExitCode> {
    crate::telemetry::log_to_stderr();
    let mut config = at.load()?;
    if let Some(listen) = listen {
        config.file.listen = listen;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let running = serve::start(&config).await?;
        eprintln!("countersign listens on {}", running.public_url);
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = tokio::signal::ctrl_c() => {}
        }
        running.drain().await;
        Ok(ExitCode::SUCCESS)
    })
}
