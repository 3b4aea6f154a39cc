//! Allowed calls, written behind: gathered, hashed and appended in batches, off the hot path.
//!
//! The queue is bounded: when it is full the call waits. What may be lost by a crash is the last
//! window, and the next start says so on the ledger (`unclean_start`).

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{BoxFuture, Either};
use sha2::{Digest as _, Sha256};
use tokio::sync::{
    Notify,
    mpsc::{self, error::TrySendError},
};
use tokio_util::sync::CancellationToken;

use super::{Ask, Clock, Inner, enter::id_at};
use crate::{
    call::{CallId, Digest, Timestamp},
    identity::Grant,
    ledger::{
        Pass,
        segment::{AllowedCall, AllowedOutcome, Arguments, Leaves},
    },
};

/// How long allowed calls are gathered, and how many at most.
const WINDOW: Duration = Duration::from_millis(50);
const WINDOW_CALLS: usize = 4096;
/// Leaves after which the calls of this thread have their turn.
const IN_A_ROW: usize = 128;
/// An allowed call that runs longer than this is written out as begun.
const LONG: Duration = Duration::from_secs(1);

/// In place of an HTTP status: the upstream gave none.
const NO_ANSWER: u16 = 0;
const NOTHING_SENT: u16 = 1;

/// What is known of an allowed call while it runs.
#[derive(Debug)]
struct Record {
    id: CallId,
    at: Timestamp,
    grant: Arc<Grant>,
    server: Arc<str>,
    session: Option<Arc<str>>,
    tool: String,
    rule: String,
    policy: Arc<str>,
    arguments: Held,
    end: OnceLock<End>,
}

/// What a record keeps of its call's arguments, however long the call runs.
#[derive(Debug)]
enum Held {
    Raw(Bytes),
    Digest(Digest),
}

#[derive(Clone, Copy, Debug)]
struct End {
    at: Timestamp,
    status: u16,
    bytes: u64,
}

/// The pen of one allowed call's record: dropping it ends the record.
pub struct Recording {
    record: Arc<Record>,
    clock: Arc<dyn Clock>,
    status: u16,
    bytes: u64,
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording").field("call", &self.record.id).finish_non_exhaustive()
    }
}

impl Recording {
    /// The upstream's HTTP status (200 for stdio).
    pub fn status(&mut self, status: u16) {
        self.status = status;
    }

    /// No byte reached the upstream.
    pub(super) fn nothing_sent(&mut self) {
        self.status = NOTHING_SENT;
    }

    /// So many more bytes of the answer went to the agent.
    pub fn sent(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        // The first end counts; there is only one pen.
        let _ = self.record.end.set(End { at: self.clock.now(), status: self.status, bytes: self.bytes });
    }
}

/// The right to send, and the record that will tell of it.
pub(super) type Admitted = (Pass, Recording);

/// Where allowed calls are handed in.
#[derive(Debug)]
pub(super) struct Segments {
    queue: mpsc::Sender<Arc<Record>>,
    full: Arc<Notify>,
}

/// The other end: gathers and appends.
#[derive(Debug)]
pub(super) struct Gatherer {
    queue: mpsc::Receiver<Arc<Record>>,
    full: Arc<Notify>,
    open: Vec<(Arc<Record>, bool)>,
}

pub(super) fn segments() -> (Segments, Gatherer) {
    let (sender, receiver) = mpsc::channel(WINDOW_CALLS);
    let full = Arc::new(Notify::new());
    let gatherer = Gatherer { queue: receiver, full: Arc::clone(&full), open: Vec::new() };
    (Segments { queue: sender, full }, gatherer)
}

impl Segments {
    /// A place in the next segment, and with it the right to send: at once, or when the gatherer has made room.
    /// `None`: it is gone.
    pub(super) fn admit(
        &self,
        ask: Ask,
        at: Timestamp,
        (rule, policy): (String, Arc<str>),
        (clock, keep): (&Arc<dyn Clock>, usize),
    ) -> Either<Option<Admitted>, BoxFuture<'static, Option<Admitted>>> {
        let arguments = held(&ask, keep);
        let Ask { grant, server, session, tool, .. } = ask;
        let record = Arc::new(Record {
            id: id_at(at),
            at,
            grant,
            server,
            session,
            tool,
            rule,
            policy,
            arguments,
            end: OnceLock::new(),
        });
        let queued = self.queue.try_send(Arc::clone(&record));
        let recording = Recording { record, clock: Arc::clone(clock), status: NO_ANSWER, bytes: 0 };
        match queued {
            Ok(()) => Either::Left(Some((Pass::reserved(), recording))),
            Err(TrySendError::Closed(_)) => Either::Left(None),
            Err(TrySendError::Full(record)) => {
                self.full.notify_one();
                let queue = self.queue.clone();
                Either::Right(Box::pin(async move {
                    queue.send(record).await.ok()?;
                    Some((Pass::reserved(), recording))
                }))
            }
        }
    }
}

