//! Looking at calls: the list and one call with everything about it.

use axum::{Json, extract::State};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::{
    ApiParts, Problem,
    cursor::Cursor,
    extract::{Asked, Named},
    model::{CallModel, View, arguments},
    problem::sentence,
    timeline::{self, StepModel},
    who::Viewer,
};
use crate::{
    broker::CallView,
    call::{Call, Event, Person, State as CallState, StateName},
    card::sent_beside,
    ledger::Fact,
    store::Filter,
};

const DEFAULT_LIMIT: usize = 50;
const LARGEST_LIMIT: usize = 200;

#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct CallQuery {
    /// States, separated by commas: `pending`, `permitted`, `dispatched`, `completed`, `denied`, `expired`,
    /// `cancelled`, `failed`, `lost`; or people's words for them: `waiting`, `approved`, `running`, `ran`,
    /// `withdrawn`, `not sent`, `unknown outcome`.
    state: Option<String>,
    server: Option<String>,
    tool: Option<String>,
    agent: Option<String>,
    /// Who voted on it.
    reviewer: Option<String>,
    /// Text in the tool, server, agent, id or short code, or whole words of the arguments: at most 8, of up
    /// to 64 bytes. A page may be short
    /// of calls, or empty, while `next` says where the search goes on.
    q: Option<String>,
    /// The last page's `next`.
    after: Option<String>,
    /// 1 to 200; 50 unless said.
    limit: Option<usize>,
}

/// Newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallPage {
    calls: Vec<CallModel>,
    /// Where the next page starts; null on the last.
    next: Option<String>,
    /// Where `/live` goes on after this reply.
    #[schema(value_type = String)]
    cursor: Cursor,
}

/// One call with everything about it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallDetail {
    #[serde(flatten)]
    call: CallModel,
    /// The arguments' bytes as text; null when they were erased.
    arguments_raw: Option<String>,
    /// What is sent beside the arguments: `params` as the agent wrote it, without `name`, `arguments` and
    /// those members of `_meta` that are progress token, trace, or the protocol's own words about the
    /// client. Where the message has members beside `params`, they and that `params`. Null when there is
    /// nothing, or it was erased.
    other_raw: Option<String>,
    timeline: Vec<StepModel>,
    /// The words that its agent reads: of the ticket, while it waits with one, and of the end, where that is
    /// not the server's answer. A server's HTTP error reaches an agent on the line as it came instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    told: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<OutcomeModel>,
    /// Evidence and explanations for the reviewer; none in this version.
    #[schema(value_type = Option<Object>)]
    card: Option<()>,
}

/// How a settled call ended.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OutcomeModel {
    state: &'static str,
    /// Why, where there is no answer of the server.
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    is_error: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    /// The server's answer as it came, where it was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    answer_raw: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration_ms: Option<u64>,
}

/// The calls that match, newest first.
#[utoipa::path(get, path = "/api/v1/calls", tag = "calls", params(CallQuery), responses(
    (status = 200, body = CallPage),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(api): State<ApiParts>,
    viewer: Viewer,
    Asked(query): Asked<CallQuery>,
) -> Result<Json<CallPage>, Problem> {
    let page = api.broker.calls(filter(query)?).await?;
    let mut calls = Vec::with_capacity(page.calls.len());
    for call in &page.calls {
        let message = api.broker.message(call.id).await?;
        calls.push(model(&api, call, message.as_ref(), &viewer.person));
    }
    Ok(Json(CallPage { calls, next: page.next, cursor: Cursor(page.head) }))
}

/// One call, with its timeline and outcome.
#[utoipa::path(get, path = "/api/v1/calls/{id}", tag = "calls", params(("id" = String, Path)), responses(
    (status = 200, body = CallDetail),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn show(
    State(api): State<ApiParts>,
    viewer: Viewer,
    Named(id): Named,
) -> Result<Json<CallDetail>, Problem> {
    let view = api.broker.view(id).await?;
    let view = view.ok_or_else(|| Problem::not_found("There is no call of this id.").about(id))?;
    Ok(Json(detail(&api, &view, &viewer.person)))
}

