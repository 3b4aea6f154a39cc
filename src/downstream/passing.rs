//! Everything that is not a `tools/call`: what may pass to the server, and for whom.

use std::{borrow::Cow, sync::Arc};

use axum::response::IntoResponse as _;
use http::StatusCode;

use super::{
    answer::{self, Asker, code},
    gate::{Errand, Refusal, cut, hello_in_batch, not_found},
    http::Visit,
    modern, tasks,
};
use crate::{
    broker::Rules,
    call::ClientInfo,
    mcp::{Class, InvalidTask, Json, Message, Passthrough, Version, header, task_named},
    policy::Reads,
};

pub(super) fn passing(
    visit: &Visit,
    message: &Message<'_>,
    class: Class,
    pass: Passthrough,
    asker: Option<Asker>,
) -> Result<Errand, Refusal> {
    let method = message.method().unwrap_or_default();
    let named = task_named(message);
    if named.is_ok()
        && let Some((wish, id, asker)) = tasks::asked(visit, message, asker.as_ref())?
    {
        return Ok(Errand::Task(pass, wish, id, asker));
    }
    if !may_use(visit, method) {
        return Err(not_found(method, asker.as_ref()));
    }
    if asker.is_none() && !method.starts_with("notifications/") {
        // A request without an id: nobody could be answered, so nothing is asked.
        return Err(StatusCode::ACCEPTED.into_response().into());
    }
    if let Some((id, asker)) = servers_task(visit, method, named, asker.as_ref())? {
        return Ok(Errand::ServersTask(pass, method == "tasks/update", id, asker));
    }
    match (class, asker) {
        (Class::Protocol, Some(asker)) if method == "initialize" && visit.in_batch => {
            Err(hello_in_batch(&asker))
        }
        (Class::Protocol, Some(asker)) if method == "initialize" => {
            Ok(Errand::Initialize(pass, asker.id, announced(message.params())))
        }
        (Class::Protocol, None) if method == "notifications/cancelled" => {
            let id = message.params().and_then(|params| params.get("requestId"));
            Ok(Errand::Cancel(pass, id.map_or("", Json::as_str).into()))
        }
        (Class::Protocol, Some(asker)) if method == "subscriptions/listen" => {
            Ok(Errand::Subscribe(pass, asker))
        }
        (Class::Protocol, Some(asker)) if method == "server/discover" => Ok(Errand::Discover(pass, asker)),
        (Class::Protocol, asker) => Ok(Errand::Relay(pass, asker)),
        (Class::List, Some(asker)) if method == "tools/list" => Ok(Errand::ListTools(pass, asker)),
        (Class::List, Some(asker)) if method == "tasks/list" => Ok(Errand::ListTasks(pass, asker)),
        (Class::List | Class::Read, asker) => Ok(Errand::Relay(pass, asker)),
        (Class::Call, asker) => Err(not_found(method, asker.as_ref())),
    }
}

/// What passes though its version has no such method. A lenient server knows those about tasks in every version.
pub(super) fn unlisted_passing(
    visit: &Visit,
    message: &Message<'_>,
    pass: Passthrough,
    asker: Option<Asker>,
) -> Result<Errand, Refusal> {
    let method = message.method().unwrap_or_default();
    let about = servers_task(visit, method, task_named(message), asker.as_ref())?;
    Ok(match (about, asker) {
        (Some((id, asker)), _) => Errand::ServersTask(pass, false, id, asker),
        (None, Some(asker)) if method == "tasks/list" => Errand::ListTasks(pass, asker),
        (None, asker) => Errand::Relay(pass, asker),
    })
}