impl Gatherer {
    /// Until `stop`; then what is left is written out.
    pub(super) async fn run(mut self, inner: Arc<Inner>, stop: CancellationToken) {
        loop {
            if self.open.is_empty() {
                tokio::select! {
                    () = stop.cancelled() => break,
                    first = self.queue.recv() => match first {
                        Some(record) => self.open.push((record, false)),
                        None => break,
                    },
                }
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.full.notified() => {}
                () = tokio::time::sleep(WINDOW) => {}
            }
            self.write(&inner, false).await;
        }
        self.write(&inner, true).await;
    }

    /// Writes what has ended, and what has run for long; all of it when `last`.
    async fn write(&mut self, inner: &Inner, last: bool) {
        while let Ok(record) = self.queue.try_recv() {
            self.open.push((record, false));
        }
        let now = inner.clock.now();
        let mut leaves = Leaves::default();
        let mut counted = Vec::new();
        let mut from = now;
        for (n, (record, mut begun)) in (1_usize..).zip(std::mem::take(&mut self.open)) {
            let ended = record.end.get().copied();
            let long = now.since(record.at) > LONG;
            if ended.is_some() || last || (long && !begun) {
                if !begun {
                    count(&mut counted, &record.server);
                }
                from = from.min(record.at);
                add(&mut leaves, &record, ended);
                begun = true;
            }
            if ended.is_none() && !last {
                self.open.push((record, begun));
            }
            if n.is_multiple_of(IN_A_ROW) {
                tokio::task::yield_now().await;
            }
        }
        for (server, calls) in counted {
            let _ = inner.metrics.verdicts(&server, "allow").inc_by(calls);
        }
        if !leaves.is_empty()
            && let Err(error) = inner.append_segment(now, leaves, from).await
        {
            tracing::error!(%error, "allowed calls could not be written");
        }
    }
}

/// One more call of `server`; a batch has few servers.
fn count(counted: &mut Vec<(Arc<str>, u64)>, server: &Arc<str>) {
    match counted.iter_mut().find(|(name, _)| name == server) {
        Some((_, calls)) => *calls += 1,
        None => counted.push((Arc::clone(server), 1)),
    }
}

/// The arguments for the record: up to `keep` bytes as they are, of longer ones their digest. Copied: a slice
/// would keep the connection's whole read buffer, or the whole message, until the call has ended.
fn held(ask: &Ask, keep: usize) -> Held {
    let arguments = ask.arguments();
    match str::from_utf8(arguments) {
        Ok(text) if text.len() <= keep => Held::Raw(Bytes::copy_from_slice(arguments)),
        Ok(_) | Err(_) => Held::Digest(Digest(Sha256::digest(arguments).into())),
    }
}

fn add(leaves: &mut Leaves, record: &Record, ended: Option<End>) {
    let arguments = match &record.arguments {
        Held::Raw(text) => Arguments::Raw(String::from_utf8_lossy(text)),
        Held::Digest(digest) => Arguments::Digest(*digest),
    };
    let call = AllowedCall {
        id: record.id,
        agent: record.grant.name.as_str().into(),
        server: record.server.as_ref().into(),
        tool: record.tool.as_str().into(),
        rule: record.rule.as_str().into(),
        policy: record.policy.as_ref().into(),
        session: record.session.as_deref().map(Into::into),
        started: record.at,
        duration_ms: ended
            .map_or(0, |end| u64::try_from(end.at.since(record.at).as_millis()).unwrap_or(u64::MAX)),
        arguments,
        outcome: ended.map_or(AllowedOutcome::Running, |end| match end.status {
            NOTHING_SENT => AllowedOutcome::Failed,
            NO_ANSWER => AllowedOutcome::Lost,
            status => AllowedOutcome::Completed { is_error: status >= 400, bytes: end.bytes },
        }),
    };
    if let Err(error) = leaves.push(&call) {
        tracing::error!(%error, "an allowed call could not be written");
    }
}
