//! The policy enforcement point: what each message is, and that no `tools/call` passes unasked.
//!
//! Sorting borrows the body and decides by it alone; what it finds is owned, so that nothing of a large
//! body is kept while a call waits.

use std::{
    ops::Range,
    sync::{Arc, LazyLock, atomic::Ordering},
    time::Duration,
};

use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::future::{BoxFuture, Either, ready};
use http::{HeaderMap, StatusCode};

use super::{
    answer::{self, Asker, code},
    delivery::recall,
    elicit::{self, Offer},
    http::Visit,
    lines::Leave,
    listen, modern,
    passing::{may_pass_unlisted, passing, refuse_stopped, require_session},
    relay, reply,
    settings::Rungs,
    tasks,
    tools::Sieve,
    versions,
    wait::{self, Thread},
    wait_tool,
};
use crate::{
    broker::{Allowed, Ask, End, Live, Outcome, Submission},
    call::{AttachKind, ClientInfo, Era},
    mcp::{Json, Kind, Limits, Malformed, Message, Meta, Passthrough, Route, ToolCall, methods, strict},
    upstream::Outbound,
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
    Initialize(Passthrough, Bytes, ClientInfo),
    ListTools(Passthrough, Asker),
    Discover(Passthrough, Asker),
    /// `subscriptions/listen`: a stream without an end of its own.
    Subscribe(Passthrough, Asker),
    /// `notifications/cancelled` for the request with this id, as written.
    Cancel(Passthrough, Box<str>),
    /// About a task that was given here.
    Task(Passthrough, tasks::Wish, Box<str>, Asker),
    Relay(Passthrough, Option<Asker>),
}

/// A `tools/call`, strictly checked.
pub(super) struct Wanted {
    pub tool: String,
    pub arguments: Option<Range<usize>>,
    pub input_responses: Option<Range<usize>>,
    pub asker: Asker,
    pub client: Arc<ClientInfo>,
    pub live: Live,
    /// Why it is refused when it is not allowed outright.
    pub unseen: Option<modern::Fault>,
    /// The response is this call's own: its stream can be resumed.
    pub alone: bool,
    /// A task of ours answers it (2025-11-25).
    pub as_task: bool,
    /// The `requestState` that was given here, when it comes back.
    pub lap: Option<Box<str>>,
}

pub(super) type Refusal = Box<Response>;

/// Bytes of a request's id and of its progress token, as written: a waiting call keeps both.
const LONGEST_ID: usize = 1024;
/// Characters of a tool's name, and of what a client calls itself.
const LONGEST_NAME: usize = 128;

