//! GET on the joined endpoint: what all servers say unasked, on one stream.
//!
//! A server's own stream may end and is opened again, a conversation may open later; the agent's stream stays.

use std::{collections::HashSet, convert::Infallible, pin::Pin, sync::Arc, time::Duration};

use axum::{
    body::{Body, BodyDataStream},
    response::Response,
};
use bytes::Bytes;
use futures_util::{
    Stream, StreamExt as _,
    stream::{self, SelectAll},
};
use http::{HeaderMap, HeaderValue, StatusCode, header::ACCEPT};
use tokio::{sync::watch, time::sleep};

use super::{
    carry::{Carry, Names},
    names,
    said::is_stream,
    session::{Joined, Part},
    tour::Tour,
};
use crate::{
    downstream::{
        answer,
        held::Room,
        http::text,
        listen as plain,
        listeners::{Listening, TOO_MANY},
        reply, sse,
    },
    mcp::{
        Version, header,
        sse::{Event, Splitter, comment},
    },
    upstream::Server,
};

/// Before a server's stream that ended is opened again.
const PAUSE: Duration = Duration::from_secs(2);

pub(super) async fn listen(tour: Tour) -> Response {
    let Some(session) = tour.session.clone() else { return without_session(&tour) };
    if let Some(last) = text(&tour.headers, &header::LAST_EVENT_ID).map(str::to_owned) {
        return resume(tour, &session, &last).await;
    }
    let Some(place) = tour.door.inner.listeners.take(&tour.grant.name) else {
        return answer::refuse(StatusCode::SERVICE_UNAVAILABLE, TOO_MANY);
    };
    let opened = session.opened.subscribe();
    let mut all =
        All { _place: place, tour, session, opened, listened: HashSet::new(), streams: SelectAll::new() };
    all.listen_to_new();
    let parts = stream::unfold(all, |mut all| async move {
        let part = all.next().await?;
        Some((Ok::<_, Infallible>(part), all))
    });
    reply::events(HeaderMap::new(), Body::from_stream(parts))
}

/// An agent of HTTP+SSE begins with it, and is told by its stream where to go on.
fn without_session(tour: &Tour) -> Response {
    let said = text(&tour.headers, &header::PROTOCOL_VERSION).and_then(Version::parse);
    let takes_events = text(&tour.headers, &ACCEPT).is_some_and(|kinds| kinds.contains("text/event-stream"));
    if takes_events && !tour.on_stream && !said.is_some_and(Version::is_modern) {
        return sse::open(&tour.door, &tour.grant, None, tour.peer.clone());
    }
    let words = "a stream to listen on belongs to a session: initialize with POST; an agent of HTTP+SSE asks for \
                 text/event-stream";
    answer::refuse(StatusCode::METHOD_NOT_ALLOWED, words)
}

/// One server's stream goes on, where its event says.
async fn resume(tour: Tour, session: &Arc<Joined>, last: &str) -> Response {
    let known = names::split_event(last).and_then(|(server, own)| Some((tour.server(server)?, own)));
    let found = known.and_then(|(server, own)| {
        let parts = tour.parts_now(session).into_iter();
        let (_, part) = parts.into_iter().find(|(known, _)| known.name() == server.name())?;
        Some((server, part, HeaderValue::from_str(own).ok()?))
    });
    let Some((server, part, own)) = found else {
        return answer::refuse(StatusCode::GONE, "this stream is over; make the same request again");
    };
    let mut visit = tour.visit(&server, Some(&part));
    visit.headers.insert(&header::LAST_EVENT_ID, own);
    // A call may be answered on it.
    let carry = tour.carry(&server, Names::NewTask);
    let response = plain::listen(visit).await;
    if response.status() == StatusCode::NOT_FOUND {
        // Of that server only.
        return answer::refuse(StatusCode::GONE, "the server's session is over; make the same request again");
    }
    if !response.status().is_success() {
        return response;
    }
    carry.response(response, None).await
}

