//! One server's answer on its way down: what an agent must send back later names the server.
//!
//! The answer to a `tools/call` is not touched. On a legacy stream these are: the ids of events (to resume by),
//! the ids and progress tokens of a server's own requests, and the URI of a resource that changed.

use std::sync::Arc;

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{StatusCode, header};

use super::{
    names,
    said::{is_encoded, is_stream},
    session::Joined,
    tour::Tour,
};
use crate::{
    broker::HttpError,
    downstream::{
        answer::{self, Asker},
        held::Room,
        reply,
    },
    mcp::{
        Answer, Json, Message,
        patch::Edits,
        sse::{self, Event, Splitter},
    },
    upstream::{BrokenReply, Server},
};

/// What is changed of one server's answers.
#[derive(Clone)]
pub(super) struct Carry {
    tour: Tour,
    server: Arc<Server>,
    /// A legacy server may ask, and its streams may be resumed. A session that is answered is not idle.
    session: Option<Arc<Joined>>,
    /// The answer is to `resources/read`: it names what was read.
    reads: bool,
}

impl Carry {
    pub(super) fn of(tour: &Tour, server: &Arc<Server>, reads: bool) -> Self {
        Self { tour: tour.clone(), server: server.clone(), session: tour.session.clone(), reads }
    }

    /// For what is held of it.
    pub(super) fn room(&self) -> Room {
        self.tour.room(&self.server, self.server.largest_answer())
    }

    pub(super) async fn response(self, response: Response, asker: Option<&Asker>) -> Response {
        let response = match asker {
            Some(asker) => apart(response, self.session.is_some(), asker, self.room()).await,
            // What nobody waits on must not end the session of all.
            None if !response.status().is_success() => return StatusCode::ACCEPTED.into_response(),
            None => response,
        };
        if is_encoded(response.headers()) {
            return response;
        }
        let (mut parts, body) = response.into_parts();
        if is_stream(&parts.headers) {
            return Response::from_parts(
                parts,
                if self.session.is_some() || self.reads { self.stream(body) } else { body },
            );
        }
        if !self.reads {
            return Response::from_parts(parts, body);
        }
        let mut room = self.room();
        let whole = match room.collect(body).await {
            Ok(whole) => whole,
            Err(why) => return broke(&why, asker),
        };
        parts.headers.remove(header::CONTENT_LENGTH);
        let changed = self.message(&whole).map_or(whole, Bytes::from);
        Response::from_parts(parts, room.keep(changed).into())
    }

    fn stream(self, body: Body) -> Body {
        let mut room = self.room();
        let mut splitter = Splitter::new(room.most());
        let parts = body.into_data_stream().map(move |part| {
            let events = splitter.push(&part?).map_err(axum::Error::new)?;
            room.hold(splitter.rest().len()).map_err(axum::Error::new)?;
            Ok::<_, axum::Error>(self.events(events))
        });
        Body::from_stream(
            parts.filter(|part| std::future::ready(part.as_ref().map_or(true, |part| !part.is_empty()))),
        )
    }

    pub(super) fn events(&self, events: Vec<Event>) -> Bytes {
        let mut out = Vec::new();
        for event in events {
            let data = event.data.as_deref().unwrap_or_default();
            let changed = self.message(data.as_bytes()).and_then(|bytes| String::from_utf8(bytes).ok());
            let id = event.id.as_deref().filter(|_| self.session.is_some());
            if changed.is_none() && id.is_none() {
                out.extend(event.raw);
                continue;
            }
            let id = id.map(|id| names::event(self.server.name(), id));
            out.extend(sse::write_with(id.as_deref(), event.retry, changed.as_deref().unwrap_or(data)));
        }
        out.into()
    }

    /// `None`: nothing to change.
    pub(super) fn message(&self, message: &[u8]) -> Option<Vec<u8>> {
        let server = self.server.name();
        let edits = match reply::read(message)? {
            Message::Request(request) if self.session.is_some() => {
                let mut edits = Edits::of(request.raw);
                edits.set(&["id"], &names::asked(server, request.id));
                let token = request.params.and_then(|params| params.at(&["_meta", "progressToken"]));
                if let Some(token) = token {
                    edits.set(&["params", "_meta", "progressToken"], &names::asked(server, token));
                }
                edits
            }
            Message::Notification(said) => {
                let mut edits = Edits::of(said.raw);
                let of = |name: &str| said.params?.get(name);
                match (&*said.method, of("uri").and_then(Json::string), of("requestId")) {
                    ("notifications/resources/updated", Some(uri), _) => {
                        edits.set(&["params", "uri"], &names::quoted(&names::uri(server, &uri)));
                    }
                    ("notifications/cancelled", _, Some(id)) if self.session.is_some() => {
                        edits.set(&["params", "requestId"], &names::asked(server, id));
                    }
                    _ => {}
                }
                edits
            }
            Message::Response(response) if self.reads => {
                let mut edits = Edits::of(response.raw);
                if let Answer::Result(result) = response.answer
                    && let Some(contents) = result.get("contents")
                {
                    edits.set(&["result", "contents"], &each(server, contents, "uri"));
                }
                edits
            }
            Message::Request(_) | Message::Response(_) => return None,
        };
        (!edits.is_empty()).then(|| edits.apply())
    }
}

fn broke(why: &BrokenReply, asker: Option<&Asker>) -> Response {
    match asker {
        Some(asker) => answer::json_with(StatusCode::OK, reply::broken(asker, why).into()),
        None => answer::refuse(StatusCode::BAD_GATEWAY, &why.to_string()),
    }
}

/// The array with the URI of each element as the agent knows it.
fn each(server: &str, array: Json<'_>, member: &str) -> String {
    let elements: Vec<_> = array.elements().map(|element| located(server, element, member)).collect();
    format!("[{}]", elements.join(","))
}

/// The object with its URI as the agent knows it.
pub(super) fn located(server: &str, object: Json<'_>, member: &str) -> String {
    let mut edits = Edits::of(object);
    if let Some(uri) = object.get(member).and_then(Json::string) {
        edits.set(&[member], &names::quoted(&names::uri(server, &uri)));
    }
    String::from_utf8(edits.apply()).unwrap_or_default()
}

/// An HTTP error is about one server, and must not look as if it were about all: a lost session, a token that
/// one server refuses. It becomes an error of its request; a modern one that is a message keeps its status,
/// which says what it is.
async fn apart(response: Response, legacy: bool, asker: &Asker, mut room: Room) -> Response {
    let status = response.status();
    if status.is_success() || status == StatusCode::SERVICE_UNAVAILABLE {
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = room.collect(body).await.unwrap_or_default();
    let body = room.keep(body);
    let is_message = reply::is_response(&body);
    if is_message && !legacy {
        return Response::from_parts(parts, body.into());
    }
    if is_message {
        return answer::json_with(StatusCode::OK, body);
    }
    let said = HttpError { status, headers: parts.headers, body };
    answer::json_with(StatusCode::OK, answer::http_error(&said, None, None, asker))
}
