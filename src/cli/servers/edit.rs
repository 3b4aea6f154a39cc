//! Changes to a configuration file: what is not changed stays byte for byte, and nothing is written that
//! the broker would refuse.

use std::{
    io::Write as _,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use anyhow::Context as _;
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, value};

use super::Pairs;
use crate::config::{Config, environment};

/// A server as the file has it.
pub(in crate::cli) struct Entry {
    pub reach: Reach,
    pub policy: Option<String>,
}

pub(in crate::cli) enum Reach {
    Url { url: String, headers: Pairs },
    Command { command: Vec<String>, env: Pairs, cwd: Option<String> },
}

/// Reads the file (or begins an empty one), changes it, checks it, replaces it as one step.
pub(in crate::cli) fn change(
    path: &Path,
    edit: impl FnOnce(&mut DocumentMut) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("the configuration {} cannot be read", path.display()));
        }
    };
    let mut document: DocumentMut =
        text.parse().with_context(|| format!("{} is not valid TOML; mend it first", path.display()))?;
    edit(&mut document)?;
    let text = document.to_string();
    let folder = path.parent().map(Path::to_owned).unwrap_or_default();
    environment()
        .and_then(|variables| Config::parse(&text, Some(path.to_owned()), folder, variables.into_iter()))
        .context("nothing was written: the broker would refuse the result")?;
    replace(path, &text)
}

/// A reader sees the old file or the new one. The mode stays; a new file is its owner's alone, since
/// headers and tokens may come to stand in it.
fn replace(path: &Path, text: &str) -> anyhow::Result<()> {
    let failed = || format!("{} cannot be written", path.display());
    // A link stays a link: what it points to is replaced.
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let mode = std::fs::metadata(&path).map_or(0o600, |found| found.permissions().mode());
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(mode);
    let written = options.open(&beside).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.and_then(|()| std::fs::rename(&beside, &path)).with_context(failed)
}

/// Adds a server that is not there yet.
pub(in crate::cli) fn add(document: &mut DocumentMut, name: &str, entry: &Entry) -> anyhow::Result<()> {
    let there = document.get("servers").and_then(|servers| servers.get(name)).is_some();
    anyhow::ensure!(
        !there,
        "there is a server {name:?} already; take it out with `countersign servers remove {name}`"
    );
    put(document, name, entry)
}

/// Adds a server, or replaces the one of its name.
pub(in crate::cli) fn put(document: &mut DocumentMut, name: &str, entry: &Entry) -> anyhow::Result<()> {
    let servers = document.entry("servers").or_insert_with(|| {
        let mut servers = Table::new();
        servers.set_implicit(true);
        Item::Table(servers)
    });
    let servers = servers.as_table_like_mut().context("`servers` in the file is no table")?;
    let mut table = Table::new();
    match &entry.reach {
        Reach::Url { url, headers } => {
            table["url"] = value(url.as_str());
            pairs(&mut table, "headers", headers);
        }
        Reach::Command { command, env, cwd } => {
            table["command"] = value(command.iter().collect::<Array>());
            pairs(&mut table, "env", env);
            if let Some(cwd) = cwd {
                table["cwd"] = value(cwd.as_str());
            }
        }
    }
    if let Some(policy) = &entry.policy {
        table["policy"] = value(policy.as_str());
    }
    servers.insert(name, Item::Table(table));
    Ok(())
}

fn pairs(table: &mut Table, key: &str, pairs: &Pairs) {
    if !pairs.is_empty() {
        let inline: InlineTable = pairs.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        table[key] = value(inline);
    }
}

pub(in crate::cli) fn remove(document: &mut DocumentMut, name: &str) -> anyhow::Result<()> {
    let servers = document.get_mut("servers").and_then(Item::as_table_like_mut);
    let removed = servers.and_then(|servers| servers.remove(name));
    removed.map(|_| ()).with_context(|| {
        format!("there is no server {name:?} in the file; `countersign servers list` shows them")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_order_stay_when_a_server_comes_and_goes() {
        let text = "# ours\nlisten = \"127.0.0.1:1\" # here\n\n[servers.a] # first\ncommand = [\"x\"]\n";
        let mut document: DocumentMut = text.parse().expect("TOML");
        let reach = Reach::Url { url: "http://b/mcp".into(), headers: Pairs::new() };
        add(&mut document, "b", &Entry { reach, policy: Some("p.json".into()) }).expect("added");
        let after = document.to_string();
        assert!(after.starts_with(text), "{after}");
        assert!(after.contains("[servers.b]\nurl = \"http://b/mcp\"\npolicy = \"p.json\""), "{after}");
        remove(&mut document, "b").expect("removed");
        assert_eq!(document.to_string(), text);
        assert!(remove(&mut document, "b").is_err());
    }
}
