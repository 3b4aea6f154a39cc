//! The admin socket beside the store: orders from this machine's same user, one JSON line each way.

use std::{
    os::{fd::AsRawFd as _, unix::fs::PermissionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{UnixListener, UnixStream},
};
use tokio_util::sync::CancellationToken;

use super::desk::{Desk, Order};

/// Longest order, bytes.
const LONGEST: u64 = 64 << 10;
const TIMEOUT: Duration = Duration::from_secs(30);

/// Where the socket of the store at `store` lies.
#[must_use]
pub fn path_beside(store: &Path) -> PathBuf {
    let mut path = store.as_os_str().to_owned();
    path.push(".sock");
    PathBuf::from(path)
}

/// Answers orders until `stop`. The caller holds the store's lock, so a socket that lies there is stale.
pub(super) async fn serve(path: PathBuf, desk: Desk, stop: CancellationToken) -> anyhow::Result<()> {
    if path.exists() {
        std::fs::remove_file(&path).with_context(|| format!("{} cannot be replaced", path.display()))?;
    }
    let Some(listener) = bind(&path)? else { return Ok(()) };
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    #[expect(clippy::disallowed_methods, reason = "ends with `stop`")]
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            if let Ok((stream, _)) = accepted {
                let desk = desk.clone();
                #[expect(clippy::disallowed_methods, reason = "one short answer; its client waits for it")]
                tokio::spawn(async move {
                    if let Err(error) = answer(stream, &desk).await {
                        tracing::warn!(%error, "an order could not be answered");
                    }
                });
            }
        }
        let _ = std::fs::remove_file(&path);
    });
    Ok(())
}

/// `None`: there is no way to a place with a name that long, and the broker goes on without it.
fn bind(path: &Path) -> anyhow::Result<Option<UnixListener>> {
    let error = match reached(path).and_then(|reached| UnixListener::bind(&reached.path)) {
        Ok(listener) => return Ok(Some(listener)),
        Err(error) => error,
    };
    if error.kind() == std::io::ErrorKind::InvalidInput {
        tracing::warn!(
            path = %path.display(),
            %error,
            "there is no admin socket: commands that change something need the broker stopped, until `store` in \
             countersign.toml is a shorter path"
        );
        return Ok(None);
    }
    Err(error).with_context(|| format!("the admin socket {} cannot be made", path.display()))
}

/// A socket by a path that the system takes: it takes few bytes (107 on Linux), and a project may lie deep.
struct Reached {
    path: PathBuf,
    /// Its folder is named by this while it is open.
    _folder: Option<std::fs::File>,
}

/// Longest path that every system takes as it is.
const SHORT: usize = 100;

fn reached(path: &Path) -> std::io::Result<Reached> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok(Reached { path: path.to_owned(), _folder: None });
    };
    if path.as_os_str().len() <= SHORT || !Path::new("/proc/self/fd").is_dir() {
        return Ok(Reached { path: path.to_owned(), _folder: None });
    }
    let folder = std::fs::File::open(folder)?;
    let path = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    Ok(Reached { path, _folder: Some(folder) })
}

async fn answer(mut stream: UnixStream, desk: &Desk) -> anyhow::Result<()> {
    let peer = stream.peer_cred()?;
    let own = rustix::process::getuid().as_raw();
    anyhow::ensure!(peer.uid() == own || peer.uid() == 0, "an order of user {} was refused", peer.uid());
    let mut line = String::new();
    let (read, mut write) = stream.split();
    let mut limited = BufReader::new(read.take(LONGEST));
    tokio::time::timeout(TIMEOUT, limited.read_line(&mut line)).await??;
    let done = match serde_json::from_str::<Order>(&line) {
        Ok(order) => desk.carry_out(order).await,
        Err(error) => Err(anyhow::anyhow!("this broker does not know that order: {error}")),
    };
    let answer = match done {
        Ok(value) => json!({ "done": value }),
        Err(error) => json!({ "error": format!("{error:#}") }),
    };
    write.write_all(format!("{answer}\n").as_bytes()).await?;
    Ok(())
}

/// Sends one order to the broker behind the socket; `None` when no broker answers there.
///
/// # Errors
/// What the broker says against it.
pub async fn send(path: &Path, order: &Order) -> anyhow::Result<Option<Value>> {
    let Ok(reached) = reached(path) else { return Ok(None) };
    let Ok(mut stream) = UnixStream::connect(&reached.path).await else { return Ok(None) };
    stream.write_all(format!("{}\n", serde_json::to_string(order)?).as_bytes()).await?;
    let mut line = String::new();
    tokio::time::timeout(TIMEOUT, BufReader::new(stream).read_line(&mut line)).await??;
    let answer: Value = serde_json::from_str(&line).context("the broker's answer is unreadable")?;
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        anyhow::bail!("{error}");
    }
    Ok(answer.get("done").cloned())
}
