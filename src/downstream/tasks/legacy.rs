//! Tasks as 2025-11-25 has them: the agent asks for one with its call, and is told the outcome by
//! `tasks/result`, which waits for it.
//!
//! Whatever becomes of such a call, its agent reads a task, for that is what it asked for: one that the policy
//! denies is a failed task, one that is allowed is sent at once. Only where the server itself makes a task of
//! the call, an allowed one passes untouched.

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use super::{
    Wish, delivered, let_make,
    told::{LATEST, SOONEST, millis},
};
use crate::{
    broker::{Ask, End, Outcome, Submission, Task, Waiter},
    call::{Call, State, Timestamp},
    downstream::{
        answer::{self, Asker, code},
        delivery::recall,
        gate,
        http::Visit,
        modern,
        passing::may_pass_unlisted,
        relay,
        tools::Sieve,
        wait,
    },
    mcp::{self, Json, Limits, Message, Passthrough, ToolCall, Version, patch::Edits, strict},
};

/// The member of `_meta` that says which task a message belongs to.
pub(in crate::downstream) const RELATED: &str = "io.modelcontextprotocol/related-task";
/// What a host may tell its model before the outcome is there.
const IMMEDIATE: &str = "io.modelcontextprotocol/model-immediate-response";

/// Cursors of ours, and the one behind which the server's own tasks come.
const CURSOR: &str = "tasks/list";
const THEIRS: &str = "";

/// Is this call to be answered with a task of ours?
pub(in crate::downstream) fn is_wanted(visit: &Visit, call: &ToolCall<'_>) -> bool {
    let Some(session) = &visit.session else { return false };
    call.task.is_some_and(|task| task.kind() == mcp::Kind::Object)
        && session.tasks.is_made()
        && visit.said_version().and_then(Version::parse) == Some(Version::V2025_11_25)
        && !session.tasks.server_insists(&call.name)
}

/// The call of an agent that asks for a task.
pub(in crate::downstream) async fn begin(visit: Visit, mut ask: Ask, asker: Asker) -> Response {
    let server_takes = visit.session.as_ref().is_some_and(|session| session.tasks.server_takes(&ask.tool));
    ask.as_task = !server_takes;
    let (name, body) = (ask.tool.clone(), ask.body.clone());
    let broker = &visit.door.inner.broker;
    let mut submission = broker.submit(ask).await;
    if let Submission::Recalled(outcome, ask) = submission {
        submission = recall(&visit.door, outcome, ask).await;
    }
    let headers = modern::headers_of_call(&visit.headers, &name, false);
    let task = match submission {
        Submission::Allowed(allowed) => return let_make(visit, (allowed, body, &name), asker).await,
        Submission::Hidden => return answer::json_with(StatusCode::OK, answer::unknown_tool(&name, &asker)),
        Submission::Unseen => Err(Outcome::unrecorded(End::Unavailable)),
        Submission::Settled(outcome) | Submission::Recalled(outcome, _) => Err(outcome),
        Submission::Waiting(waiter) => broker.go_on_as_task(*waiter, &headers, &visit.link()).await,
    };
    let task = match task {
        Ok(task) => task,
        Err(outcome) => match broker.task_of(&outcome).await {
            Some(task) if task.call.state.is_settled() => task,
            Some(_) | None => return refused(&outcome, &asker),
        },
    };
    let now = broker.clock().now();
    let told = Told { status: "working", ..Told::of(&task, now) };
    let text = format!("[{}] {}", task.id, told.status_message);
    let created = serde_json::json!({"task": told, "_meta": {IMMEDIATE: text}});
    result(&asker, &created.to_string())
}

/// Nothing of it is on the ledger: there is no task to ask about.
fn refused(outcome: &Outcome, asker: &Asker) -> Response {
    let told = answer::tell(outcome, asker, Timestamp(0));
    let words = said(&told).unwrap_or_else(|| "the call was not taken".into());
    answer::error(StatusCode::OK, &asker.id, code::INTERNAL, &words, None)
}

// ── questions about tasks ─────────────────────────────────────────────

