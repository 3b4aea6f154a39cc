//! `countersign_wait {code}`: the one tool of the broker's own, where `mcp.wait_tool` opts in. For models that
//! cannot repeat a long argument exactly: the code of the ticket stands for the call.

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{
    answer::{self, Asker},
    elicit::Offer,
    gate::Wanted,
    http::Visit,
    modern, params,
    settings::Rungs,
    wait::{self, Thread},
};
use crate::{
    broker::{Collected, End, Holder, Live, Outcome},
    call::{CallId, Era},
    mcp::{self, Json, Limits, answer::ToolText, header, patch::Edits, strict},
};

pub(super) const NAME: &str = "countersign_wait";

const TOOL: &str = r#"{"name":"countersign_wait","title":"Wait for an approval","description":"Goes on waiting for an earlier tool call that was answered with `waiting for approval CODE`, and returns that call's own answer once people have decided. Nothing is asked or run twice.","inputSchema":{"type":"object","properties":{"code":{"type":"string","description":"The six characters after `waiting for approval`."}},"required":["code"],"additionalProperties":false}}"#;

/// Does a list of tools for this visit end with it? Where no call can wait, there is nothing to wait for.
pub(super) fn is_offered(visit: &Visit) -> bool {
    let rules = visit.door.inner.broker.rules();
    visit.door.inner.settings.wait_tool
        && rules.of(&visit.grant.name, visit.server.name()).iter().any(|policy| policy.asks_anyone())
}

/// The last page of a list, with it. A server's tool of that name could not be called.
pub(super) fn add(edits: &mut Edits<'_>, result: Json<'_>) {
    edits.retain(&["result", "tools"], |tool| {
        tool.get("name").and_then(Json::string).as_deref() != Some(NAME)
    });
    if result.get("nextCursor").is_none() {
        edits.push(&["result", "tools"], TOOL);
    }
}

/// A call of it.
pub(super) async fn call(visit: Visit, wanted: Wanted, body: Bytes) -> Response {
    let door = visit.door.inner.clone();
    if door.closing.is_cancelled() {
        return answer::draining(&wanted.asker.id);
    }
    let Wanted { asker, client, live, arguments, alone, .. } = wanted;
    let arguments = arguments.and_then(|span| body.get(span)).unwrap_or_default();
    let code = strict::check(arguments, &Limits::default()).ok();
    let Some(code) = code.and_then(|arguments| arguments.get("code")?.string()) else {
        return say("give the six characters of the ticket as `code`, a string", &asker);
    };
    let holder = Holder {
        grant: visit.grant.name.clone(),
        server: visit.server.name().to_owned(),
        session: visit.session.as_ref().map(|session| session.id.clone()),
        era: if asker.modern { Era::Modern } else { Era::Legacy },
    };
    match door.broker.collect(holder, &code).await {
        Collected::Seat(waiter, tool) => {
            let patience = door.settings.patience(&visit.grant.name, &client, live.progress_token.is_some());
            let live = Live { headers: headers(&visit, (waiter.call(), &tool), asker.modern).await, ..live };
            let thread = Thread::of(&visit, &asker).filter(|_| alone);
            let rungs = Rungs { task: false, laps: None, link: Offer::None };
            wait::hold(visit, waiter, asker, live, (patience, thread, rungs)).await
        }
        Collected::Owed(outcome) => wait::recalled(&visit, &outcome, &asker),
        Collected::Taken => say("this call is waited for already, by a task or another connection", &asker),
        Collected::Nothing => {
            say("no call of yours with this code waits here, or its answer was given already", &asker)
        }
        Collected::Unavailable => wait::told_at_once(&visit, &Outcome::unrecorded(End::Unavailable), &asker),
    }
}

/// `Mcp-Param-*` of this request mirror its own arguments, and not those that people read.
async fn headers(visit: &Visit, (call, tool): (CallId, &str), modern: bool) -> HeaderMap {
    let own = |name: &str| name.starts_with(header::PARAM);
    let kept = visit.headers.iter().filter(|(name, _)| !own(name.as_str()));
    let mut headers: HeaderMap = kept.map(|(name, value)| (name.clone(), value.clone())).collect();
    if modern && let Some(mirrors) = params::of(visit, tool) {
        let asked = visit.door.inner.broker.message_of(call).await.unwrap_or_default();
        let asked = strict::check(&asked, &Limits::of_servers(usize::MAX)).ok();
        let arguments = asked.and_then(|asked| asked.at(&["params", "arguments"]));
        headers.extend(mirrors.said(arguments));
    }
    modern::headers_of_call(&headers, tool, modern)
}

fn say(text: &str, asker: &Asker) -> Response {
    let text = format!("[NOTHING TO WAIT FOR] {text}.");
    let answer = ToolText { text: &text, is_error: true, call: None, modern: asker.modern };
    answer::json_with(StatusCode::OK, mcp::answer::tool(asker.id(), answer).into())
}
