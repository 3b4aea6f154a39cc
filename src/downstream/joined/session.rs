//! Joined legacy sessions: one that the agent sees, and behind it one conversation per server.
//!
//! Each of those is a session as the plain endpoint has it, so that nothing of a call's life is told twice.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use serde_json::Value;
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{call::Timestamp, downstream::session::Session, identity::Grant, mcp::Version};

/// Requests whose server is remembered, for a cancel that may come.
const REMEMBERED: usize = 256;
/// Bytes of an id that is remembered.
const LONGEST_ID: usize = 128;

/// What one server said of itself, and the conversation with it.
#[derive(Debug)]
pub(super) struct Part {
    /// `None`: a server without sessions.
    pub session: Option<Arc<Session>>,
    pub version: String,
    pub capabilities: Value,
    pub instructions: Option<String>,
}

impl Part {
    pub(super) fn has(&self, capability: &str) -> bool {
        self.capabilities.get(capability).is_some()
    }
}

/// The conversation with one server; whoever opens it holds the lock.
#[derive(Debug, Default)]
pub(super) struct Place {
    pub part: Option<Arc<Part>>,
    pub failed: Option<(Instant, String)>,
}

/// A request's id as written, and the server that it went to.
type Request = (Box<[u8]>, Arc<str>);

#[derive(Debug)]
pub(in crate::downstream) struct Joined {
    pub(super) id: Arc<str>,
    grant: String,
    /// The client's `initialize`, which each server is told; at most 64 KiB.
    pub(super) hello: Bytes,
    places: Mutex<BTreeMap<String, Arc<tokio::sync::Mutex<Place>>>>,
    requests: Mutex<VecDeque<Request>>,
    /// The client's `notifications/initialized` has come.
    pub(super) greeted: AtomicBool,
    /// The version that the client was answered with; none while `initialize` is being answered.
    pub(super) version: OnceLock<Version>,
    /// The client is told that calls may be tasks.
    pub(super) offers_tasks: AtomicBool,
    /// The client's last `logging/setLevel`; at most 64 KiB.
    pub(super) level: Mutex<Option<Bytes>>,
    /// Counts the conversations that were opened.
    pub(super) opened: watch::Sender<usize>,
    pub(super) over: CancellationToken,
    last_use: AtomicI64,
}

impl Joined {
    pub(super) fn new(id: String, grant: &Grant, hello: Bytes, now: Timestamp) -> Self {
        Self {
            id: id.into(),
            grant: grant.name.clone(),
            hello,
            places: Mutex::default(),
            requests: Mutex::default(),
            greeted: AtomicBool::new(false),
            version: OnceLock::new(),
            offers_tasks: AtomicBool::new(true),
            level: Mutex::default(),
            opened: watch::Sender::default(),
            over: CancellationToken::new(),
            last_use: AtomicI64::new(now.0),
        }
    }

    pub(super) fn place(&self, server: &str) -> Arc<tokio::sync::Mutex<Place>> {
        lock(&self.places).entry(server.to_owned()).or_default().clone()
    }

    /// The request with this id (as written) went to this server.
    pub(super) fn remember(&self, id: &[u8], server: &str) {
        if id.len() > LONGEST_ID {
            return;
        }
        let mut requests = lock(&self.requests);
        if requests.len() == REMEMBERED {
            requests.pop_front();
        }
        requests.push_back((id.into(), server.into()));
    }

    /// Where the newest request with this id went.
    pub(super) fn went_to(&self, id: &[u8]) -> Option<Arc<str>> {
        let requests = lock(&self.requests);
        requests.iter().rev().find(|(known, _)| **known == *id).map(|(_, server)| server.clone())
    }

    /// The client speaks this version, whatever each server behind it speaks.
    pub(super) fn agree<'p>(&self, version: Version, parts: impl Iterator<Item = &'p Session>) {
        let version = *self.version.get_or_init(|| version);
        parts.for_each(|part| part.tasks.agree(version));
    }

    pub(super) fn set_level(&self, request: Bytes) {
        *lock(&self.level) = Some(request);
    }

    pub(super) fn level(&self) -> Option<Bytes> {
        lock(&self.level).clone()
    }
}

/// Every living joined session, bounded in number.
#[derive(Debug)]
pub(in crate::downstream) struct Sessions {
    living: Mutex<HashMap<Arc<str>, Arc<Joined>>>,
    most: usize,
    idle: Duration,
}

impl Sessions {
    pub(in crate::downstream) fn new(most: usize, idle: Duration) -> Self {
        Self { living: Mutex::default(), most, idle }
    }

    /// False: there are too many, or this grant has its half of them.
    pub(super) fn open(&self, session: Arc<Joined>) -> bool {
        let mut living = lock(&self.living);
        let share = self.most.div_ceil(2);
        let own = living.values().filter(|known| known.grant == session.grant).count();
        if living.len() >= self.most || own >= share {
            return false;
        }
        living.insert(session.id.clone(), session);
        true
    }

    /// The session of that id, if it is of this grant; counts as a use.
    pub(super) fn find(&self, id: &str, grant: &Grant, now: Timestamp) -> Option<Arc<Joined>> {
        let living = lock(&self.living);
        let session = living.get(id).filter(|session| session.grant == grant.name)?;
        session.last_use.store(now.0, Ordering::Relaxed);
        Some(session.clone())
    }

    pub(super) fn forget(&self, session: &Joined) {
        session.over.cancel();
        lock(&self.living).remove(&session.id);
    }

    /// As if this process had just started.
    pub(in crate::downstream) fn forget_all(&self) {
        lock(&self.living).drain().for_each(|(_, session)| session.over.cancel());
    }

    /// Ends what nobody used for long; the conversations behind it are idle from then on.
    pub(in crate::downstream) fn sweep(&self, now: Timestamp) {
        lock(&self.living).retain(|_, session| {
            let last = Timestamp(session.last_use.load(Ordering::Relaxed));
            Arc::strong_count(session) > 1 || now.since(last) < self.idle
        });
    }
}

/// A poisoned lock still holds a whole map: nothing in here can stop half way.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
