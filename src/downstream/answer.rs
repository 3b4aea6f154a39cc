//! The only place with the words for agents: every way a call can end, as the answer to its `tools/call`.
//!
//! A model reads these sentences, so each says whether the call was run and what to do next.

use std::time::Duration;

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use super::{elicit, reply, wait_tool};
use crate::{
    broker::{Brief, End, HttpError, Outcome},
    call::{StateName, Timestamp},
    mcp::{
        self, Malformed,
        answer::ToolText,
        patch::Edits,
        strict::{self, Limits},
    },
    upstream::SendError,
};

/// JSON-RPC codes that the door itself answers with.
pub(super) mod code {
    pub const INVALID_REQUEST: i32 = -32600;
    pub const METHOD_NOT_FOUND: i32 = -32601;
    pub const INVALID_PARAMS: i32 = -32602;
    pub const INTERNAL: i32 = -32603;
    pub const HEADER_MISMATCH: i32 = -32020;
    pub const MISSING_CAPABILITY: i32 = -32021;
    pub const UNSUPPORTED_VERSION: i32 = -32022;
}

/// Whom an answer is for: the request's id, as written, and how its protocol version wants results.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    pub id: Bytes,
    pub modern: bool,
}

impl Asker {
    pub(super) fn id(&self) -> &str {
        std::str::from_utf8(&self.id).unwrap_or("null")
    }
}

/// The whole JSON-RPC response that tells an agent how its call ended.
pub(super) fn tell(outcome: &Outcome, asker: &Asker, now: Timestamp) -> Bytes {
    if let End::Completed { message } = &outcome.end {
        return readdress(message, asker);
    }
    let call = outcome.call.as_ref().map(|brief| describe(brief, &outcome.end, now));
    if let End::ComeBack { state } = &outcome.end {
        return come_back(state, call.as_deref(), None, asker);
    }
    if let End::HttpError(said) = &outcome.end {
        return http_error(said, outcome.call.as_ref(), call.as_deref(), asker);
    }
    let text = words(&outcome.end, outcome.call.as_ref());
    let answer = ToolText { text: &text, is_error: true, call: call.as_deref(), modern: asker.modern };
    mcp::answer::tool(asker.id(), answer).into()
}

/// The sentence for an outcome; `None` where the agent reads the server, or nothing.
pub fn told(outcome: &Outcome) -> Option<String> {
    Some(words(&outcome.end, outcome.call.as_ref())).filter(|text| !text.is_empty())
}

/// The same where agents have the tool to wait on with.
pub fn told_with_wait_tool(outcome: &Outcome) -> Option<String> {
    let ticket = outcome.call.as_ref().filter(|_| outcome.end == End::Ticket);
    ticket.map(ticket_for_tool).or_else(|| told(outcome))
}

fn ticket_for_tool(brief: &Brief) -> String {
    format!(
        "{} If you cannot repeat them exactly, call the tool {} with {{\"code\":\"{}\"}} instead.",
        ticket(Some(brief)),
        wait_tool::NAME,
        brief.digest.short_code()
    )
}

/// A ticket whose agent may wait on by its code.
pub(super) fn ticket_with_tool(brief: &Brief, asker: &Asker, now: Timestamp) -> Bytes {
    let (text, call) = (ticket_for_tool(brief), describe(brief, &End::Ticket, now));
    let answer = ToolText { text: &text, is_error: true, call: Some(&call), modern: asker.modern };
    mcp::answer::tool(asker.id(), answer).into()
}

/// A hidden tool answers as one that the server does not have.
pub(super) fn unknown_tool(name: &str, asker: &Asker) -> Bytes {
    mcp::answer::error(asker.id(), code::INVALID_PARAMS, &format!("Unknown tool: {name}"), None).into()
}

/// A call that the policy allowed and the server did not take, or took without an answer.
pub(super) fn unsent(error: SendError) -> Outcome {
    let end = match error {
        SendError::NotSent(why) => End::Failed { why },
        SendError::Unknown(why) => End::Lost { why },
    };
    Outcome { call: None, end }
}

/// The server's own answer, under the id that this request has.
fn readdress(message: &Bytes, asker: &Asker) -> Bytes {
    let limits = Limits::of_servers(usize::MAX);
    let Ok(json) = strict::check(message, &limits) else {
        return message.clone();
    };
    if json.get("id").is_some_and(|id| id.as_str().as_bytes() == asker.id) {
        return message.clone();
    }
    let mut edits = Edits::of(json);
    edits.set(&["id"], asker.id());
    edits.apply().into()
}

