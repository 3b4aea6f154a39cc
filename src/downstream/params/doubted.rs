//! A call that differs from what its server last said of its headers. The server may say otherwise by now, and the
//! agent may have heard so elsewhere; so the server is asked before the call is refused.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::response::Response;
use bytes::Bytes;
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Shared},
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

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
/// One server is asked no more often: a call that is doubted sooner is judged by what was said then.
const PAUSE: Duration = Duration::from_secs(5);
/// Whose share a refresh takes: no grant has this name.
const NOBODY: &str = "";

/// When the server had been asked.
type Refresh = Shared<BoxFuture<'static, Option<Instant>>>;

/// The last of each server, by its identity; only of servers that have headers.
#[derive(Default)]
pub(in crate::downstream) struct Refreshes {
    servers: Mutex<HashMap<Arc<str>, Refresh>>,
    /// Short ones, for which no end of the broker waits.
    tasks: TaskTracker,
}

/// Judges the call once more by what the server says now. It is no call to the server yet.
pub(in crate::downstream) fn ask_again(
    visit: Visit,
    body: Bytes,
    why: String,
    asker: Asker,
) -> BoxFuture<'static, Response> {
    Box::pin(async move {
        refreshed(&visit).await;
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

/// The server was asked moments ago, or is asked now, by this call or by another; a server or an agent that is
/// stopped is not asked.
async fn refreshed(visit: &Visit) {
    if visit.stopped().is_some() {
        return;
    }
    visit.door.inner.refreshes.begin(visit).await;
}

impl Refreshes {
    /// What goes on already, or ended moments ago, is everybody's; who hangs up ends it for nobody.
    fn begin(&self, visit: &Visit) -> Refresh {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = servers.get(visit.server.identity()) {
            let ended = last.clone().now_or_never();
            if ended.is_none_or(|ended| ended.is_some_and(|ended| ended.elapsed() < PAUSE)) {
                return last.clone();
            }
        }
        let asking = visit.clone();
        let task = self.tasks.spawn(async move {
            refresh(&asking).await;
            Instant::now()
        });
        let begun = task.map(Result::ok).boxed().shared();
        servers.insert(visit.server.shared_identity(), begun.clone());
        begun
    }
}

/// The whole list, as far as it is answered, held page by page. It is learned for all agents, so it takes no
/// agent's share.
async fn refresh(visit: &Visit) {
    let (server, most) = (visit.server.shared_identity(), visit.server.largest_list());
    let mut room = visit.door.inner.held.room(Some(visit.server.name()), NOBODY, most);
    let mut cursor = None;
    for _ in 0..PAGES {
        let asked = versions::ask(visit, "tools/list", question(cursor.as_deref()), &mut room).await;
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
