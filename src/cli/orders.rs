//! `agents`, `reviewers`, `stop`, `resume`, `open`: orders to the broker on this machine, or to its store.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::{print, reviewer::Place};
use crate::{
    config::Config,
    ledger::StopScope,
    serve::{Order, open_desk, path_beside, send},
};

/// Where the configuration lies unless said; it need not be there.
pub(super) const DEFAULT: &str = "countersign.toml";

/// Which store, and how the answer is printed.
#[derive(Clone, Debug, Args)]
pub(super) struct At {
    /// The broker's configuration; without it: countersign.toml here, or embedded defaults.
    #[arg(long, env = "COUNTERSIGN_CONFIG", global = true)]
    config: Option<PathBuf>,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum Agents {
    /// Add an agent; its token is shown once.
    Add {
        name: String,
        /// Servers it may reach.
        #[arg(long, value_delimiter = ',', required = true)]
        servers: Vec<String>,
        /// The policy that judges its calls, beside those of the servers.
        #[arg(long)]
        policy: Option<PathBuf>,
        /// The person who answers for it; their vote on its calls counts only if nobody else can vote.
        #[arg(long)]
        owner: Option<String>,
    },
    /// Let an agent reach more servers, or fewer; its token stays.
    Servers {
        name: String,
        /// Servers it may reach from now on too; several with commas.
        #[arg(long, value_delimiter = ',', required_unless_present = "remove")]
        add: Vec<String>,
        /// Servers it may not reach any more; what it has waiting there is denied when it would be sent.
        #[arg(long, value_delimiter = ',')]
        remove: Vec<String>,
    },
    /// Who there is, and who is stopped.
    List,
    /// A new token; the old one ends at once.
    Rotate { name: String },
    /// End an agent's access and deny what it has waiting.
    Revoke { name: String },
}

#[derive(Debug, Subcommand)]
pub(super) enum Reviewers {
    /// Add a reviewer; shows a token and a one-time sign-in link.
    Add {
        name: String,
        /// Groups of reviewers they belong to, as policies name them; several with commas.
        #[arg(long, value_delimiter = ',')]
        groups: Vec<String>,
        /// May look at everything and decide nothing.
        #[arg(long)]
        auditor: bool,
    },
    /// Who may decide, and in which groups they are.
    List,
    /// End a reviewer's access; their token, links and sessions end at once. What waits and cannot be let go
    /// without them is denied.
    Revoke { name: String },
}

#[derive(Clone, Debug, Args)]
pub(super) struct Scope {
    /// One agent, by its name; `agents list` shows them.
    #[arg(long, group = "scope")]
    agent: Option<String>,
    /// One server, by its name; `servers list` shows them.
    #[arg(long, group = "scope")]
    server: Option<String>,
    /// Everything; `stop --all` denies everything that waits or is approved.
    #[arg(long, group = "scope")]
    all: bool,
    /// Why; agents and reviewers see it.
    #[arg(long)]
    reason: String,
}

impl Scope {
    fn scope(&self) -> anyhow::Result<StopScope> {
        match (&self.agent, &self.server, self.all) {
            (Some(name), None, false) => Ok(StopScope::Agent(name.clone())),
            (None, Some(name), false) => Ok(StopScope::Server(name.clone())),
            (None, None, true) => Ok(StopScope::All),
            _ => anyhow::bail!("say what: --agent NAME, --server NAME or --all"),
        }
    }
}

/// The operating-system user.
pub(super) fn by() -> String {
    std::env::var("USER").or_else(|_| std::env::var("LOGNAME")).unwrap_or_else(|_| "operator".into())
}

pub(super) fn agents(command: Agents, at: &At) -> anyhow::Result<ExitCode> {
    let by = by();
    let order = match command {
        Agents::Add { name, servers, policy, owner } => {
            let policy = policy.map(|path| {
                path.canonicalize().with_context(|| format!("the policy {} cannot be read", path.display()))
            });
            warn_of_unknown(&servers, &at.load()?);
            Order::AgentAdd { name, servers, owner, policy: policy.transpose()?, by }
        }
        Agents::Servers { name, add, remove } => {
            warn_of_unknown(&add, &at.load()?);
            Order::AgentServers { name, add, remove, by }
        }
        Agents::List => Order::Agents,
        Agents::Rotate { name } => Order::AgentRotate { name, by },
        Agents::Revoke { name } => Order::AgentRevoke { name, by },
    };
    done(at, &order)
}

pub(super) fn reviewers(command: Reviewers, at: &At) -> anyhow::Result<ExitCode> {
    let by = by();
    let order = match command {
        Reviewers::Add { name, groups, auditor } => Order::ReviewerAdd { name, groups, auditor, by },
        Reviewers::List => Order::Reviewers,
        Reviewers::Revoke { name } => Order::ReviewerRevoke { name, by },
    };
    done(at, &order)
}

pub(super) fn stop(scope: &Scope, at: &At) -> anyhow::Result<ExitCode> {
    let wanted = scope.scope()?;
    must_exist(&wanted, at)?;
    done(at, &Order::Stop { scope: wanted, reason: scope.reason.clone(), by: by() })
}

/// In an emergency a name with a slip in it must not look like success.
fn must_exist(scope: &StopScope, at: &At) -> anyhow::Result<()> {
    let (kind, wanted, known): (_, _, Vec<String>) = match scope {
        StopScope::All => return Ok(()),
        StopScope::Server(name) => {
            ("server", name, at.load_or_local()?.file.servers.keys().cloned().collect())
        }
        StopScope::Agent(name) => {
            let agents = order(&at.load_or_local()?, &Order::Agents)?;
            let agents = agents.get("agents").and_then(Value::as_array).into_iter().flatten();
            let names =
                agents.filter_map(|agent| agent.get("name").and_then(Value::as_str).map(str::to_owned));
            ("agent", name, names.collect())
        }
    };
    let known: Vec<String> = known.iter().map(|name| print::visible(name)).collect();
    anyhow::ensure!(
        known.contains(wanted),
        "nothing is stopped: there is no {kind} {wanted:?}; there are: {}. To stop everything: countersign stop --all --reason WHY",
        if known.is_empty() { "none".to_owned() } else { known.join(", ") }
    );
    Ok(())
}

pub(super) fn resume(scope: &Scope, at: &At) -> anyhow::Result<ExitCode> {
    done(at, &Order::Resume { scope: scope.scope()?, reason: scope.reason.clone(), by: by() })
}

/// The inbox, signed in, in the person's browser; its link on stdout where there is none.
pub(super) fn open(reviewer: Option<String>, at: &At) -> anyhow::Result<ExitCode> {
    let answer = order(&at.load_or_local()?, &Order::SignInLink { reviewer })?;
    let link = answer.get("link").and_then(Value::as_str).context("the broker gave no link")?;
    let opened = !at.json
        && std::process::Command::new("xdg-open")
            .arg(link)
            .stderr(std::process::Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
    if at.json {
        print::json(&answer);
    } else if !opened {
        print::line(link);
    }
    Ok(ExitCode::SUCCESS)
}

fn done(at: &At, wanted: &Order) -> anyhow::Result<ExitCode> {
    let is_first = matches!(wanted, Order::AgentAdd { .. } | Order::ReviewerAdd { .. });
    let config = if is_first { at.load()? } else { at.load_here()? };
    let answer = order(&config, wanted)?;
    if at.json {
        print::json(&answer)
    } else {
        show(&answer)
    }
    Ok(ExitCode::SUCCESS)
}

/// By the broker's socket where one runs, else on the store itself.
fn order(config: &Config, order: &Order) -> anyhow::Result<Value> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(async {
        let path = config.store_path()?;
        if let Some(answer) = send(&path_beside(&path), order).await? {
            return Ok(answer);
        }
        let (desk, store) = open_desk(config).await?;
        let answer = desk.carry_out(order.clone()).await;
        desk.broker.drain(std::time::Duration::from_secs(5)).await;
        store.drain().await?;
        let answer = answer?;
        warn_of_absence(order, config, &path);
        Ok(answer)
    })
}

/// An agent may be there before its server; a slip of the pen looks the same.
fn warn_of_unknown(servers: &[String], config: &Config) {
    for server in servers.iter().filter(|name| *name != "*" && !config.file.servers.contains_key(*name)) {
        eprintln!("there is no server {server:?} yet; `countersign servers list` shows those there are");
    }
}

/// What was done on the store alone has no effect before a broker runs on it.
fn warn_of_absence(order: &Order, config: &Config, store: &Path) {
    if matches!(order, Order::Stop { .. } | Order::Resume { .. }) {
        eprintln!("no broker runs on {}; written there, in force from its next start", store.display());
    } else if matches!(order, Order::SignInLink { .. } | Order::ReviewerAdd { .. }) {
        let is_local = super::stdio::config_path().is_ok_and(|local| config.path.as_ref() == Some(&local));
        let then = if is_local { "while your client runs" } else { "once `countersign serve` runs" };
        eprintln!("no broker runs here; the link works {then}");
    }
}

impl At {
    pub(super) fn load(&self) -> anyhow::Result<Config> {
        Ok(match &self.config {
            Some(path) => Config::load(path)?,
            None if Path::new(DEFAULT).exists() => Config::load(Path::new(DEFAULT))?,
            None => Config::embedded()?,
        })
    }

