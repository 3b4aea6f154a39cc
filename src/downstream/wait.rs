//! The waiting: a response held open for a call that a person decides, and what is said meanwhile.
//!
//! Headers are held for a short grace, so that a fast decision answers as the server would; then a
//! stream begins. Whoever drops the stream leaves the call, which stays as it is. There is no task and
//! no buffer per waiting call: its connection's task polls `Wait`, and that is all of it.

use std::{convert::Infallible, sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    Door, Peer,
    answer::{self, Asker},
    beats::Beats,
    delivery::{to_deliver, watch},
    http::Visit,
    lines::Line,
    reply,
    session::Session,
    stage::{Moved, Stage},
};
use crate::{
    broker::{Brief, End, Live, Outcome, Waiter},
    call::{CallId, HowDelivered, StateName},
    mcp::sse,
    upstream::{Hold, Link},
};

/// One call that waits, and its agent on the line.
struct Wait {
    door: Door,
    stage: Stage,
    asker: Asker,
    live: Live,
    link: Link,
    line: Line,
    /// Neither the session nor its conversation upstream is idle while its call waits.
    _awake: (Option<Arc<Session>>, Hold),
    peer: Option<Peer>,
    brief: Brief,
    beats: Beats,
    /// When this client is told to call again.
    until: Option<Instant>,
}

/// What came first. Finding it is cancel-safe; acting on it is not.
enum Found {
    Moved(Moved),
    /// The agent cancelled.
    Left,
    /// The client's patience is used up, or the door closes.
    Enough,
    Beat,
}

/// What there is to say.
enum News {
    /// The server's own message, on its way to the agent.
    Message(Bytes),
    /// Worth a sign of life: it is due, or there are votes, or more time.
    Beat,
    /// The last word.
    End(Outcome),
    /// Nothing more.
    Silence,
}

/// A call that never waited.
pub(super) fn told_at_once(visit: &Visit, outcome: &Outcome, asker: &Asker) -> Response {
    let body = answer::tell(outcome, asker, visit.door.inner.broker.clock().now());
    answer::json_with(StatusCode::OK, body)
}

/// The outcome of the same call, made before: its agent had left without it.
pub(super) fn recalled(visit: &Visit, outcome: &Outcome, asker: &Asker) -> Response {
    if let Some(call) = to_deliver(outcome) {
        watch(visit.door.clone(), call, HowDelivered::Recall, visit.peer.clone(), None);
    }
    told_at_once(visit, outcome, asker)
}

/// Waits with the agent.
pub(super) async fn hold(
    visit: Visit,
    waiter: Box<Waiter>,
    asker: Asker,
    live: Live,
    patience: Option<Duration>,
) -> Response {
    let door = visit.door.clone();
    let session = visit.session.as_ref().map(|session| &session.id);
    let line = door.inner.lines.take(session, &String::from_utf8_lossy(&asker.id));
    let link = visit.link();
    let wait = Box::new(Wait {
        _awake: (visit.session.clone(), link.hold()),
        link,
        line,
        brief: waiter.brief.clone(),
        stage: Stage::Waiting(waiter),
        peer: visit.peer,
        beats: Beats::new(Duration::from_millis(door.inner.settings.heartbeat_ms)),
        until: patience.map(|patience| Instant::now() + patience),
        door,
        asker,
        live,
    });
    begin(wait).await
}

/// Holds the headers for the grace: JSON when all is over by then, a stream otherwise.
async fn begin(mut wait: Box<Wait>) -> Response {
    let grace = Instant::now() + wait.door.inner.settings.grace();
    loop {
        let found = match timeout_at(grace, wait.find()).await {
            Ok(Found::Beat) | Err(_) => {
                let first = wait.beat();
                return stream(wait, first);
            }
            Ok(found) => found,
        };
        match wait.act(found).await {
            News::Beat => {}
            News::End(outcome) => return wait.answer_at_once(&outcome),
            News::Message(message) => {
                let first = wait.pass_on(&message);
                return stream(wait, first);
            }
            News::Silence => return reply::respond(StatusCode::ACCEPTED, HeaderMap::new(), Body::empty()),
        }
    }
}

fn stream(wait: Box<Wait>, first: Bytes) -> Response {
    let parts = stream::unfold((Some(first), wait), |(first, mut wait)| async move {
        let part = match first {
            Some(first) => first,
            None => wait.part().await?,
        };
        Some((Ok::<_, Infallible>(part), (None, wait)))
    });
    reply::events(HeaderMap::new(), Body::from_stream(parts))
}

