//! Whom a message to the joined endpoint concerns: one server, all of them, or nobody but us.

use axum::response::{IntoResponse as _, Response};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{
    carry::Names,
    gather::{self, Cursor, List},
    greeting, names,
    said::Said,
    skills, subscribe,
    tour::Tour,
    whose::By,
};
use crate::{
    downstream::{
        answer::{self, Asker, code},
        batch::{self, Desk},
        gate::{self, Refusal, owned},
        held::Room,
        http::{self as plain, text},
        modern, submit,
        tasks::{self, RELATED},
        versions,
    },
    mcp::{self, Frame, Json, Message, Meta, header, methods, patch::Edits},
};

/// Bytes of a message that the session keeps, to say it to servers whose conversation opens later.
const MOST_KEPT: usize = 64 << 10;

/// What a message asks for.
pub(super) enum Wish {
    Hello(Asker),
    Pong(Asker),
    Discover(Asker),
    List(&'static List, Option<Cursor>, Asker),
    Level(Asker),
    Subscribe(Asker),
    /// A version that we do not know.
    Unsupported(String, Asker),
    /// `notifications/initialized`.
    Greeted,
    /// A notification for every server.
    Tell,
    One(Box<One>),
    /// Nobody is asked, nobody is answered.
    Nothing,
}

/// A message for one server.
pub(super) struct One {
    server: String,
    /// With the server's own name of what it is about.
    body: Bytes,
    /// That name, when a header mirrors it.
    own: Option<String>,
    asker: Option<Asker>,
    names: Names,
}

impl One {
    /// What nobody waits on an answer for.
    fn told(server: String, body: Bytes) -> Wish {
        Wish::One(Box::new(Self { server, body, own: None, asker: None, names: Names::Nothing }))
    }
}

pub(super) async fn post(tour: Tour, body: Bytes) -> Response {
    let sorted = match Frame::parse(&body, &tour.door.limits()) {
        Ok(Frame::One(message)) => sort(&tour, &message, &body),
        Ok(Frame::Batch(messages)) => {
            let tour = Tour { in_batch: true, ..tour };
            return match batch::split(&tour, &messages, &body) {
                Ok(parts) => Box::pin(batch::answer(tour, parts)).await,
                Err(refusal) => *refusal,
            };
        }
        Err(why) => return answer::malformed(&why),
    };
    match sorted {
        Ok(wish) => run(tour, wish, body).await,
        Err(refusal) => *refusal,
    }
}

impl Desk for Tour {
    type Errand = Wish;

    fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    fn room(&self, wish: Option<&Wish>) -> Room {
        let server = match wish {
            Some(Wish::One(one)) => self.server(&one.server),
            // A list is that of all servers.
            Some(_) | None => None,
        };
        match server {
            Some(server) => Tour::room(self, &server, server.largest_answer()),
            None => self.door.inner.held.room(None, &self.grant.name, usize::MAX),
        }
    }

    fn sort(&self, message: &Message<'_>, body: &Bytes) -> Result<Wish, Refusal> {
        sort(self, message, body)
    }

