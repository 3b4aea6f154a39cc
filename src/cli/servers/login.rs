//! `countersign servers login NAME`: a person signs the broker in at a server behind it; `logout` ends that.

use std::{collections::BTreeMap, process::ExitCode, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{
    broker::{Clock as _, SystemClock},
    cli::print,
    config::Config,
    oauth::{Standing, StandingState, forget_beside, standings_beside},
    serve::{Order, path_beside, send},
};

/// How often the broker is asked whether somebody followed the link.
const LOOK: Duration = Duration::from_millis(500);

pub(super) fn run(config: &Config, name: &str, no_wait: bool, json: bool) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let socket = path_beside(&config.store_path()?);
    runtime.block_on(async {
        let order = Order::ServerLogin { server: name.to_owned() };
        let begun = send(&socket, &order).await?;
        let begun =
            begun.context("no broker runs here, and the browser must come back to one: countersign serve")?;
        let text = |member: &str| begun.get(member).and_then(Value::as_str);
        let (url, login) =
            (text("url").context("the broker gave no link")?, text("login").unwrap_or_default());
        let scopes: Vec<&str> = begun
            .get("scopes")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        if json {
            print::json(&json!({ "server": name, "url": url, "scopes": scopes }));
        } else {
            print::line(url);
        }
        if !scopes.is_empty() {
            eprintln!("it asks for the scopes {}", print::visible(&scopes.join(" ")));
        }
        if no_wait {
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!("open this link within ten minutes, on a machine whose browser reaches the broker");
        wait(&socket, login).await?;
        eprintln!("the broker is signed in at {name}");
        Ok(ExitCode::SUCCESS)
    })
}

async fn wait(socket: &std::path::Path, login: &str) -> anyhow::Result<()> {
    let order = Order::ServerLoginStage { login: login.to_owned() };
    loop {
        let stage = send(socket, &order).await?.context("the broker has ended; begin again")?;
        match stage.get("state").and_then(Value::as_str) {
            Some("done") => return Ok(()),
            Some("failed") => {
                let why = stage.get("why").and_then(Value::as_str).unwrap_or_default();
                anyhow::bail!("not signed in: {}", print::visible(why));
            }
            Some("waiting") => tokio::time::sleep(LOOK).await,
            _ => anyhow::bail!("nobody followed the link in time; begin again"),
        }
    }
}

/// How the broker stands with the servers that want its sign-in, as the running broker says, or its files where
/// none runs.
pub(super) fn standings(config: &Config) -> anyhow::Result<BTreeMap<String, Standing>> {
    let wanting = config.file.servers.iter().filter(|(_, server)| server.oauth.is_some());
    let url = |server: &crate::config::Server| server.url.as_ref()?.parse::<reqwest::Url>().ok();
    let wanting: BTreeMap<_, _> =
        wanting.filter_map(|(name, server)| Some((name.clone(), url(server)?))).collect();
    if wanting.is_empty() {
        return Ok(BTreeMap::new());
    }
    let store = config.store_path()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match runtime.block_on(send(&path_beside(&store), &Order::ServerSignIns))? {
        Some(mut told) => Ok(serde_json::from_value(told["servers"].take())?),
        None => standings_beside(&store, wanting, SystemClock.now()).map_err(anyhow::Error::msg),
    }
}

/// The same in a few words, for a table.
pub(super) fn words(standing: Option<&Standing>) -> String {
    let Some(standing) = standing else { return "-".to_owned() };
    let missing = match standing.missing.as_slice() {
        [] => String::new(),
        missing => format!(": {}", missing.join(" ")),
    };
    match standing.state {
        StandingState::Done => "signed in".to_owned(),
        StandingState::Needed => format!("login needed{missing}"),
        StandingState::Refused => format!("scopes refused{missing}"),
    }
}

/// Forgets the tokens, in the running broker or in the files where none runs.
pub(super) fn end(config: &Config, name: &str, json: bool) -> anyhow::Result<ExitCode> {
    let forgotten = forget(config, name)?;
    if json {
        print::json(&json!({ "server": name, "forgotten": forgotten }));
    } else if forgotten {
        print::line(&format!("the tokens for {name} are forgotten"));
        eprintln!("{STILL_GOOD}");
    } else {
        print::line(&format!("nobody was signed in at {name}"));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) const STILL_GOOD: &str =
    "the authorization server may accept them until they expire: end the access there too";

/// False: there were none.
pub(super) fn forget(config: &Config, name: &str) -> anyhow::Result<bool> {
    let store = config.store_path()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let order = Order::ServerLogout { server: name.to_owned() };
    match runtime.block_on(send(&path_beside(&store), &order))? {
        Some(told) => Ok(told.get("forgotten").and_then(Value::as_bool).unwrap_or_default()),
        None => forget_beside(&store, name).map_err(anyhow::Error::msg),
    }
}
