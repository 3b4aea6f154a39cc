//! Who serves the user's own broker: the process that holds the store's lock; the others wait for it to end.

use std::{path::PathBuf, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    cli::{orders, reviewer, signals::Signals},
    config::Config,
    serve::{self, Desk, Order, Running},
};

/// How soon another process takes over.
const LOOK: Duration = Duration::from_millis(250);
/// A port that somebody else has is not waited for longer than this.
const PATIENCE: u32 = 40;

/// Serves as soon as nobody else does, until `stop` or a signal; `ended` is told of the signal.
pub(super) async fn serve_or_wait(
    path: PathBuf,
    url: String,
    stop: CancellationToken,
    ended: CancellationToken,
) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    let mut running = None;
    let done = tokio::select! {
        done = lead(&path, &url, &mut running) => done,
        () = stop.cancelled() => Ok(()),
        () = signals.ended() => Ok(()),
    };
    ended.cancel();
    if let Some(running) = running {
        running.drain().await;
    }
    done
}

/// Returns only when it cannot serve and nobody else does.
async fn lead(path: &std::path::Path, url: &str, running: &mut Option<Running>) -> anyhow::Result<()> {
    let http = reviewer::client(url)?;
    let health = format!("{url}/healthz");
    let mut refused = 0;
    loop {
        if http.get(&health).send().await.is_ok_and(|answer| answer.status().is_success()) {
            refused = 0;
        } else {
            match serve::start(&Config::load(path)?).await {
                Ok(started) => {
                    greet(path, &started).await?;
                    *running = Some(started);
                    return std::future::pending().await;
                }
                // Another process may be starting, or ending, right now.
                Err(_) if refused < PATIENCE => refused += 1,
                Err(error) => return Err(error),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// One reviewer, named after the user, is there from the start; their link lies in a file of their own.
async fn greet(path: &std::path::Path, running: &Running) -> anyhow::Result<()> {
    let desk = Desk { broker: running.broker.clone(), changed: std::sync::Arc::default() };
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
