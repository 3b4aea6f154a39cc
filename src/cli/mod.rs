//! The command line: what is asked, and the exit code it ends with.
//!
//! 0 done · 1 failed · 2 usage · 3 denied · 4 not intact · 5 expired or timed out. Data goes to stdout,
//! words to stderr.

mod sandbox;
mod serve;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "countersign",
    version,
    about = "The human-in-the-loop approval broker for AI agents' tool calls"
)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the broker.
    Serve {
        /// The configuration; without it: embedded defaults.
        #[arg(long, env = "COUNTERSIGN_CONFIG")]
        config: Option<PathBuf>,
        /// Address and port to listen on, instead of the configuration's.
        #[arg(long)]
        listen: Option<String>,
    },
    /// The demo's MCP server on stdin and stdout.
    #[command(hide = true)]
    Sandbox,
}

/// Reads the command line, does what it says.
#[must_use]
pub fn run() -> ExitCode {
    let line = CommandLine::parse();
    // The first provider wins; nothing else installs one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let done = match line.command {
        Command::Serve { config, listen } => serve::run(config, listen),
        Command::Sandbox => sandbox::run(),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("countersign: {error:#}");
            ExitCode::FAILURE
        }
    }
}