type Parts = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// The streams of all conversations of one session.
struct All {
    /// Of the agent's stream; those of the servers are its own.
    _place: Listening,
    tour: Tour,
    session: Arc<Joined>,
    opened: watch::Receiver<usize>,
    /// Conversations whose stream is among these, by server and session id: two servers may give the same one.
    listened: HashSet<(Arc<str>, Arc<str>)>,
    streams: SelectAll<Parts>,
}

impl All {
    fn listen_to_new(&mut self) {
        for (server, part) in self.tour.parts_now(&self.session) {
            let Some(session) = &part.session else { continue };
            if self.listened.insert((server.shared_name(), session.id.clone())) {
                self.streams.push(ear(self.tour.clone(), server, part));
            }
        }
    }

    /// What comes next; a comment now and then, as on every stream.
    async fn next(&mut self) -> Option<Bytes> {
        let beat = self.tour.door.inner.settings.heartbeat();
        loop {
            tokio::select! {
                biased;
                () = self.session.over.cancelled() => return None,
                () = self.tour.door.inner.closing.cancelled() => return None,
                () = self.tour.until_void() => return None,
                changed = self.opened.changed() => {
                    changed.ok()?;
                    self.listen_to_new();
                }
                Some(part) = self.streams.next() => return Some(part),
                () = sleep(beat) => return Some(comment("listening").into()),
            }
        }
    }
}

/// What one server says unasked, for as long as its conversation lives.
fn ear(tour: Tour, server: Arc<Server>, part: Arc<Part>) -> Parts {
    let carry = tour.carry(&server, Names::Nothing);
    let ear = Ear { tour, server, part, carry, open: None, last: None, was_open: false };
    Box::pin(stream::unfold(ear, |mut ear| async move {
        let part = ear.next().await?;
        Some((part, ear))
    }))
}

struct Incoming {
    body: BodyDataStream,
    splitter: Splitter,
    room: Room,
}

impl Incoming {
    /// The next events, if any are whole; `None`: the stream is over, or there is no room for what it says.
    async fn events(&mut self) -> Option<Vec<Event>> {
        let events = self.splitter.push(&self.body.next().await?.ok()?).ok()?;
        self.room.hold(self.splitter.rest().len()).ok()?;
        Some(events)
    }
}

struct Ear {
    tour: Tour,
    server: Arc<Server>,
    part: Arc<Part>,
    carry: Carry,
    open: Option<Incoming>,
    /// The id of the last event, as the server wrote it.
    last: Option<String>,
    was_open: bool,
}

impl Ear {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let Some(open) = &mut self.open else {
                self.open = Some(self.listen().await?);
                continue;
            };
            let Some(events) = open.events().await else {
                self.open = None;
                continue;
            };
            self.last = events.iter().rev().find_map(|event| event.id.clone()).or(self.last.take());
            let told = self.carry.events(events);
            if !told.is_empty() {
                return Some(told);
            }
        }
    }

    /// `None`: the server has no such stream, or the conversation is over.
    async fn listen(&mut self) -> Option<Incoming> {
        if self.was_open {
            sleep(PAUSE).await;
        }
        while !self.tour.is_open(&self.server) {
            sleep(PAUSE).await;
        }
        let session = self.part.session.as_ref()?;
        let parts = &self.tour.door.inner;
        let now = parts.broker.clock().now();
        if session.link.is_over()
            || parts.sessions.find(self.server.name(), &session.id, &self.tour.grant, now).is_none()
        {
            return None;
        }
        let mut visit = self.tour.visit(&self.server, Some(&self.part));
        visit.headers.remove(&header::LAST_EVENT_ID);
        if let Some(last) = self.last.as_deref().and_then(|last| HeaderValue::from_str(last).ok()) {
            visit.headers.insert(&header::LAST_EVENT_ID, last);
        }
        let response = plain::hear(visit).await;
        let streams = response.status().is_success() && is_stream(response.headers());
        self.was_open = streams;
        let room = self.carry.room();
        let (body, splitter) = (response.into_body().into_data_stream(), Splitter::new(room.most()));
        streams.then_some(Incoming { body, splitter, room })
    }
}