/// A server's HTTP error where a stream has begun, or a bridge cannot show a status: the server's own
/// JSON-RPC error when its body is one and the call was not run; else ours, with the body in `data`.
pub(super) fn http_error(
    said: &HttpError,
    brief: Option<&Brief>,
    call: Option<&str>,
    asker: &Asker,
) -> Bytes {
    let status = said.status.as_u16();
    let state = brief.map(|brief| brief.state);
    if state == Some(StateName::Failed) && reply::is_error(&said.body) {
        return readdress(&said.body, asker);
    }
    let words = if state == Some(StateName::Lost) {
        "; the call was sent, and whether it was run is not known; it will not be sent again. Look at the \
         state of what it changes before you repeat it"
    } else if state == Some(StateName::Failed) {
        "; the call was not run"
    } else {
        ""
    };
    let body = match strict::check(&said.body, &Limits::of_servers(usize::MAX)) {
        Ok(json) => json.as_str().to_owned(),
        Err(_) => json!(String::from_utf8_lossy(&said.body)).to_string(),
    };
    let call = call.map(|call| format!(",\"countersign/call\":{call}")).unwrap_or_default();
    let data = format!("{{\"status\":{status},\"body\":{body}{call}}}");
    let message = format!("the server answered HTTP {status}{words}");
    mcp::answer::error(asker.id(), code::INTERNAL, &message, Some(&data)).into()
}

fn words(end: &End, call: Option<&Brief>) -> String {
    match end {
        // `tell` passes the server's answer through, and has another form for a return.
        End::Completed { .. } | End::HttpError(_) | End::ComeBack { .. } => String::new(),
        End::CompletedNotKept { bytes } => format!(
            "[DONE] The call was run and the server answered, but its answer of {bytes} bytes was too \
             large to keep until you came back for it. Do not repeat the call; read the result another way."
        ),
        End::PolicyDenied { text } => format!("[POLICY DENIED] {text}"),
        End::DeniedBy { reviewer, text } => format!("[DENIED by {reviewer}] {}", reason(text)),
        End::Stopped { text } => stopped(text),
        End::Limit { text, retry_at } => {
            format!("[LIMIT] {text} Nothing was run. Try again at {retry_at}.")
        }
        End::Expired => "[EXPIRED] Nobody decided in time; nothing was run.".to_owned(),
        End::Lapsed => "[EXPIRED] approved but not collected in time; nothing was run".to_owned(),
        End::WithdrawnBy { who, text } => format!("[WITHDRAWN by {who}] {}", reason(text)),
        End::Cancelled => "[WITHDRAWN by the agent] The call was cancelled; nothing was run.".to_owned(),
        End::Failed { why } => format!("[NOT SENT] {why}"),
        End::Lost { why } => format!(
            "[OUTCOME UNKNOWN] The call was sent, and whether it was run is not known: {why}. It will not \
             be sent again. Look at the state of what it changes before you repeat it."
        ),
        End::Ticket => ticket(call),
        End::Refused { text } => format!("[NOT EXECUTED] {text}"),
        End::Unavailable => "[NOT EXECUTED] The approval broker cannot write its audit log, so it sends \
                             nothing. Try again later, and tell the person who runs it."
            .to_owned(),
    }
}

/// The client is to show a link, and to come back (2026-07-28).
pub(super) fn come_back_with_link(state: &str, brief: &Brief, asker: &Asker, now: Timestamp) -> Bytes {
    let end = End::ComeBack { state: String::new() };
    let call = describe(brief, &end, now);
    come_back(state, Some(&call), Some(&elicit::input_requests(brief)), asker)
}

/// Nothing is asked of the client but to come back, and perhaps to show something first (2026-07-28).
fn come_back(state: &str, call: Option<&str>, show: Option<&str>, asker: &Asker) -> Bytes {
    let (state, meta) =
        (json!(state), call.map(|call| format!(",\"_meta\":{{\"countersign/call\":{call}}}")));
    let meta = meta.unwrap_or_default();
    let show = show.map(|show| format!(",\"inputRequests\":{show}")).unwrap_or_default();
    let result = format!("{{\"resultType\":\"input_required\",\"requestState\":{state}{show}{meta}}}");
    mcp::answer::result(asker.id(), &result).into()
}

/// Somebody stopped this agent or this server.
pub(super) fn stopped(text: &str) -> String {
    format!("[STOPPED] {}", reason(text))
}

fn reason(text: &str) -> &str {
    if text.is_empty() { "No reason was given." } else { text }
}

fn ticket(call: Option<&Brief>) -> String {
    let Some(brief) = call else {
        return "[NOT EXECUTED] A person must approve this call; nothing was run. Call again with the \
                same arguments to keep waiting."
            .to_owned();
    };
    let code = brief.digest.short_code();
    if brief.state == StateName::Dispatched {
        return format!(
            "[STILL RUNNING: {code}] The call was approved and sent, and the server has not answered yet. \
             Call again with the same arguments to get its answer; it will not be run twice."
        );
    }
    let until = brief.expires_at.map(|at| format!(" by {at}")).unwrap_or_default();
    format!(
        "[NOT EXECUTED: waiting for approval {code}] A person must approve this call{until}, at {url} . \
         Nothing was run yet: call again with the same arguments to keep waiting; that joins the same \
         request and does not ask twice.",
        url = brief.url
    )
}

