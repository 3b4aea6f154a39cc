//! The door for people: REST, the websocket, the pages, and what operators ask of a process.
//!
//! Reading is open to every reviewer and auditor; deciding to reviewers only. A grant's token opens
//! nothing here. State changes only by POST and DELETE, and only from our own pages or with a bearer
//! token.

mod assets;
mod calls;
mod catalog;
mod cursor;
mod extract;
mod guard;
mod history;
mod live;
mod login;
mod model;
mod openapi;
mod operations;
mod problem;
mod router;
mod stops;
mod timeline;
mod verbs;
mod who;

pub use catalog::{Catalog, PolicyFile};
pub use guard::Origins;
pub use login::Attempts;
pub use openapi::document;
pub use problem::Problem;
pub use router::{ROUTES, router};

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    broker::{Broker, Outcome},
    telemetry::Metrics,
};

/// Whoever reads a websocket slower than this is let go, and resumes later.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the door stands on; `serve` gives it.
#[derive(Clone)]
pub struct ApiParts {
    pub broker: Broker,
    /// What lives beside the broker: policy files, the ledger's signed head.
    pub catalog: Arc<dyn Catalog>,
    pub metrics: Arc<Metrics>,
    pub origins: Arc<Origins>,
    pub attempts: Arc<Attempts>,
    /// Cancelled at drain: websockets are closed, and resume at the next process.
    pub ending: CancellationToken,
    /// How long one frame of the websocket may take to leave.
    pub patience: Duration,
    /// The agents' door's words for how a call stands, for those who decide to read too.
    pub told: Told,
}

/// `None` where an agent reads no words of ours.
pub type Told = fn(&Outcome) -> Option<String>;

impl ApiParts {
    /// `origins`: the addresses under which people reach this process.
    #[must_use]
    pub fn new(
        broker: Broker,
        catalog: Arc<dyn Catalog>,
        metrics: Arc<Metrics>,
        origins: Origins,
        ending: CancellationToken,
        told: Told,
    ) -> Self {
        Self {
            broker,
            catalog,
            metrics,
            origins: Arc::new(origins),
            attempts: Arc::default(),
            ending,
            patience: PATIENCE,
            told,
        }
    }
}
