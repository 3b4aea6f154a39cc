//! `countersign login URL`: proves a reviewer's token to the broker, and keeps it.

use std::{
    io::{BufRead as _, IsTerminal as _, Write as _},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use serde_json::{Value, json};

use super::{
    print,
    reviewer::{Credentials, Reviewer},
};

#[derive(Debug, Args)]
pub(super) struct Login {
    /// Where the inbox is, such as http://127.0.0.1:8787.
    url: String,
}

pub(super) fn run(login: &Login, json: bool) -> anyhow::Result<ExitCode> {
    let url = login.url.trim_end_matches('/');
    anyhow::ensure!(url.contains("://"), "{url} is no URL: write http://{url}");
    let token = token()?;
    let reviewer = Reviewer::new(url, &token)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let me = runtime.block_on(reviewer.get("/api/v1/me"))?;
    let name = me.get("name").and_then(Value::as_str).context("the broker did not say who you are")?;
    let path = Credentials::keep(url, &token)?;
    if json {
        print::json(&json!({ "name": name, "url": url, "file": path }));
    } else {
        print::line(&format!("signed in at {url} as {}", print::visible(name)));
        eprintln!("the token is kept in {}", path.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// One line of stdin; a terminal does not show it.
fn token() -> anyhow::Result<String> {
    let stdin = std::io::stdin();
    let hidden = stdin.is_terminal().then(Hidden::begin).transpose()?;
    if hidden.is_some() {
        eprint!("Reviewer's token (not shown): ");
        std::io::stderr().flush()?;
    }
    let mut line = String::new();
    stdin.lock().read_line(&mut line)?;
    if hidden.is_some() {
        eprintln!();
    }
    let token = line.trim();
    anyhow::ensure!(
        !token.is_empty(),
        "a token is expected on stdin; `countersign reviewers add NAME` shows one"
    );
    Ok(token.to_owned())
}

/// While it lives, the terminal does not echo.
struct Hidden(rustix::termios::Termios);

impl Hidden {
    fn begin() -> anyhow::Result<Self> {
        use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
        let before = tcgetattr(std::io::stdin())?;
        let mut without = before.clone();
        without.local_modes.remove(LocalModes::ECHO);
        tcsetattr(std::io::stdin(), OptionalActions::Now, &without)?;
        Ok(Self(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        use rustix::termios::{OptionalActions, tcsetattr};
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, &self.0);
    }
}
