//! The tasks extension of 2026-07-28 (`io.modelcontextprotocol/tasks`), for calls that wait for people.
//!
//! A call whose request declares the extension is answered with a task when the grace is over; the agent asks
//! how it stands, and fetches the outcome. What other tasks there are is the server's own affair.

mod legacy;
mod made;
mod news;
mod offer;
mod server_tasks;
mod told;

use axum::response::Response;
use bytes::Bytes;
use http::{HeaderValue, StatusCode};

use super::{
    answer::{self, Asker, code},
    delivery::{to_deliver, watch},
    gate::{Refusal, owned},
    http::Visit,
    modern, relay,
    tools::Sieve,
};
use crate::{
    broker::{End, MOST_ASKED, Outcome, Task},
    call::{CallId, HowDelivered},
    mcp::{Json, Kind, Limits, Message, Meta, Passthrough, answer::result, header, patch::Edits, strict},
};

pub(super) use self::{
    legacy::{RELATED, as_result, begin, is_wanted, status},
    made::let_make,
    news::News,
    offer::Offered,
    server_tasks::{of_server, without_others},
    told::begun,
};

pub(super) const EXTENSION: &str = "io.modelcontextprotocol/tasks";

const NOT_FOUND: &str = "Task not found: it is not of this agent at this server; make the call again";

/// What an agent wants of a task.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Wish {
    Get,
    /// Answers to what its server asks.
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
        return Err(undeclared(asker).into());
    }
    Ok(Some((wish, id.into(), asker.clone())))
}

pub(super) fn undeclared(asker: &Asker) -> Response {
    let text = "Missing required client capability: declare the tasks extension in this request";
    let data = format!("{{\"requiredCapabilities\":{{\"extensions\":{{\"{EXTENSION}\":{{}}}}}}}}");
    answer::error(StatusCode::BAD_REQUEST, &asker.id, code::MISSING_CAPABILITY, text, Some(&data))
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
            return answer::error(StatusCode::OK, &asker.id, code::INVALID_PARAMS, NOT_FOUND, None);
        }
        Err(error) => {
            let text = format!("the task cannot be read: {error}");
            return answer::error(StatusCode::OK, &asker.id, code::INTERNAL, &text, None);
        }
    };
    if !asker.modern {
        return legacy::tell(visit, (pass, body), wish, task, asker).await;
    }
    let (task, why) = match wish {
        Wish::Get => asked_again(&visit, task).await,
        Wish::Update | Wish::Cancel | Wish::Result | Wish::List => (task, None),
    };
    if let Some(own) = goes_on_as(&task) {
        delivered(&visit, &task);
        if wish == Wish::Update
            && let Some(refusal) = server_tasks::unseen(&visit, &task.call, &asker).await
        {
            return refusal;
        }
        return ask_server(visit, (pass, body), &own, id, asker).await;
    }
    let told = match wish {
        Wish::Get | Wish::Result | Wish::List => {
            let told = told::stands(&task, &asker, why, broker.clock().now());
            delivered(&visit, &task);
            told
        }
        Wish::Update => match update(&visit, task, &body).await {
            Ok(()) => acknowledged(&asker),
            Err((code, why)) => return answer::error(StatusCode::OK, &asker.id, code, &why, None),
        },
        Wish::Cancel => {
            broker.cancel_task(&task).await;
            acknowledged(&asker)
        }
    };
    answer::json_with(StatusCode::OK, told)
}

/// The agent's answers to what the task's server asks; the code and the words of an error otherwise.
async fn update(visit: &Visit, task: Task, body: &Bytes) -> Result<(), (i32, String)> {
    let message = strict::check(body, &visit.door.limits()).ok();
    let said = message.and_then(|message| message.at(&["params", "inputResponses"]));
    if said.is_some_and(|said| said.members().nth(MOST_ASKED).is_some()) {
        let text =
            format!("inputResponses may have {MOST_ASKED} members: no server's task is asked more at once");
        return Err((code::INVALID_PARAMS, text));
    }
    let said = said.map_or(Bytes::from_static(b"{}"), owned);
    if strict::check(&said, &visit.door.limits()).map_or(true, |said| said.kind() != Kind::Object) {
        let text = "inputResponses must be an object with an answer for each of the task's inputRequests";
        return Err((code::INVALID_PARAMS, text.into()));
    }
    let who = (visit.grant.clone(), visit.server.clone());
    let taken = visit.door.inner.broker.answer_task(who, task.id, said).await;
    taken.map_err(|outcome| (code::INTERNAL, not_taken(&outcome)))
}

/// A server that only wants to be asked again is: nothing is needed of the client for it. With why it was not.
async fn asked_again(visit: &Visit, task: Task) -> (Task, Option<String>) {
    if task.asks().is_none_or(|asks| !asks.is_empty()) {
        return (task, None);
    }
    let broker = &visit.door.inner.broker;
    let who = (visit.grant.clone(), visit.server.clone());
    if let Err(outcome) = broker.answer_task(who, task.id.clone(), Bytes::from_static(b"{}")).await {
        return (task, Some(not_taken(&outcome)));
    }
    let now = broker.task(&visit.grant.name, visit.server.name(), &task.id).await;
    (now.ok().flatten().unwrap_or(task), None)
}

fn not_taken(outcome: &Outcome) -> String {
    answer::told(outcome).unwrap_or_else(|| "the task cannot go on now".into())
}

fn delivered(visit: &Visit, task: &Task) {
    taken(visit, undelivered(task));
}

/// The call whose outcome this tells for the first time.
fn undelivered(task: &Task) -> Option<CallId> {
    to_deliver(&task.outcome).filter(|_| task.call.delivered.is_none())
}

fn taken(visit: &Visit, call: Option<CallId>) {
    if let Some(call) = call {
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
    visit.headers.insert(&header::NAME, name);
    let sieve = Sieve::of_task(&visit, ours);
    relay::sieved(visit, pass, edits.apply().into(), asker, Some(sieve)).await
}

fn acknowledged(asker: &Asker) -> Bytes {
    result(asker.id(), r#"{"resultType":"complete"}"#).into()
}
