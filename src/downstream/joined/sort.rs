//! Whom a message to the joined endpoint concerns: one server, all of them, or nobody but us.

use axum::response::{IntoResponse as _, Response};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode};

use super::{
    carry::Carry,
    gather::{self, Cursor, List},
    greeting, names,
    said::Said,
    subscribe,
    tour::Tour,
};
use crate::{
    downstream::{
        answer::{self, Asker, code},
        gate::{self, Refusal, owned},
        http::{self as plain, text},
        modern, tasks,
    },
    mcp::{self, Frame, Json, Malformed, Message, Meta, header, methods, patch::Edits},
};

const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

/// What a message asks for.
enum Wish {
    Hello(Asker),
    Pong(Asker),
    Discover(Asker),
    List(&'static List, Option<Cursor>, Asker),
    Level(Asker),
    Subscribe(Asker),
    /// `notifications/initialized`.
    Greeted,
    /// A notification for every server.
    Tell,
    One(Box<One>),
    /// Nobody is asked, nobody is answered.
    Nothing,
}

/// A message for one server.
struct One {
    server: String,
    /// With the server's own name of what it is about.
    body: Bytes,
    /// That name, when a header mirrors it.
    own: Option<String>,
    asker: Option<Asker>,
    reads: bool,
}

pub(super) async fn post(tour: Tour, body: Bytes) -> Response {
    let sorted = match Frame::parse(&body, &tour.door.limits()) {
        Ok(Frame::One(message)) => sort(&tour, &message, &body),
        Ok(Frame::Batch(_)) => {
            let why = "this endpoint takes one message at a time; /mcp/SERVER takes batches";
            return answer::malformed(&Malformed::Envelope { why, id: None });
        }
        Err(why) => return answer::malformed(&why),
    };
    match sorted {
        Ok(wish) => run(tour, wish, body).await,
        Err(refusal) => *refusal,
    }
}

fn sort(tour: &Tour, message: &Message<'_>, body: &Bytes) -> Result<Wish, Refusal> {
    gate::check_envelope(message)?;
    let version = modern::version(text(&tour.headers, header::PROTOCOL_VERSION), &Meta::of(message.params()));
    let asker = message.id().map(|id| Asker { id: owned(id), modern: version.is_modern() });
    let Some(method) = message.method() else { return answered(tour, message) };
    if methods::class(version, method).is_none() {
        return Err(gate::not_found(method, asker.as_ref()));
    }
    if !version.is_modern() && tour.session.is_none() && method != "initialize" {
        let id = asker.as_ref().map_or(&b"null"[..], |asker| &asker.id);
        let text = "the header Mcp-Session-Id is missing: initialize first";
        return Err(answer::error(StatusCode::BAD_REQUEST, id, code::INVALID_REQUEST, text, None).into());
    }
    let Some(asker) = asker else { return notified(tour, method, message, body) };
    if let Some(list) = gather::list_of(method) {
        let cursor = message.params().and_then(|params| params.get("cursor"));
        let cursor =
            cursor.map(|cursor| Cursor::parse(cursor).ok_or_else(|| invalid(&asker, "unknown cursor")));
        return Ok(Wish::List(list, cursor.transpose()?, asker));
    }
    match method {
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
    Ok(Wish::One(Box::new(One { server, body: edits.apply().into(), own: None, asker: None, reads: false })))
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
                Some(server) => Wish::One(Box::new(One {
                    server: server.to_string(),
                    body: body.clone(),
                    own: None,
                    asker: None,
                    reads: false,
                })),
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
            let body = edits.apply().into();
            Ok(Wish::One(Box::new(One { server, body, own: None, asker: None, reads: false })))
        }
        // Without an id nobody could be answered; the gate counts it.
        "tools/call" => for_one(tour, method, message, None),
        _ => Ok(Wish::Nothing),
    }
}

