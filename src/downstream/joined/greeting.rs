//! What the joined endpoint says of itself: `initialize` and `server/discover`, put together from all servers.

use std::sync::{Arc, atomic::Ordering};

use axum::response::Response;
use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::{
    gather::{Absent, none_answered},
    said::Said,
    session::{Joined, Part},
    sort::result,
    tour::Tour,
};
use crate::{
    downstream::{
        answer::{self, Asker, code},
        gate, http as plain, reply,
    },
    mcp::{Answer, Message, Version, header},
};

/// `initialize`: a session, and in it a conversation with every server that answers.
pub(super) async fn hello(mut tour: Tour, body: Bytes, asker: &Asker) -> Response {
    let now = tour.door.inner.broker.clock().now();
    let session = Arc::new(Joined::new(session_id(), &tour.grant, Bytes::copy_from_slice(&body), now));
    if !tour.door.inner.joined.open(session.clone()) {
        let text = "too many sessions are open (one agent may have half of all); end one, or try again later";
        return answer::error(StatusCode::SERVICE_UNAVAILABLE, &asker.id, code::INTERNAL, text, None);
    }
    tour.session = Some(session.clone());
    let servers = tour.servers();
    let opened = join_all(servers.iter().map(|server| tour.part(&session, server, true))).await;
    let (mut parts, mut absent) = (Vec::new(), Absent::new());
    for server in tour.confused() {
        let why = "its name cannot be told from the separator (mcp.joined_separator)";
        tracing::warn!(server.name = server.name(), why, "left out of the joined endpoint");
        absent.insert(server.name().to_owned(), why.to_owned());
    }
    for (server, part) in servers.iter().zip(opened) {
        match part {
            Ok(part) => parts.push((server.name(), part)),
            Err(why) => {
                absent.insert(server.name().to_owned(), why);
            }
        }
    }
    // What all of them speak.
    let version = parts.iter().filter_map(|(_, part)| Version::parse(&part.version)).min();
    let Some(version) = version else {
        tour.door.inner.joined.forget(&session);
        return none_answered(asker, &absent);
    };
    session.agree(version, parts.iter().filter_map(|(_, part)| part.session.as_deref()));
    let mut said = of_all(&tour, parts.iter().map(|(name, part)| (*name, told_by(part))));
    said.insert("serverInfo".to_owned(), own());
    said.extend(meta(&absent, false).map(|meta| ("_meta".to_owned(), meta)));
    settle_tasks(&session, version, &parts, &mut said);
    said.insert("protocolVersion".to_owned(), json!(version.as_str()));
    let mut response = result(asker, &Value::Object(said).to_string());
    if let Ok(id) = HeaderValue::from_str(&session.id) {
        response.headers_mut().insert(&header::SESSION_ID, id);
    }
    response
}

/// Tasks are of 2025-11-25: what a client of an older version was not told of is offered to it nowhere.
fn settle_tasks(
    session: &Joined,
    version: Version,
    parts: &[(&str, Arc<Part>)],
    said: &mut Map<String, Value>,
) {
    let capabilities = said.get_mut("capabilities").and_then(Value::as_object_mut);
    let offered = capabilities.is_some_and(|all| {
        if version != Version::V2025_11_25 {
            all.shift_remove("tasks");
        }
        all.contains_key("tasks")
    });
    if offered {
        return;
    }
    session.offers_tasks.store(false, Ordering::Release);
    for own in parts.iter().filter_map(|(_, part)| part.session.as_ref()) {
        own.tasks.withdraw();
    }
}

fn told_by(part: &Part) -> (Value, Option<String>) {
    (part.capabilities.clone(), part.instructions.clone())
}

