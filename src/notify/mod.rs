//! The door to where people are: Slack and signed webhooks, each with a follower of its own on the ledger.
//!
//! Invariant: a destination is told at least once, in the ledger's order, from its own cursor; nothing in
//! the path of a call waits for it.

mod backoff;
mod bookmarks;
mod courier;
mod follower;
mod notice;
mod settings;
mod slack;
mod status;
mod webhook;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::task::JoinHandle;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use settings::{BadTarget, Destination, Endpoint, NotifySettings, Pace, Secret, Target};

use crate::{broker::Broker, store::StoreError};
use bookmarks::Bookmarks;
use courier::Courier;
use follower::Follower;
use status::Status;

/// The followers of all destinations. Dropping it ends them at once, as a crash would; `stop` lets what is
/// on its way arrive.
pub struct Notify {
    broker: Broker,
    stop: CancellationToken,
    tasks: TaskTracker,
    running: Mutex<BTreeMap<String, Running>>,
}

struct Running {
    destination: Destination,
    stop: CancellationToken,
    status: Status,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Notify {
    /// A follower for each destination, from now on.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn start(
        broker: Broker,
        settings: NotifySettings,
        stop: CancellationToken,
    ) -> Result<Self, StoreError> {
        let notify = Self { broker, stop, tasks: TaskTracker::new(), running: Mutex::default() };
        notify.replace(settings).await?;
        Ok(notify)
    }

    /// These destinations and no others. One that stays as it was goes on undisturbed; one that changes
    /// goes on from its cursor.
    ///
    /// # Errors
    /// The store cannot be read or written.
    pub async fn replace(&self, settings: NotifySettings) -> Result<(), StoreError> {
        for destination in &settings.destinations {
            // Where a new one begins is settled before this returns: what happens next, it is told.
            self.bookmarks(destination).cursor().await?;
        }
        let mut running = self.running();
        running.retain(|name, _| {
            let stays = settings.destinations.iter().any(|new| new.name == *name);
            if !stays {
                self.broker.metrics().backlog(name, 0);
            }
            stays
        });
        for destination in settings.destinations {
            let name = destination.name.clone();
            let old = running.remove(&name);
            let new = match old {
                Some(old) if old.destination == destination && !old.task.is_finished() => old,
                Some(_) | None => self.follow(destination, settings.pace, old),
            };
            running.insert(name, new);
        }
        Ok(())
    }

    fn follow(&self, destination: Destination, pace: Pace, old: Option<Running>) -> Running {
        let (stop, status) = (self.stop.child_token(), Status::default());
        let task = self.tasks.spawn(run(
            self.broker.clone(),
            destination.clone(),
            (pace, stop.clone(), status.clone()),
            old,
        ));
        Running { destination, stop, status, task }
    }

    /// What an operator should look at; empty when all is well.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        self.running().iter().flat_map(|(name, running)| running.status.troubles(name)).collect()
    }

    /// Lets every message that is on its way arrive, and ends.
    pub async fn end(&self) {
        let running = std::mem::take(&mut *self.running());
        for (_, one) in running {
            one.end().await;
        }
    }

    fn bookmarks(&self, destination: &Destination) -> Bookmarks {
        Bookmarks::new(Arc::clone(self.broker.store()), destination.name.clone())
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Running {
    async fn end(mut self) {
        self.stop.cancel();
        // An error is that it was aborted, which is an end too.
        let _ = (&mut self.task).await;
    }
}

/// One destination's follower, after the one that it replaces has ended: they share a cursor.
async fn run(
    broker: Broker,
    destination: Destination,
    (pace, stop, status): (Pace, CancellationToken, Status),
    old: Option<Running>,
) {
    if let Some(old) = old {
        old.end().await;
    }
    let name = destination.name.clone();
    let bookmarks = Bookmarks::new(Arc::clone(broker.store()), name.clone());
    let courier = match Courier::new(destination.clone(), &pace) {
        Ok(courier) => courier,
        Err(why) => {
            tracing::error!(destination = name, why, "nobody can be told there");
            return status.ill(why);
        }
    };
    let follower = Follower { broker, destination, pace, courier, bookmarks, status: status.clone(), stop };
    let followed = async { follower.follow(follower.bookmarks.cursor().await?).await };
    if let Err(error) = followed.await {
        tracing::error!(destination = name, %error, "the audit log cannot be followed; nobody is told there any more");
        status.ill(format!("the audit log cannot be followed: {error}"));
    }
}
