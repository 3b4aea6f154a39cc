//! A legacy stream that outlives its connection: its events have ids, and GET with `Last-Event-ID` of the
//! same session takes it up again.
//!
//! Meanwhile its call keeps its attachment, nothing is dispatched for it, and whoever makes the same call
//! again may take its place. After a grace the agent has left, as by any broken connection. What was on its
//! way when the connection broke is not said again, except the answer.

use std::{sync::Arc, time::Duration};

use axum::response::Response;
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::StatusCode;
use rand::RngExt as _;
use tokio::time::{Instant, sleep, timeout};

use super::{Wait, stream};
use crate::{
    downstream::{
        Door, Peer,
        answer::{self, Asker},
        delivery::watch,
        http::{Visit, text},
        lines::{Heir, Stir},
        reply,
        session::Session,
        stage::Stage,
    },
    mcp::{Version, header::LAST_EVENT_ID, sse},
};

/// Begins each id of ours; an id that begins otherwise is the server's own.
const OURS: &str = "countersign-";
/// Bytes of a request's id, which is part of each event's.
const LONGEST_ID: usize = 64;
/// How soon a client comes back, ms.
const RETRY: u64 = 1_000;
/// A connection that is there gives its stream away within this.
const HANDOVER: Duration = Duration::from_secs(2);

/// What names the events of one stream.
#[derive(Debug)]
pub(in crate::downstream) struct Thread {
    /// Nobody guesses it.
    number: u128,
    next: u32,
    /// Its client understands an event without data (2025-11-25), and comes back when the stream closes.
    primes: bool,
    pauses: bool,
    /// When this connection is closed, for the client to come back.
    pause: Option<Instant>,
}

/// Which stream a `Last-Event-ID` of ours means.
#[derive(PartialEq, Eq, Debug)]
pub(in crate::downstream) struct Mark {
    number: u128,
    /// The request's id as written.
    request: String,
}

impl Thread {
    /// `None`: there is no session to resume in, its client has one stream for all (HTTP+SSE), or the request's id is too long to be named.
    pub(in crate::downstream) fn of(visit: &Visit, asker: &Asker) -> Option<Self> {
        visit
            .session
            .as_ref()
            .filter(|_| !visit.on_stream && !asker.modern && asker.id.len() <= LONGEST_ID)?;
        let version = visit.said_version().and_then(Version::parse);
        let primes = version.is_some_and(|version| version >= Version::V2025_11_25);
        let number = rand::rng().random_range(1..=u128::MAX);
        Some(Self { number, next: 0, primes, pauses: false, pause: None })
    }

    pub(super) fn pauses(&self) -> bool {
        self.pauses
    }

    /// The next event's id, and what only the first says.
    fn name(&mut self, request: &[u8]) -> (String, Option<u64>) {
        let (number, place, request) = (self.number, self.next, BASE64_URL_SAFE_NO_PAD.encode(request));
        self.next += 1;
        (format!("{OURS}{number:032x}-{place}-{request}"), (place == 0).then_some(RETRY))
    }
}

impl Mark {
    /// `None`: the request names no event, or one of the server's.
    pub(in crate::downstream) fn of(visit: &Visit) -> Option<Self> {
        Self::parse(text(&visit.headers, &LAST_EVENT_ID)?)
    }

    fn parse(id: &str) -> Option<Self> {
        let mut parts = id.strip_prefix(OURS)?.splitn(3, '-');
        let number = u128::from_str_radix(parts.next()?, 16).ok()?;
        parts.next()?.parse::<u32>().ok()?;
        let request = BASE64_URL_SAFE_NO_PAD.decode(parts.next()?).ok()?;
        Some(Self { number, request: String::from_utf8(request).ok()? })
    }
}

impl Wait {
    /// What a connection's stream begins with.
    pub(super) fn first(&mut self) -> Bytes {
        let mut first = self.open().to_vec();
        first.extend_from_slice(&self.beat());
        if let Some(link) = self.link_is_due() {
            first.extend_from_slice(&self.event(&link));
        }
        first.into()
    }

    /// From here on it can be resumed; says so to a client that understands it without a message.
    pub(super) fn open(&mut self) -> Bytes {
        let after = self.door.inner.settings.poll_after_s;
        let Some(thread) = &mut self.thread else { return Bytes::new() };
        self.line.opens(thread.number);
        if !thread.primes {
            return Bytes::new();
        }
        thread.pause = (after > 0).then(|| Instant::now() + Duration::from_secs(after));
        let (id, _) = thread.name(&self.asker.id);
        sse::priming(&id, Some(RETRY)).into()
    }

    /// A message as an event, with the id that its stream can be resumed by.
    pub(super) fn event(&mut self, message: &[u8]) -> Bytes {
        let (Some(thread), Ok(text)) = (&mut self.thread, str::from_utf8(message)) else {
            return reply::event(message);
        };
        let (id, retry) = thread.name(&self.asker.id);
        sse::write_with(Some(&id), retry, text).into()
    }

    /// The last word on this connection, when it is due: come back.
    pub(super) fn pause(&mut self) -> Option<Bytes> {
        let thread =
            self.thread.as_mut().filter(|thread| thread.pause.is_some_and(|at| at <= Instant::now()))?;
        thread.pauses = true;
        let (id, _) = thread.name(&self.asker.id);
        Some(sse::priming(&id, Some(RETRY)).into())
    }

    /// Has its client an id, and is there something left to say?
    fn can_resume(&self) -> bool {
        let named = self.thread.as_ref().is_some_and(|thread| thread.next > 0);
        named && !self.line.has_left() && !matches!(self.stage, Stage::Answered(None))
    }

