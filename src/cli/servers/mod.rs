//! `countersign servers`: the servers of the configuration file, edited in place; comments stay.

pub(super) mod edit;
mod login;
mod probe;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use self::edit::{Entry, Reach};
use super::{
    orders::{At, DEFAULT},
    print,
};
use crate::{config::Config, oauth::StandingState, upstream::Transport};

#[derive(Debug, Subcommand)]
pub(super) enum Servers {
    /// Put a server behind the broker: `servers add NAME --url URL`, or `servers add NAME -- COMMAND ARG…`.
    Add(Add),
    /// The configured servers, and at which the broker must be signed in.
    List,
    /// Take a server out of the configuration, and forget the tokens for it.
    Remove { name: String },
    /// Start or reach a server as the broker would, and list its tools.
    Test { name: String },
    /// Sign the running broker in at a server that wants OAuth: shows a link, and waits until somebody followed it.
    Login {
        name: String,
        /// Show the link and end.
        #[arg(long)]
        no_wait: bool,
    },
    /// Forget the tokens that a sign-in at a server brought.
    Logout { name: String },
}

#[derive(Debug, Args)]
pub(super) struct Add {
    /// a-z, 0-9, - and _; up to 24 characters.
    name: String,
    /// A server over streamable HTTP.
    #[arg(long, conflicts_with = "command", required_unless_present = "command")]
    url: Option<String>,
    /// Sent with each request, as NAME=VALUE; write secrets as NAME=env:VARIABLE.
    #[arg(long, value_name = "NAME=VALUE", requires = "url", value_parser = pair)]
    header: Vec<(String, String)>,
    /// Set for the command, as NAME=VALUE; write secrets as NAME=env:VARIABLE.
    #[arg(long, value_name = "NAME=VALUE", conflicts_with = "url", value_parser = pair)]
    env: Vec<(String, String)>,
    /// The policy that judges every call to it.
    #[arg(long)]
    policy: Option<PathBuf>,
    /// A server over stdio: the command that starts it.
    #[arg(last = true)]
    command: Vec<String>,
}

fn pair(text: &str) -> Result<(String, String), String> {
    let split = text.split_once('=').filter(|(name, _)| !name.is_empty());
    split
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .ok_or_else(|| "write NAME=VALUE".to_owned())
}

pub(super) fn run(command: Servers, at: &At) -> anyhow::Result<ExitCode> {
    let path = at.path().unwrap_or_else(|| Path::new(DEFAULT)).to_owned();
    match command {
        Servers::Add(add) => add_one(add, &path, at.is_json()),
        Servers::List => list(&at.load()?, at.is_json()),
        Servers::Remove { name } => {
            edit::change(&path, |document| edit::remove(document, &name))?;
            removed(&at.load()?, &name, &path, at.is_json())
        }
        Servers::Test { name } => probe::run(&at.load()?, &name, at.is_json()),
        Servers::Logout { name } => login::end(&at.load_here()?, &name, at.is_json()),
        Servers::Login { name, no_wait } => login::run(&at.load_here()?, &name, no_wait, at.is_json()),
    }
}

fn add_one(add: Add, path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let reach = match add.url {
        Some(url) => Reach::Url { url, headers: add.header.into_iter().collect() },
        None => Reach::Command { command: add.command, env: add.env.into_iter().collect(), cwd: None },
    };
    let policy = add.policy.as_deref().map(|policy| beside(policy, path)).transpose()?;
    let entry = Entry { reach, policy };
    let has_policy = entry.policy.is_some();
    edit::change(path, |document| edit::add(document, &add.name, &entry))?;
    if json {
        print::json(&json!({ "name": add.name, "config": path }));
        return Ok(ExitCode::SUCCESS);
    }
    print::line(&format!("{} is added to {}", add.name, path.display()));
    eprintln!("try it:       countersign servers test {}", add.name);
    if !has_policy {
        eprintln!("without a policy every call is denied: add one with --policy, here or for the agent");
    }
    eprintln!("add an agent: countersign agents add NAME --servers {}", add.name);
    Ok(ExitCode::SUCCESS)
}

/// It is out of the file; a sign-in at it must not stay behind.
fn removed(config: &Config, name: &str, path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let forgotten = login::forget(config, name).with_context(|| {
        format!("{name} is removed, but its tokens may be there still: countersign servers logout {name}")
    })?;
    if json {
        print::json(&json!({ "name": name, "removed": true, "forgotten": forgotten }));
        return Ok(ExitCode::SUCCESS);
    }
    print::line(&format!("{name} is removed from {}", path.display()));
    if forgotten {
        print::line(&format!("the tokens for {name} are forgotten"));
        eprintln!("{}", login::STILL_GOOD);
    }
    Ok(ExitCode::SUCCESS)
}

/// A policy's path as the configuration must write it: seen from the configuration's folder.
fn beside(policy: &Path, config: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(policy)
        .with_context(|| format!("the policy {} cannot be read", policy.display()))?;
    if let Err(problems) = crate::policy::check(&policy.display().to_string(), &text) {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::bail!("the policy has mistakes:\n{}", lines.join("\n"));
    }
    let in_this_folder = config.parent().is_none_or(|folder| folder.as_os_str().is_empty());
    let written = if in_this_folder { policy.to_owned() } else { policy.canonicalize()? };
    written.to_str().map(str::to_owned).context("the policy's path is not UTF-8")
}

fn list(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let servers = &config.file.servers;
    let standings = login::standings(config).unwrap_or_else(|error| {
        eprintln!("where the broker is signed in is not known: {error:#}");
        BTreeMap::new()
    });
    if json {
        let server = |(name, server): (&String, &crate::config::Server)| {
            let kind = transport(server);
            json!({ "name": name, "transport": kind, "command": server.command, "url": server.url,
                "policy": server.policy, "sign_in": standings.get(name) })
        };
        print::json(&json!({ "servers": servers.iter().map(server).collect::<Vec<_>>() }));
        return Ok(ExitCode::SUCCESS);
    }
    if servers.is_empty() {
        eprintln!("no servers; add one: countersign servers add NAME -- COMMAND ARG…");
        return Ok(ExitCode::SUCCESS);
    }
    let mut rows = vec![["NAME", "TRANSPORT", "WHERE", "POLICY", "SIGN-IN"].map(str::to_owned).to_vec()];
    for (name, server) in servers {
        let kind = transport(server);
        let command = server.command.as_ref().map(|command| command.join(" "));
        let place = server.url.clone().or(command).unwrap_or_default();
        let policy = server.policy.clone().unwrap_or_else(|| "-".to_owned());
        let standing = login::words(standings.get(name));
        rows.push(vec![name.clone(), kind.to_owned(), print::visible(&place), policy, standing]);
    }
    print::table(&rows);
    for (name, _) in standings.iter().filter(|(_, standing)| standing.state != StandingState::Done) {
        eprintln!("sign the broker in: countersign servers login {name}");
    }
    Ok(ExitCode::SUCCESS)
}

fn transport(server: &crate::config::Server) -> &'static str {
    match (&server.url, server.transport) {
        (None, _) => "stdio",
        (Some(_), Some(Transport::Sse)) => "sse",
        (Some(_), Some(Transport::Http) | None) => "http",
    }
}

/// Names and values, in order of name.
type Pairs = BTreeMap<String, String>;
