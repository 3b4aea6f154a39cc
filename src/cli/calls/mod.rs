//! `countersign calls`: the reviewer's terminal. The broker of the folder is asked, if one runs there.

mod card;
mod vote;
mod watch;
mod words;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::{
    orders::At,
    print,
    reviewer::{Credentials, Reviewer},
};
use crate::call::StateName;

#[derive(Debug, Args)]
pub(super) struct Calls {
    #[command(flatten)]
    credentials: Credentials,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Calls, newest first.
    List(List),
    /// Everything about one call.
    Show {
        /// The call's id or short code.
        call: String,
    },
    /// Approve a call; shows it first, and asks. Or take your approval back, with --withdraw.
    Approve(vote::Approval),
    /// Deny a call; the agent reads the reason.
    Deny(vote::Denial),
    /// End a denial that answers the same call made again: the next one asks people again.
    Lift {
        /// The denied call's id or short code.
        call: String,
    },
    /// Say what became of a call that was sent and whose outcome nobody knows: `done` or `not-done`.
    Resolve(vote::Resolution),
    /// One line for each event, as it happens.
    Watch(watch::Watch),
}

#[derive(Debug, Args)]
struct List {
    /// waiting, approved, running, ran, denied, expired, withdrawn, "not sent" or "unknown outcome"; several
    /// with commas.
    #[arg(long, value_delimiter = ',', value_parser = StateName::read)]
    state: Vec<StateName>,
    #[arg(long)]
    server: Option<String>,
    #[arg(long)]
    tool: Option<String>,
    #[arg(long)]
    agent: Option<String>,
    /// Who voted on it.
    #[arg(long)]
    reviewer: Option<String>,
    /// Text in the tool, server, agent, id or short code.
    #[arg(long, short)]
    query: Option<String>,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    limit: u16,
    /// The last page's `next`.
    #[arg(long)]
    after: Option<String>,
}

pub(super) fn run(calls: Calls, at: &At) -> anyhow::Result<ExitCode> {
    let json = at.is_json();
    let reviewer = calls.credentials.reviewer(at)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match calls.command {
            Command::List(list) => show_list(&reviewer, list, json).await,
            Command::Show { call } => {
                let call = find(&reviewer, &call).await?;
                if json {
                    print::json(&call)
                } else {
                    card::show(&call)
                }
                Ok(ExitCode::SUCCESS)
            }
            Command::Approve(ballot) => vote::approve(&reviewer, ballot, json).await,
            Command::Deny(ballot) => vote::deny(&reviewer, ballot, json).await,
            Command::Lift { call } => vote::lift(&reviewer, &call, json).await,
            Command::Resolve(resolution) => vote::resolve(&reviewer, resolution, json).await,
            Command::Watch(watch) => watch::run(&reviewer, watch, json).await,
        }
    })
}

async fn show_list(reviewer: &Reviewer, list: List, json: bool) -> anyhow::Result<ExitCode> {
    let limit = Some(list.limit.to_string());
    let states = list.state.iter().map(|state| state.as_str()).collect::<Vec<_>>().join(",");
    let filters = [
        ("state", Some(states).filter(|states| !states.is_empty())),
        ("server", list.server),
        ("tool", list.tool),
        ("agent", list.agent),
        ("reviewer", list.reviewer),
        ("q", list.query),
        ("after", list.after),
        ("limit", limit),
    ];
    let given: Vec<String> = filters
        .into_iter()
        .filter_map(|(name, value)| value.map(|value| format!("{name}={}", encoded(&value))))
        .collect();
    let page = reviewer.get(&format!("/api/v1/calls?{}", given.join("&"))).await?;
    if json {
        print::json(&page);
        return Ok(ExitCode::SUCCESS);
    }
    let calls = page.get("calls").and_then(Value::as_array).context("the broker listed no calls")?;
    if calls.is_empty() {
        eprintln!("no calls");
    } else {
        print::table(&card::rows(calls));
    }
    if let Some(next) = page.get("next").and_then(Value::as_str) {
        eprintln!("more: --after {next}");
    }
    Ok(ExitCode::SUCCESS)
}

/// One call by its id or its short code.
async fn find(reviewer: &Reviewer, name: &str) -> anyhow::Result<Value> {
    let id =
        if name.parse::<uuid::Uuid>().is_ok() { name.to_owned() } else { by_code(reviewer, name).await? };
    Ok(reviewer.get(&format!("/api/v1/calls/{id}")).await?)
}

async fn by_code(reviewer: &Reviewer, code: &str) -> anyhow::Result<String> {
    let page = reviewer.get(&format!("/api/v1/calls?limit=200&q={}", encoded(code))).await?;
    let calls = page.get("calls").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let is_it = |call: &&Value| card::text(call, "short_code").eq_ignore_ascii_case(code);
    let mut found = calls.iter().filter(is_it);
    match (found.next(), found.next()) {
        (Some(call), None) => Ok(card::text(call, "id").to_owned()),
        (Some(_), Some(_)) => anyhow::bail!("several calls have the code {code}; name one by its id"),
        (None, _) => {
            anyhow::bail!(
                "there is no call {code:?} at {}; `countersign calls list` shows ids and codes",
                reviewer.url()
            )
        }
    }
}

/// For a query string.
fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~,".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}
