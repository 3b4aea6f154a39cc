//! The recording upstream: each `tools/call` is in a file, fsynced, before it is answered.
//!
//! Its file is the ground truth: what is in it has happened, whatever the broker remembers.

use std::{
    fs::File,
    io::Write as _,
    net::SocketAddr,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::{Method, StatusCode},
    response::{IntoResponse as _, Response},
    routing::any,
};
use rand::RngExt as _;
use serde_json::{Value, json};

#[derive(Clone)]
pub struct Upstream {
    pub address: SocketAddr,
    file: Arc<Mutex<File>>,
    seen: Arc<Mutex<Vec<String>>>,
    busy: Arc<AtomicUsize>,
}

impl Upstream {
    pub async fn start(folder: &Path) -> Self {
        let file = File::create(folder.join("upstream.jsonl")).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let file = Arc::new(Mutex::new(file));
        let upstream = Self { address, file, seen: Arc::default(), busy: Arc::default() };
        let router = Router::new().route("/mcp", any(answer)).with_state(upstream.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        upstream
    }

    /// The markers of every call that reached it, in order.
    pub fn markers(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// Nothing is under way: what was sent has been recorded.
    pub async fn quiet(&self) {
        while self.busy.load(Ordering::SeqCst) > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn record(&self, marker: &str, tool: &str) {
        let line = json!({"marker": marker, "tool": tool}).to_string() + "\n";
        let mut file = self.file.lock().unwrap();
        file.write_all(line.as_bytes()).unwrap();
        file.sync_data().unwrap();
        self.seen.lock().unwrap().push(marker.to_owned());
    }
}

struct Busy(Arc<AtomicUsize>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn answer(State(upstream): State<Upstream>, method: Method, body: Bytes) -> Response {
    if method != Method::POST {
        return if method == Method::DELETE { StatusCode::OK } else { StatusCode::METHOD_NOT_ALLOWED }
            .into_response();
    }
    let message: Value = serde_json::from_slice(&body).unwrap();
    let (Some(id), Some(name)) = (message.get("id"), message["method"].as_str()) else {
        return StatusCode::ACCEPTED.into_response();
    };
    let mut result = match name {
        "initialize" => json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                               "serverInfo": {"name": "recorder", "version": "1"}}),
        "tools/call" => call(&upstream, &message["params"]).await,
        _ => json!({"tools": []}),
    };
    if message["params"]["_meta"].get("io.modelcontextprotocol/protocolVersion").is_some() {
        result["resultType"] = json!("complete");
    }
    let response = json!({"jsonrpc": "2.0", "id": id, "result": result});
    let mut builder = Response::builder().header("content-type", "application/json");
    if name == "initialize" {
        builder = builder.header("mcp-session-id", uuid::Uuid::new_v4().to_string());
    }
    builder.body(Body::from(response.to_string())).unwrap()
}

/// A task of its own: a caller that dies in the middle does not undo what it has set going.
async fn call(upstream: &Upstream, params: &Value) -> Value {
    upstream.busy.fetch_add(1, Ordering::SeqCst);
    let busy = Busy(Arc::clone(&upstream.busy));
    let (tool, marker) = (text(&params["name"]), text(&params["arguments"]["marker"]));
    let answer = json!({"content": [{"type": "text", "text": format!("ran {marker}")}], "isError": false});
    let recorder = upstream.clone();
    let recording = tokio::task::spawn_blocking(move || {
        recorder.record(&marker, &tool);
        drop(busy);
    });
    recording.await.unwrap();
    // Some answers take their time, so that brokers die between the send and the answer.
    let slow = if rand::rng().random_bool(0.3) { rand::rng().random_range(10..200) } else { 0 };
    tokio::time::sleep(Duration::from_millis(slow)).await;
    answer
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
