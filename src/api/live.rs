//! The websocket that follows the ledger: every entry after a cursor, then each new one. Read-only.
//!
//! A client that stops reading is let go and resumes by its cursor; one whose credential ends is let
//! go within a second.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    body::Bytes,
    extract::{
        State,
        ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, rejection::WebSocketUpgradeRejection},
    },
    response::Response,
};
use serde::Deserialize;
use tokio::{
    sync::watch,
    time::{Interval, MissedTickBehavior, interval, timeout},
};
use utoipa::IntoParams;

use super::{
    ApiParts, Problem,
    cursor::Cursor,
    extract::Asked,
    history::frame,
    who::{Credential, Viewer},
};
use crate::{
    call::{CallId, Event},
    ledger::{BrokerEvent, Entry, Fact},
    store::StoreError,
    telemetry::Metrics,
};

/// Close codes; the first two are our own.
const SIGNED_OUT: u16 = 4401;
const CURSOR_UNKNOWN: u16 = 4410;
const BROKEN: u16 = 1011;
const RESTART: u16 = 1012;
const TRY_AGAIN: u16 = 1013;

const PING: Duration = Duration::from_secs(20);
/// How often the credential is looked at again.
const STILL: Duration = Duration::from_secs(1);
const BATCH: usize = 256;
/// Clients have nothing to say.
const LARGEST_MESSAGE: usize = 1024;
/// How many calls' answers to "was a review asked for?" are remembered.
const REMEMBERED: usize = 4096;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct LiveQuery {
    /// Where to go on; from now on unless given.
    after: Option<String>,
    /// `reviewed` leaves out calls that no policy asked a review for.
    #[param(value_type = Option<String>)]
    only: Option<Only>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Only {
    Reviewed,
}

/// Follows the ledger over a websocket: one JSON text frame for each entry.
#[utoipa::path(get, path = "/api/v1/live", tag = "ledger", params(LiveQuery), responses(
    (status = 101, description = "A websocket; 4410 closes it when the cursor is unknown, 1013 when it reads too slowly, 4401 when signed out"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 426, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn live(
    State(api): State<ApiParts>,
    viewer: Viewer,
    Asked(query): Asked<LiveQuery>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    let upgrade = upgrade.map_err(|error| {
        let status = http::StatusCode::UPGRADE_REQUIRED;
        Problem::new(status, "websocket", "This is a websocket", error.body_text())
    })?;
    let head = api.broker.head();
    let after = match query.after {
        None => Some(*head.borrow()),
        Some(text) => known(&api, &text).await?,
    };
    let follower = Follower {
        head,
        credential: viewer.credential,
        only: query.only,
        reviewed: HashMap::new(),
        after: after.unwrap_or_default(),
        checked: Instant::now(),
        api,
    };
    let upgrade = upgrade.max_message_size(LARGEST_MESSAGE).max_frame_size(LARGEST_MESSAGE);
    Ok(upgrade.on_upgrade(move |socket| follower.run(socket, after.is_some())))
}

/// The number that a cursor stands for, if the ledger is that long. A cursor from another reply may be
/// ahead of `head` for a moment.
async fn known(api: &ApiParts, cursor: &str) -> Result<Option<u64>, StoreError> {
    let Ok(Cursor(number)) = cursor.parse() else { return Ok(None) };
    let there = number == 0 || !api.broker.entries(number - 1, 1).await?.is_empty();
    Ok(there.then_some(number))
}

struct Follower {
    api: ApiParts,
    head: watch::Receiver<u64>,
    credential: Credential,
    only: Option<Only>,
    reviewed: HashMap<CallId, bool>,
    after: u64,
    checked: Instant,
}

/// Why a websocket ends.
enum End {
    Close(u16, &'static str),
    /// The peer is gone.
    Gone,
}

impl From<StoreError> for End {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a websocket cannot follow the audit log");
        Self::Close(BROKEN, "the audit log cannot be read")
    }
}

impl Follower {
    async fn run(mut self, mut socket: WebSocket, known: bool) {
        let _counted = Counted::new(&self.api.metrics);
        let end = if known { self.follow(&mut socket).await } else { unknown() };
        if let End::Close(code, reason) = end {
            let close = Message::Close(Some(CloseFrame { code, reason: reason.into() }));
            // The close handshake: a peer that answers reads the code; one that does not is dropped.
            let _ = timeout(self.api.patience, async {
                if socket.send(close).await.is_ok() {
                    while let Some(Ok(_)) = socket.recv().await {}
                }
            })
            .await;
        }
    }

    async fn follow(&mut self, socket: &mut WebSocket) -> End {
        let (mut ping, mut still) = (ticks(PING), ticks(STILL));
        let ending = self.api.ending.clone();
        loop {
            if let Err(end) = self.catch_up(socket).await {
                return end;
            }
            let step = tokio::select! {
                changed = self.head.changed() => changed.map_err(|_| End::Close(RESTART, "the broker stops")),
                _ = ping.tick() => self.send(socket, Message::Ping(Bytes::new())).await,
                _ = still.tick() => self.check().await,
                () = ending.cancelled() => Err(End::Close(RESTART, "the broker stops")),
                message = socket.recv() => match message {
                    Some(Ok(Message::Close(_)) | Err(_)) | None => Err(End::Gone),
                    Some(Ok(_)) => Ok(()),
                },
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Sends what there is, up to the head.
    async fn catch_up(&mut self, socket: &mut WebSocket) -> Result<(), End> {
        while self.after < *self.head.borrow_and_update() {
            let entries = self.api.broker.entries(self.after, BATCH).await?;
            let Some(first) = entries.first() else { return Ok(()) };
            if first.number != self.after + 1 {
                return Err(unknown());
            }
            for entry in &entries {
                if self.wanted(entry).await? {
                    let text = serde_json::Value::Object(frame(entry)).to_string();
                    self.send(socket, Message::Text(text.into())).await?;
                }
                self.after = entry.number;
            }
            if self.checked.elapsed() >= STILL {
                self.check().await?;
            }
        }
        Ok(())
    }

    /// Does the credential still hold? A revocation must not outlive its second here.
    async fn check(&mut self) -> Result<(), End> {
        self.checked = Instant::now();
        let Credential { access, secret } = &self.credential;
        let now = self.api.broker.clock().now();
        match self.api.broker.identity().still(*access, secret, now).await {
            Ok(Some(_)) => Ok(()),
            Ok(None) => Err(End::Close(SIGNED_OUT, "signed out")),
            Err(_) => Err(End::Close(BROKEN, "the store cannot be read")),
        }
    }

    async fn send(&self, socket: &mut WebSocket, message: Message) -> Result<(), End> {
        match timeout(self.api.patience, socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Close(TRY_AGAIN, "too slow: resume from your cursor")),
        }
    }

    async fn wanted(&mut self, entry: &Entry) -> Result<bool, StoreError> {
        if self.only != Some(Only::Reviewed) {
            return Ok(true);
        }
        let (crate::ledger::Stream::Call(id), Fact::Call(event)) = (&entry.stream, &entry.fact) else {
            return Ok(!matches!(entry.fact, Fact::Broker(BrokerEvent::AllowedCalls(_))));
        };
        let known = match event {
            Event::Submitted { terms, .. } => Some(terms.is_some()),
            Event::Reparked { .. } => Some(true),
            Event::Attached { .. }
            | Event::Detached { .. }
            | Event::Voted { .. }
            | Event::VoteWithdrawn { .. }
            | Event::Extended { .. }
            | Event::Permitted { .. }
            | Event::Dispatched { .. }
            | Event::Completed { .. }
            | Event::Failed { .. }
            | Event::Lost { .. }
            | Event::Denied { .. }
            | Event::Expired { .. }
            | Event::Cancelled { .. }
            | Event::Delivered { .. }
            | Event::Resolved { .. }
            | Event::Lifted { .. }
            | Event::LateAnswer { .. } => self.reviewed.get(id).copied(),
        };
        let reviewed = match known {
            Some(known) => known,
            None => self.api.broker.store().call(*id).await?.is_some_and(|call| call.terms.is_some()),
        };
        if self.reviewed.len() >= REMEMBERED {
            self.reviewed.clear();
        }
        self.reviewed.insert(*id, reviewed);
        Ok(reviewed)
    }
}

fn unknown() -> End {
    End::Close(CURSOR_UNKNOWN, "unknown cursor: load the calls, then follow from their cursor")
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.reset();
    ticks
}

/// Counts one websocket for as long as it lives.
struct Counted(Arc<Metrics>);

impl Counted {
    fn new(metrics: &Arc<Metrics>) -> Self {
        metrics.live_clients.inc();
        Self(metrics.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.live_clients.dec();
    }
}
