//! Access tokens at the agents' door: the broker as an OAuth resource server of its own (RFC 9728).
//!
//! A refusal names where the metadata is, the metadata names the authorization server, and a token that
//! comes back must be made for this very address. What the token is goes no further than this door.

use std::sync::Arc;

use axum::{
    Json, Router,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use serde_json::json;

use super::{Door, answer, http::check_site};
use crate::{
    identity::Grant,
    oauth::{Refused, looks_like_jwt},
};

const METADATA: &str = "/.well-known/oauth-protected-resource";

/// Where agents learn which authorization server to ask.
pub fn well_known(door: Door) -> Router {
    Router::new()
        .route(METADATA, get(async |State(door): State<Door>, headers| metadata(&door, None, &headers)))
        .route(&format!("{METADATA}/mcp/{{server}}"), get(of_server))
        .with_state(door)
}

async fn of_server(State(door): State<Door>, Path(server): Path<String>, headers: HeaderMap) -> Response {
    metadata(&door, Some(&server), &headers)
}

/// The grant of an access token, or the refusal that says where to get one.
pub(super) async fn grant(
    door: &Door,
    server: &str,
    token: Option<&str>,
) -> Result<Arc<Grant>, Box<Response>> {
    let broker = &door.inner.broker;
    let Some(token) = token.filter(|token| looks_like_jwt(token)) else {
        return Err(unauthorized(door, server, token.is_some(), "").into());
    };
    let root = &broker.settings().public_url;
    let address = format!("{root}/mcp/{server}");
    let address = address.trim_end_matches('/');
    let now = broker.clock().now();
    match broker.identity().grant_of_access(token, &[address, root], now).await {
        Ok(Some(grant)) => Ok(grant),
        Ok(None) => Err(unauthorized(door, server, true, "").into()),
        Err(Refused::Invalid(why)) => Err(unauthorized(door, server, true, why).into()),
        Err(Refused::Unavailable(_)) => {
            let text = "the access token cannot be checked now: its issuer's keys cannot be had; try again";
            Err(answer::refuse(StatusCode::SERVICE_UNAVAILABLE, text).into())
        }
    }
}

fn unauthorized(door: &Door, server: &str, with_token: bool, why: &str) -> Response {
    let issuer = door.inner.broker.identity().issuer();
    let text = match (issuer.is_some(), why) {
        (true, why) if !why.is_empty() => format!("the access token is refused: {why}"),
        (true, _) => {
            "no valid token: send `Authorization: Bearer <agent's token or access token>`".to_owned()
        }
        (false, _) => "no valid token: send `Authorization: Bearer <agent's token>`".to_owned(),
    };
    let mut refusal = answer::refuse(StatusCode::UNAUTHORIZED, &text);
    let mut challenge = "Bearer".to_owned();
    if issuer.is_some() {
        // A path that is no name must not write into the header.
        let path = if is_name(server) { format!("/mcp/{server}") } else { String::new() };
        let root = &door.inner.broker.settings().public_url;
        challenge.push_str(&format!(" resource_metadata=\"{root}{METADATA}{path}\""));
        if with_token {
            challenge.push_str(", error=\"invalid_token\"");
        }
    }
    let challenge = HeaderValue::try_from(challenge).unwrap_or(HeaderValue::from_static("Bearer"));
    refusal.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    refusal
}

/// The same for every name: who has no token does not learn which servers there are.
fn metadata(door: &Door, server: Option<&str>, headers: &HeaderMap) -> Response {
    if let Err(refusal) = check_site(door, headers) {
        return *refusal;
    }
    let issuer = door.inner.broker.identity().issuer();
    let Some(issuer) = issuer.filter(|_| server.is_none_or(is_name)) else {
        return answer::refuse(StatusCode::NOT_FOUND, "this broker takes no access tokens here");
    };
    let path = server.map(|server| format!("/mcp/{server}")).unwrap_or_default();
    let document = json!({
        "resource": format!("{}{path}", door.inner.broker.settings().public_url),
        "authorization_servers": [issuer],
        "bearer_methods_supported": ["header"],
        "resource_name": "countersign",
    });
    ([(header::CACHE_CONTROL, "no-store")], Json(document)).into_response()
}

fn is_name(server: &str) -> bool {
    (1..=24).contains(&server.len())
        && server.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
}
