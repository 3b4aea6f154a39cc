//! The OpenAPI document, gathered from beside the handlers; a test compares it with reality.

use std::sync::LazyLock;

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use utoipa::OpenApi;

use super::{calls, catalog, history, live, login, operations, stops, verbs};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Countersign",
        description = "The reviewers' side of countersign: calls, votes, the audit log. Sign in with \
            `Authorization: Bearer <reviewer token>` or the session cookie; a change by cookie also \
            brings `X-Countersign` with the key that signing in gave (`x`)."
    ),
    paths(
        login::me,
        login::sign_in,
        login::sign_out,
        calls::list,
        calls::show,
        verbs::review,
        verbs::withdraw,
        verbs::lift,
        verbs::cancel,
        verbs::extend,
        verbs::resolve,
        live::live,
        history::ledger,
        history::checkpoint,
        catalog::servers,
        catalog::agents,
        catalog::policies,
        catalog::explain,
        stops::list,
        stops::stop,
        stops::resume,
        operations::healthz,
        operations::readyz,
        operations::metrics,
        openapi
    )
)]
struct Document;

static TEXT: LazyLock<String> = LazyLock::new(document);

/// The document as JSON.
#[must_use]
pub fn document() -> String {
    Document::openapi().to_pretty_json().unwrap_or_default()
}

/// This document.
#[utoipa::path(get, path = "/openapi.json", tag = "operations", responses((status = 200, body = Object)))]
pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], TEXT.as_str()).into_response()
}
