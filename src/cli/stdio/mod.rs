//! `countersign stdio`: MCP on stdin and stdout, for clients that start a command.
//!
//! Stdout belongs to the protocol; every word for people goes to stderr.

mod desk;
mod local;
mod naming;

use std::{path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;

pub(super) use self::local::config_path;
use crate::downstream::{self, StdioSettings};

#[derive(Debug, Args)]
pub(super) struct Stdio {
    /// A server of a running broker.
    #[arg(long, conflicts_with_all = ["command", "policy", "name"], required_unless_present_any = ["command", "all"])]
    server: Option<String>,
    /// All servers that the token reaches, joined into one.
    #[arg(long, conflicts_with_all = ["server", "command", "policy", "name"])]
    all: bool,
    /// Where that broker is.
    #[arg(long, env = "COUNTERSIGN_URL", default_value = "http://127.0.0.1:8787")]
    url: String,
    /// An agent's token.
    #[arg(long, env = "COUNTERSIGN_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The policy for COMMAND; without one, every call waits for you.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// COMMAND's name at the broker; from the command unless said.
    #[arg(long)]
    name: Option<String>,
    /// The server that is started, with a broker of its own in front.
    #[arg(last = true)]
    command: Vec<String>,
}

pub(super) fn run(stdio: Stdio) -> anyhow::Result<ExitCode> {
    crate::telemetry::log_to_stderr_from("warn");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(async {
        match stdio.server {
            Some(server) => joined(&stdio.url, &format!("/mcp/{server}"), stdio.token).await,
            None if stdio.all => joined(&stdio.url, "/mcp", stdio.token).await,
            None => local::run(stdio.command, stdio.name, stdio.policy).await,
        }
    });
    // A read of stdin that is still under way would keep the runtime, and so the process, alive.
    runtime.shutdown_background();
    done.map(|()| ExitCode::SUCCESS)
}

/// Joined to a broker that runs elsewhere.
async fn joined(url: &str, path: &str, token: Option<String>) -> anyhow::Result<()> {
    let token = token.context(
        "no agent's token: give --token or set COUNTERSIGN_TOKEN (`countersign agents add NAME --servers S` makes one)",
    )?;
    let door = format!("{}{path}", url.trim_end_matches('/'));
    Ok(downstream::stdio(StdioSettings::new(door, token)).await?)
}
