//! The door for agents: MCP over HTTP, and the bridge that joins it to a client's stdin and stdout.
//!
//! Reads down: `http` (who knocks) → `gate` (what they want) → `relay` (what passes unasked), or
//! `wait` (what a person decides) → `answer` (what the agent is told). `joined` is one endpoint for all
//! servers of a grant; it goes through the same gate, server by server.

mod access;
mod answer;
mod batch;
mod beating;
mod beats;
mod delivery;
mod elicit;
mod gate;
mod held;
mod http;
mod joined;
mod learned;
mod lines;
mod listen;
mod listeners;
mod modern;
mod params;
mod passing;
mod peer;
mod relay;
mod reply;
mod session;
mod settings;
mod sse;
mod stage;
mod stdio;
mod submit;
mod tasks;
mod tools;
mod versions;
mod wait;
mod wait_tool;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub use self::http::routes;
pub use access::well_known;
pub use answer::{told, told_with_wait_tool};
use futures_util::future::join_all;
pub use joined::Separator;
pub use peer::{Connected, Peer, Watched};
pub use settings::{DoorSettings, Patience, Until};
pub use stdio::{StdioError, StdioSettings, join, stdio};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::{broker::Broker, mcp::Limits};

/// Sessions of one server that are ended at once.
const ENDED_AT_ONCE: usize = 16;

/// The agents' door. A cheap handle.
#[derive(Clone)]
pub struct Door {
    inner: Arc<Inner>,
}

struct Inner {
    broker: Broker,
    settings: DoorSettings,
    sessions: session::Sessions,
    joined: joined::Sessions,
    lines: lines::Lines,
    streams: sse::Streams,
    listeners: listeners::Listeners,
    learned: learned::Learned,
    held: held::Held,
    params: params::Params,
    refreshes: params::Refreshes,
    closing: CancellationToken,
    /// Who is watched for having their answer.
    deliveries: delivery::Deliveries,
    calls_without_id: AtomicU64,
    /// How many streams broke and may be taken up again.
    away: watch::Sender<usize>,
}

impl Door {
    #[must_use]
    pub fn new(broker: Broker, settings: DoorSettings) -> Self {
        let idle = Duration::from_secs(settings.session_idle_s);
        let sessions = session::Sessions::new(settings.max_sessions, idle);
        let joined = joined::Sessions::new(settings.max_sessions, idle);
        let listeners = listeners::Listeners::new(settings.max_streams);
        let held = held::Held::new(settings.max_held);
        let learned = learned::Learned::new(Duration::from_millis(settings.learn_from_ms));
        broker.serve_tasks();
        Self {
            inner: Arc::new(Inner {
                broker,
                sessions,
                joined,
                listeners,
                held,
                learned,
                settings,
                params: params::Params::default(),
                refreshes: params::Refreshes::default(),
                lines: lines::Lines::default(),
                streams: sse::Streams::default(),
                closing: CancellationToken::new(),
                deliveries: delivery::Deliveries::default(),
                calls_without_id: AtomicU64::new(0),
                away: watch::Sender::default(),
            }),
        }
    }

    /// Answers each waiting agent with its ticket and refuses new calls that would wait; returns when
    /// the last delivery is known.
    pub async fn drain(&self) {
        self.inner.closing.cancel();
        self.inner.deliveries.tasks.close();
        self.inner.deliveries.tasks.wait().await;
    }

    /// Ends sessions that nobody used for long, and their conversations upstream. Called now and then.
    pub async fn sweep(&self) {
        let now = self.inner.broker.clock().now();
        self.inner.joined.sweep(now);
        let idle = self.inner.sessions.sweep(now);
        join_all(idle.chunk_by(|a, b| a.whose.server == b.whose.server).map(end_all)).await;
    }

    /// Forgets every session: their clients are told to initialize again.
    pub fn forget_sessions(&self) {
        self.inner.joined.forget_all();
        self.inner.sessions.forget_all();
    }

    /// How many `tools/call` without an id were dropped since the start.
    #[must_use]
    pub fn calls_without_id(&self) -> u64 {
        self.inner.calls_without_id.load(Ordering::Relaxed)
    }

    /// How many agents are away: their streams broke, and they may take them up again.
    #[must_use]
    pub fn away(&self) -> watch::Receiver<usize> {
        self.inner.away.subscribe()
    }

    fn limits(&self) -> Limits {
        let settings = &self.inner.settings;
        Limits { depth: settings.max_depth, size: settings.max_body, ..Limits::default() }
    }
}

/// Sessions of one server. Once it leaves an end unanswered, it is not told of the others: they are dropped.
async fn end_all(sessions: &[Arc<session::Session>]) {
    for some in sessions.chunks(ENDED_AT_ONCE) {
        let ended = join_all(some.iter().map(|session| session.link.close())).await;
        if ended.contains(&false) {
            return;
        }
    }
}
