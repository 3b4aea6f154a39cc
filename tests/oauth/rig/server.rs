//! An MCP server behind the broker, which may want access tokens of the issuer and records what it is sent.

use std::sync::{Arc, Mutex};

use axum::{
    Json, Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri},
    response::{IntoResponse, Response},
    routing::{any, get},
};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Issuer;

#[derive(Default)]
struct Seen {
    /// Method of HTTP, headers, and message of every request.
    requests: Vec<(Method, HeaderMap, String)>,
    /// Tokens that are no longer taken.
    refused: Vec<String>,
    /// Methods or tools, with the scope that they need; without one, they are forbidden to all.
    needs: Vec<(String, Option<String>)>,
    /// Another authorization server than the issuer that it names from here on.
    named: Option<String>,
    /// tools/call that were run.
    ran: usize,
    /// The stream of the one session, where it speaks HTTP+SSE.
    stream: Option<mpsc::UnboundedSender<String>>,
}

#[derive(Clone)]
pub struct Server {
    pub url: String,
    issuer: Option<Issuer>,
    /// It speaks HTTP+SSE (2024-11-05).
    old: bool,
    seen: Arc<Mutex<Seen>>,
}

impl Server {
    /// With an issuer, it wants its tokens.
    pub async fn start(issuer: Option<Issuer>) -> Self {
        Self::open(issuer, false).await
    }

    /// The same, of before streamable HTTP.
    pub async fn old(issuer: Option<Issuer>) -> Self {
        Self::open(issuer, true).await
    }

    async fn open(issuer: Option<Issuer>, old: bool) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let server = Self { url, issuer, old, seen: Arc::default() };
        let routes = Router::new()
            .route("/mcp", any(mcp))
            .route("/mcp/messages", any(mcp))
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

    /// How many tools/call were run.
    pub fn calls(&self) -> usize {
        self.seen.lock().unwrap().ran
    }

    /// How many tools/call came here, whatever became of them.
    pub fn sent(&self) -> usize {
        let seen = self.seen.lock().unwrap();
        seen.requests.iter().filter(|(_, _, body)| body.contains("tools/call")).count()
    }

    /// From here on it names this authorization server.
    pub fn names(&self, issuer: &str) {
        self.seen.lock().unwrap().named = Some(issuer.to_owned());
    }

    /// From here on a method or a tool needs that scope of its token; without one, nobody may.
    pub fn needs(&self, what: &str, scope: Option<&str>) {
        self.seen.lock().unwrap().needs.push((what.to_owned(), scope.map(str::to_owned)));
    }

    /// The 403 for a message that its token may not send.
    fn forbids(
        &self,
        headers: &HeaderMap,
        body: &str,
        needs: &[(String, Option<String>)],
    ) -> Option<Response> {
        let (_, needed) = needs.iter().find(|(what, _)| body.contains(&format!("\"{what}\"")))?;
        let own = (StatusCode::FORBIDDEN, "nobody may");
        let Some(needed) = needed else { return Some(own.into_response()) };
        let issuer = self.issuer.as_ref()?;
        let has = issuer.scope(headers["authorization"].to_str().unwrap().trim_start_matches("Bearer "));
        let root = self.url.trim_end_matches("/mcp");
        let challenge = format!(
            "Bearer error=\"insufficient_scope\", scope=\"{needed}\", \
             resource_metadata=\"{root}/.well-known/oauth-protected-resource/mcp\", \
             error_description=\"more, please\""
        );
        let refusal = (StatusCode::FORBIDDEN, [("www-authenticate", challenge)]).into_response();
        (!has.split(' ').any(|scope| scope == needed)).then_some(refusal)
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
    let named = server.seen.lock().unwrap().named.clone().unwrap_or_else(|| issuer.url.clone());
    Json(json!({"resource": server.url, "authorization_servers": [named]})).into_response()
}

async fn mcp(
    State(server): State<Server>,
    uri: Uri,
    method: Method,
    headers: HeaderMap,
    body: String,
) -> Response {
    let mut seen = server.seen.lock().unwrap();
    let taken = server.takes(&headers, &seen.refused);
    let forbidden = if taken { server.forbids(&headers, &body, &seen.needs) } else { None };
    seen.requests.push((method.clone(), headers, body.clone()));
    if !taken {
        let root = server.url.trim_end_matches("/mcp");
        let challenge = format!(
            "Bearer error=\"invalid_token\", resource_metadata=\"{root}/.well-known/oauth-protected-resource/mcp\", scope=\"mcp\""
        );
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", challenge)]).into_response();
    }
    if let Some(refusal) = forbidden {
        return refusal;
    }
    if server.old && method == Method::GET {
        let (stream, said) = mpsc::unbounded_channel();
        stream.send("event: endpoint\ndata: /mcp/messages\n\n".to_owned()).unwrap();
        seen.stream = Some(stream);
        let parts = futures_util::stream::unfold(said, |mut said| async {
            said.recv().await.map(|event| (Ok::<_, std::convert::Infallible>(event), said))
        });
        return ([("content-type", "text/event-stream")], Body::from_stream(parts)).into_response();
    }
    if method != Method::POST || server.old != uri.path().ends_with("/messages") {
        return StatusCode::METHOD_NOT_ALLOWED.into_response();
    }
    let message: Value = serde_json::from_str(&body).unwrap();
    let result = match message["method"].as_str().unwrap() {
        "initialize" => json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
            "serverInfo": {"name": "rig", "version": "1"}}),
        "tools/call" => json!({"content": [{"type": "text", "text": "it ran"}]}),
        _ => return StatusCode::ACCEPTED.into_response(),
    };
    seen.ran += usize::from(message["method"] == "tools/call");
    let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
    if let Some(stream) = &seen.stream {
        stream.send(format!("event: message\ndata: {answer}\n\n")).unwrap();
        return StatusCode::ACCEPTED.into_response();
    }
    Json(answer).into_response()
}
