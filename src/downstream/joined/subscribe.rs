//! `subscriptions/listen` on the joined endpoint: one acknowledgement, what all servers say, one end.

use std::{pin::Pin, sync::Arc};

use axum::{
    body::{Body, BodyDataStream},
    response::Response,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, future::join_all, stream};
use http::HeaderMap;
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::{
    carry::{Carry, Names},
    gather::{Absent, none_answered},
    names,
    said::{Said, is_encoded, is_stream},
    tour::Tour,
    whose::By,
};
use crate::{
    downstream::{answer::Asker, gate, held::Room, http as plain, reply},
    mcp::{
        self, Json, Kind, Message,
        patch::Edits,
        sse::{Event, Splitter},
    },
    upstream::Server,
};

const WANTED: &str = "notifications";
/// Its members that name things, one by one.
const NAMED: [(&str, By); 2] = [("resourceSubscriptions", By::Uri), ("taskIds", By::Task)];

type Parts = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

pub(super) async fn listen(tour: Tour, body: Bytes, asker: Asker) -> Response {
    let patience = tour.door.inner.settings.start_grace();
    let opened = tour.servers().into_iter().filter_map(|server| {
        let tour = &tour;
        let body = own(tour, &body, server.name())?;
        Some(async move {
            let opened = timeout(patience, open(tour, &server, body)).await;
            let late = || Err(Said::late(patience.as_secs()));
            (server, opened.unwrap_or_else(|_| late()))
        })
    });
    let (mut agreed, mut streams, mut absent) = (Map::new(), Vec::new(), Absent::new());
    for (server, opened) in join_all(opened).await {
        match opened {
            Ok((theirs, stream)) => {
                agree(&tour, &mut agreed, theirs, server.name());
                streams.push(stream);
            }
            Err(said) if said.is_unknown_method() => {}
            Err(said) => {
                tracing::warn!(
                    server.name = server.name(),
                    why = said.why(),
                    "left out of subscriptions/listen"
                );
                absent.insert(server.name().to_owned(), said.why().to_owned());
            }
        }
    }
    if streams.is_empty() {
        return match absent.is_empty() {
            true => *gate::not_found("subscriptions/listen", Some(&asker)),
            false => none_answered(&asker, &absent),
        };
    }
    let id = String::from_utf8_lossy(&asker.id).into_owned();
    let first = reply::event(&acknowledged(&id, agreed, &absent));
    let last = reply::event(&mcp::answer::end_of_subscription(&id));
    let once = |part| stream::once(std::future::ready(part));
    let whole = once(first).chain(stream::select_all(streams)).chain(once(last));
    reply::events(HeaderMap::new(), Body::from_stream(whole.map(Ok::<_, std::convert::Infallible>)))
}

/// The request with the resources and tasks of this server only; `None`: nothing of it is for this server.
fn own(tour: &Tour, body: &Bytes, server: &str) -> Option<Bytes> {
    let message = reply::read(body)?;
    let wanted = message.params()?.get(WANTED)?;
    if NAMED.iter().all(|(member, _)| wanted.get(member).is_none()) {
        return Some(body.clone());
    }
    let is_named = |name: &str| NAMED.iter().any(|(member, _)| *member == name);
    let mut any = wanted.members().any(|m| !is_named(&m.name) && m.value.as_str() == "true");
    let mut edits = Edits::of(message.raw());
    for (member, by) in NAMED {
        let Some(all) = wanted.get(member) else { continue };
        let found = all.elements().filter_map(|name| tour.find(by, &name.string()?));
        let own: Vec<_> = found.filter(|(of, _)| of == server).map(|(_, own)| names::quoted(&own)).collect();
        if own.is_empty() {
            edits.remove(&["params", WANTED, member]);
        } else {
            any = true;
            edits.set(&["params", WANTED, member], &format!("[{}]", own.join(",")));
        }
    }
    any.then(|| edits.apply().into())
}

