//! The stop button: what is stopped, stopping and resuming.

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiParts, Problem,
    extract::Body,
    who::{Decider, Viewer},
};
use crate::ledger::StopScope;

/// Exactly one of `agent`, `server`, `all`.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StopAsk {
    agent: Option<String>,
    server: Option<String>,
    #[serde(default)]
    all: bool,
    reason: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct StopList {
    stops: Vec<StopModel>,
}

/// What is stopped, by whom and why.
#[derive(Serialize, ToSchema)]
pub(super) struct StopModel {
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    all: bool,
    by: String,
    reason: String,
}

/// What is stopped now.
#[utoipa::path(get, path = "/api/v1/stops", tag = "stops", responses(
    (status = 200, body = StopList),
    (status = 401, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(State(api): State<ApiParts>, _: Viewer) -> Json<StopList> {
    Json(present(&api))
}

/// Denies what is pending and approved in the scope, at once; until resumed nothing of it passes.
#[utoipa::path(post, path = "/api/v1/stop", tag = "stops", request_body = StopAsk, responses(
    (status = 200, body = StopList),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn stop(
    State(api): State<ApiParts>,
    Decider(person): Decider,
    Body(ask): Body<StopAsk>,
) -> Result<Json<StopList>, Problem> {
    let (scope, reason) = scope(ask)?;
    api.broker.stop(scope, &person.name, &reason).await?;
    Ok(Json(present(&api)))
}

/// Lifts a stop.
#[utoipa::path(post, path = "/api/v1/resume", tag = "stops", request_body = StopAsk, responses(
    (status = 200, body = StopList),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn resume(
    State(api): State<ApiParts>,
    Decider(person): Decider,
    Body(ask): Body<StopAsk>,
) -> Result<Json<StopList>, Problem> {
    let (scope, reason) = scope(ask)?;
    api.broker.resume(scope, &person.name, &reason).await?;
    Ok(Json(present(&api)))
}

fn scope(ask: StopAsk) -> Result<(StopScope, String), Problem> {
    let scope = match (ask.agent, ask.server, ask.all) {
        (Some(agent), None, false) => StopScope::Agent(agent),
        (None, Some(server), false) => StopScope::Server(server),
        (None, None, true) => StopScope::All,
        _ => return Err(Problem::unprocessable("Name exactly one of `agent`, `server` or `all`.")),
    };
    let reason = ask.reason.trim();
    if reason.is_empty() {
        return Err(Problem::unprocessable(
            "Say why: `reason` stands in the audit log, and agents are told it.",
        ));
    }
    Ok((scope, reason.to_owned()))
}

fn present(api: &ApiParts) -> StopList {
    let stop = |(scope, by, reason): (StopScope, String, String)| {
        let (agent, server, all) = match scope {
            StopScope::Agent(name) => (Some(name), None, false),
            StopScope::Server(name) => (None, Some(name), false),
            StopScope::All => (None, None, true),
        };
        StopModel { agent, server, all, by, reason }
    };
    StopList { stops: api.broker.stops().into_iter().map(stop).collect() }
}
