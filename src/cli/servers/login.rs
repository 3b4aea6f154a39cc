//! `countersign servers login NAME`: a person signs the broker in at a server behind it.

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::{
    cli::print,
    config::Config,
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
        if json {
            print::json(&json!({ "server": name, "url": url }));
        } else {
            print::line(url);
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
