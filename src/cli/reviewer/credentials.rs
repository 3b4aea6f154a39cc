//! The reviewer's tokens on this machine: a 0600 file written by `login`, an option, or a variable.

use std::{
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::{Place, Reviewer, place::is_same};
use crate::cli::orders::{At, own_broker};

/// Which broker, and who asks.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Credentials {
    /// Where the inbox is; without it: the broker that runs in this folder, else where `countersign login` went,
    /// else the one that `countersign stdio` runs for you.
    #[arg(long, env = "COUNTERSIGN_URL", global = true)]
    url: Option<String>,
    /// A reviewer's token; without it: the one that `countersign login` keeps for that broker.
    #[arg(long, env = "COUNTERSIGN_REVIEWER_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
}

/// One sign-in.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Login {
    url: String,
    token: String,
}

/// The last login, and those at other brokers before it, newest first.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    last: Login,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    others: Vec<Login>,
}

/// Brokers beside the last one whose tokens are kept.
const OTHERS: usize = 16;

impl Credentials {
    /// The broker that was named, else the one that runs in this folder, else that of the last login, else the
    /// one that `countersign stdio` runs.
    pub(in crate::cli) fn reviewer(&self, at: &At) -> anyhow::Result<Reviewer> {
        if let (Some(url), Some(token)) = (&self.url, &self.token) {
            return Reviewer::new(url, token);
        }
        let logins = read(&path()?)?;
        let place = if self.url.is_none() { at.place()? } else { Place::Nothing };
        let login_at = |url: &str| logins.iter().find(|login| is_same(&login.url, url));
        let here = place.url(|url| login_at(url).is_some());
        let last = logins.first().map(|login| login.url.clone());
        let named = self.url.clone().or_else(|| here.clone()).or_else(|| last.clone());
        let own = if named.is_none() { own_broker() } else { None };
        let named = named.or_else(|| Some(own.as_ref()?.0.clone()));
        let url = named.unwrap_or_else(|| "http://127.0.0.1:8787".to_owned());
        // A kept token goes to the broker that it was given by, and to no other.
        let Some(token) = self.token.clone().or_else(|| Some(login_at(&url)?.token.clone())) else {
            if let Some((_, config)) = own {
                anyhow::bail!(
                    "no reviewer's token for {url}, the broker that `countersign stdio` runs for you: `countersign open` \
                     opens its inbox; for the terminal, `countersign reviewers add NAME --config {}` shows a token, and \
                     `countersign login {url}` keeps it",
                    config.display()
                );
            }
            let whose = if here.is_some() { ", the broker of this folder" } else { "" };
            let other = last.filter(|last| !is_same(last, &url));
            let other = other.map(|last| format!("; your last login was at {last}: name it with --url"));
            anyhow::bail!(
                "no reviewer's token for {url}{whose}: run `countersign login {url}`, or set \
                 COUNTERSIGN_REVIEWER_TOKEN{}",
                other.unwrap_or_default()
            );
        };
        match (place, last) {
            (Place::Runs { .. }, Some(last)) if !is_same(&last, &url) => {
                eprintln!(
                    "asking the broker of this folder, {url}; --url {last} asks that of your last login"
                );
            }
            (Place::Idle, _) => eprintln!("no broker runs in this folder; asking {url}"),
            (Place::Runs { .. } | Place::Nothing, _) => {}
        }
        Reviewer::new(&url, &token)
    }

    /// Keeps a token; gives the file.
    pub(in crate::cli) fn keep(url: &str, token: &str) -> anyhow::Result<PathBuf> {
        let path = path()?;
        // A damaged file must not keep anybody from signing in again.
        let mut others = read(&path).unwrap_or_default();
        others.retain(|login| !is_same(&login.url, url));
        others.truncate(OTHERS);
        let last = Login { url: url.trim_end_matches('/').to_owned(), token: token.to_owned() };
        write_private(&path, &format!("{}\n", serde_json::to_string(&Kept { last, others })?))?;
        Ok(path)
    }
}

fn path() -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = folder.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
    let folder = folder.context("neither XDG_CONFIG_HOME nor HOME is set")?;
    Ok(folder.join("countersign").join("credentials.json"))
}

/// The last login first; none where nobody has signed in.
fn read(path: &Path) -> anyhow::Result<Vec<Login>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            return Err(error).with_context(|| format!("the credentials {} cannot be read", path.display()));
        }
    };
    let kept: Kept = serde_json::from_str(&text)
        .with_context(|| format!("{} is damaged; run `countersign login URL` again", path.display()))?;
    Ok(std::iter::once(kept.last).chain(kept.others).collect())
}

/// Replaces a file that only its owner may read, as one step.
pub(in crate::cli) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = || format!("{} cannot be written", path.display());
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(failed)?;
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let written = options.open(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| std::fs::rename(&beside, path)).with_context(failed)
}