/// One server's stream, once it has said what it agrees to.
async fn open(tour: &Tour, server: &Arc<Server>, body: Bytes) -> Result<(Value, Parts), Said> {
    let response = plain::post(tour.visit(server, None), body).await;
    if !is_stream(response.headers()) || is_encoded(response.headers()) {
        return Err(match tour.said(server, response).await {
            Said::Result(_) => Said::Nothing { why: "it ended the subscription at once".into(), down: true },
            none @ (Said::Error { .. } | Said::Nothing { .. }) => none,
        });
    }
    let carry = tour.carry(server, Names::Nothing);
    let (body, room) = (response.into_body().into_data_stream(), carry.room());
    let mut stream = Incoming { body, splitter: Splitter::new(room.most()), room, carry };
    let broke = || Said::Nothing { why: "its stream ended before it agreed".into(), down: true };
    let events = loop {
        let events = stream.events().await.ok_or_else(broke)?;
        if events.iter().any(|event| event.data.is_some()) {
            break events;
        }
    };
    let agreed = events.iter().find_map(agreement).unwrap_or_default();
    let first = stream.told(events);
    let rest = stream::unfold(stream, |mut stream| async move {
        let events = stream.events().await?;
        Some((stream.told(events), stream))
    });
    let told = stream::once(std::future::ready(first)).chain(rest);
    Ok((agreed, Box::pin(told.filter(|part| std::future::ready(!part.is_empty())))))
}

struct Incoming {
    body: BodyDataStream,
    splitter: Splitter,
    room: Room,
    carry: Carry,
}

impl Incoming {
    /// The next that are whole; `None`: the stream is over.
    async fn events(&mut self) -> Option<Vec<Event>> {
        loop {
            let events = self.splitter.push(&self.body.next().await?.ok()?).ok()?;
            self.room.hold(self.splitter.rest().len()).ok()?;
            if !events.is_empty() {
                return Some(events);
            }
        }
    }

    /// Its acknowledgement and its end are part of ours.
    fn told(&self, mut events: Vec<Event>) -> Bytes {
        events.retain(|event| {
            let data = event.data.as_deref().unwrap_or_default();
            agreement(event).is_none() && !reply::is_response(data.as_bytes())
        });
        self.carry.events(events)
    }
}

fn agreement(event: &Event) -> Option<Value> {
    let message = reply::read(event.data.as_deref()?.as_bytes())?;
    let Message::Notification(said) = message else { return None };
    if said.method != "notifications/subscriptions/acknowledged" {
        return None;
    }
    let agreed = said.params.and_then(|params| params.get(WANTED));
    let agreed = agreed.filter(|agreed: &Json<'_>| agreed.kind() == Kind::Object);
    Some(agreed.and_then(|agreed| serde_json::from_str(agreed.as_str()).ok()).unwrap_or_default())
}

/// What any of them agreed to.
fn agree(tour: &Tour, all: &mut Map<String, Value>, theirs: Value, server: &str) {
    let Value::Object(theirs) = theirs else { return };
    for (name, value) in theirs {
        if value == json!(false) && all.contains_key(&name) {
            continue;
        }
        let by = NAMED.iter().find(|(member, _)| *member == name).map(|(_, by)| *by);
        let value = match value.as_array().zip(by) {
            Some((own, by)) => {
                let own = own.iter().filter_map(Value::as_str).map(|own| json!(tour.named(by, server, own)));
                let known = all.get(&name).and_then(Value::as_array).cloned().unwrap_or_default();
                Value::Array(known.into_iter().chain(own).collect())
            }
            None => value,
        };
        all.insert(name, value);
    }
}

fn acknowledged(id: &str, agreed: Map<String, Value>, absent: &Absent) -> Vec<u8> {
    let agreed = Value::Object(agreed);
    let missing = match absent.is_empty() {
        true => String::new(),
        false => format!(",\"countersign/unavailable\":{}", json!(absent)),
    };
    let meta = format!("{{\"io.modelcontextprotocol/subscriptionId\":{id}{missing}}}");
    let params = format!("{{\"{WANTED}\":{agreed},\"_meta\":{meta}}}");
    mcp::answer::notification("notifications/subscriptions/acknowledged", Some(&params))
}
