//! The ledger as programs read it: entry by entry after a cursor, and its signed head.

use axum::{
    Json,
    extract::State,
    http::header,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use utoipa::{IntoParams, ToSchema};

use super::{ApiParts, Problem, cursor::Cursor, extract::Asked, who::Viewer};
use crate::ledger::Entry;

const DEFAULT_LIMIT: usize = 100;
const LARGEST_LIMIT: usize = 1000;

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct LedgerQuery {
    /// The last reply's `cursor`; from the first entry unless given.
    #[param(value_type = Option<String>)]
    after: Option<Cursor>,
    /// 1 to 1000; 100 unless said.
    limit: Option<usize>,
}

/// Oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LedgerPage {
    /// As on `/live`, with `number`, `version` and `hash`.
    #[schema(value_type = Vec<Object>)]
    entries: Vec<Value>,
    /// Where to go on.
    #[schema(value_type = String)]
    cursor: Cursor,
    /// Are there more entries now?
    more: bool,
}

/// Ledger entries after a cursor.
#[utoipa::path(get, path = "/api/v1/ledger", tag = "ledger", params(LedgerQuery), responses(
    (status = 200, body = LedgerPage),
    (status = 400, body = Problem, content_type = "application/problem+json"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn ledger(
    State(api): State<ApiParts>,
    _: Viewer,
    Asked(query): Asked<LedgerQuery>,
) -> Result<Json<LedgerPage>, Problem> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=LARGEST_LIMIT).contains(&limit) {
        return Err(Problem::bad_request(format!("`limit` is 1 to {LARGEST_LIMIT}.")));
    }
    let after = query.after.unwrap_or(Cursor(0));
    let entries = api.broker.entries(after.0, limit).await?;
    let cursor = entries.last().map_or(after, |entry| Cursor(entry.number));
    let more = cursor.0 < *api.broker.head().borrow();
    let entries = entries.iter().map(numbered).collect();
    Ok(Json(LedgerPage { entries, cursor, more }))
}

/// The ledger's signed head: a C2SP checkpoint, as text.
#[utoipa::path(get, path = "/api/v1/ledger/checkpoint", tag = "ledger", responses(
    (status = 200, body = String, content_type = "text/plain"),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn checkpoint(State(api): State<ApiParts>, _: Viewer) -> Result<Response, Problem> {
    let head = api.catalog.checkpoint();
    let head =
        head.ok_or_else(|| Problem::not_found("The audit log has no entry yet, so no signed head."))?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], head).into_response())
}

/// An entry as a frame of `/live`: where to go on, when, which stream, and the members of its event.
pub(super) fn frame(entry: &Entry) -> Map<String, Value> {
    let mut frame = Map::new();
    frame.insert("cursor".into(), json!(Cursor(entry.number)));
    frame.insert("at".into(), json!(entry.at));
    for part in [serde_json::to_value(&entry.stream), serde_json::to_value(&entry.fact)] {
        if let Ok(Value::Object(members)) = part {
            frame.extend(members);
        }
    }
    frame
}

fn numbered(entry: &Entry) -> Value {
    let mut frame = frame(entry);
    frame.insert("number".into(), json!(entry.number));
    frame.insert("version".into(), json!(entry.version));
    let hash: String = entry.hash.iter().map(|byte| format!("{byte:02x}")).collect();
    frame.insert("hash".into(), Value::String(hash));
    Value::Object(frame)
}
