//! The waiting: a response held open for a call that a person decides, and what is said meanwhile.
//!
//! Headers are held for a short grace, so that a fast decision answers as the server would; then a
//! stream begins. Whoever drops the stream leaves the call, which stays as it is, unless the stream can be
//! resumed (`thread`). There is no task and no buffer per waiting call: its connection's task polls
//! `Wait`, and that is all of it.

mod enter;
mod links;
mod thread;

use std::{convert::Infallible, sync::Arc};

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
    elicit::Offer,
    lines::{Heir, Line, Stir},
    reply,
    session::Session,
    settings::Rungs,
    stage::{Moved, Stage},
    tasks,
};
use crate::{
    broker::{Brief, End, Live, Outcome},
    call::{CallId, HowDelivered, StateName},
    mcp::sse,
    upstream::{Hold, Link},
};

pub(super) use enter::{for_result, hold, recalled, returned, told_at_once};
pub(super) use thread::{Mark, Thread, resume};

/// One call that waits, and its agent on the line.
pub(super) struct Wait {
    door: Door,
    stage: Stage,
    asker: Asker,
    live: Live,
    link: Link,
    line: Line,
    /// Neither the session nor its conversation upstream is idle while its call waits.
    awake: (Option<Arc<Session>>, Hold),
    peer: Option<Peer>,
    brief: Brief,
    beats: Beats,
    since: Instant,
    /// When this client is told to call again.
    until: Option<Instant>,
    thread: Option<Thread>,
    rungs: Rungs,
    /// The result of this task is waited for, and not the call itself (2025-11-25).
    of_task: Option<Box<str>>,
}

impl std::fmt::Debug for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wait").field("call", &self.brief.id).finish_non_exhaustive()
    }
}

/// What came first. Finding it is cancel-safe; acting on it is not.
enum Found {
    Moved(Moved),
    /// The agent cancelled.
    Left,
    /// The agent takes the stream up again, on another connection.
    Wanted(Heir),
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

/// What a connection is to do next.
enum Next {
    Part(Bytes),
    /// Nothing more will be said.
    Over,
    /// It closes, and the stream goes on with the one that takes it up again.
    Paused,
    Wanted(Heir),
}

/// Holds the headers for the grace: JSON when all is over by then, a stream otherwise.
async fn begin(mut wait: Box<Wait>) -> Response {
    let grace = Instant::now() + wait.door.inner.settings.grace();
    loop {
        let found = match timeout_at(grace, wait.find()).await {
            // No sign of life before the headers.
            Ok(Found::Beat) => {
                wait.beats.given();
                continue;
            }
            Err(_) | Ok(Found::Enough) if wait.rungs.task && wait.stage.is_waiting() => {
                return wait.go_on_as_task().await;
            }
            Err(_) if wait.links_on_return() => return wait.come_back_with_link().await,
            Err(_) => {
                let first = wait.first();
                return stream(wait, first);
            }
            Ok(found) => found,
        };
        match wait.act(found).await {
            News::Beat => {}
            News::End(outcome) => return wait.answer_at_once(&outcome),
            News::Message(message) => {
                let mut first = wait.open().to_vec();
                first.extend_from_slice(&wait.pass_on(&message));
                return stream(wait, first.into());
            }
            News::Silence => return reply::respond(StatusCode::ACCEPTED, HeaderMap::new(), Body::empty()),
        }
    }
}

fn stream(wait: Box<Wait>, first: Bytes) -> Response {
    let parts = stream::unfold((Some(first), Held(Some(wait))), |(first, mut held)| async move {
        let part = match first {
            Some(first) => first,
            None => held.part().await?,
        };
        Some((Ok::<_, Infallible>(part), (None, held)))
    });
    reply::events(HeaderMap::new(), Body::from_stream(parts))
}

/// A connection's hold on a wait: one that breaks lets go of it, and the wait may outlive that.
struct Held(Option<Box<Wait>>);

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(wait) = self.0.take() {
            thread::broke(wait);
        }
    }
}

impl Held {
    /// The next bytes of the stream; `None`: it is over, for this connection.
    async fn part(&mut self) -> Option<Bytes> {
        match self.0.as_mut()?.part().await {
            Next::Part(part) => return Some(part),
            Next::Paused => {}
            Next::Over => thread::ended(self.0.take()?),
            Next::Wanted(heir) => thread::hand_over(self.0.take()?, heir),
        }
        None
    }
}

impl Wait {
    async fn part(&mut self) -> Next {
        if let Stage::Answered(_) = self.stage {
            // The connection asks for more: it has taken the answer.
            return Next::Over;
        }
        if self.thread.as_ref().is_some_and(Thread::pauses) {
            return Next::Paused;
        }
        let found = match self.find().await {
            Found::Wanted(heir) => return Next::Wanted(heir),
            found @ (Found::Moved(_) | Found::Left | Found::Enough | Found::Beat) => found,
        };
        match self.act(found).await {
            News::Message(message) => Next::Part(self.pass_on(&message)),
            News::Beat => Next::Part(self.beat()),
            News::End(outcome) => Next::Part(self.last(&outcome)),
            News::Silence => Next::Over,
        }
    }

