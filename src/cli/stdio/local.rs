//! The broker of one's own: shared by every `countersign stdio -- COMMAND` of a user.
//!
//! The first process serves; the others join it over loopback. Port, token, servers and policies lie in a
//! 0600 file in the user's data folder, so that whoever takes over serves the same at the same place, and
//! the bridges of the others only have to call again.

use std::{
    fs::File,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use rand::distr::SampleString as _;
use rustix::fs::{FlockOperation, flock};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use toml_edit::{DocumentMut, Item, Table, value};

use super::{desk, naming};
use crate::{
    cli::servers::edit::{self, Entry, Reach},
    config::Config,
    downstream::{self, StdioSettings},
    store::sqlite::Sqlite,
};

const GRANT: &str = "local";
/// Until the serving process has read that there is one more server.
const KNOWN_WITHIN: Duration = Duration::from_secs(15);
/// A broker that serves answers this soon.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// Another process serves within this when the one that served has ended.
const TAKE_OVER: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(100);

/// Every call waits for a person: what a command gets without `--policy`.
const ASK: &str = r#"{
  "version": "1",
  "description": "Every call waits for a person",
  "default": "require_approval"
}
"#;

/// Where the configuration of the user's own broker lies.
pub(in crate::cli) fn config_path() -> anyhow::Result<PathBuf> {
    let folder = std::env::var_os("XDG_DATA_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = folder.or_else(|| std::env::home_dir().map(|home| home.join(".local").join("share")));
    let folder = folder.context("neither XDG_DATA_HOME nor HOME is set")?;
    Ok(folder.join("countersign").join("local.toml"))
}

/// Puts COMMAND behind the user's own broker, and joins it.
pub(super) async fn run(
    command: Vec<String>,
    name: Option<String>,
    policy: Option<PathBuf>,
) -> anyhow::Result<()> {
    let path = config_path()?;
    let folder = path.parent().context("the data folder has no name")?;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("the data folder {} cannot be made", folder.display()))?;
    let entry = entry(command, policy, folder)?;
    let name = register(&path, name.as_deref(), &entry)?;
    let config = Config::load(&path)?;
    let (place, places) = watch::channel(door(&config, &name));
    let token = config.file.grants.get(GRANT).and_then(|grant| grant.token.clone());
    let token = token.with_context(|| format!("{} has no token; remove the file", path.display()))?;
    let store = config.store_path()?;

    let (stop, ended) = (CancellationToken::new(), CancellationToken::new());
    let serving = desk::serve_or_wait(path, (place, name), stop.clone(), ended.clone());
    let joining = async {
        let joined = tokio::select! {
            joined = join(places, &store, token) => joined,
            () = ended.cancelled() => Ok(()),
        };
        stop.cancel();
        joined
    };
    let (served, joined) = tokio::join!(serving, joining);
    served?;
    joined
}

/// The door of a server of this broker.
pub(super) fn door(config: &Config, server: &str) -> String {
    format!("http://{}/mcp/{server}", config.file.listen)
}

async fn join(places: watch::Receiver<String>, store: &Path, token: String) -> anyhow::Result<()> {
    let known = tokio::time::timeout(KNOWN_WITHIN, known(&places, store, &token)).await;
    known.context("the local broker does not answer; `countersign open` may say more")??;
    let settings = StdioSettings::new(places.borrow().clone(), token);
    let settings = StdioSettings { reconnect: TAKE_OVER, moves: Some(places), ..settings };
    Ok(downstream::stdio(settings).await?)
}