    /// Its client waited so long for people, and would not any more.
    pub(super) fn hung_up(&self, waited: Duration) {
        let Stage::Waiting(waiter) = &self.stage else { return };
        let returned = self.rungs.laps.is_some_and(|(_, had)| had > 0);
        // A drain closes lines too, and the clock of who came back began with its first leg.
        if !returned && self.of_task.is_none() && !self.door.inner.closing.is_cancelled() {
            let request = &waiter.now().request;
            self.door.inner.learned.hung_up(&request.agent, &request.client.name, waited);
        }
    }

    fn step_away(&self, away: bool) {
        if let Some(attachment) = self.stage.attachment() {
            self.door.inner.broker.step_away(self.brief.id, attachment, away);
        }
    }
}

/// GET with an id of ours.
pub(in crate::downstream) async fn resume(visit: Visit, session: Arc<Session>, mark: Mark) -> Response {
    let Some(asked) = visit.door.inner.lines.ask(&session.whose, &mark.request, mark.number) else {
        return gone();
    };
    let Ok(Ok(mut wait)) = timeout(HANDOVER, asked).await else { return gone() };
    // Whoever asks must be whose stream it is, however it was found.
    if wait.awake.0.as_ref().is_none_or(|held| held.whose != session.whose) {
        broke(wait);
        return gone();
    }
    wait.peer = visit.peer;
    if let Some(thread) = &mut wait.thread {
        thread.pauses = false;
    }
    let first = match wait.stage {
        // It was on its way when the connection broke.
        Stage::Answered(Some(call)) => {
            let outcome = wait.door.inner.broker.outcome(call).await;
            wait.last(&outcome)
        }
        Stage::Waiting(_) | Stage::Running(_) | Stage::Answered(None) => wait.first(),
    };
    stream(wait, first)
}

/// Not 404: that would end the session.
fn gone() -> Response {
    let text = "this stream is over, or taken up again elsewhere; make the same call again";
    answer::refuse(StatusCode::GONE, text)
}

// ── what outlives a connection ────────────────────────────────────────

/// The connection has gone. What cannot be resumed is dropped, which leaves the call.
pub(super) fn broke(wait: Box<Wait>) {
    if wait.can_resume() {
        let tasks = wait.door.inner.deliveries.tasks.clone();
        tasks.spawn(keep(wait));
    } else {
        wait.hung_up(wait.since.elapsed());
    }
}

/// Somebody takes the stream up again; if they left meanwhile, it waits for the next.
pub(super) fn hand_over(wait: Box<Wait>, heir: Heir) {
    wait.step_away(false);
    if let Err(wait) = heir.send(wait) {
        broke(wait);
    }
}

/// Everything was said. Who closes the connection has heard it; who lost it may take the stream up again.
pub(super) fn ended(mut wait: Box<Wait>) {
    let Stage::Answered(Some(call)) = wait.stage else { return };
    if wait.can_resume() {
        let line = wait.line.also();
        watch(wait.door.clone(), call, wait.delivery(), wait.peer.clone(), Some(line));
        let tasks = wait.door.inner.deliveries.tasks.clone();
        tasks.spawn(linger(wait));
    } else {
        wait.watch(Some(call));
    }
}

async fn linger(wait: Box<Wait>) {
    let stay = Duration::from_millis(wait.door.inner.settings.delivery_ms);
    tokio::select! {
        stir = wait.line.stirred(false) => {
            if let Stir::Wanted(heir) = stir {
                hand_over(wait, heir);
            }
            return;
        }
        () = sleep(stay) => {}
    }
    if wait.peer.as_ref().is_some_and(Peer::broke) {
        broke(wait);
    }
}

/// Counts an agent that is away, for as long as it is.
struct Away(Door);

impl Away {
    fn of(wait: &Wait) -> Self {
        wait.step_away(true);
        wait.door.inner.away.send_modify(|away| *away += 1);
        Self(wait.door.clone())
    }
}

impl Drop for Away {
    fn drop(&mut self) {
        self.0.inner.away.send_modify(|away| *away -= 1);
    }
}

async fn keep(mut wait: Box<Wait>) {
    let _away = Away::of(&wait);
    let waited = wait.since.elapsed();
    let grace = Duration::from_millis(wait.door.inner.settings.resume_grace_ms);
    let closing = wait.door.inner.closing.clone();
    let stir = tokio::select! {
        stir = wait.line.stirred(wait.stage.is_waiting()) => stir,
        () = closing.cancelled() => return,
        () = sleep(grace) => return wait.hung_up(waited),
    };
    match stir {
        Stir::Wanted(heir) => hand_over(wait, heir),
        Stir::Left => {
            wait.hung_up(waited);
            wait.leave().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Mark, Thread};

    #[test]
    fn an_events_id_says_which_stream_it_is_of() {
        let mut thread = Thread { number: 255, next: 0, primes: true, pauses: false, pause: None };
        for (request, retry) in [("7", Some(1_000)), ("\"a-b\"", None)] {
            let (id, first) = thread.name(request.as_bytes());
            assert_eq!(first, retry);
            assert!(id.bytes().all(|b| b.is_ascii_graphic()), "{id}");
            assert_eq!(Mark::parse(&id), Some(Mark { number: 255, request: request.into() }));
        }
        for theirs in
            ["", "7", "countersign-", "countersign-ff-1", "countersign-ff-x-Nw", "countersign-gg-1-Nw"]
        {
            assert_eq!(Mark::parse(theirs), None, "{theirs}");
        }
    }
}
