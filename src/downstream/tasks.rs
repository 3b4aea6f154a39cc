//! The tasks extension of 2026-07-28 (`io.modelcontextprotocol/tasks`), for calls that wait for people.
//!
//! A call whose request declares the extension is answered with a task when the grace is over; the agent asks
//! how it stands, and fetches the outcome. What other tasks there are is the server's own affair.

mod legacy;
mod offer;

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde_json::value::RawValue;

use super::{
    answer::{self, Asker, code},
    delivery::{to_deliver, watch},
    gate::Refusal,
    http::Visit,
    modern, relay,
    tools::Sieve,
};
use crate::{
    broker::{End, Task},
    call::{HowDelivered, State, Timestamp},
    mcp::{self, Json, Limits, Message, Meta, Passthrough, answer::result, header, patch::Edits, strict},
};

pub(super) use self::{
    legacy::{RELATED, as_result, begin, is_wanted, status},
    offer::Offered,
};

pub(super) const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// How soon a client looks again, ms: less and less often.
const SOONEST: u64 = 5_000;
const LATEST: u64 = 30_000;

/// What an agent wants of a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    Get,
    /// Nothing is ever asked of the client by a task of ours: there is nothing to update.
    Update,
    Cancel,
    /// The outcome, waited for (2025-11-25).
    Result,
    /// All of them, from a cursor on (2025-11-25).
    List,
}

/// Does this very request declare the extension?
pub(super) fn declares(meta: &Meta<'_>) -> bool {
    let extensions = meta.client_capabilities.and_then(|declared| declared.get("extensions"));
    extensions.is_some_and(|extensions| extensions.get(EXTENSION).is_some())
}

/// The same, of a whole message.
pub(super) fn declared_in(body: &[u8]) -> bool {
    let message = strict::check(body, &Limits::of_servers(usize::MAX)).ok();
    message.is_some_and(|message| declares(&Meta::of(message.get("params"))))
}

/// A question about a task that was given here; `None`: it is no such question.
pub(super) fn asked(
    visit: &Visit,
    message: &Message<'_>,
    asker: Option<&Asker>,
) -> Result<Option<(Wish, Box<str>, Asker)>, Refusal> {
    let Some(asker) = asker else { return Ok(None) };
    if !asker.modern {
        return Ok(legacy::asked(visit, message, asker));
    }
    let (method, wish) = match message.method() {
        Some(method @ "tasks/get") => (method, Wish::Get),
        Some(method @ "tasks/update") => (method, Wish::Update),
        Some(method @ "tasks/cancel") => (method, Wish::Cancel),
        Some(_) | None => return Ok(None),
    };
    let id = message.params().and_then(|params| params.get("taskId")?.string());
    let Some(id) = id.filter(|id| visit.door.inner.broker.is_ours(id)) else { return Ok(None) };
    if let Err(fault) = modern::check_named(&visit.headers, method, &id) {
        let refusal = answer::error(StatusCode::BAD_REQUEST, &asker.id, fault.code, &fault.message, None);
        return Err(refusal.into());
    }
    if !declares(&Meta::of(message.params())) {
        let text = "Missing required client capability: declare the tasks extension in this request";
        let data = format!("{{\"requiredCapabilities\":{{\"extensions\":{{\"{EXTENSION}\":{{}}}}}}}}");
        let code = code::MISSING_CAPABILITY;
        return Err(answer::error(StatusCode::BAD_REQUEST, &asker.id, code, text, Some(&data)).into());
    }
    Ok(Some((wish, id.into(), asker.clone())))
}

/// Answers it.
pub(super) async fn tell(
    visit: Visit,
    (pass, body): (Passthrough, Bytes),
    wish: Wish,
    id: &str,
    asker: Asker,
) -> Response {
    if wish == Wish::List {
        return legacy::list(visit, (pass, body), id, asker).await;
    }
    let broker = &visit.door.inner.broker;
    let task = match broker.task(&visit.grant.name, visit.server.name(), id).await {
        Ok(Some(task)) => task,
        Ok(None) => {
            let text = "Task not found: it is not of this agent at this server; make the call again";
            return answer::error(StatusCode::OK, &asker.id, code::INVALID_PARAMS, text, None);
        }
        Err(error) => {
            let text = format!("the task cannot be read: {error}");
            return answer::error(StatusCode::OK, &asker.id, code::INTERNAL, &text, None);
        }
    };
    if !asker.modern {
        return legacy::tell(visit, (pass, body), wish, task, asker).await;
    }
    if let Some(theirs) = goes_on_as(&task) {
        delivered(&visit, &task);
        return ask_server(visit, (pass, body), &theirs, id, asker).await;
    }
    let told = match wish {
        Wish::Get | Wish::Result | Wish::List => {
            let told = standing(&task, &asker, broker.clock().now());
            delivered(&visit, &task);
            told
        }
        Wish::Update => acknowledged(&asker),
        Wish::Cancel => {
            broker.cancel_task(&task).await;
            acknowledged(&asker)
        }
    };
    answer::json_with(StatusCode::OK, told)
}

