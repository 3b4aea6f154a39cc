//! The waiting: a response held open for a call that a person decides, and what is said meanwhile.
//!
//! Headers are held for a short grace, so that a fast decision answers as the server would; then a
//! stream begins. Whoever drops the stream leaves the call, which stays as it is. There is no task and
//! no buffer per waiting call: its connection's task polls `Wait`, and that is all of it.

use std::{sync::Arc, time::Duration};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, StatusCode};
use rand::RngExt as _;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::{
    Door, Peer,
    answer::{self, Asker},
    http::Visit,
    lines::Line,
    reply,
    session::Session,
};
use crate::{
    broker::{Brief, End, Exchange, Live, Outcome, Part, Turn, Waiter},
    call::{CallId, HowDelivered, StateName},
    mcp::{self, Message, patch::Edits, sse},
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

/// Where the call stands, as seen from here.
enum Stage {
    /// For people.
    Waiting(Box<Waiter>),
    /// The permit is being spent, or the server works on it.
    Running(Exchange),
    /// The answer was given, and this call's delivery is to be watched.
    Answered(Option<CallId>),
}

/// What there is to say.
enum News {
    /// The server's own message, on its way to the agent.
    Message(Bytes),
    /// Worth a progress message: votes, more time.
    Changed,
    /// A sign of life is due.
    Beat,
    /// The last word.
    End(Outcome),
    /// The agent cancelled: nothing more is said.
    Left,
}

/// Signs of life, and the progress values that were used so far.
#[derive(Default)]
struct Beats {
    every: Duration,
    next: Option<Instant>,
    said: u32,
    progress: f64,
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
    if door.inner.closing.is_cancelled() {
        return answer::draining(&asker.id);
    }
    let session = visit.session.as_ref().map(|session| &session.id);
    let id = String::from_utf8_lossy(&asker.id);
    let line = door.inner.lines.take(session, &id);
    let every = Duration::from_millis(door.inner.settings.heartbeat_ms);
    let link = visit.link();
    let wait = Box::new(Wait {
        _awake: (visit.session.clone(), link.hold()),
        link,
        line,
        brief: waiter.brief.clone(),
        stage: Stage::Waiting(waiter),
        peer: visit.peer,
        beats: Beats { every, ..Beats::default() },
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
        match timeout_at(grace, wait.news()).await {
            Ok(News::Changed) => {}
            Ok(News::End(outcome)) => return wait.answer_at_once(&outcome),
            Ok(News::Message(message)) => {
                let first = wait.pass_on(&message);
                return stream(wait, first);
            }
            Ok(News::Left) => return reply::respond(StatusCode::ACCEPTED, HeaderMap::new(), Body::empty()),
            Ok(News::Beat) | Err(_) => {
                let first = wait.beat();
                return stream(wait, first);
            }
        }
    }
}

fn stream(wait: Box<Wait>, first: Bytes) -> Response {
    let parts = stream::unfold((Some(first), wait), |(first, mut wait)| async move {
        if let Some(first) = first {
            return Some((Ok::<_, std::convert::Infallible>(first), (None, wait)));
        }
        let part = wait.part().await?;
        Some((Ok(part), (None, wait)))
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
        match self.news().await {
            News::Message(message) => Some(self.pass_on(&message)),
            News::Changed | News::Beat => Some(self.beat()),
            News::End(outcome) => Some(reply::event(&self.tell(&outcome))),
            News::Left => None,
        }
    }

    fn answer_at_once(mut self: Box<Self>, outcome: &Outcome) -> Response {
        let body = self.tell(outcome);
        if let Stage::Answered(call) = self.stage {
            self.watch(call);
        }
        answer::json_with(StatusCode::OK, body)
    }

    fn tell(&mut self, outcome: &Outcome) -> Bytes {
        self.stage = Stage::Answered(to_deliver(outcome));
        answer::tell(outcome, &self.asker, self.door.inner.broker.clock().now())
    }

    fn watch(&mut self, call: Option<CallId>) {
        let Some(call) = call else { return };
        let unheard = self.door.inner.lines.take(None, "");
        let line = std::mem::replace(&mut self.line, unheard);
        watch(self.door.clone(), call, HowDelivered::Line, self.peer.clone(), Some(line));
    }

    /// Whatever comes first; cancel-safe.
    async fn news(&mut self) -> News {
        let until = self.until;
        let beat = self.beats.next.unwrap_or_else(|| Instant::now() + self.beats.every);
        let closing = self.door.inner.closing.clone();
        tokio::select! {
            biased;
            () = self.line.left(), if self.is_waiting() => self.leave().await,
            news = advance(&mut self.stage, &self.door, &mut self.live, &self.link, &self.line) => {
                self.note(news)
            }
            () = patience(until) => self.give_up().await,
            () = closing.cancelled() => self.give_up().await,
            () = sleep_until(beat) => News::Beat,
        }
    }

    fn is_waiting(&self) -> bool {
        matches!(self.stage, Stage::Waiting(_))
    }

    fn note(&mut self, news: Moved) -> News {
        match news {
            Moved::News(news) => news,
            Moved::Changed(brief) => {
                self.brief = brief;
                News::Changed
            }
        }
    }

    async fn leave(&mut self) -> News {
        if let Stage::Waiting(waiter) = std::mem::replace(&mut self.stage, Stage::Answered(None)) {
            self.door.inner.broker.leave(*waiter).await;
        }
        News::Left
    }

    /// The client's patience is used up, or the door closes: the ticket, or the outcome if it came first.
    async fn give_up(&mut self) -> News {
        match std::mem::replace(&mut self.stage, Stage::Answered(None)) {
            Stage::Waiting(waiter) => News::End(self.door.inner.broker.ticket(*waiter).await),
            Stage::Running(_) | Stage::Answered(_) => {
                let brief = Brief { state: StateName::Dispatched, ..self.brief.clone() };
                News::End(Outcome { call: Some(brief), end: End::Ticket })
            }
        }
    }
}

/// What `advance` found.
enum Moved {
    News(News),
    Changed(Brief),
}

/// Goes on with the call until there is something to say; cancel-safe.
async fn advance(stage: &mut Stage, door: &Door, live: &mut Live, link: &Link, line: &Line) -> Moved {
    loop {
        match stage {
            Stage::Waiting(waiter) => match door.inner.broker.turn(waiter).await {
                Turn::Changed(brief) => return Moved::Changed(brief),
                Turn::Settled(outcome) => return Moved::News(News::End(outcome)),
                Turn::Permitted => claim(stage, door, live, link, line),
            },
            Stage::Running(exchange) => match exchange.next().await {
                Some(Part::Message(message)) => return Moved::News(News::Message(message)),
                Some(Part::Reparked(waiter)) => {
                    line.waits_again();
                    let brief = waiter.brief.clone();
                    *stage = Stage::Waiting(waiter);
                    return Moved::Changed(brief);
                }
                Some(Part::End(outcome)) => return Moved::News(News::End(outcome)),
                None => {
                    let end = End::Lost { why: "the broker stopped following it".to_owned() };
                    return Moved::News(News::End(Outcome { call: None, end }));
                }
            },
            // Nobody asks for news after the end.
            Stage::Answered(_) => std::future::pending::<()>().await,
        }
    }
}

/// From here on the permit is being spent, unless the agent has just left.
fn claim(stage: &mut Stage, door: &Door, live: &Live, link: &Link, line: &Line) {
    if !line.sent() {
        return;
    }
    let Stage::Waiting(waiter) = std::mem::replace(stage, Stage::Answered(None)) else { return };
    *stage = Stage::Running(door.inner.broker.dispatch(*waiter, link.clone(), live.clone()));
}

async fn patience(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

// ── signs of life ─────────────────────────────────────────────────────

impl Wait {
    /// A progress message while people decide, when the agent asked for progress; else a comment.
    fn beat(&mut self) -> Bytes {
        let jitter = rand::rng().random_range(0.8..1.2);
        self.beats.next = Some(Instant::now() + self.beats.every.mul_f64(jitter));
        let token = self.live.progress_token.as_deref().map(str::from_utf8);
        let (Some(Ok(token)), Stage::Waiting(waiter)) = (token, &self.stage) else {
            return sse::comment("waiting").into();
        };
        let mut words = answer::waiting(&self.brief, self.door.inner.broker.clock().now());
        if let Some((has, needs)) = waiter.tally().counts.first() {
            words.push_str(&format!(", {has} of {needs} approvals"));
        }
        self.beats.said += 1;
        self.beats.progress = f64::from(self.beats.said) / 1e6;
        reply::event(&mcp::answer::progress(token, self.beats.said, &words))
    }

    /// The server's message as an event; its progress goes on above ours.
    fn pass_on(&mut self, message: &[u8]) -> Bytes {
        match self.beats.lifted(message) {
            Some(lifted) => reply::event(&lifted),
            None => reply::event(message),
        }
    }
}

impl Beats {
    /// The same progress with a higher value, when it would go backwards.
    fn lifted(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        let Some(Message::Notification(notification)) = reply::read(message) else { return None };
        if notification.method != "notifications/progress" {
            return None;
        }
        let value: f64 = notification.params?.get("progress")?.as_str().parse().ok()?;
        if value > self.progress {
            self.progress = value;
            return None;
        }
        self.progress += 1e-6;
        let mut edits = Edits::of(notification.raw);
        edits.set(&["params", "progress"], &self.progress.to_string());
        Some(edits.apply())
    }
}

// ── delivery ──────────────────────────────────────────────────────────

/// The call whose delivery this answer is, unless it only says to come again.
fn to_deliver(outcome: &Outcome) -> Option<CallId> {
    let call = outcome.call.as_ref()?;
    match &outcome.end {
        End::Ticket | End::Refused { .. } | End::Unavailable | End::Limit { .. } => None,
        End::Completed { .. }
        | End::CompletedNotKept { .. }
        | End::PolicyDenied { .. }
        | End::DeniedBy { .. }
        | End::Stopped { .. }
        | End::Expired
        | End::Lapsed
        | End::WithdrawnBy { .. }
        | End::Cancelled
        | End::Failed { .. }
        | End::Lost { .. } => Some(call.id),
    }
}

/// Delivered, when the peer neither closed nor cancelled for a while after it had the answer.
fn watch(door: Door, call: CallId, how: HowDelivered, peer: Option<Peer>, line: Option<Line>) {
    let stay = Duration::from_millis(door.inner.settings.delivery_ms);
    let deliveries = door.inner.deliveries.clone();
    deliveries.spawn(async move {
        tokio::time::sleep(stay).await;
        let gone = peer.is_some_and(|peer| !peer.is_there()) || line.is_some_and(|line| line.has_left());
        if !gone {
            door.inner.broker.delivered(call, how).await;
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(value: &str) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":1,"progress":{value}}}}}"#
        )
    }

    #[test]
    fn the_servers_progress_is_lifted_only_when_it_would_go_backwards() {
        let mut beats = Beats { progress: 0.000_003, ..Beats::default() };
        let lifted = beats.lifted(progress("0").as_bytes()).unwrap();
        assert_eq!(String::from_utf8(lifted).unwrap(), progress("0.000004"));
        assert_eq!(beats.lifted(progress("1").as_bytes()), None);
        assert_eq!(beats.lifted(progress("2.50").as_bytes()), None);
        assert!(beats.lifted(progress("2.5").as_bytes()).is_some());
        assert_eq!(beats.lifted(br#"{"jsonrpc":"2.0","method":"notifications/message"}"#), None);
    }
}