    /// The configuration of the broker that is here. In another folder, an order about what there is would
    /// make a new store and speak of that.
    pub(super) fn load_here(&self) -> anyhow::Result<Config> {
        let config = self.load()?;
        anyhow::ensure!(
            config.path.is_some() || config.store_path()?.exists(),
            "no countersign.toml or store in this folder: go to the broker's folder or give --config"
        );
        Ok(config)
    }

    /// That of the broker here; without one, that of the broker of one's own that `stdio -- COMMAND` runs.
    fn load_or_local(&self) -> anyhow::Result<Config> {
        let local = super::stdio::config_path()?;
        match self.load_here() {
            Err(_) if self.config.is_none() && !Path::new(DEFAULT).exists() && local.exists() => {
                Ok(Config::load(&local)?)
            }
            here => here,
        }
    }

    /// What runs here; a configuration that was named must be there.
    pub(super) fn place(&self) -> anyhow::Result<Place> {
        let config = match self.load_here() {
            Ok(config) => config,
            Err(error) if self.config.is_some() => return Err(error),
            Err(error) => {
                if Path::new(DEFAULT).exists() {
                    eprintln!("the broker of this folder is not asked: {error:#}");
                }
                return Ok(Place::Nothing);
            }
        };
        runs(&config)
    }

