//! The policy enforcement point: what each message is, and that no `tools/call` passes unasked.
//!
//! Sorting borrows the body and decides by it alone; what it finds is owned, so that nothing of a large
//! body is kept while a call waits.

use std::{
    ops::Range,
    sync::{Arc, LazyLock, atomic::Ordering},
};

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, ready};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::{
    answer::{self, Asker, code},
    elicit,
    http::Visit,
    lines::Leave,
    listen, modern, params,
    passing::{may_pass_unlisted, passing, refuse_stopped, require_session, unlisted_passing},
    relay, submit, tasks,
    tools::Sieve,
    versions, wait_tool,
};
use crate::{
    broker::Live,
    call::ClientInfo,
    mcp::{
        Json, Kind, Limits, Malformed, Message, Meta, Passthrough, Route, TRACE_KEYS, ToolCall, Version,
        methods, strict,
    },
};

/// What a message asks for.
pub(super) enum Errand {
    Call(Box<Wanted>),
    /// The broker's own tool.
    Collect(Box<Wanted>),
    /// A `tools/call` without an id: nobody could be answered.
    DropCall {
        tool: String,
    },
    /// A `tools/call` of a version that we do not know.
    Unsupported {
        requested: String,
        asker: Asker,
    },
    /// A `tools/call` whose headers are not those that its server was last heard to want.
    Doubted {
        why: String,
        asker: Asker,
    },
    Initialize(Passthrough, Bytes, ClientInfo),
    ListTools(Passthrough, Asker),
    /// The server's own.
    ListTasks(Passthrough, Asker),
    Discover(Passthrough, Asker),
    /// `subscriptions/listen`: a stream without an end of its own.
    Subscribe(Passthrough, Asker),
    /// `notifications/cancelled` for the request with this id, as written.
    Cancel(Passthrough, Box<str>),
    /// About a task that was given here.
    Task(Passthrough, tasks::Wish, Box<str>, Asker),
    /// About a task by its server's own name; does it bring the server anything?
    ServersTask(Passthrough, bool, Box<str>, Asker),
    Relay(Passthrough, Option<Asker>),
}

/// A `tools/call`, strictly checked.
pub(super) struct Wanted {
    pub tool: String,
    pub arguments: Option<Range<usize>>,
    pub input_responses: Option<Range<usize>>,
    pub asker: Asker,
    pub client: Arc<ClientInfo>,
    /// What the session agreed on, or the request says.
    pub protocol: Option<Version>,
    pub live: Live,
    /// Why it is refused when it is not allowed outright.
    pub unseen: Option<modern::Fault>,
    /// The response is this call's own: its stream can be resumed.
    pub alone: bool,
    /// A task of ours answers it (2025-11-25).
    pub as_task: bool,
    /// Its server may answer it with a task of its own.
    pub may_make: bool,
    /// The `requestState` that was given here, when it comes back.
    pub lap: Option<Box<str>>,
    /// The `Mcp-Param-*` that its body says, where the tool's are known.
    pub mirrored: Vec<(HeaderName, HeaderValue)>,
}

pub(super) type Refusal = Box<Response>;

/// Bytes of a request's id and of its progress token, as written: a waiting call keeps both.
const LONGEST_ID: usize = 1024;
/// Characters of a tool's name, and of what a client calls itself.
const LONGEST_NAME: usize = 128;

/// Finds out what `message` (which lies in `body`) asks for, or answers it.
pub(super) fn sort(visit: &Visit, message: &Message<'_>, body: &Bytes) -> Result<Errand, Refusal> {
    let meta = Meta::of(message.params());
    let said = visit.said_version();
    let version = modern::version(said, &meta);
    check_envelope(message)?;
    if elicit::is_answer(message) {
        return Err(StatusCode::ACCEPTED.into_response().into());
    }
    check_token(message, &meta)?;
    let asker = message.id().map(|id| Asker { id: owned(id), modern: version.is_modern() });
    let route = methods::route(version, message);
    if version.is_modern() && visit.server.speaks_sse() {
        // It is older than modern requests by two revisions; a client of both eras then initializes.
        return Err(not_found(message.method().unwrap_or_default(), asker.as_ref()));
    }
    if !matches!(route, Route::Gate | Route::CallWithoutId) {
        refuse_stopped(visit, message, asker.as_ref())?;
    }
    require_session(visit, version, message)?;
    match (route, asker) {
        (Route::Gate, Some(asker)) => {
            let protocol = visit.session.as_ref().and_then(|session| session.tasks.version());
            wanted(visit, message, meta, body, (asker, protocol.or(said.map(|_| version))))
        }
        (Route::Gate | Route::CallWithoutId, _) => {
            let tool = ToolCall::parse(message.params()).map(|call| call.name.into_owned());
            Ok(Errand::DropCall { tool: tool.ok().filter(|tool| is_tool_name(tool)).unwrap_or_default() })
        }
        (Route::LookAlike, asker) => Err(not_found(message.method().unwrap_or_default(), asker.as_ref())),
        (Route::Pass(class, pass), asker) => passing(visit, message, class, pass, asker),
        (Route::Unlisted(unlisted), asker) => {
            let method = message.method().unwrap_or_default();
            if may_pass_unlisted(visit, method) {
                return unlisted_passing(visit, message, unlisted.permitted(), asker);
            }
            Err(not_found(method, asker.as_ref()))
        }
    }
}