/// Finds out what `message` (which lies in `body`) asks for, or answers it.
pub(super) fn sort(visit: &Visit, message: &Message<'_>, body: &Bytes) -> Result<Errand, Refusal> {
    let meta = Meta::of(message.params());
    let version = modern::version(visit.said_version(), &meta);
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
    require_session(visit, version, message)?;
    if !matches!(route, Route::Gate | Route::CallWithoutId) {
        refuse_stopped(visit, message, asker.as_ref())?;
    }
    match (route, asker) {
        (Route::Gate, Some(asker)) => call(visit, message, body, asker),
        (Route::Gate | Route::CallWithoutId, _) => {
            let tool = ToolCall::parse(message.params()).map(|call| call.name.into_owned());
            Ok(Errand::DropCall { tool: tool.ok().filter(|tool| is_tool_name(tool)).unwrap_or_default() })
        }
        (Route::LookAlike, asker) => Err(not_found(message.method().unwrap_or_default(), asker.as_ref())),
        (Route::Pass(class, pass), asker) => passing(visit, message, class, pass, asker),
        (Route::Unlisted(unlisted), asker) => {
            let method = message.method().unwrap_or_default();
            if may_pass_unlisted(visit, method) {
                return Ok(Errand::Relay(unlisted.permitted(), asker));
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
    match errand {
        Errand::Call(wanted) => submit(visit, *wanted, body),
        other => Either::Right(Box::pin(run_other(visit, other, body)) as BoxFuture<'_, _>),
    }
}

async fn run_other(visit: Visit, errand: Errand, body: Bytes) -> Response {
    match errand {
        Errand::Call(wanted) => submit(visit, *wanted, body).await,
        Errand::Collect(wanted) => Box::pin(wait_tool::call(visit, *wanted, body)).await,
        Errand::DropCall { tool } => {
            visit.door.inner.calls_without_id.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                agent.name = visit.grant.name,
                server.name = visit.server.name(),
                tool.name = tool,
                "a tools/call without an id was dropped"
            );
            StatusCode::ACCEPTED.into_response()
        }
        Errand::Unsupported { requested, asker } => {
            Box::pin(versions::unsupported(&visit, &requested, &asker)).await
        }
        Errand::Initialize(pass, id, client) => {
            Box::pin(relay::initialize(visit, pass, body, id, client)).await
        }
        Errand::ListTools(pass, asker) => {
            let sieve = Sieve::of_list(&visit, asker.modern);
            Box::pin(relay::sieved(visit, pass, body, asker, sieve)).await
        }
        Errand::Discover(pass, asker) => {
            let sieve = Sieve::of_discover(&visit);
            Box::pin(relay::sieved(visit, pass, body, asker, sieve)).await
        }
        Errand::Subscribe(pass, asker) => Box::pin(listen::subscribe(visit, pass, body, asker)).await,
        Errand::Cancel(pass, id) => match cancel(&visit, &id) {
            Leave::Heard => StatusCode::ACCEPTED.into_response(),
            Leave::PassOn => Box::pin(relay::message(visit, pass, body, None)).await,
        },
        Errand::Task(pass, wish, id, asker) => {
            Box::pin(tasks::tell(visit, (pass, body), wish, &id, asker)).await
        }
        Errand::Relay(pass, asker) => Box::pin(relay::message(visit, pass, body, asker)).await,
    }
}

fn cancel(visit: &Visit, id: &str) -> Leave {
    let Some(session) = &visit.session else { return Leave::PassOn };
    visit.door.inner.lines.cancel(&session.whose, id)
}

// ── tools/call ────────────────────────────────────────────────────────

fn call(visit: &Visit, message: &Message<'_>, body: &Bytes, asker: Asker) -> Result<Errand, Refusal> {
    let status = if asker.modern { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    let invalid =
        |text: &str| -> Refusal { answer::error(status, &asker.id, code::INVALID_PARAMS, text, None).into() };
    let call = ToolCall::parse(message.params()).map_err(|why| invalid(&why.to_string()))?;
    if !is_tool_name(&call.name) {
        return Err(invalid(
            "invalid tools/call: a tool's name has 1 to 128 characters, each of A-Z a-z 0-9 `_` `.` `-` `/`",
        ));
    }
    let unseen = match modern::check(&visit.headers, &call) {
        Ok(unseen) => unseen,
        Err(modern::Fault { requested: Some(requested), .. }) => {
            return Ok(Errand::Unsupported { requested, asker });
        }
        Err(fault) => return Err(mismatch(&fault, &asker).into()),
    };
    let most = visit.door.inner.settings.max_arguments;
    if let Some(size) = call.arguments.map(|a| a.as_str().len()).filter(|size| *size > most) {
        return Err(invalid(&format!("the arguments have {size} bytes; at most {most} are accepted")));
    }
    let is_own = visit.door.inner.settings.wait_tool && call.name == wait_tool::NAME;
    let errand = if is_own { Errand::Collect } else { Errand::Call };
    Ok(errand(Box::new(Wanted {
        tool: call.name.clone().into_owned(),
        arguments: call.arguments.and_then(|json| json.span_in(body)),
        input_responses: call.input_responses.and_then(|json| json.span_in(body)),
        client: client_of(visit, &call.meta),
        live: live(&call.meta, &asker),
        as_task: !asker.modern && tasks::is_wanted(visit, &call),
        unseen,
        asker,
        alone: true,
        lap: lap(visit, call.request_state),
    })))
}

/// A call, and what its answer needs besides the call itself.
struct Asked {
    visit: Visit,
    body: Bytes,
    tool: String,
    asker: Asker,
    client: Arc<ClientInfo>,
    live: Live,
    unseen: Option<modern::Fault>,
    alone: bool,
}

impl Asked {
    fn patience(&self) -> Option<Duration> {
        let settings = &self.visit.door.inner.settings;
        settings.patience(&self.visit.grant.name, &self.client, self.live.progress_token.is_some())
    }

    /// The call's own headers, as they go upstream when it is sent.
    fn headers(&self) -> HeaderMap {
        modern::headers_of_call(&self.visit.headers, &self.tool, self.asker.modern)
    }
}

/// What the policy allows is on its way to the upstream when the future is first polled; the rest is boxed.
fn submit(
    visit: Visit,
    wanted: Wanted,
    body: Bytes,
) -> Either<impl Future<Output = Response> + Send, BoxFuture<'static, Response>> {
    let door = &visit.door.inner;
    if door.closing.is_cancelled() {
        return Either::Right(Box::pin(ready(answer::draining(&wanted.asker.id))));
    }
    let Wanted { tool, arguments, input_responses, asker, client, live, unseen, alone, as_task, lap } =
        wanted;
    let ask = Ask {
        grant: visit.grant.clone(),
        server: visit.server.shared_name(),
        server_identity: visit.server.shared_identity(),
        session: visit.session.as_ref().map(|session| session.id.clone()),
        era: if asker.modern { Era::Modern } else { Era::Legacy },
        client: client.clone(),
        tool: tool.clone(),
        body: body.clone(),
        arguments,
        input_responses,
        unseen: unseen.is_some(),
        kind: AttachKind::Line,
        as_task: false,
    };
    if as_task {
        return Either::Right(Box::pin(tasks::begin(visit, ask, asker)));
    }
    let door = visit.door.clone();
    let asked = Asked { visit, body, tool, asker, client, live, unseen, alone };
    if let Some(state) = lap {
        return Either::Right(Box::pin(come_back(asked, ask, state)));
    }
    match door.inner.broker.submit(ask) {
        Either::Left(at_once) => match at_once.into_inner() {
            Submission::Allowed(allowed) => {
                let Asked { visit, body, tool, asker, .. } = asked;
                Either::Left(let_pass(visit, (allowed, body, &tool), asker))
            }
            other => Either::Right(Box::pin(settle(asked, other))),
        },
        Either::Right(submitting) => {
            Either::Right(Box::pin(async move { settle(asked, submitting.await).await }))
        }
    }
}

/// The call waits for people already.
async fn come_back(asked: Asked, ask: Ask, state: Box<str>) -> Response {
    if let Some(fault) = &asked.unseen {
        return mismatch(fault, &asked.asker);
    }
    let patience = asked.patience();
    let headers = asked.headers();
    let Asked { visit, asker, client, live, .. } = asked;
    let door = &visit.door.inner;
    let rungs = door.settings.rungs(&client, asker.modern, patience);
    let returned = door.broker.returned(ask, state).await;
    let live = Live { headers, ..live };
    wait::returned(visit, returned, asker, live, (patience, rungs)).await
}

/// A call that was not let pass at once.
async fn settle(asked: Asked, mut submission: Submission) -> Response {
    if let Submission::Recalled(outcome, ask) = submission {
        submission = recall(&asked.visit.door, outcome, ask).await;
    }
    let patience = asked.patience();
    let headers = asked.headers();
    let Asked { visit, body, tool, asker, live, unseen, alone, .. } = asked;
    match submission {
        Submission::Allowed(allowed) => let_pass(visit, (allowed, body, &tool), asker).await,
        Submission::Unseen => match unseen {
            Some(fault) => mismatch(&fault, &asker),
            None => wait::told_at_once(&visit, &Outcome::unrecorded(End::Unavailable), &asker),
        },
        Submission::Hidden => answer::json_with(StatusCode::OK, answer::unknown_tool(&tool, &asker)),
        Submission::Settled(outcome) => wait::told_at_once(&visit, &outcome, &asker),
        Submission::Recalled(outcome, _) => wait::recalled(&visit, &outcome, &asker),
        Submission::Waiting(waiter) => {
            let rungs = rungs_of(&visit, &waiter.now().request.client, (&asker, alone), &body, patience);
            drop((body, tool));
            let thread = Thread::of(&visit, &asker).filter(|_| alone);
            let live = Live { headers, ..live };
            wait::hold(visit, waiter, asker, live, (patience, thread, rungs)).await
        }
    }
}

/// How a call goes on when its line ends, and whether its client is asked to show a link meanwhile.
fn rungs_of(
    visit: &Visit,
    client: &ClientInfo,
    (asker, alone): (&Asker, bool),
    body: &[u8],
    patience: Option<Duration>,
) -> Rungs {
    let settings = &visit.door.inner.settings;
    let link = Offer::of(settings, client, || match &visit.session {
        _ if asker.modern => elicit::declared_in(body),
        session => alone && session.as_ref().is_some_and(|session| session.shows_links),
    });
    let task = asker.modern && tasks::declared_in(body);
    Rungs { task, link, ..settings.rungs(client, asker.modern, patience) }
}

/// Sends an allowed call.
pub(super) fn let_pass(
    visit: Visit,
    (allowed, body, tool): (Allowed, Bytes, &str),
    asker: Asker,
) -> impl Future<Output = Response> + Send + use<> {
    let headers = modern::headers_of_call(&visit.headers, tool, asker.modern);
    let (link, out) = (visit.link(), Outbound::post(body).with_headers(headers));
    async move {
        match visit.door.inner.broker.pass(allowed, &link, out).await {
            Ok((reply, recording)) => reply::pass_on(&visit, reply, Some(&asker), Some(recording)).await,
            Err(error) => wait::told_at_once(&visit, &answer::unsent(error), &asker),
        }
    }
}

fn mismatch(fault: &modern::Fault, asker: &Asker) -> Response {
    answer::error(StatusCode::BAD_REQUEST, &asker.id, fault.code, &fault.message, None)
}

/// A state of ours that comes back; a server's own is the server's.
fn lap(visit: &Visit, state: Option<Json<'_>>) -> Option<Box<str>> {
    let state = state?.string()?;
    visit.door.inner.broker.is_ours(&state).then(|| state.into())
}

/// What of a call belongs to this try of it only.
fn live(meta: &Meta<'_>, asker: &Asker) -> Live {
    let trace = ["traceparent", "tracestate", "baggage"].into_iter().filter_map(|key| {
        let value = meta.raw?.get(key)?;
        Some((key.to_owned(), owned(value)))
    });
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

/// A copy of its own: a slice would keep the whole body alive.
pub(super) fn owned(json: Json<'_>) -> Bytes {
    Bytes::copy_from_slice(json.as_str().as_bytes())
}
