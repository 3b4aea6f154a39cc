//! The reviewer's token on this machine: a 0600 file written by `login`, an option, or a variable.

use std::{
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use clap::Args;
use serde::{Deserialize, Serialize};

use super::Reviewer;

/// Which broker, and who asks.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Credentials {
    /// Where the inbox is; without it: where `countersign login` went.
    #[arg(long, env = "COUNTERSIGN_URL", global = true)]
    url: Option<String>,
    /// A reviewer's token; without it: the one that `countersign login` keeps.
    #[arg(long, env = "COUNTERSIGN_REVIEWER_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    url: String,
    token: String,
}

impl Credentials {
    pub(in crate::cli) fn reviewer(&self) -> anyhow::Result<Reviewer> {
        if let (Some(url), Some(token)) = (&self.url, &self.token) {
            return Reviewer::new(url, token);
        }
        let kept = read(&path()?)?;
        let url = self.url.clone().or_else(|| kept.as_ref().map(|kept| kept.url.clone()));
        let url = url.unwrap_or_else(|| "http://127.0.0.1:8787".to_owned());
        // A kept token goes to the broker that it was given by, and to no other.
        let own = kept.filter(|kept| kept.url == url.trim_end_matches('/')).map(|kept| kept.token);
        let token = self.token.clone().or(own).with_context(|| {
            format!(
                "no reviewer's token for {url}: run `countersign login {url}`, or set COUNTERSIGN_REVIEWER_TOKEN"
            )
        })?;
        Reviewer::new(&url, &token)
    }

    /// Keeps a token; gives the file.
    pub(in crate::cli) fn keep(url: &str, token: &str) -> anyhow::Result<PathBuf> {
        let path = path()?;
        let kept = Kept { url: url.trim_end_matches('/').to_owned(), token: token.to_owned() };
        write_private(&path, &format!("{}\n", serde_json::to_string(&kept)?))?;
        Ok(path)
    }
}

fn path() -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os("XDG_CONFIG_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = folder.or_else(|| std::env::home_dir().map(|home| home.join(".config")));
    let folder = folder.context("neither XDG_CONFIG_HOME nor HOME is set")?;
    Ok(folder.join("countersign").join("credentials.json"))
}

fn read(path: &Path) -> anyhow::Result<Option<Kept>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => {
            return Err(error).with_context(|| format!("the credentials {} cannot be read", path.display()));
        }
    };
    let kept = serde_json::from_str(&text);
    kept.with_context(|| format!("{} is damaged; run `countersign login URL` again", path.display()))
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
