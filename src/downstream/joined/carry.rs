//! One server's answer on its way down: what an agent must send back later names the server.
//!
//! The answer to a `tools/call` is not touched, but for the name of a task that it may go on as. On a legacy
//! stream these are: the ids of events (to resume by), the ids and progress tokens of a server's own requests,
//! the URI of a resource that changed, and the names of the server's tasks.

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
    skills,
    tour::Tour,
    whose,
};
use crate::{
    broker::HttpError,
    downstream::{
        answer::{self, Asker},
        held::Room,
        reply,
        tasks::{self, RELATED},
    },
    mcp::{
        self, Answer, Json, Message, Meta,
        patch::Edits,
        sse::{self, Event, Splitter},
    },
    upstream::{BrokenReply, Server, aside},
};

/// What an answer names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Names {
    Nothing,
    /// What was read: the resources of this member.
    Resources(&'static str),
    Skill,
    /// The task that a call goes on as.
    NewTask,
    /// The task that was asked about.
    Task,
    /// The task whose outcome it is (`tasks/result`).
    Outcome,
}

/// Where an answer, and a server's own message, says which task it belongs to.
const OF_TASK: &[&str] = &["result", "_meta", RELATED, "taskId"];
const SAID_OF_TASK: &[&str] = &["params", "_meta", RELATED, "taskId"];

impl Names {
    /// What the answer to this request will name.
    pub(super) fn of(method: &str, message: &Message<'_>, modern: bool) -> Self {
        let asks_for_task = || match modern {
            true => tasks::declares(&Meta::of(message.params())),
            false => message.params().is_some_and(|params| params.get("task").is_some()),
        };
        match method {
            "resources/read" => Self::Resources("contents"),
            skills::DIRECTORY => Self::Resources("resources"),
            skills::GET => Self::Skill,
            "tasks/get" | "tasks/update" | "tasks/cancel" => Self::Task,
            "tasks/result" => Self::Outcome,
            "tools/call" if asks_for_task() => Self::NewTask,
            _ => Self::Nothing,
        }
    }

    fn are_uris(self) -> bool {
        matches!(self, Self::Resources(_) | Self::Skill)
    }

    /// Where tasks are named in this result.
    fn of_tasks(self, result: Json<'_>) -> &'static [&'static [&'static str]] {
        let is_modern = || result.get("resultType").and_then(Json::string).is_some_and(|kind| kind == "task");
        match self {
            Self::Nothing | Self::Resources(_) | Self::Skill => &[],
            Self::NewTask if is_modern() => &[&["result", "taskId"]],
            // What a tool answers has members of its own.
            Self::NewTask if result.get("content").is_some() => &[OF_TASK],
            Self::NewTask => &[&["result", "task", "taskId"], OF_TASK],
            Self::Task => &[&["result", "taskId"], OF_TASK],
            Self::Outcome => &[OF_TASK],
        }
    }
}

/// What is changed of one server's answers.
#[derive(Clone)]
pub(super) struct Carry {
    tour: Tour,
    server: Arc<Server>,
    /// A legacy server may ask, and its streams may be resumed. A session that is answered is not idle.
    session: Option<Arc<Joined>>,
    names: Names,
}

impl Tour {
    pub(super) fn carry(&self, server: &Arc<Server>, names: Names) -> Carry {
        Carry { tour: self.clone(), server: server.clone(), session: self.session.clone(), names }
    }
}

impl Carry {
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
        let may_change = self.names != Names::Nothing;
        if is_stream(&parts.headers) {
            let body = if self.session.is_some() || may_change { self.stream(body) } else { body };
            return Response::from_parts(parts, body);
        }
        if !may_change {
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
    fn message(&self, message: &[u8]) -> Option<Vec<u8>> {
        aside(message.len(), || self.changed(message))
    }

    fn changed(&self, message: &[u8]) -> Option<Vec<u8>> {
        let edits = match reply::read(message)? {
            Message::Request(request) => self.asked(&request)?,
            Message::Notification(said) => self.said(&said),
            Message::Response(response) => self.answered(&response)?,
        };
        (!edits.is_empty()).then(|| edits.apply())
    }

    fn asked<'m>(&self, request: &mcp::Request<'m>) -> Option<Edits<'m>> {
        self.session.as_ref()?;
        let mut edits = Edits::of(request.raw);
        edits.set(&["id"], &names::asked(self.server.name(), request.id));
        let token = request.params.and_then(|params| params.at(&["_meta", "progressToken"]));
        if let Some(token) = token {
            edits.set(&["params", "_meta", "progressToken"], &names::asked(self.server.name(), token));
        }
        // What a server asks about tasks is about those of the agent.
        if !request.method.starts_with("tasks/") {
            self.rename(&mut edits, request.raw, SAID_OF_TASK);
        }
        Some(edits)
    }

    fn said<'m>(&self, said: &mcp::Notification<'m>) -> Edits<'m> {
        let mut edits = Edits::of(said.raw);
        let of = |name: &str| said.params?.get(name);
        match (&*said.method, of("uri").and_then(Json::string), of("requestId")) {
            ("notifications/resources/updated", Some(uri), _) => {
                edits.set(&["params", "uri"], &names::quoted(&names::uri(self.server.name(), &uri)));
            }
            ("notifications/cancelled", _, Some(id)) if self.session.is_some() => {
                edits.set(&["params", "requestId"], &names::asked(self.server.name(), id));
            }
            ("notifications/tasks" | "notifications/tasks/status", ..) => {
                self.rename(&mut edits, said.raw, &["params", "taskId"]);
            }
            _ => {}
        }
        self.rename(&mut edits, said.raw, SAID_OF_TASK);
        edits
    }

    fn answered<'m>(&self, response: &mcp::Response<'m>) -> Option<Edits<'m>> {
        let mut edits = Edits::of(response.raw);
        let result = match response.answer {
            Answer::Result(result) => result,
            Answer::Error(error) => {
                // Which resource it does not have.
                let uri = error.at(&["data", "uri"]).and_then(Json::string).filter(|_| self.names.are_uris());
                let uri = uri.map(|uri| names::quoted(&names::uri(self.server.name(), &uri)));
                return uri.map(|uri| edits.set(&["error", "data", "uri"], &uri)).map(|_| edits);
            }
        };
        match self.names {
            Names::Resources(member) => {
                let named = |one: Json<'_>| Some(located(self.server.name(), one, "uri").into_bytes());
                edits.each(&["result", member], named);
            }
            Names::Skill => {
                let named = result.get("skill").map(|skill| skills::named(self.server.name(), skill));
                named.map(|named| edits.set(&["result", "skill"], &named));
            }
            Names::Nothing | Names::NewTask | Names::Task | Names::Outcome => {}
        }
        for path in self.names.of_tasks(result) {
            self.rename(&mut edits, response.raw, path);
        }
        Some(edits)
    }

    /// The task that is named there, as the agent knows it.
    fn rename(&self, edits: &mut Edits<'_>, message: Json<'_>, path: &[&str]) {
        let own = message.at(path).and_then(Json::string);
        let known =
            own.and_then(|own| whose::task(&self.tour.door, &self.tour.grant, self.server.name(), &own));
        if let Some(known) = known {
            edits.set(path, &names::quoted(&known));
        }
    }
}

fn broke(why: &BrokenReply, asker: Option<&Asker>) -> Response {
    match asker {
        Some(asker) => answer::json_with(StatusCode::OK, reply::broken(asker, why).into()),
        None => answer::refuse(StatusCode::BAD_GATEWAY, &why.to_string()),
    }
}

/// A server's object with its URI as the agent knows it.
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
