//! `countersign sandbox`: a small MCP server on stdin and stdout that keeps batches and really runs them.
//!
//! The demo and the tests call it through the broker; what its tools do can be seen from outside in the
//! state file.

mod batches;
mod rpc;
mod tools;

use std::{
    io::BufRead as _,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;

pub(super) use self::batches::{Batches, State};
use super::print;
use crate::broker::{Clock as _, SystemClock};

#[derive(Debug, Args)]
pub(super) struct Sandbox {
    /// Where its batches lie as JSON; kept in memory only without it.
    #[arg(long)]
    state: Option<PathBuf>,
}

/// Answers messages, one per line, until stdin ends.
pub(super) fn run(sandbox: &Sandbox) -> anyhow::Result<ExitCode> {
    let mut batches = match &sandbox.state {
        Some(path) if path.exists() => read(path)?,
        Some(_) | None => Batches::default(),
    };
    for line in std::io::stdin().lock().lines() {
        let line = line.context("stdin cannot be read")?;
        if line.trim().is_empty() {
            continue;
        }
        let answer = rpc::answer(&line, &mut batches, SystemClock.now());
        // The effect is on the disk before the caller hears of it.
        if let Some(path) = &sandbox.state {
            write(path, &batches)?;
        }
        if let Some(answer) = answer {
            print::json(&answer);
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The batches in a state file.
pub(super) fn read(path: &Path) -> anyhow::Result<Batches> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("the state file {} cannot be read", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is no state file of the sandbox", path.display()))
}

/// Whoever looks meanwhile sees the old state or the new one, never half of it.
fn write(path: &Path, batches: &Batches) -> anyhow::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let text = serde_json::to_string_pretty(batches)?;
    std::fs::write(&beside, text)
        .and_then(|()| std::fs::rename(&beside, path))
        .with_context(|| format!("the state file {} cannot be written", path.display()))
}