/// A question about a task of ours, or for all of them; `None`: it is no such question.
pub(super) fn asked(visit: &Visit, message: &Message<'_>, asker: &Asker) -> Option<(Wish, Box<str>, Asker)> {
    let param = |name: &str| message.params()?.get(name)?.string();
    let wish = match message.method()? {
        "tasks/get" => Wish::Get,
        "tasks/result" => Wish::Result,
        "tasks/cancel" => Wish::Cancel,
        "tasks/list" => {
            visit.session.as_ref().filter(|session| session.tasks.is_made())?;
            let cursor = param("cursor").unwrap_or_default();
            let ours = cursor.is_empty() || visit.door.inner.broker.is_ours(&cursor);
            return ours.then(|| (Wish::List, cursor.into(), asker.clone()));
        }
        _ => return None,
    };
    let id = param("taskId").filter(|id| visit.door.inner.broker.is_ours(id))?;
    Some((wish, id.into(), asker.clone()))
}

/// Answers it, now that its task is found.
pub(super) async fn tell(
    visit: Visit,
    (pass, body): (Passthrough, Bytes),
    wish: Wish,
    task: Task,
    asker: Asker,
) -> Response {
    let broker = visit.door.inner.broker.clone();
    if wish != Wish::Cancel {
        // What is to end must not be sent for it.
        broker.lead(&task, &visit.link()).await;
    }
    let now = broker.clock().now();
    match wish {
        Wish::Result if !task.call.state.is_settled() => {
            let Some(waiter) = broker.listen(&task).await else {
                let text = "too many requests wait for the result of this task; ask again when one has ended";
                return answer::error(StatusCode::OK, &asker.id, code::INTERNAL, text, None);
            };
            let live = gate::live_of(&body, &asker);
            wait::for_result(visit, Box::new(waiter), asker, live, task.id).await
        }
        Wish::Result => {
            delivered(&visit, &task);
            let told = answer::tell(&task.outcome, &asker, now);
            answer::json_with(StatusCode::OK, as_result(told, &task.outcome, &task.id, &asker))
        }
        Wish::Cancel => cancel(&visit, pass, task, &asker).await,
        Wish::Get | Wish::Update | Wish::List => stands(&task, &asker, now),
    }
}

async fn cancel(visit: &Visit, pass: Passthrough, task: Task, asker: &Asker) -> Response {
    let broker = &visit.door.inner.broker;
    if task.call.state.is_settled() {
        let text = format!("Cannot cancel task: it is {} already", Told::of(&task, Timestamp(0)).status);
        return answer::error(StatusCode::OK, &asker.id, code::INVALID_PARAMS, &text, None);
    }
    if matches!(task.call.state, State::Dispatched { .. }) {
        broker.call_off(pass, &task).await;
    } else {
        broker.cancel_task(&task).await;
    }
    let request = &task.call.request;
    let after = broker.task(&request.agent, &request.server, &task.id).await;
    stands(after.ok().flatten().as_ref().unwrap_or(&task), asker, broker.clock().now())
}

fn stands(task: &Task, asker: &Asker, now: Timestamp) -> Response {
    match serde_json::to_string(&Told::of(task, now)) {
        Ok(told) => result(asker, &told),
        Err(why) => answer::error(StatusCode::OK, &asker.id, code::INTERNAL, &why.to_string(), None),
    }
}

/// Ours first, then the server's own.
pub(super) async fn list(
    visit: Visit,
    (pass, body): (Passthrough, Bytes),
    cursor: &str,
    asker: Asker,
) -> Response {
    let broker = visit.door.inner.broker.clone();
    let (grant, server) = (visit.grant.name.clone(), visit.server.name().to_owned());
    let purpose = [CURSOR, &*grant, &*server];
    let after = if cursor.is_empty() { None } else { Some(broker.unsealed(&purpose, cursor)) };
    let after = match after {
        Some(None) => {
            return answer::error(StatusCode::OK, &asker.id, code::INVALID_PARAMS, "Invalid cursor", None);
        }
        Some(after) => after,
        None => None,
    };
    if after.as_deref() == Some(THEIRS) {
        let body = without_cursor(&body).unwrap_or(body);
        let sieve = Sieve::of_tasks(&visit);
        return relay::sieved(visit, pass, body, asker, Some(sieve)).await;
    }
    let (tasks, next) = match broker.tasks(&grant, &server, after).await {
        Ok(page) => page,
        Err(error) => {
            let text = format!("the tasks cannot be read: {error}");
            return answer::error(StatusCode::OK, &asker.id, code::INTERNAL, &text, None);
        }
    };
    let goes_on = visit.session.as_ref().is_some_and(|session| session.tasks.server_lists())
        && may_pass_unlisted(&visit, "tasks/list");
    let next = next.or_else(|| goes_on.then(|| THEIRS.to_owned()));
    let next = next.and_then(|next| broker.sealed(&purpose, &next));
    let now = broker.clock().now();
    let told: Vec<_> = tasks.iter().map(|task| Told::of(task, now)).collect();
    let mut page = serde_json::json!({ "tasks": told });
    if let Some(next) = next {
        page["nextCursor"] = next.into();
    }
    result(&asker, &page.to_string())
}

