//! Who serves the user's own broker: the process that holds the store's lock; the others wait for it to end.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::local;
use crate::{
    cli::{orders, reviewer, signals::Signals},
    config::Config,
    serve::{self, Desk, Order, Running},
    store::sqlite::Sqlite,
};

/// How soon another process takes over.
const LOOK: Duration = Duration::from_millis(250);
/// What keeps it from serving is not waited for longer than this.
const PATIENCE: u32 = 40;
/// Looks at a port that is taken while nobody owns the store: a broker that starts owns it sooner.
const TAKEN: u32 = 8;

/// Serves as soon as nobody else does, until `stop` or a signal; `ended` is told of the signal.
pub(super) async fn serve_or_wait(
    path: PathBuf,
    (place, server): (watch::Sender<String>, String),
    stop: CancellationToken,
    ended: CancellationToken,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let mut running = None;
    let done = tokio::select! {
        done = lead(&path, (&place, &server), &mut running) => done,
        () = stop.cancelled() => Ok(()),
        () = signals.ended() => Ok(()),
    };
    ended.cancel();
    if let Some(running) = running {
        running.drain().await;
    }
    done
}

/// Returns only when it cannot serve and nobody else does. `place` is told where the server's door is.
async fn lead(
    path: &Path,
    (place, server): (&watch::Sender<String>, &str),
    running: &mut Option<Running>,
) -> anyhow::Result<()> {
    let (mut refused, mut taken) = (0, 0);
    loop {
        let config = Config::load(path)?;
        let door = local::door(&config, server);
        place.send_if_modified(|known| std::mem::replace(known, door.clone()) != door);
        if Sqlite::is_owned(&config.store_path()?) {
            (refused, taken) = (0, 0);
        } else {
            match serve::start(&config).await {
                Ok(started) => {
                    greet(path, &started).await?;
                    *running = Some(started);
                    return std::future::pending().await;
                }
                Err(error) if is_taken(&error) && taken < TAKEN => taken += 1,
                Err(error) if is_taken(&error) && refused < PATIENCE => {
                    (refused, taken) = (refused + 1, 0);
                    local::go_elsewhere(path, &config.file.listen)?;
                }
                // Another process may be starting, or ending, right now.
                Err(_) if refused < PATIENCE => refused += 1,
                Err(error) => return Err(error),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Somebody else listens there.
fn is_taken(error: &anyhow::Error) -> bool {
    let io = error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>());
    io.into_iter().any(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// One reviewer, named after the user, is there from the start; their link lies in a file of their own.
async fn greet(path: &Path, running: &Running) -> anyhow::Result<()> {
    let desk = Desk::new(running.broker.clone(), running.local_url.clone());
    if running.broker.people().0.is_empty() {
        let (name, by) = (orders::by(), orders::by());
        desk.carry_out(Order::ReviewerAdd { name, groups: Vec::new(), auditor: false, by }).await?;
    }
    let order = Order::SignInLink { reviewer: Some(orders::by()) };
    if let Ok(answer) = desk.carry_out(order).await
        && let Some(link) = answer.get("link").and_then(serde_json::Value::as_str)
    {
        reviewer::write_private(&path.with_file_name("sign-in"), &format!("{link}\n"))?;
    }
    eprintln!("countersign: the inbox is at {} ; `countersign open` signs you in", running.public_url);
    Ok(())
}
