//! Access tokens at the agents' door: the broker as an OAuth resource server of its own (RFC 9728).
//!
//! A refusal names where the metadata is and which scopes are needed, the metadata names the authorization
//! server, and a token that comes back must be made for this very address. A token that is valid and opens
//! nothing is refused with 403, any other with 401. What the token is goes no further than this door.

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
        Err(Refused::Lacking(why)) => Err(forbidden(door, server, why).into()),
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
    let error = with_token.then_some("invalid_token").filter(|_| issuer.is_some());
    challenge(door, server, StatusCode::UNAUTHORIZED, error, &text)
}

/// The token is one for us, and opens nothing: to get it anew would not help (RFC 6750, section 3.1).
fn forbidden(door: &Door, server: &str, why: &str) -> Response {
    let text = format!("the access token is valid, but {why}");
    challenge(door, server, StatusCode::FORBIDDEN, Some("insufficient_scope"), &text)
}

/// A refusal that says where the metadata is, and which scopes are needed; nothing but `Bearer` where no
/// access tokens are taken.
fn challenge(door: &Door, server: &str, status: StatusCode, error: Option<&str>, text: &str) -> Response {
    let identity = door.inner.broker.identity();
    let mut parameters = Vec::new();
    if identity.issuer().is_some() {
        // A path that is no name must not write into the header.
        let path = if is_name(server) { format!("/mcp/{server}") } else { String::new() };
        let root = &door.inner.broker.settings().public_url;
        parameters.push(format!("resource_metadata=\"{root}{METADATA}{path}\""));
        let scopes = identity.scopes_of_access();
        if !scopes.is_empty() {
            parameters.push(format!("scope=\"{}\"", scopes.join(" ")));
        }
    }
    parameters.extend(error.map(|error| format!("error=\"{error}\"")));
    let challenge = format!("Bearer {}", parameters.join(", "));
    let challenge = HeaderValue::try_from(challenge.trim_end());
    let mut refusal = answer::refuse(status, text);
    let challenge = challenge.unwrap_or(HeaderValue::from_static("Bearer"));
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
    let mut document = json!({
        "resource": format!("{}{path}", door.inner.broker.settings().public_url),
        "authorization_servers": [issuer],
        "bearer_methods_supported": ["header"],
        "resource_name": "countersign",
    });
    let scopes = door.inner.broker.identity().scopes_of_access();
    if !scopes.is_empty() {
        document["scopes_supported"] = json!(scopes);
    }
    ([(header::CACHE_CONTROL, "no-store")], Json(document)).into_response()
}

fn is_name(server: &str) -> bool {
    (1..=24).contains(&server.len())
        && server.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b))
}