/// A call as `viewer` sees it now.
pub(super) fn model(api: &ApiParts, call: &Call, message: Option<&Bytes>, viewer: &Person) -> CallModel {
    let directory = api.broker.identity().directory();
    let request = &call.request;
    let rules = api.broker.rules();
    let policies = rules.of(&request.agent, &request.server);
    let risk = policies.iter().filter_map(|policy| policy.risk(&request.server, &request.tool)).max();
    let (now, redelivery) = (api.broker.clock().now(), api.broker.settings().redelivery);
    CallModel::new(call, message, &View { viewer, people: &directory.people, now, redelivery, risk })
}

fn detail(api: &ApiParts, view: &CallView, viewer: &Person) -> CallDetail {
    let mut call = model(api, &view.call, view.message.as_ref(), viewer);
    for step in &view.timeline {
        let Fact::Call(Event::Voted { review }) = &step.entry.fact else { continue };
        let same = call.reviews.iter_mut().find(|r| r.reviewer == review.reviewer.name && r.at == review.at);
        if let Some(found) = same {
            found.reason.clone_from(&step.text);
        }
    }
    let timeline: Vec<StepModel> = view.timeline.iter().filter_map(timeline::step).collect();
    let raw = view.message.as_deref().and_then(arguments);
    CallDetail {
        call,
        arguments_raw: raw.map(|raw| raw.get().to_owned()),
        other_raw: view.message.as_deref().and_then(sent_beside),
        outcome: outcome(view, &timeline),
        told: told(api, view),
        timeline,
        card: None,
    }
}

fn told(api: &ApiParts, view: &CallView) -> Option<String> {
    let call = &view.call;
    let ticket = call.ticket && call.state.name() == StateName::Pending;
    // Who held the line had the whole answer, whether or not it was kept.
    let had_answer = call.state.name() == StateName::Completed && call.delivered.is_some();
    let reads = ticket || (call.state.is_settled() && !had_answer);
    reads.then(|| (api.told)(&view.outcome)).flatten()
}

fn outcome(view: &CallView, timeline: &[StepModel]) -> Option<OutcomeModel> {
    let state = &view.call.state;
    let name = state.name().as_str();
    if !state.is_settled() {
        return None;
    }
    let last = timeline.iter().rev().find(|step| step.event == name);
    let late = timeline.iter().rev().find(|step| step.event == "late_answer");
    let is_error = match state {
        CallState::Completed { is_error, .. } => Some(*is_error),
        CallState::Failed { .. } => Some(true),
        CallState::Pending { .. }
        | CallState::Permitted { .. }
        | CallState::Dispatched { .. }
        | CallState::Lost { .. }
        | CallState::Denied { .. }
        | CallState::Expired { .. }
        | CallState::Cancelled { .. } => late.and_then(|step| step.is_error),
    };
    Some(OutcomeModel {
        state: name,
        text: last.and_then(|step| step.text.clone()),
        is_error,
        bytes: last.and_then(|step| step.bytes).or_else(|| late.and_then(|step| step.bytes)),
        answer_raw: view.answer.as_deref().map(|answer| String::from_utf8_lossy(answer).into_owned()),
        duration_ms: last.and_then(|step| step.duration_ms),
    })
}

fn filter(query: CallQuery) -> Result<Filter, Problem> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=LARGEST_LIMIT).contains(&limit) {
        return Err(Problem::bad_request(format!("`limit` is 1 to {LARGEST_LIMIT}.")));
    }
    let given = |value: Option<String>| value.filter(|value| !value.is_empty());
    Ok(Filter {
        states: states(query.state.as_deref().unwrap_or_default())?,
        server: given(query.server),
        tool: given(query.tool),
        agent: given(query.agent),
        reviewer: given(query.reviewer),
        text: given(query.q),
        after: given(query.after),
        limit,
    })
}

fn states(text: &str) -> Result<Vec<StateName>, Problem> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.map(|name| StateName::read(name).map_err(|why| Problem::bad_request(sentence(&why)))).collect()
}
