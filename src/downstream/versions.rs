//! A request of a protocol version that the broker does not know, and would have to judge (a `tools/call`) or
//! answer itself (at the joined endpoint): it says which versions its client may use instead.

use std::{sync::LazyLock, time::Duration};

use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt as _, future::join_all};
use http::{HeaderValue, StatusCode};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{
    answer::{self, Asker, code},
    held::Room,
    http::Visit,
    relay::relay,
    reply,
};
use crate::{
    mcp::{Frame, Json, Limits, Passthrough, Route, Version, header, methods, sse::Splitter, strict},
    upstream::{Outbound, Reply, ReplyBody},
};

/// A server that takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of its answer.
const LARGEST: usize = 1 << 20;

const DISCOVER: &str = "server/discover";

/// Who asks, and how: of a question that is the broker's own.
pub(super) static META: LazyLock<Value> = LazyLock::new(|| {
    json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "countersign", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {}})
});

/// Refuses it with the versions that all of these servers and the broker know: a client picks one of them, and
/// what a server refuses would be no way out. Where no server says any, with the broker's own.
pub(super) async fn unsupported(visits: &[Visit], requested: &str, asker: &Asker) -> Response {
    let theirs = join_all(visits.iter().map(theirs)).await;
    let mut said = theirs.into_iter().filter(|versions| !versions.is_empty());
    let mut all = said.next().unwrap_or_default();
    said.for_each(|others| all.retain(|version| others.contains(version)));
    let data = if all.is_empty() {
        json!({"supported": Version::ALL.map(Version::as_str), "requested": requested})
    } else {
        json!({"supported": all, "requested": requested})
    };
    let text = "Unsupported protocol version";
    let data = data.to_string();
    answer::error(StatusCode::BAD_REQUEST, &asker.id, code::UNSUPPORTED_VERSION, text, Some(&data))
}

/// Those of one server that the broker knows too; none, when it does not say.
async fn theirs(visit: &Visit) -> Vec<String> {
    let stopped = visit.stopped().is_some();
    let said = if stopped { None } else { supported(visit).await };
    said.unwrap_or_default().into_iter().filter(|said| Version::parse(said).is_some()).collect()
}

/// The versions that the server says it supports, in its `server/discover` or in its refusal of it.
async fn supported(visit: &Visit) -> Option<Vec<String>> {
    let question = json!({"jsonrpc": "2.0", "id": "countersign-versions", "method": DISCOVER,
        "params": {"_meta": META.clone()}});
    let mut room = visit.door.inner.held.room(Some(visit.server.name()), &visit.grant.name, LARGEST);
    let said = ask(visit, DISCOVER, question.to_string().into(), &mut room).await?;
    let said = strict::check(&said, &Limits::of_servers(LARGEST)).ok()?;
    let list =
        said.at(&["result", "supportedVersions"]).or_else(|| said.at(&["error", "data", "supported"]))?;
    Some(list.elements().filter_map(Json::string).map(|version| version.into_owned()).collect())
}

/// What the server answers to a question of the broker's own, as far as there is room.
pub(super) async fn ask(
    visit: &Visit,
    method: &'static str,
    question: Bytes,
    room: &mut Room,
) -> Option<Bytes> {
    let pass = passthrough(&question)?;
    let out = Outbound::post(question)
        .header(header::PROTOCOL_VERSION.clone(), HeaderValue::from_static(Version::LATEST.as_str()))
        .header(header::METHOD.clone(), HeaderValue::from_static(method));
    let answered = async { read(relay(visit, pass, &visit.link(), out).await.ok()?, room).await };
    timeout(PATIENCE, answered).await.ok()?
}

fn passthrough(question: &[u8]) -> Option<Passthrough> {
    let Ok(Frame::One(message)) = Frame::parse(question, &Limits::default()) else { return None };
    match methods::route(Version::LATEST, &message) {
        Route::Pass(_, pass) => Some(pass),
        Route::Gate | Route::CallWithoutId | Route::LookAlike | Route::Unlisted(_) => None,
    }
}

/// The response, in whatever form it comes.
async fn read(reply: Reply, room: &mut Room) -> Option<Bytes> {
    let streams = reply.is_event_stream();
    match reply.body {
        ReplyBody::Empty => None,
        ReplyBody::Messages(mut messages) => loop {
            let message = messages.next().await?.ok()?;
            if reply::is_response(&message) {
                room.hold(message.len()).ok()?;
                return Some(message);
            }
        },
        ReplyBody::Bytes(body) => {
            let whole = room.collect(body).await.ok()?;
            if !streams {
                return Some(whole);
            }
            let events = Splitter::new(room.most()).push(&whole).ok()?;
            let mut data = events.into_iter().filter_map(|event| event.data);
            data.find(|data| reply::is_response(data.as_bytes())).map(Bytes::from)
        }
    }
}