/// Where the name of what a request is about stands, and whether it is a URI.
fn subject(method: &str, message: &Message<'_>) -> Option<(&'static [&'static str], bool)> {
    match method {
        "tools/call" | "prompts/get" => Some((&["params", "name"], false)),
        "resources/read" | "resources/subscribe" | "resources/unsubscribe" => {
            Some((&["params", "uri"], true))
        }
        "completion/complete" => {
            let kind = message.params()?.at(&["ref", "type"])?.string()?;
            Some(match &*kind {
                "ref/resource" => (&["params", "ref", "uri"], true),
                _ => (&["params", "ref", "name"], false),
            })
        }
        _ => None,
    }
}

/// A request about something that has a name: the name says the server, and loses it.
fn for_one(tour: &Tour, method: &str, message: &Message<'_>, asker: Option<Asker>) -> Result<Wish, Refusal> {
    let Some((path, is_uri)) = subject(method, message) else {
        return Err(gate::not_found(method, asker.as_ref()));
    };
    let refusal = |text: &str| match &asker {
        Some(asker) => invalid(asker, text),
        None => StatusCode::ACCEPTED.into_response().into(),
    };
    let Some(name) = message.raw().at(path).and_then(Json::string) else {
        return Err(refusal(&format!("`{}` must be a string", path.join("."))));
    };
    let found = if is_uri { of_uri(tour, &name) } else { of_name(tour, &name) };
    let Some((server, own)) = found else {
        return Err(refusal(&match (is_uri, method) {
            (true, _) => no_server(tour),
            (false, "tools/call") => format!("Unknown tool: {name}"),
            (false, _) => format!("Unknown prompt: {name}"),
        }));
    };
    if let Some(asker) = asker.as_ref().filter(|asker| asker.modern) {
        check_mirror(&tour.headers, &name, asker)?;
    }
    let mut edits = Edits::of(message.raw());
    edits.set(path, &names::quoted(&own));
    // A task of a call made here could not be asked about: its id says no server.
    edits.remove(&["params", "_meta", CAPABILITIES, "extensions", tasks::EXTENSION]);
    let reads = method == "resources/read";
    let own = (path.len() == 2).then_some(own);
    Ok(Wish::One(Box::new(One { server, body: edits.apply().into(), own, asker, reads })))
}

fn of_name(tour: &Tour, name: &str) -> Option<(String, String)> {
    let (server, own) = tour.door.inner.settings.joined_separator.split(name)?;
    tour.server(server).map(|_| (server.to_owned(), own.to_owned()))
}

/// A URI as a server wrote it (a tool's result may hold one) is that of the only server with resources.
fn of_uri(tour: &Tour, uri: &str) -> Option<(String, String)> {
    if let Some((server, own)) = names::split_uri(uri) {
        return tour.server(server).map(|_| (server.to_owned(), own.to_owned()));
    }
    let mut servers = with_resources(tour).into_iter();
    let only = servers.next().filter(|_| servers.next().is_none())?;
    Some((only, uri.to_owned()))
}

fn with_resources(tour: &Tour) -> Vec<String> {
    let Some(session) = &tour.session else {
        return tour.servers().iter().map(|server| server.name().to_owned()).collect();
    };
    let parts = tour.parts_now(session).into_iter().filter(|(_, part)| part.has("resources"));
    parts.map(|(server, _)| server.name().to_owned()).collect()
}

fn no_server(tour: &Tour) -> String {
    let servers = with_resources(tour).join(", ");
    format!("this URI names no server: write joined:SERVER:URI, where SERVER is one of: {servers}")
}

fn invalid(asker: &Asker, text: &str) -> Refusal {
    let status = if asker.modern { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    answer::error(status, &asker.id, code::INVALID_PARAMS, text, None).into()
}

/// `Mcp-Name` says what the body says; each server gets its own name in it.
fn check_mirror(headers: &HeaderMap, name: &str, asker: &Asker) -> Result<(), Refusal> {
    let said = text(headers, header::NAME).map(modern::decode);
    if said.is_none_or(|said| said.as_deref() == Some(name)) {
        return Ok(());
    }
    let text = "Header mismatch: the header Mcp-Name differs from the body";
    Err(answer::error(StatusCode::BAD_REQUEST, &asker.id, code::HEADER_MISMATCH, text, None).into())
}

fn mirror(headers: &mut HeaderMap, own: &str) {
    if !headers.contains_key(header::NAME) {
        return;
    }
    let plain = own.bytes().all(|b| b.is_ascii_graphic()) && !own.starts_with("=?base64?");
    let value = if plain { own.to_owned() } else { format!("=?base64?{}?=", BASE64_STANDARD.encode(own)) };
    if let Ok(value) = HeaderValue::from_str(&value) {
        headers.insert(header::NAME, value);
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
        Wish::One(one) => visit_one(tour, *one).await,
        Wish::Nothing => StatusCode::ACCEPTED.into_response(),
        Wish::Greeted => tour.greeted(&body).await,
        Wish::Tell => tour.tell(&body).await,
    }
}

async fn visit_one(tour: Tour, one: One) -> Response {
    let One { server, body, own, asker, reads } = one;
    let Some(server) = tour.server(&server) else { return StatusCode::ACCEPTED.into_response() };
    if let (Some(session), Some(asker)) = (&tour.session, &asker) {
        session.remember(&asker.id, server.name());
    }
    let mut visit = match tour.enter(&server, true).await {
        Ok(visit) => visit,
        Err(why) => {
            let Some(asker) = asker else { return StatusCode::ACCEPTED.into_response() };
            let text = format!("the server {} cannot be reached: {why}", server.name());
            return answer::error(StatusCode::OK, &asker.id, code::INTERNAL, &text, None);
        }
    };
    if let Some(own) = own {
        mirror(&mut visit.headers, &own);
    }
    let carry = Carry::of(&tour, &server, reads);
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
            session.set_level(body);
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