    fn run(self, wish: Wish, body: Bytes) -> impl Future<Output = Response> + Send {
        run(self, wish, body)
    }
}

fn sort(tour: &Tour, message: &Message<'_>, body: &Bytes) -> Result<Wish, Refusal> {
    gate::check_envelope(message)?;
    let meta = Meta::of(message.params());
    let version = modern::version(text(&tour.headers, &header::PROTOCOL_VERSION), &meta);
    let asker = message.id().map(|id| Asker { id: owned(id), modern: version.is_modern() });
    let Some(method) = message.method() else { return answered(tour, message) };
    if methods::class(version, method).is_none() && !skills::METHODS.contains(&method) {
        return Err(gate::not_found(method, asker.as_ref()));
    }
    if !version.is_modern() && tour.session.is_none() && method != "initialize" {
        let id = asker.as_ref().map_or(&b"null"[..], |asker| &asker.id);
        let text = "the header Mcp-Session-Id is missing: initialize first";
        return Err(answer::error(StatusCode::BAD_REQUEST, id, code::INVALID_REQUEST, text, None).into());
    }
    let Some(asker) = asker else { return notified(tour, method, message, body) };
    if asker.modern && subject(method, message).is_none() {
        // What we answer ourselves we check ourselves, as each server would.
        match modern::check_nameless(&tour.headers, &meta, method) {
            Ok(()) => {}
            Err(modern::Fault { requested: Some(requested), .. }) => {
                return Ok(Wish::Unsupported(requested, asker));
            }
            Err(fault) => return Err(submit::mismatch(&fault, &asker).into()),
        }
    }
    if let Some(list) = gather::list_of(method) {
        let cursor = message.params().and_then(|params| params.get("cursor"));
        let cursor =
            cursor.map(|cursor| Cursor::parse(cursor).ok_or_else(|| invalid(&asker, "unknown cursor")));
        return Ok(Wish::List(list, cursor.transpose()?, asker));
    }
    match method {
        "initialize" if tour.in_batch => Err(gate::hello_in_batch(&asker)),
        "initialize" | "logging/setLevel" if body.len() > MOST_KEPT => {
            let size = body.len();
            let text = format!("this {method} has {size} bytes; at /mcp it may have at most {MOST_KEPT}");
            Err(invalid(&asker, &text))
        }
        "initialize" => Ok(Wish::Hello(asker)),
        "ping" => Ok(Wish::Pong(asker)),
        "server/discover" => Ok(Wish::Discover(asker)),
        "logging/setLevel" => Ok(Wish::Level(asker)),
        "subscriptions/listen" => Ok(Wish::Subscribe(asker)),
        _ => for_one(tour, method, message, Some(asker)),
    }
}

/// The answer to a request that a server made.
fn answered(tour: &Tour, message: &Message<'_>) -> Result<Wish, Refusal> {
    let found = message.id().and_then(names::split_asked);
    let Some((server, own)) = found.filter(|(server, _)| tour.server(server).is_some()) else {
        return Ok(Wish::Nothing);
    };
    let mut edits = Edits::of(message.raw());
    edits.set(&["id"], &own);
    let of_task = ["result", "_meta", RELATED, "taskId"];
    let task = message.raw().at(&of_task).and_then(Json::string).and_then(|name| tour.find(By::Task, &name));
    if let Some((_, task)) = task.filter(|(of, _)| *of == server) {
        edits.set(&of_task, &names::quoted(&task));
    }
    Ok(One::told(server, edits.apply().into()))
}

fn notified(tour: &Tour, method: &str, message: &Message<'_>, body: &Bytes) -> Result<Wish, Refusal> {
    let param = |name: &str| message.params()?.get(name);
    match method {
        "notifications/initialized" => Ok(Wish::Greeted),
        "notifications/roots/list_changed" => Ok(Wish::Tell),
        "notifications/cancelled" => {
            let Some((session, id)) = tour.session.as_ref().zip(param("requestId")) else {
                return Ok(Wish::Nothing);
            };
            Ok(match session.went_to(id.as_str().as_bytes()) {
                Some(server) => One::told(server.to_string(), body.clone()),
                // To the other servers it means nothing.
                None => Wish::Tell,
            })
        }
        "notifications/progress" => {
            let found = param("progressToken").and_then(names::split_asked);
            let Some((server, own)) = found.filter(|(server, _)| tour.server(server).is_some()) else {
                return Ok(Wish::Nothing);
            };
            let mut edits = Edits::of(message.raw());
            edits.set(&["params", "progressToken"], &own);
            Ok(One::told(server, edits.apply().into()))
        }
        // Without an id nobody could be answered; the gate counts it.
        "tools/call" => for_one(tour, method, message, None),
        _ => Ok(Wish::Nothing),
    }
}

/// Where the name of what a request is about stands, and what it names.
fn subject(method: &str, message: &Message<'_>) -> Option<(&'static [&'static str], By)> {
    match method {
        "tools/call" | "prompts/get" => Some((&["params", "name"], By::Name)),
        "resources/read"
        | "resources/subscribe"
        | "resources/unsubscribe"
        | skills::GET
        | skills::DIRECTORY => Some((&["params", "uri"], By::Uri)),
        "tasks/get" | "tasks/update" | "tasks/cancel" | "tasks/result" => {
            Some((&["params", "taskId"], By::Task))
        }
        "completion/complete" => {
            let kind = message.params()?.at(&["ref", "type"])?.string()?;
            Some(match &*kind {
                "ref/resource" => (&["params", "ref", "uri"], By::Uri),
                _ => (&["params", "ref", "name"], By::Name),
            })
        }
        _ => None,
    }
}

/// A request about something that has a name: the name says the server, and loses it.
fn for_one(tour: &Tour, method: &str, message: &Message<'_>, asker: Option<Asker>) -> Result<Wish, Refusal> {
    let Some((path, by)) = subject(method, message) else {
        return Err(gate::not_found(method, asker.as_ref()));
    };
    if let Some(asker) = asker.as_ref().filter(|asker| by == By::Task && asker.modern)
        && !tasks::declares(&Meta::of(message.params()))
    {
        return Err(tasks::undeclared(asker).into());
    }
    let refusal = |text: &str| match &asker {
        // As a server that has tasks and not this one.
        Some(asker) if by == By::Task => {
            answer::error(StatusCode::OK, &asker.id, code::INVALID_PARAMS, text, None).into()
        }
        Some(asker) => invalid(asker, text),
        None => StatusCode::ACCEPTED.into_response().into(),
    };
    let Some(name) = message.raw().at(path).and_then(Json::string) else {
        return Err(refusal(&format!("`{}` must be a string", path.join("."))));
    };
    let Some((server, own)) = tour.find(by, &name) else {
        return Err(refusal(&tour.unknown(by, method, &name)));
    };
    if let Some(asker) = asker.as_ref().filter(|asker| asker.modern) {
        check_mirror(&tour.headers, &name, asker)?;
    }
    let mut edits = Edits::of(message.raw());
    edits.set(path, &names::quoted(&own));
    let names = Names::of(method, message, asker.as_ref().is_some_and(|asker| asker.modern));
    let own = (path.len() == 2).then_some(own);
    Ok(Wish::One(Box::new(One { server, body: edits.apply().into(), own, asker, names })))
}

fn invalid(asker: &Asker, text: &str) -> Refusal {
    let status = if asker.modern { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    answer::error(status, &asker.id, code::INVALID_PARAMS, text, None).into()
}

/// `Mcp-Name` says what the body says; each server gets its own name in it.
fn check_mirror(headers: &HeaderMap, name: &str, asker: &Asker) -> Result<(), Refusal> {
    let said = text(headers, &header::NAME).map(modern::decode);
    if said.is_none_or(|said| said.as_deref() == Some(name)) {
        return Ok(());
    }
    let text = "Header mismatch: the header Mcp-Name differs from the body";
    Err(answer::error(StatusCode::BAD_REQUEST, &asker.id, code::HEADER_MISMATCH, text, None).into())
}

fn mirror(headers: &mut HeaderMap, own: &str) {
    if !headers.contains_key(&header::NAME) {
        return;
    }
    let plain = own.bytes().all(|b| b.is_ascii_graphic()) && !own.starts_with("=?base64?");
    let value = if plain { own.to_owned() } else { format!("=?base64?{}?=", BASE64_STANDARD.encode(own)) };
    if let Ok(value) = HeaderValue::from_str(&value) {
        headers.insert(&header::NAME, value);
    }
}

async fn run(tour: Tour, wish: Wish, body: Bytes) -> Response {
    match wish {
        Wish::Hello(asker) => greeting::hello(tour, body, &asker).await,
        Wish::Pong(asker) => result(&asker, "{}"),
        Wish::Discover(asker) => greeting::discover(tour, body, &asker).await,
        Wish::List(list, cursor, asker) => gather::list(tour, list, cursor, body, asker).await,
        Wish::Level(asker) => level(tour, body, &asker).await,
        Wish::Subscribe(asker) => subscribe::listen(tour, body, asker).await,
        Wish::Unsupported(requested, asker) => {
            let visits: Vec<_> = tour.servers().iter().map(|server| tour.visit(server, None)).collect();
            versions::unsupported(&visits, &requested, &asker).await
        }
        Wish::One(one) => visit_one(tour, *one).await,
        Wish::Nothing => StatusCode::ACCEPTED.into_response(),
        Wish::Greeted => tour.greeted(&body).await,
        Wish::Tell => tour.tell(&body).await,
    }
}

async fn visit_one(tour: Tour, one: One) -> Response {
    let One { server, body, own, asker, names } = one;
    let Some(server) = tour.server(&server) else { return StatusCode::ACCEPTED.into_response() };
    if let (Some(session), Some(asker)) = (&tour.session, &asker) {
        session.remember(&asker.id, server.name());
    }
    let mut visit = match (tour.enter(&server, true).await, &asker) {
        (Ok(visit), _) => visit,
        // The gate says so, as at the plain endpoint: of a call, on the ledger.
        (Err(_), _) if tour.is_stopped(&server) => tour.visit(&server, None),
        (Err(_), None) => return StatusCode::ACCEPTED.into_response(),
        (Err(why), Some(asker)) => {
            return answer::error(
                StatusCode::OK,
                &asker.id,
                code::INTERNAL,
                &gather::about(server.name(), &why),
                None,
            );
        }
    };
    if let Some(own) = own {
        mirror(&mut visit.headers, &own);
    }
    let carry = tour.carry(&server, names);
    let response = plain::post(visit, body).await;
    carry.response(response, asker.as_ref()).await
}

/// `logging/setLevel`: for every server that logs, also those whose conversation opens later.
async fn level(tour: Tour, body: Bytes, asker: &Asker) -> Response {
    let Some(session) = tour.session.clone() else {
        return *gate::not_found("logging/setLevel", Some(asker));
    };
    let mut refused = None;
    let mut heard = false;
    for (server, part) in tour.parts(&session).await.into_iter().filter(|(_, part)| part.has("logging")) {
        let answer = plain::post(tour.visit(&server, Some(&part)), body.clone()).await;
        match tour.said(&server, answer).await {
            Said::Result(_) => heard = true,
            none @ (Said::Error { .. } | Said::Nothing { .. }) => {
                refused = Some(format!("{}: {}", server.name(), none.why()));
            }
        }
    }
    match (heard, refused) {
        (true, _) => {
            // Within a batch it is a slice, which would keep the whole.
            session.set_level(Bytes::copy_from_slice(&body));
            result(asker, "{}")
        }
        (false, Some(why)) => *invalid(asker, &why),
        (false, None) => *gate::not_found("logging/setLevel", Some(asker)),
    }
}

pub(super) fn result(asker: &Asker, result: &str) -> Response {
    let id = std::str::from_utf8(&asker.id).unwrap_or("null");
    answer::json_with(StatusCode::OK, mcp::answer::result(id, result).into())
}
