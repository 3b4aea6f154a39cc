//! A small MCP server that really listens, and remembers each `tools/call` that reached it.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{HeaderMap, Method, StatusCode},
    response::{IntoResponse as _, Response},
    routing::any,
};
use futures_util::{StreamExt as _, stream};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// How the server speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// 2025-06-18 with sessions; answers as JSON.
    Json,
    /// The same; answers as a stream, progress first.
    Stream,
    /// 2026-07-28.
    Modern,
}

#[derive(Clone)]
pub struct Server {
    pub url: String,
    manner: Manner,
    seen: Arc<Mutex<Vec<Value>>>,
    headers: Arc<Mutex<Vec<HeaderMap>>>,
    deletes: Arc<AtomicUsize>,
    left: Arc<AtomicUsize>,
    scripts: Arc<Mutex<HashMap<&'static str, Script>>>,
    came: Arc<Notify>,
}

/// What it answers to one method instead of its usual answer; `$ID` becomes the request's id.
#[derive(Clone, Debug)]
pub struct Script {
    pub status: u16,
    pub headers: Vec<(&'static str, &'static str)>,
    pub body: String,
    /// The body never ends.
    pub open: bool,
    /// It answers when it is told to.
    pub after: Option<Arc<Notify>>,
}

impl Script {
    pub fn new(status: u16, kind: &'static str, body: &str) -> Self {
        Self { status, headers: vec![("content-type", kind)], body: body.into(), open: false, after: None }
    }

    /// One message as JSON.
    pub fn json(message: impl ToString) -> Self {
        Self::new(200, "application/json", &message.to_string())
    }

    /// Each message as an event of a stream that stays open.
    pub fn events(messages: &[Value]) -> Self {
        let text: String = messages.iter().map(|message| format!("data: {message}\n\n")).collect();
        Self { open: true, ..Self::new(200, "text/event-stream", &text) }
    }

    async fn respond(self, id: &Value) -> Response {
        if let Some(after) = &self.after {
            after.notified().await;
        }
        let mut builder = Response::builder().status(self.status);
        for (name, value) in self.headers {
            builder = builder.header(name, value);
        }
        let body = self.body.replace("$ID", &id.to_string());
        if !self.open {
            return builder.body(Body::from(body)).unwrap();
        }
        let parts = stream::iter([Ok::<_, std::convert::Infallible>(body)]).chain(stream::pending());
        builder.body(Body::from_stream(parts)).unwrap()
    }
}

impl Server {
    pub async fn start(manner: Manner) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let server = Self {
            url,
            manner,
            seen: Arc::default(),
            headers: Arc::default(),
            deletes: Arc::default(),
            left: Arc::default(),
            scripts: Arc::default(),
            came: Arc::default(),
        };
        let router = Router::new().route("/mcp", any(answer)).with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// The messages that reached it, in order.
    pub fn messages(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }

    /// How often it was asked such a thing.
    pub fn asked(&self, method: &str) -> usize {
        self.messages().iter().filter(|message| message["method"] == method).count()
    }

    /// From now on it answers to `method` (or to `GET`) like this.
    pub fn answers(&self, method: &'static str, script: Script) {
        self.scripts.lock().unwrap().insert(method, script);
    }

    /// The `tools/call` that reached it, in order.
    pub fn calls(&self) -> Vec<Value> {
        self.messages().into_iter().filter(|m| m["method"] == "tools/call").collect()
    }

    /// Resolves when a session was ended.
    pub async fn ended(&self) {
        let ended = async {
            while self.deletes.load(Ordering::SeqCst) == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), ended).await.expect("a DELETE within 10 s");
    }

    /// Resolves when a client left before it was answered.
    pub async fn left(&self) {
        let left = async {
            while self.left.load(Ordering::SeqCst) == 0 {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(10), left).await.expect("it leaves within 10 s");
    }

    /// Resolves after another request reached it.
    pub async fn another(&self) {
        self.came.notified().await;
    }

    /// The headers of every request that reached it.
    pub fn headers(&self) -> Vec<HeaderMap> {
        self.headers.lock().unwrap().clone()
    }
}

/// Counts a request whose client closed the connection while it was worked on.
struct Unanswered(Option<Arc<AtomicUsize>>);