/// What holds for every message, whoever answers it.
pub(super) fn check_envelope(message: &Message<'_>) -> Result<(), Refusal> {
    if message.id().is_some_and(|id| id.as_str().len() > LONGEST_ID) {
        let why = Malformed::Envelope { why: "an `id` of more than 1024 bytes", id: None };
        return Err(answer::malformed(&why).into());
    }
    let Message::Request(request) = message else { return Ok(()) };
    if request.id.kind() == Kind::Null {
        // So says every version. Some servers take it for a notification, and its answer is nobody's.
        let why = "the `id` of a request must be a string or a number, not null";
        return Err(answer::malformed(&Malformed::Envelope { why, id: None }).into());
    }
    if !request.is_2_0 {
        let id = Some(request.id.as_str().to_owned());
        let why = Malformed::Envelope { why: "`jsonrpc` must be \"2.0\"", id };
        return Err(answer::malformed(&why).into());
    }
    Ok(())
}

fn check_token(message: &Message<'_>, meta: &Meta<'_>) -> Result<(), Refusal> {
    if meta.progress_token.is_some_and(|token| token.as_str().len() > LONGEST_ID) {
        let id = message.id().map(|id| id.as_str().to_owned());
        let why = Malformed::Envelope { why: "a `progressToken` of more than 1024 bytes", id };
        return Err(answer::malformed(&why).into());
    }
    Ok(())
}

/// Does what was asked. Everything but an allowed call is boxed: it carries no room for the rest.
pub(super) fn run(visit: Visit, errand: Errand, body: Bytes) -> impl Future<Output = Response> + Send {
    let boxed: BoxFuture<'static, Response> = match errand {
        Errand::Call(wanted) => return submit::submit(visit, *wanted, body),
        Errand::Collect(wanted) => Box::pin(wait_tool::call(visit, *wanted, body)),
        Errand::DropCall { tool } => Box::pin(ready(dropped(&visit, &tool))),
        Errand::Unsupported { requested, asker } => {
            Box::pin(async move { versions::unsupported(&[visit], &requested, &asker).await })
        }
        Errand::Doubted { why, asker } => params::ask_again(visit, body, why, asker),
        Errand::Initialize(pass, id, client) => Box::pin(relay::initialize(visit, pass, body, id, client)),
        Errand::ListTools(pass, asker) => {
            let sieve = Sieve::of_list(&visit, asker.modern);
            Box::pin(async move {
                let (from, modern) = (visit.clone(), asker.modern);
                let list = relay::sieved(visit, pass, body, asker, sieve).await;
                params::overhear(&from, modern, list)
            })
        }
        Errand::ListTasks(pass, asker) => {
            let sieve = Sieve::of_tasks(&visit);
            Box::pin(relay::sieved(visit, pass, body, asker, Some(sieve)))
        }
        Errand::Discover(pass, asker) => {
            let sieve = Sieve::of_discover(&visit);
            Box::pin(relay::sieved(visit, pass, body, asker, sieve))
        }
        Errand::Subscribe(pass, asker) => Box::pin(listen::subscribe(visit, pass, body, asker)),
        Errand::Cancel(pass, id) => match cancel(&visit, &id) {
            Leave::Heard => Box::pin(ready(StatusCode::ACCEPTED.into_response())),
            Leave::PassOn => Box::pin(relay::message(visit, pass, body, None)),
        },
        Errand::Task(pass, wish, id, asker) => {
            Box::pin(async move { tasks::tell(visit, (pass, body), wish, &id, asker).await })
        }
        Errand::ServersTask(pass, brings, id, asker) => {
            Box::pin(async move { tasks::of_server(visit, (pass, body), brings, &id, asker).await })
        }
        Errand::Relay(pass, asker) => Box::pin(relay::message(visit, pass, body, asker)),
    };
    Either::Right(boxed)
}

fn dropped(visit: &Visit, tool: &str) -> Response {
    visit.door.inner.calls_without_id.fetch_add(1, Ordering::Relaxed);
    tracing::warn!(
        agent.name = visit.grant.name,
        server.name = visit.server.name(),
        tool.name = tool,
        "a tools/call without an id was dropped"
    );
    StatusCode::ACCEPTED.into_response()
}

fn cancel(visit: &Visit, id: &str) -> Leave {
    let Some(session) = &visit.session else { return Leave::PassOn };
    visit.door.inner.lines.cancel(&session.whose, id)
}

// ── tools/call ────────────────────────────────────────────────────────

