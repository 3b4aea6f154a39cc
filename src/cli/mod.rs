//! The command line: what is asked, and the exit code it ends with.
//!
//! 0 done · 1 failed · 2 usage · 3 denied · 4 not intact · 5 expired or timed out. Data goes to stdout,
//! words to stderr.

mod audit;
mod calls;
mod demo;
mod login;
mod orders;
mod policies;
mod print;
mod reviewer;
mod sandbox;
mod serve;
mod servers;
mod signals;
mod stdio;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config::misspelt;

/// Exit code of a call that was denied.
const DENIED: u8 = 3;
/// Exit code of a call that expired.
const EXPIRED: u8 = 5;

#[derive(Debug, Parser)]
#[command(
    name = "countersign",
    version,
    about = "The human-in-the-loop approval broker for AI agents' tool calls"
)]
struct CommandLine {
    #[command(flatten)]
    at: orders::At,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// See the whole of it in a minute, with nothing else installed.
    Demo(demo::Demo),
    /// Run the broker.
    Serve {
        /// Address and port to listen on, instead of the configuration's.
        #[arg(long)]
        listen: Option<String>,
    },
    /// MCP on stdin and stdout, for clients that start a command.
    #[command(override_usage = "countersign stdio --server NAME [--url URL] [--token TOKEN]\n       \
                                countersign stdio --all [--url URL] [--token TOKEN]\n       \
                                countersign stdio [--policy FILE] [--name NAME] -- COMMAND [ARGS]…")]
    Stdio(stdio::Stdio),
    /// What waits for a person, from the terminal.
    Calls(calls::Calls),
    /// Keep a reviewer's token for `calls`.
    Login(login::Login),
    /// Servers behind the broker.
    #[command(subcommand)]
    Servers(servers::Servers),
    /// Check, test and explain policies.
    #[command(subcommand)]
    Policy(policies::Policies),
    /// Agents that may call.
    #[command(subcommand)]
    Agents(orders::Agents),
    /// People who may decide.
    #[command(subcommand)]
    Reviewers(orders::Reviewers),
    /// Deny what waits or is approved of an agent, a server or everything; nothing of it passes until `resume`.
    Stop(orders::Scope),
    /// Lift a stop.
    Resume(orders::Scope),
    /// Open the inbox, signed in.
    Open {
        /// Whose inbox; needed when there are several reviewers.
        #[arg(long)]
        reviewer: Option<String>,
    },
    /// The audit log: verify, export, checkpoint.
    #[command(subcommand)]
    Audit(audit::Audit),
    /// Completions for a shell, on stdout.
    Completions { shell: clap_complete::Shell },
    /// The demo's MCP server on stdin and stdout.
    #[command(hide = true)]
    Sandbox(sandbox::Sandbox),
}

/// Reads the command line, does what it says.
#[must_use]
pub fn run() -> ExitCode {
    let line = CommandLine::parse();
    for (variable, meant) in misspelt() {
        eprintln!("countersign has no setting {variable}; did you mean {meant}?");
    }
    // The first provider wins; nothing else installs one.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let at = &line.at;
    let done = match line.command {
        Command::Demo(demo) => demo::run(&demo),
        Command::Serve { listen } => serve::run(at, listen),
        Command::Stdio(stdio) => stdio::run(stdio),
        Command::Calls(calls) => calls::run(calls, at),
        Command::Login(login) => login::run(&login, at.is_json()),
        Command::Servers(command) => servers::run(command, at),
        Command::Policy(command) => policies::run(command, at.is_json()),
        Command::Completions { shell } => completions(shell),
        Command::Agents(command) => orders::agents(command, at),
        Command::Reviewers(command) => orders::reviewers(command, at),
        Command::Stop(scope) => orders::stop(&scope, at),
        Command::Resume(scope) => orders::resume(&scope, at),
        Command::Open { reviewer } => orders::open(reviewer, at),
        Command::Audit(command) => audit::run(command, at),
        Command::Sandbox(sandbox) => sandbox::run(&sandbox),
    };
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("countersign: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn completions(shell: clap_complete::Shell) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut CommandLine::command(), "countersign", &mut script);
    print::bytes(&script)?;
    Ok(ExitCode::SUCCESS)
}