    /// The answer as an event.
    fn last(&mut self, outcome: &Outcome) -> Bytes {
        let mut last = self.link_is_done(outcome).map(|done| self.event(&done)).unwrap_or_default().to_vec();
        let message = self.tell(outcome);
        last.extend_from_slice(&self.event(&message));
        last.into()
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

    /// The task, or the outcome if it came first.
    async fn go_on_as_task(mut self: Box<Self>) -> Response {
        let Some(waiter) = self.stage.leave() else {
            return reply::respond(StatusCode::ACCEPTED, HeaderMap::new(), Body::empty());
        };
        let broker = &self.door.inner.broker;
        match broker.go_on_as_task(*waiter, &self.live.headers, &self.link).await {
            Ok(task) => {
                answer::json_with(StatusCode::OK, tasks::begun(&task, &self.asker, broker.clock().now()))
            }
            Err(outcome) => self.answer_at_once(&outcome),
        }
    }

    fn tell(&mut self, outcome: &Outcome) -> Bytes {
        self.stage = Stage::Answered(to_deliver(outcome));
        if let (End::HttpError(said), Some(session)) = (&outcome.end, &self.awake.0)
            && said.status == StatusCode::NOT_FOUND
        {
            // The server no longer knows the session: its client must initialize again.
            self.door.inner.sessions.forget(session);
        }
        let now = self.door.inner.broker.clock().now();
        match (&self.of_task, outcome) {
            (Some(id), _) => {
                tasks::as_result(answer::tell(outcome, &self.asker, now), outcome, id, &self.asker)
            }
            (None, Outcome { call: Some(brief), end: End::ComeBack { state } })
                if self.rungs.link == Offer::Due =>
            {
                answer::come_back_with_link(state, brief, &self.asker, now)
            }
            (None, Outcome { call: Some(brief), end: End::Ticket }) if self.door.inner.settings.wait_tool => {
                answer::ticket_with_tool(brief, &self.asker, now)
            }
            (None, _) => answer::tell(outcome, &self.asker, now),
        }
    }

    fn delivery(&self) -> HowDelivered {
        if self.of_task.is_some() { HowDelivered::Task } else { HowDelivered::Line }
    }

    fn watch(&mut self, call: Option<CallId>) {
        let Some(call) = call else { return };
        let unheard = self.door.inner.lines.take(None, "");
        let line = std::mem::replace(&mut self.line, unheard);
        watch(self.door.clone(), call, self.delivery(), self.peer.clone(), Some(line));
    }

    /// Whatever comes first; cancel-safe.
    async fn find(&mut self) -> Found {
        let waits = self.stage.is_waiting();
        // One timer for both: most end with a beat, and each is paid for by every waiting call.
        let beat = self.beats.due();
        let enough = self.until.filter(|until| *until <= beat);
        let Self { door, stage, line, live, link, .. } = self;
        tokio::select! {
            biased;
            stir = line.stirred(waits) => match stir {
                Stir::Left => Found::Left,
                Stir::Wanted(heir) => Found::Wanted(heir),
            },
            moved = stage.advance(door, live, link, line) => Found::Moved(moved),
            // What runs already is not given up for a drain: its answer may still come.
            () = door.inner.closing.cancelled(), if waits => Found::Enough,
            () = sleep_until(enough.unwrap_or(beat)) => enough.map_or(Found::Beat, |_| Found::Enough),
        }
    }

    async fn act(&mut self, found: Found) -> News {
        match found {
            // Who is not given the stream hears that it is gone.
            Found::Beat | Found::Wanted(_) => News::Beat,
            Found::Moved(Moved::Message(message)) => News::Message(message),
            Found::Moved(Moved::End(outcome)) => News::End(outcome),
            Found::Moved(Moved::Changed(brief)) => {
                self.brief = brief;
                News::Beat
            }
            Found::Left | Found::Moved(Moved::Left) => {
                self.hung_up(self.since.elapsed());
                self.leave().await;
                News::Silence
            }
            Found::Enough => News::End(self.give_up().await),
        }
    }

    async fn leave(&mut self) {
        if let Some(waiter) = self.stage.leave() {
            self.door.inner.broker.leave(*waiter).await;
        }
    }

    /// The ticket, or the outcome if it came first.
    async fn give_up(&mut self) -> Outcome {
        if let Some(waiter) = self.stage.leave() {
            let door = &self.door.inner;
            // A broker that goes is not there for a client that comes back at once.
            let laps = self.rungs.laps.filter(|(most, had)| had < most && !door.closing.is_cancelled());
            return match laps {
                Some((_, had)) => door.broker.come_back(*waiter, had).await,
                None => door.broker.ticket(*waiter).await,
            };
        }
        let brief = Brief { state: StateName::Dispatched, ..self.brief.clone() };
        Outcome { call: Some(brief), end: End::Ticket }
    }

    /// A progress message while people decide, when the agent asked for progress; else a comment.
    fn beat(&mut self) -> Bytes {
        self.beats.given();
        if let Some(pause) = self.pause() {
            return pause;
        }
        let now = self.door.inner.broker.clock().now();
        let token = self.live.progress_token.as_deref().map(str::from_utf8);
        let (Some(Ok(token)), Stage::Waiting(waiter)) = (token, &self.stage) else {
            if let (Some(id), Stage::Waiting(waiter)) = (&self.of_task, &self.stage) {
                let status = tasks::status(id, waiter, now);
                return self.event(&status);
            }
            return sse::comment("waiting").into();
        };
        let words = answer::waiting(&self.brief, waiter.tally().counts.first().copied(), now);
        let progress = self.beats.progress(token, &words);
        self.event(&progress)
    }

    /// The server's message as an event; its progress goes on above ours.
    fn pass_on(&mut self, message: &[u8]) -> Bytes {
        match self.beats.lifted(message) {
            Some(lifted) => self.event(&lifted),
            None => self.event(message),
        }
    }
}