/// Returns when the broker serves this door; it may belong to another process that has yet to read of it.
async fn known(places: &watch::Receiver<String>, store: &Path, token: &str) -> anyhow::Result<()> {
    let http = crate::cli::reviewer::client(&places.borrow())?;
    loop {
        let door = places.borrow().clone();
        // Without an owner of the store, whoever listens there is another program.
        if Sqlite::is_owned(store) {
            let asked = http.delete(door).bearer_auth(token).timeout(ANSWERS_WITHIN).send().await;
            if asked.is_ok_and(|answer| !matches!(answer.status().as_u16(), 401 | 404)) {
                return Ok(());
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// The server as the file has it: what the client gave us of its surroundings, the child gets too.
fn entry(command: Vec<String>, policy: Option<PathBuf>, folder: &Path) -> anyhow::Result<Entry> {
    let policy = match policy {
        Some(path) => {
            let path = path
                .canonicalize()
                .with_context(|| format!("the policy {} cannot be read", path.display()))?;
            let text = std::fs::read_to_string(&path)?;
            crate::policy::check(&path.display().to_string(), &text).map_err(|problems| {
                let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
                anyhow::anyhow!("the policy has mistakes:\n{}", lines.join("\n"))
            })?;
            path.to_str().context("the policy's path is not UTF-8")?.to_owned()
        }
        None => {
            crate::cli::reviewer::write_private(&folder.join("ask.json"), ASK)?;
            "ask.json".to_owned()
        }
    };
    let is_ours = |name: &str| name.starts_with("COUNTERSIGN_");
    // These would be read as places of secrets.
    let is_place = |value: &str| value.starts_with("env:") || value.starts_with("file:");
    let texts = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let env = texts.filter(|(name, value)| !is_ours(name) && !is_place(value)).collect();
    let cwd = std::env::current_dir().ok().and_then(|cwd| cwd.to_str().map(str::to_owned));
    Ok(Entry { reach: Reach::Command { command, env, cwd }, policy: Some(policy) })
}

/// Writes the server into the file, which is made when it is not there; gives the server's name.
fn register(path: &Path, name: Option<&str>, entry: &Entry) -> anyhow::Result<String> {
    let _one_at_a_time = lock(path)?;
    let mut registered = String::new();
    edit::change(path, |document| {
        if document.get("listen").is_none() {
            begin(document)?;
        }
        registered = match name {
            Some(name) => name.to_owned(),
            None => free_name(document, entry),
        };
        edit::put(document, &registered, entry)
    })?;
    Ok(registered)
}

fn lock(path: &Path) -> anyhow::Result<File> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let file =
        std::fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(beside)?;
    flock(&file, FlockOperation::LockExclusive)?;
    Ok(file)
}

/// Another program has the port: another one that is free now, unless the file names another already.
/// Clients that had found the broker there find it through the file.
pub(super) fn go_elsewhere(path: &Path, taken: &str) -> anyhow::Result<()> {
    let _one_at_a_time = lock(path)?;
    edit::change(path, |document| {
        if document.get("listen").and_then(Item::as_str) == Some(taken) {
            document["listen"] = value(free_address()?);
        }
        Ok(())
    })
}

fn free_address() -> anyhow::Result<String> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    Ok(format!("127.0.0.1:{port}"))
}

/// A port that is free now, and a token that only readers of this file know.
fn begin(document: &mut DocumentMut) -> anyhow::Result<()> {
    document["listen"] = value(free_address()?);
    document["store"] = value("sqlite:local.db");
    let mut grant = Table::new();
    let random = rand::distr::Alphanumeric.sample_string(&mut rand::rng(), 43);
    grant["token"] = value(format!("local_{random}"));
    grant["servers"] = value(toml_edit::Array::from_iter(["*"]));
    grant["owner"] = value(crate::cli::orders::by());
    // Every client of the user shares it, each with sessions of its own.
    grant["shared"] = value(true);
    let mut grants = Table::new();
    grants.set_implicit(true);
    grants.insert(GRANT, Item::Table(grant));
    document["grants"] = Item::Table(grants);
    Ok(())
}

/// The command's own name; with a number when another command has it.
fn free_name(document: &DocumentMut, entry: &Entry) -> String {
    let Reach::Command { command, .. } = &entry.reach else { return "server".to_owned() };
    let base = naming::of(command);
    let taken = |name: &str| {
        let server = document.get("servers")?.get(name)?;
        let words = server.get("command")?.as_array()?;
        let same = words.iter().filter_map(toml_edit::Value::as_str).eq(command.iter().map(String::as_str));
        let same_policy = server.get("policy").and_then(Item::as_str) == entry.policy.as_deref();
        Some(!(same && same_policy))
    };
    let numbered =
        |n: u32| if n == 1 { base.clone() } else { format!("{}-{n}", &base[..base.len().min(21)]) };
    (1..100).map(numbered).find(|name| taken(name) != Some(true)).unwrap_or(base.clone())
}
