//! A call that differs from what its server last said of its headers. The server may say otherwise by now, and the
//! agent may have heard so elsewhere; so the server is asked before the call is refused.

use axum::response::Response;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::{Value, json};

use crate::{
    downstream::{
        answer::Asker,
        gate::{self, Errand},
        http::Visit,
        modern, submit, versions,
    },
    mcp::{Frame, Json, Limits, strict},
};

/// Pages of the server's list that are read.
const PAGES: usize = 8;

/// Judges the call once more by what the server says now. It is no call to the server yet.
pub(in crate::downstream) fn ask_again(
    visit: Visit,
    body: Bytes,
    why: String,
    asker: Asker,
) -> BoxFuture<'static, Response> {
    Box::pin(async move {
        refresh(&visit).await;
        let sorted = match Frame::parse(&body, &visit.door.limits()) {
            Ok(Frame::One(message)) => gate::sort(&visit, &message, &body),
            Ok(Frame::Batch(_)) | Err(_) => Ok(Errand::Doubted { why, asker }),
        };
        match sorted {
            Ok(Errand::Doubted { why, asker }) => submit::mismatch(&modern::mismatch(why), &asker),
            Ok(errand) => gate::run(visit, errand, body).await,
            Err(refusal) => *refusal,
        }
    })
}

/// The whole list, as far as it is answered; a server or an agent that is stopped is not asked.
async fn refresh(visit: &Visit) {
    if visit.door.inner.broker.stopped(&visit.grant, visit.server.name()).is_some() {
        return;
    }
    let (server, most) = (visit.server.shared_identity(), visit.server.largest_list());
    let mut room = visit.door.inner.held.room(Some(visit.server.name()), &visit.grant.name, most);
    if room.hold(most).is_err() {
        return;
    }
    let mut cursor = None;
    for _ in 0..PAGES {
        let asked = versions::ask(visit, "tools/list", question(cursor.as_deref()), most).await;
        let Some(page) = asked else { return };
        visit.door.inner.params.learn(&server, &page);
        cursor = next(&page);
        if cursor.is_none() {
            return;
        }
    }
}

fn question(cursor: Option<&str>) -> Bytes {
    let mut question: Value = json!({"jsonrpc": "2.0", "id": "countersign-tools", "method": "tools/list",
        "params": {"_meta": versions::META.clone()}});
    if let Some(cursor) = cursor {
        question["params"]["cursor"] = cursor.into();
    }
    question.to_string().into()
}

fn next(page: &[u8]) -> Option<String> {
    let page = strict::check(page, &Limits::of_servers(usize::MAX)).ok()?;
    page.at(&["result", "nextCursor"]).and_then(Json::string).map(|cursor| cursor.into_owned())
}