impl Drop for Unanswered {
    fn drop(&mut self) {
        if let Some(left) = &self.0 {
            left.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn answer(State(server): State<Server>, method: Method, headers: HeaderMap, body: Bytes) -> Response {
    server.headers.lock().unwrap().push(headers);
    if method == Method::DELETE {
        server.deletes.fetch_add(1, Ordering::SeqCst);
    }
    server.came.notify_one();
    let script = |method: &str| server.scripts.lock().unwrap().get(method).cloned();
    if let Some(script) = script(method.as_str()).filter(|_| method != Method::POST) {
        return script.respond(&Value::Null).await;
    }
    if method == Method::GET && server.manner == Manner::Stream {
        // A resumed stream repeats an answer.
        let list = json!({"jsonrpc": "2.0", "id": 1, "result": tools(server.manner)});
        return events(&Value::Null, &list);
    }
    if method != Method::POST {
        return if method == Method::DELETE { StatusCode::OK } else { StatusCode::METHOD_NOT_ALLOWED }
            .into_response();
    }
    let message: Value = serde_json::from_slice(&body).unwrap();
    server.seen.lock().unwrap().push(message.clone());
    let Some(id) = message.get("id").filter(|_| message.get("method").is_some()) else {
        return StatusCode::ACCEPTED.into_response();
    };
    if message["params"]["arguments"]["refuse"] == true {
        return StatusCode::FORBIDDEN.into_response();
    }
    if let Some(script) = script(message["method"].as_str().unwrap()) {
        let mut unanswered = Unanswered(Some(server.left.clone()));
        let response = script.respond(id).await;
        unanswered.0 = None;
        return response;
    }
    let result = match message["method"].as_str().unwrap() {
        "initialize" => json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                               "serverInfo": {"name": "rig", "version": "1"}}),
        "tools/list" => tools(server.manner),
        "tools/call" => ran(&message, server.manner),
        "resources/list" => json!({"resources": []}),
        other => {
            return json_response(
                &json!({"jsonrpc": "2.0", "id": id,
            "error": {"code": -32601, "message": format!("no {other}")}}),
                false,
            );
        }
    };
    let response = json!({"jsonrpc": "2.0", "id": id, "result": result});
    match server.manner {
        Manner::Stream if message["method"] != "initialize" => events(&message, &response),
        Manner::Json | Manner::Stream => json_response(&response, message["method"] == "initialize"),
        Manner::Modern => json_response(&response, false),
    }
}

fn tools(manner: Manner) -> Value {
    let tool = |name| json!({"name": name, "inputSchema": {"type": "object"}, "x-own": 1.50});
    let mut list = json!({"tools": [tool("look"), tool("secret"), tool("cancel"), tool("forbidden")]});
    if manner == Manner::Modern {
        list["resultType"] = json!("complete");
        list["ttlMs"] = json!(600_000);
        list["cacheScope"] = json!("public");
    }
    list
}

fn ran(message: &Value, manner: Manner) -> Value {
    let text = format!(
        "{} ran with {}",
        message["params"]["name"].as_str().unwrap(),
        message["params"]["arguments"]
    );
    if let Some(legs) = message["params"]["arguments"]["asks"].as_u64() {
        // It answers only with that many states of its own.
        let leg = message["params"]["requestState"].as_str().map_or(0, |state| state.parse().unwrap());
        if leg < legs {
            return json!({"resultType": "input_required", "requestState": (leg + 1).to_string(),
                "inputRequests": {"who": {"method": "elicitation/create", "params": {"message": "who?"}}}});
        }
    }
    let mut result = json!({"content": [{"type": "text", "text": text}], "isError": false});
    if manner == Manner::Modern {
        result["resultType"] = json!("complete");
    }
    result
}

fn json_response(message: &Value, opens_session: bool) -> Response {
    let mut builder = Response::builder().header("content-type", "application/json");
    if opens_session {
        builder = builder.header("mcp-session-id", uuid::Uuid::new_v4().to_string());
    }
    builder.body(Body::from(message.to_string())).unwrap()
}

fn events(request: &Value, response: &Value) -> Response {
    let mut events = String::new();
    if let Some(token) = request["params"]["_meta"].get("progressToken") {
        for progress in [0, 1] {
            let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": token, "progress": progress, "message": "half"}});
            events.push_str(&format!("event: message\ndata: {progress}\n\n"));
        }
    }
    events.push_str(&format!("event: message\nid: 7\ndata: {response}\n\n"));
    Response::builder().header("content-type", "text/event-stream").body(Body::from(events)).unwrap()
}
