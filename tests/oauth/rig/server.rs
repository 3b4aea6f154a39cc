//! An MCP server behind the broker, which may want access tokens of the issuer and records what it is sent.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use serde_json::{Value, json};

use super::Issuer;

#[derive(Default)]
struct Seen {
    /// Method of HTTP, headers, and message of every request.
    requests: Vec<(Method, HeaderMap, String)>,
    /// Tokens that are no longer taken.
    refused: Vec<String>,
}

#[derive(Clone)]
pub struct Server {
    pub url: String,
    issuer: Option<Issuer>,
    seen: Arc<Mutex<Seen>>,
}

impl Server {
    /// With an issuer, it wants its tokens.
    pub async fn start(issuer: Option<Issuer>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let server = Self { url, issuer, seen: Arc::default() };
        let routes = Router::new()
            .route("/mcp", any(mcp))
            .route("/.well-known/oauth-protected-resource/mcp", get(metadata))
            .with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        server
    }

    /// The header's values of all requests.
    pub fn header(&self, name: &str) -> Vec<String> {
        let seen = self.seen.lock().unwrap();
        let values = seen.requests.iter().filter_map(|(_, headers, _)| headers.get(name));
        values.map(|value| value.to_str().unwrap().to_owned()).collect()
    }

    /// Everything that was ever sent here, as text.
    pub fn everything(&self) -> String {
        format!("{:?}", self.seen.lock().unwrap().requests)
    }

    /// How many tools/call were taken.
    pub fn calls(&self) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.requests
            .iter()
            .filter(|(_, headers, body)| body.contains("tools/call") && self.takes(headers, &seen.refused))
            .count()
    }

    /// That token is void from here on.
    pub fn refuse(&self, token: &str) {
        self.seen.lock().unwrap().refused.push(token.to_owned());
    }

    fn takes(&self, headers: &HeaderMap, refused: &[String]) -> bool {
        let Some(issuer) = &self.issuer else { return true };
        let token =
            headers.get("authorization").and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        token.is_some_and(|token| {
            issuer.access().iter().any(|access| access == token) && !refused.iter().any(|void| void == token)
        })
    }
}

async fn metadata(State(server): State<Server>) -> Response {
    let Some(issuer) = &server.issuer else { return StatusCode::NOT_FOUND.into_response() };
    Json(json!({"resource": server.url, "authorization_servers": [issuer.url]})).into_response()
}

async fn mcp(State(server): State<Server>, method: Method, headers: HeaderMap, body: String) -> Response {
    let mut seen = server.seen.lock().unwrap();
    let taken = server.takes(&headers, &seen.refused);
    seen.requests.push((method.clone(), headers, body.clone()));
    if !taken {
        let root = server.url.trim_end_matches("/mcp");
        let challenge = format!(
            "Bearer error=\"invalid_token\", resource_metadata=\"{root}/.well-known/oauth-protected-resource/mcp\", scope=\"mcp\""
        );
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
    }
    if method != Method::POST {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let message: Value = serde_json::from_str(&body).unwrap();
    let result = match message["method"].as_str().unwrap() {
        "initialize" => json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
            "serverInfo": {"name": "rig", "version": "1"}}),
        "tools/call" => json!({"content": [{"type": "text", "text": "it ran"}]}),
        _ => return StatusCode::ACCEPTED.into_response(),
    };
    Json(json!({"jsonrpc": "2.0", "id": message["id"], "result": result})).into_response()
}