#[expect(clippy::disallowed_methods, reason = "the id of a session, which no history repeats")]
fn session_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// `server/discover`. Eras are matched, not translated: where one of the servers is of the other era, this
/// endpoint is too, and a client that speaks both falls back as it would at that server.
pub(super) async fn discover(tour: Tour, body: Bytes, asker: &Asker) -> Response {
    let patience = tour.door.inner.settings.start_grace();
    let asked = tour.servers().into_iter().map(|server| {
        let (tour, body) = (&tour, body.clone());
        async move {
            let visit = tour.visit(&server, None);
            let asked = async { tour.said(&server, plain::post(visit, body).await).await };
            let said = timeout(patience, asked).await;
            (server, said.unwrap_or_else(|_| Said::late(patience.as_secs())))
        }
    });
    let (mut found, mut absent) = (Vec::new(), Absent::new());
    for (server, said) in join_all(asked).await {
        if said.is_other_era() {
            tracing::info!(
                server.name = server.name(),
                why = said.why(),
                "the joined endpoint is a legacy one"
            );
            return *gate::not_found("server/discover", Some(asker));
        }
        match discovered(&said) {
            Some(value) => found.push((server.name().to_owned(), value)),
            None => {
                tracing::warn!(server.name = server.name(), why = said.why(), "left out of server/discover");
                absent.insert(server.name().to_owned(), said.why().to_owned());
            }
        }
    }
    let Some((_, first)) = found.first() else { return none_answered(asker, &absent) };
    let versions = common_versions(first, &found);
    let parts = found.iter().map(|(name, value)| {
        let instructions = value.get("instructions").and_then(Value::as_str).map(str::to_owned);
        (name.as_str(), (value.get("capabilities").cloned().unwrap_or_default(), instructions))
    });
    let mut said = of_all(&tour, parts);
    said.extend(meta(&absent, true).map(|meta| ("_meta".to_owned(), meta)));
    let fresh = found.iter().filter_map(|(_, value)| value.get("ttlMs")?.as_u64()).min();
    said.insert("supportedVersions".to_owned(), json!(versions));
    said.insert("resultType".to_owned(), json!("complete"));
    said.insert("ttlMs".to_owned(), json!(fresh.filter(|_| absent.is_empty()).unwrap_or_default()));
    said.insert("cacheScope".to_owned(), json!("private"));
    result(asker, &Value::Object(said).to_string())
}

fn discovered(said: &Said) -> Option<Value> {
    let Said::Result(message) = said else { return None };
    let Message::Response(response) = reply::read(message)? else { return None };
    let Answer::Result(result) = response.answer else { return None };
    serde_json::from_str(result.as_str()).ok()
}

/// In the order of the first.
fn common_versions(first: &Value, found: &[(String, Value)]) -> Vec<Value> {
    let versions = |value: &Value| value.get("supportedVersions").and_then(Value::as_array).cloned();
    let in_all = |version: &Value| {
        found.iter().all(|(_, value)| versions(value).is_some_and(|versions| versions.contains(version)))
    };
    versions(first).unwrap_or_default().into_iter().filter(in_all).collect()
}

/// Who answers, as a result of 2026-07-28 says it, and whose part is missing.
pub(super) fn meta(absent: &Absent, modern: bool) -> Option<Value> {
    let mut meta = Map::new();
    if modern {
        meta.insert("io.modelcontextprotocol/serverInfo".to_owned(), own());
    }
    if !absent.is_empty() {
        meta.insert("countersign/unavailable".to_owned(), json!(absent));
    }
    (!meta.is_empty()).then_some(Value::Object(meta))
}

fn own() -> Value {
    json!({"name": "countersign", "version": env!("CARGO_PKG_VERSION")})
}

/// What is the same in both eras: capabilities and instructions.
fn of_all<'p>(
    tour: &Tour,
    parts: impl Iterator<Item = (&'p str, (Value, Option<String>))>,
) -> Map<String, Value> {
    let example = tour.door.inner.settings.joined_separator.name("SERVER", "NAME");
    let mut instructions = format!(
        "Several servers are joined here. Their tools and prompts are named {example}, their resources \
         joined:SERVER:URI."
    );
    let mut capabilities = Value::Object(Map::new());
    for (server, (theirs, words)) in parts {
        join(&mut capabilities, theirs);
        if let Some(words) = words {
            instructions.push_str(&format!("\n\n# {server}\n\n{words}"));
        }
    }
    let mut said = Map::new();
    said.insert("capabilities".to_owned(), capabilities);
    said.insert("instructions".to_owned(), json!(instructions));
    said
}

/// What any of them can do: members are added, `true` wins, and else the first said it.
fn join(all: &mut Value, theirs: Value) {
    match (all, theirs) {
        (Value::Object(all), Value::Object(theirs)) => {
            for (name, value) in theirs {
                match all.get_mut(&name) {
                    Some(known) => join(known, value),
                    None => {
                        all.insert(name, value);
                    }
                }
            }
        }
        (Value::Bool(all), Value::Bool(theirs)) => *all |= theirs,
        _ => {}
    }
}
