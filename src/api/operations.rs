//! What operators and their tools ask of a process: alive, ready, how much.

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::ApiParts;

/// Can this process decide and record?
#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    ready: bool,
    /// What an operator should look at; may be there although it is ready.
    troubles: Vec<String>,
}

/// The process runs.
#[utoipa::path(get, path = "/healthz", tag = "operations", responses((status = 200, body = String, content_type = "text/plain")))]
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// The store can be written and calls can pass.
#[utoipa::path(get, path = "/readyz", tag = "operations", responses(
    (status = 200, body = Readiness), (status = 503, body = Readiness),
))]
pub(super) async fn readyz(State(api): State<ApiParts>) -> Response {
    let ready = api.broker.is_open();
    let mut troubles = api.catalog.troubles();
    if !ready {
        troubles.insert(0, "the audit log cannot be written; nothing is forwarded".to_owned());
    }
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Readiness { ready, troubles })).into_response()
}

/// Counters and histograms, in the OpenMetrics text format.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn metrics(State(api): State<ApiParts>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], api.metrics.text()).into_response()
}