/// `_meta["countersign/call"]`.
pub(super) fn describe(brief: &Brief, end: &End, now: Timestamp) -> String {
    let mut call = json!({
        "id": brief.id,
        "state": brief.state,
        "digest": brief.digest,
        "url": brief.url,
    });
    if let Some(after) = retry_after(end, now) {
        call["retry_after_ms"] = json!(u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    }
    if let Some(at) = brief.expires_at {
        call["expires_at"] = json!(at);
    }
    call.to_string()
}

fn retry_after(end: &End, now: Timestamp) -> Option<Duration> {
    match end {
        End::Ticket => Some(Duration::from_secs(1)),
        End::Refused { .. } | End::Unavailable => Some(Duration::from_secs(10)),
        End::Limit { retry_at, .. } => Some(retry_at.since(now)),
        End::Completed { .. }
        | End::ComeBack { .. }
        | End::CompletedNotKept { .. }
        | End::PolicyDenied { .. }
        | End::DeniedBy { .. }
        | End::Stopped { .. }
        | End::Expired
        | End::Lapsed
        | End::WithdrawnBy { .. }
        | End::Cancelled
        | End::Failed { .. }
        | End::Lost { .. }
        | End::HttpError(_) => None,
    }
}

/// What an agent reads of the task that its call waits as.
pub(super) fn of_task(brief: &Brief, approvals: Option<(u32, u32)>, now: Timestamp) -> String {
    let code = brief.digest.short_code();
    match brief.state {
        StateName::Pending => {
            format!("{}, at {} . Nothing was run yet", waiting(brief, approvals, now), brief.url)
        }
        StateName::Permitted => format!("{code} was approved and is about to be sent"),
        StateName::Dispatched => format!("{code} was approved and sent; the server has not answered yet"),
        StateName::Completed
        | StateName::Failed
        | StateName::Lost
        | StateName::Denied
        | StateName::Expired
        | StateName::Cancelled => format!("{code} is {}", brief.state.as_str()),
    }
}

/// What a waiting agent reads in a progress message.
pub(super) fn waiting(brief: &Brief, approvals: Option<(u32, u32)>, now: Timestamp) -> String {
    let mut words = format!("waiting for approval {}", brief.digest.short_code());
    if let Some(at) = brief.expires_at {
        let left = at.since(now).as_secs();
        let left = if left >= 120 { format!("{} min", left / 60) } else { format!("{left} s") };
        words.push_str(&format!(", {left} left"));
    }
    if let Some((given, needed)) = approvals {
        words.push_str(&format!(", {given} of {needed} approvals"));
    }
    words
}

// ── answers of the door itself ────────────────────────────────────────

/// A refusal before any JSON-RPC message was read: no id to answer to.
pub(super) fn refuse(status: StatusCode, message: &str) -> Response {
    let body = json!({"jsonrpc": "2.0", "error": {"code": code::INVALID_REQUEST, "message": message}});
    json_with(status, body.to_string().into())
}

/// A JSON-RPC error for one request.
pub(super) fn error(status: StatusCode, id: &[u8], code: i32, message: &str, data: Option<&str>) -> Response {
    let id = std::str::from_utf8(id).unwrap_or("null");
    json_with(status, mcp::answer::error(id, code, message, data).into())
}

/// Bytes that are no message: 400, with the id when there was one.
pub(super) fn malformed(why: &Malformed) -> Response {
    let message = format!("{why}. Send one well-formed JSON-RPC 2.0 message.");
    error(StatusCode::BAD_REQUEST, why.id().as_bytes(), why.code(), &message, None)
}

/// The door is closing: nothing was recorded.
pub(super) fn draining(id: &[u8]) -> Response {
    let text = "[NOT EXECUTED] the approval broker is restarting; call again in a few seconds";
    let mut response = error(StatusCode::SERVICE_UNAVAILABLE, id, code::INTERNAL, text, None);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    response
}

/// The server behind us could not be spoken to.
pub(super) fn unreachable(id: Option<&[u8]>, server: &str, why: &SendError) -> Response {
    let why = why.to_string();
    // Who wants a sign-in can be reached, and names itself.
    let named = why.starts_with(&format!("the server {server} "));
    let message = if named { why } else { format!("the server {server} cannot be reached: {why}") };
    match id {
        Some(id) => error(StatusCode::BAD_GATEWAY, id, code::INTERNAL, &message, None),
        None => refuse(StatusCode::BAD_GATEWAY, &message),
    }
}

pub(super) fn json_with(status: StatusCode, body: Bytes) -> Response {
    let mut response = (status, Body::from(body)).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