/// The server's own task that a request is about, and who asks.
fn servers_task(
    visit: &Visit,
    method: &str,
    named: Result<Option<Cow<'_, str>>, InvalidTask>,
    asker: Option<&Asker>,
) -> Result<Option<(Box<str>, Asker)>, Refusal> {
    if matches!(named, Ok(None)) {
        return Ok(None);
    }
    // Nobody could be answered, so nothing is asked.
    let asker = asker.ok_or_else(|| StatusCode::ACCEPTED.into_response())?;
    let bad = if asker.modern { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let id =
        named.map_err(|why| answer::error(bad, &asker.id, code::INVALID_PARAMS, &why.to_string(), None))?;
    let id = id.unwrap_or_default();
    // A server may go by the header.
    if asker.modern
        && visit.headers.contains_key(&header::NAME)
        && let Err(fault) = modern::check_named(&visit.headers, method, &id)
    {
        return Err(answer::error(bad, &asker.id, fault.code, &fault.message, None).into());
    }
    Ok(Some((id.into(), asker.clone())))
}

/// `clientInfo` of an `initialize`.
fn announced(params: Option<Json<'_>>) -> ClientInfo {
    let said = |name: &str| {
        let value = params?.at(&["clientInfo", name])?.string()?;
        Some(cut(&value))
    };
    ClientInfo { name: said("name").unwrap_or_default(), version: said("version").unwrap_or_default() }
}

/// A request of a legacy session server needs its session before anyone is asked about it.
pub(super) fn require_session(visit: &Visit, version: Version, message: &Message<'_>) -> Result<(), Refusal> {
    if version.is_modern() || visit.session.is_some() || message.method() == Some("initialize") {
        return Ok(());
    }
    let keeps_sessions = visit.is_piped() || visit.door.inner.sessions.keeps(visit.server.name());
    // A call of what is stopped is denied before anyone is asked, and no session can begin meanwhile.
    if keeps_sessions && !(message.method() == Some("tools/call") && visit.stopped().is_some()) {
        let id = message.id().map_or("null", Json::as_str);
        let text = "the header Mcp-Session-Id is missing: initialize first";
        let refusal =
            answer::error(StatusCode::BAD_REQUEST, id.as_bytes(), code::INVALID_REQUEST, text, None);
        return Err(refusal.into());
    }
    Ok(())
}

/// Of what is stopped nothing reaches the server but signs of life; `tools/call` is refused on the ledger.
pub(super) fn refuse_stopped(
    visit: &Visit,
    message: &Message<'_>,
    asker: Option<&Asker>,
) -> Result<(), Refusal> {
    if matches!(message.method(), Some("ping" | "notifications/cancelled" | "notifications/initialized")) {
        return Ok(());
    }
    let Some(reason) = visit.stopped() else {
        return Ok(());
    };
    let (Some(asker), Some(_)) = (asker, message.method()) else {
        return Err(StatusCode::ACCEPTED.into_response().into());
    };
    let text = answer::stopped(&reason);
    Err(answer::error(StatusCode::OK, &asker.id, code::INTERNAL, &text, None).into())
}

/// May the agent use this part of the server (`resources/*`, `prompts/*`, `tasks/*`)? The policies say.
fn may_use(visit: &Visit, method: &str) -> bool {
    let parts: &[Reads] = match method.split_once('/') {
        Some(("resources", _)) => &[Reads::Resources],
        Some(("prompts", _)) => &[Reads::Prompts],
        Some(("completion", _)) => &[Reads::Resources, Reads::Prompts],
        // They name, read and end what calls of others may have begun: as a method that nobody knows.
        Some(("tasks", _)) => return may_pass_unlisted(visit, method),
        _ => return true,
    };
    let rules = visit.door.inner.broker.rules();
    let policies = rules.of(&visit.grant.name, visit.server.name());
    !policies.is_empty() && parts.iter().any(|part| policies.iter().all(|policy| policy.allows_reads(*part)))
}

pub(super) fn may_pass_unlisted(visit: &Visit, method: &str) -> bool {
    if visit.grant.settings.methods.iter().any(|listed| listed == method) {
        return true;
    }
    let rules: Arc<Rules> = visit.door.inner.broker.rules();
    let policies = rules.of(&visit.grant.name, visit.server.name());
    !policies.is_empty() && policies.iter().all(|policy| policy.default_allows_unknown_methods())
}