fn without_cursor(body: &Bytes) -> Option<Bytes> {
    let mut edits = Edits::of(strict::check(body, &Limits::of_servers(usize::MAX)).ok()?);
    edits.remove(&["params", "cursor"]).then(|| edits.apply().into())
}

// ── how they are told ─────────────────────────────────────────────────

/// The call's own answer, as `tasks/result` gives it. A ticket is no result: it is asked for again.
pub(in crate::downstream) fn as_result(told: Bytes, outcome: &Outcome, id: &str, asker: &Asker) -> Bytes {
    if matches!(outcome.end, End::Ticket | End::ComeBack { .. } | End::Refused { .. } | End::Unavailable) {
        let text = "the result is not there yet, and the approval broker cannot wait for it now; ask again";
        return mcp::answer::error(asker.id(), code::INTERNAL, text, None).into();
    }
    let Ok(json) = strict::check(&told, &Limits::of_servers(usize::MAX)) else { return told };
    let mut edits = Edits::of(json);
    let related = serde_json::json!({ "taskId": id }).to_string();
    if json.get("result").is_some() && edits.set(&["result", "_meta", RELATED], &related) {
        return edits.apply().into();
    }
    told
}

/// `notifications/tasks/status`, to whoever waits for the result.
pub(in crate::downstream) fn status(id: &str, waiter: &Waiter, now: Timestamp) -> Bytes {
    let call = waiter.now();
    let words = answer::of_task(&waiter.brief, waiter.tally().counts.first().copied(), now);
    let told = Told::as_told(id, &call, ("working", words), None, now);
    let params = serde_json::to_string(&told).unwrap_or_default();
    mcp::answer::notification("notifications/tasks/status", Some(&params)).into()
}

fn result(asker: &Asker, result: &str) -> Response {
    answer::json_with(StatusCode::OK, mcp::answer::result(asker.id(), result).into())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    task_id: &'a str,
    status: &'static str,
    status_message: String,
    created_at: Timestamp,
    last_updated_at: Timestamp,
    /// From `created_at` on; null once the call is sent, for its answer is kept.
    ttl: Option<u64>,
    poll_interval: u64,
}

impl<'a> Told<'a> {
    fn of(task: &'a Task, now: Timestamp) -> Self {
        let counts = task.tally.counts.first().copied();
        let words = task.outcome.call.as_ref().map(|brief| answer::of_task(brief, counts, now));
        let status = match &task.call.state {
            State::Pending { .. } | State::Permitted { .. } | State::Dispatched { .. } => "working",
            State::Completed { is_error: false, .. } => "completed",
            State::Cancelled { .. } => "cancelled",
            State::Completed { .. }
            | State::Failed { .. }
            | State::Lost { .. }
            | State::Denied { .. }
            | State::Expired { .. } => "failed",
        };
        Self::as_told(&task.id, &task.call, (status, words.unwrap_or_default()), task.until, now)
    }

    fn as_told(
        id: &'a str,
        call: &Call,
        (status, status_message): (&'static str, String),
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let sent = if let State::Dispatched { at, .. } = &call.state { Some(*at) } else { None };
        let age = millis(now.since(call.requested_at));
        Self {
            task_id: id,
            status,
            status_message,
            created_at: call.requested_at,
            last_updated_at: call.settled_at.or(sent).unwrap_or(call.requested_at),
            ttl: until.map(|until| millis(until.since(call.requested_at))),
            poll_interval: (age / 12).clamp(SOONEST, LATEST),
        }
    }
}

/// The words of a tool's result.
fn said(message: &Bytes) -> Option<String> {
    let json = strict::check(message, &Limits::of_servers(usize::MAX)).ok()?;
    let first = json.at(&["result", "content"])?.elements().next()?;
    Some(first.get("text").and_then(Json::string)?.into_owned())
}