    /// Where the configuration lies, if it was said.
    pub(super) fn path(&self) -> Option<&Path> {
        self.config.as_deref()
    }

    pub(super) fn is_json(&self) -> bool {
        self.json
    }
}

/// The broker of one's own that `stdio -- COMMAND` runs, if it does: where it listens, and its configuration.
pub(super) fn own_broker() -> Option<(String, PathBuf)> {
    let path = super::stdio::config_path().ok()?;
    match runs(&Config::load(&path).ok()?).ok()? {
        Place::Runs { local, .. } => Some((local, path)),
        Place::Idle | Place::Nothing => None,
    }
}

/// Does a broker run on it?
fn runs(config: &Config) -> anyhow::Result<Place> {
    let socket = path_beside(&config.store_path()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = runtime.block_on(send(&socket, &Order::Address)).ok().flatten();
    let Some(told) = told else { return Ok(Place::Idle) };
    let text = |name: &str| told.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Place::Runs { local: text("local"), public: text("public") })
}

/// For people: lists as tables, everything else as `name: value`.
fn show(answer: &Value) {
    let Some(members) = answer.as_object() else { return print::json(answer) };
    for (name, value) in members {
        match value {
            Value::Array(rows) if rows.first().is_none_or(Value::is_object) => list(rows),
            Value::Array(_) => print::line(&format!("{name}: {}", cell(value))),
            Value::String(text) => print::line(&format!("{name}: {text}")),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => {
                print::line(&format!("{name}: {value}"))
            }
        }
    }
    if members.contains_key("token") {
        eprintln!("the token is shown this once; keep it where only its owner can read it");
        if members.contains_key("link") {
            eprintln!("the link signs in once, within 15 minutes, while the broker runs");
        }
    }
}

fn list(rows: &[Value]) {
    let Some(Value::Object(first)) = rows.first() else {
        eprintln!("none");
        return;
    };
    let head: Vec<String> = first.keys().map(|key| key.to_uppercase()).collect();
    let body = rows.iter().filter_map(Value::as_object).map(|row| row.values().map(cell).collect());
    print::table(&std::iter::once(head).chain(body).collect::<Vec<Vec<String>>>());
}

/// What a table shows of a value; stops as sentences.
pub(super) fn cell(value: &Value) -> String {
    let member = |name: &str| value.get(name).and_then(Value::as_str).map(print::visible).unwrap_or_default();
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => print::visible(text),
        Value::Array(items) if items.is_empty() => "-".to_owned(),
        Value::Array(items) => {
            let separator = if items.iter().all(Value::is_string) { "," } else { "; " };
            items.iter().map(cell).collect::<Vec<_>>().join(separator)
        }
        Value::Object(stop) if stop.contains_key("what") => {
            format!("{} by {}: {}", member("what"), member("by"), member("reason"))
        }
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}