impl Wait {
    /// The next bytes of the stream; `None`: it is over.
    async fn part(&mut self) -> Option<Bytes> {
        if let Stage::Answered(call) = self.stage {
            // The connection asks for more: it has taken the answer.
            self.watch(call);
            return None;
        }
        let found = self.find().await;
        match self.act(found).await {
            News::Message(message) => Some(self.pass_on(&message)),
            News::Beat => Some(self.beat()),
            News::End(outcome) => Some(reply::event(&self.tell(&outcome))),
            News::Silence => None,
        }
    }

    fn answer_at_once(mut self: Box<Self>, outcome: &Outcome) -> Response {
        let body = self.tell(outcome);
        if let Stage::Answered(call) = self.stage {
            self.watch(call);
        }
        if let End::HttpError(said) = &outcome.end {
            // No header has left yet: it passes as the server sent it.
            return reply::respond(said.status, said.headers.clone(), Body::from(said.body.clone()));
        }
        answer::json_with(StatusCode::OK, body)
    }

    fn tell(&mut self, outcome: &Outcome) -> Bytes {
        self.stage = Stage::Answered(to_deliver(outcome));
        if let (End::HttpError(said), Some(session)) = (&outcome.end, &self._awake.0)
            && said.status == StatusCode::NOT_FOUND
        {
            // The server no longer knows the session: its client must initialize again.
            self.door.inner.sessions.forget(self.link.server().name(), &session.id);
        }
        answer::tell(outcome, &self.asker, self.door.inner.broker.clock().now())
    }

    fn watch(&mut self, call: Option<CallId>) {
        let Some(call) = call else { return };
        let unheard = self.door.inner.lines.take(None, "");
        let line = std::mem::replace(&mut self.line, unheard);
        watch(self.door.clone(), call, HowDelivered::Line, self.peer.clone(), Some(line));
    }

    /// Whatever comes first; cancel-safe.
    async fn find(&mut self) -> Found {
        let (until, beat, waits) = (self.until, self.beats.due(), self.stage.is_waiting());
        let Self { door, stage, line, live, link, .. } = self;
        tokio::select! {
            biased;
            () = line.left(), if waits => Found::Left,
            moved = stage.advance(door, live, link, line) => Found::Moved(moved),
            () = sleep_until(until.unwrap_or(beat)), if until.is_some() => Found::Enough,
            // What runs already is not given up for a drain: its answer may still come.
            () = door.inner.closing.cancelled(), if waits => Found::Enough,
            () = sleep_until(beat) => Found::Beat,
        }
    }

    async fn act(&mut self, found: Found) -> News {
        match found {
            Found::Beat => News::Beat,
            Found::Moved(Moved::Message(message)) => News::Message(message),
            Found::Moved(Moved::End(outcome)) => News::End(outcome),
            Found::Moved(Moved::Changed(brief)) => {
                self.brief = brief;
                News::Beat
            }
            Found::Left | Found::Moved(Moved::Left) => {
                if let Some(waiter) = self.stage.leave() {
                    self.door.inner.broker.leave(*waiter).await;
                }
                News::Silence
            }
            Found::Enough => News::End(self.give_up().await),
        }
    }

    /// The ticket, or the outcome if it came first.
    async fn give_up(&mut self) -> Outcome {
        if let Some(waiter) = self.stage.leave() {
            return self.door.inner.broker.ticket(*waiter).await;
        }
        let brief = Brief { state: StateName::Dispatched, ..self.brief.clone() };
        Outcome { call: Some(brief), end: End::Ticket }
    }

    /// A progress message while people decide, when the agent asked for progress; else a comment.
    fn beat(&mut self) -> Bytes {
        self.beats.given();
        let token = self.live.progress_token.as_deref().map(str::from_utf8);
        let (Some(Ok(token)), Stage::Waiting(waiter)) = (token, &self.stage) else {
            return sse::comment("waiting").into();
        };
        let now = self.door.inner.broker.clock().now();
        let words = answer::waiting(&self.brief, waiter.tally().counts.first().copied(), now);
        reply::event(&self.beats.progress(token, &words))
    }

    /// The server's message as an event; its progress goes on above ours.
    fn pass_on(&mut self, message: &[u8]) -> Bytes {
        match self.beats.lifted(message) {
            Some(lifted) => reply::event(&lifted),
            None => reply::event(message),
        }
    }
}