fn delivered(visit: &Visit, task: &Task) {
    if let Some(call) = to_deliver(&task.outcome).filter(|_| task.call.delivered.is_none()) {
        watch(visit.door.clone(), call, HowDelivered::Task, visit.peer.clone(), None);
    }
}

// ── a server that has tasks too ───────────────────────────────────────

/// The task of its own that the server answered the call with.
fn goes_on_as(task: &Task) -> Option<String> {
    let End::Completed { message } = &task.outcome.end else { return None };
    let result = strict::check(message, &Limits::of_servers(usize::MAX)).ok()?.get("result")?;
    let is_task = result.get("resultType").and_then(Json::string).is_some_and(|kind| kind == "task");
    result.get("taskId").filter(|_| is_task)?.string().map(Into::into)
}

/// The same question, asked of the server about its own task; its answer under the name that we gave.
async fn ask_server(
    mut visit: Visit,
    (pass, body): (Passthrough, Bytes),
    theirs: &str,
    ours: &str,
    asker: Asker,
) -> Response {
    let message = strict::check(&body, &visit.door.limits()).ok();
    let (Some(message), Ok(name)) = (message, HeaderValue::from_str(theirs)) else {
        let text = "the server's own task has a name that no header can carry";
        return answer::error(StatusCode::OK, &asker.id, code::INTERNAL, text, None);
    };
    let mut edits = Edits::of(message);
    edits.set(&["params", "taskId"], &serde_json::Value::from(theirs).to_string());
    visit.headers.insert(header::NAME, name);
    let sieve = Sieve::of_task(&visit, ours);
    relay::sieved(visit, pass, edits.apply().into(), asker, Some(sieve)).await
}

fn acknowledged(asker: &Asker) -> Bytes {
    result(asker.id(), r#"{"resultType":"complete"}"#).into()
}

/// The answer to the call that goes on as this task.
pub(super) fn begun(task: &Task, asker: &Asker, now: Timestamp) -> Bytes {
    Told::of(task, "task", now).spelt(asker)
}

/// The answer to `tasks/get`: with the outcome, when there is one.
fn standing(task: &Task, asker: &Asker, now: Timestamp) -> Bytes {
    let mut told = Told::of(task, "complete", now);
    if !task.call.state.is_settled() {
        return told.spelt(asker);
    }
    // The words and the form of an outcome are those of the call's own answer.
    let answer = answer::tell(&task.outcome, asker, now);
    let answer = strict::check(&answer, &Limits::of_servers(usize::MAX)).ok();
    let member = |name| answer.and_then(|answer| raw(answer.get(name)?));
    if matches!(task.call.state, State::Cancelled { .. }) {
        told.status = "cancelled";
        let said = answer
            .and_then(|answer| answer.at(&["result", "content"])?.elements().next()?.get("text")?.string());
        told.status_message = said.map_or(told.status_message, std::borrow::Cow::into_owned);
        return told.spelt(asker);
    }
    told.result = member("result");
    let kind = answer.and_then(|answer| answer.at(&["result", "resultType"])?.string());
    told.status_message = match kind.as_deref() {
        Some("input_required") => {
            "the server asks for more: make the call again with its requestState".into()
        }
        Some(_) | None => told.status_message,
    };
    told.error = member("error");
    told.status = if told.error.is_some() { "failed" } else { "completed" };
    told.spelt(asker)
}

fn raw(json: Json<'_>) -> Option<&RawValue> {
    serde_json::from_str(json.as_str()).ok()
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    result_type: &'static str,
    task_id: &'a str,
    status: &'static str,
    status_message: String,
    created_at: Timestamp,
    last_updated_at: Timestamp,
    /// From `created_at` on; null once the call is sent, for its answer is kept.
    ttl_ms: Option<u64>,
    poll_interval_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a RawValue>,
    #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
    meta: Option<Box<RawValue>>,
}

impl<'a> Told<'a> {
    fn of(task: &'a Task, result_type: &'static str, now: Timestamp) -> Self {
        let call = &task.call;
        let brief = task.outcome.call.as_ref();
        let counts = task.tally.counts.first().copied();
        let sent = if let State::Dispatched { at, .. } = &call.state { Some(*at) } else { None };
        let age = millis(now.since(call.requested_at));
        Told {
            result_type,
            task_id: &task.id,
            status: "working",
            status_message: brief.map(|brief| answer::of_task(brief, counts, now)).unwrap_or_default(),
            created_at: call.requested_at,
            last_updated_at: call.settled_at.or(sent).unwrap_or(call.requested_at),
            ttl_ms: task.until.map(|until| millis(until.since(call.requested_at))),
            poll_interval_ms: (age / 12).clamp(SOONEST, LATEST),
            result: None,
            error: None,
            meta: brief.and_then(|brief| {
                let call = answer::describe(brief, &task.outcome.end, now);
                RawValue::from_string(format!("{{\"countersign/call\":{call}}}")).ok()
            }),
        }
    }

    fn spelt(&self, asker: &Asker) -> Bytes {
        match serde_json::to_string(self) {
            Ok(told) => result(asker.id(), &told).into(),
            Err(why) => mcp::answer::error(asker.id(), code::INTERNAL, &why.to_string(), None).into(),
        }
    }
}

fn millis(span: std::time::Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