fn wanted<'m>(
    visit: &Visit,
    message: &Message<'m>,
    meta: Meta<'m>,
    body: &Bytes,
    (asker, protocol): (Asker, Option<Version>),
) -> Result<Errand, Refusal> {
    let status = if asker.modern { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let invalid =
        |text: &str| -> Refusal { answer::error(status, &asker.id, code::INVALID_PARAMS, text, None).into() };
    let call = ToolCall::with_meta(message.params(), meta).map_err(|why| invalid(&why.to_string()))?;
    if !is_tool_name(&call.name) {
        return Err(invalid(
            "invalid tools/call: a tool's name has 1 to 128 characters, each of A-Z a-z 0-9 `_` `.` `-` `/`",
        ));
    }
    let most = visit.door.inner.settings.max_arguments;
    if let Some(size) = call.arguments.map(|a| a.as_str().len()).filter(|size| *size > most) {
        return Err(invalid(&format!("the arguments have {size} bytes; at most {most} are accepted")));
    }
    let is_own = visit.door.inner.settings.wait_tool && call.name == wait_tool::NAME;
    let mirrors = if asker.modern && !is_own { params::of(visit, &call.name) } else { None };
    let unseen = match modern::check(&visit.headers, &call, mirrors.as_deref()) {
        Ok(unseen) => unseen,
        Err(modern::Fault { requested: Some(requested), .. }) => {
            return Ok(Errand::Unsupported { requested, asker });
        }
        Err(fault) => return Err(submit::mismatch(&fault, &asker).into()),
    };
    let checked = mirrors.as_ref().map(|mirrors| mirrors.check(&visit.headers, call.arguments));
    if let Some(Err(why)) = checked {
        return Ok(Errand::Doubted { why, asker });
    }
    let errand = if is_own { Errand::Collect } else { Errand::Call };
    Ok(errand(Box::new(Wanted {
        tool: call.name.clone().into_owned(),
        arguments: call.arguments.and_then(|json| json.span_in(body)),
        input_responses: call.input_responses.and_then(|json| json.span_in(body)),
        client: client_of(visit, &call.meta),
        protocol,
        live: live(&call.meta, &asker),
        as_task: !asker.modern && tasks::is_wanted(visit, &call),
        may_make: if asker.modern { tasks::declares(&call.meta) } else { call.task.is_some() },
        unseen,
        asker,
        alone: !visit.in_batch,
        lap: lap(visit, call.request_state),
        mirrored: mirrors.map_or_else(Vec::new, |mirrors| mirrors.said(call.arguments)),
    })))
}

/// A state of ours that comes back; a server's own is the server's.
fn lap(visit: &Visit, state: Option<Json<'_>>) -> Option<Box<str>> {
    let state = state?.string()?;
    visit.door.inner.broker.is_ours(&state).then(|| state.into())
}

/// What of a call belongs to this try of it only.
fn live(meta: &Meta<'_>, asker: &Asker) -> Live {
    let trace = TRACE_KEYS.into_iter().zip(meta.trace);
    let trace = trace.filter_map(|(key, value)| Some((key.to_owned(), owned(value?))));
    Live {
        id: asker.id.clone(),
        progress_token: meta.progress_token.map(|token| owned(token)),
        trace: trace.collect(),
        headers: HeaderMap::new(),
        own_task: false,
    }
}

/// The same, of any request.
pub(super) fn live_of(body: &[u8], asker: &Asker) -> Live {
    let message = strict::check(body, &Limits::of_servers(usize::MAX)).ok();
    live(&Meta::of(message.and_then(|message| message.get("params"))), asker)
}

/// What a person is shown and what logs carry: no name hides a line end, a bidi mark or a whole page.
fn is_tool_name(name: &str) -> bool {
    (1..=LONGEST_NAME).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'/'))
}

pub(super) fn cut(text: &str) -> String {
    text.chars().take(LONGEST_NAME).collect()
}

fn client_of(visit: &Visit, meta: &Meta<'_>) -> Arc<ClientInfo> {
    static NOBODY: LazyLock<Arc<ClientInfo>> = LazyLock::new(Arc::default);
    match (&visit.session, meta.client_info) {
        (_, Some(_)) => {
            let (name, version) = meta.client();
            Arc::new(ClientInfo { name: cut(&name), version: cut(&version) })
        }
        (Some(session), None) => Arc::clone(&session.client),
        (None, None) => Arc::clone(&NOBODY),
    }
}

pub(super) fn not_found(method: &str, asker: Option<&Asker>) -> Refusal {
    let Some(asker) = asker else { return StatusCode::ACCEPTED.into_response().into() };
    let status = if asker.modern { StatusCode::NOT_FOUND } else { StatusCode::OK };
    let text = format!("Method not found: {method}");
    answer::error(status, &asker.id, code::METHOD_NOT_FOUND, &text, None).into()
}

/// Each version that has batches says so; and its answer names the session in a header, of which a batch has one.
pub(super) fn hello_in_batch(asker: &Asker) -> Refusal {
    let text = "initialize cannot be part of a batch: its answer names the session in a header";
    answer::error(StatusCode::OK, &asker.id, code::INVALID_REQUEST, text, None).into()
}

/// A copy of its own: a slice would keep the whole body alive.
pub(super) fn owned(json: Json<'_>) -> Bytes {
    Bytes::copy_from_slice(json.as_str().as_bytes())
}
