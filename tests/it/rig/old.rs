//! A server that speaks HTTP+SSE (2024-11-05): one session, its answers on one stream.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::State,
    http::StatusCode,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use countersign::upstream::{ServerSettings, Transport};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::sync::mpsc;

#[derive(Clone)]
pub struct Old {
    url: String,
    seen: Arc<Mutex<Vec<Value>>>,
    /// It answers on the newest; those before it stay open.
    streams: Arc<Mutex<Vec<mpsc::UnboundedSender<String>>>>,
}

impl Old {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/sse", listener.local_addr().unwrap());
        let old = Self { url, seen: Arc::default(), streams: Arc::default() };
        let router = Router::new().route("/sse", get(listen)).route("/messages", post(take));
        let router = router.with_state(old.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        old
    }

    pub fn settings(&self, transport: Option<Transport>) -> ServerSettings {
        ServerSettings { url: Some(self.url.clone()), transport, ..ServerSettings::default() }
    }

    /// The messages that reached it, in order.
    pub fn messages(&self) -> Vec<Value> {
        self.seen.lock().unwrap().clone()
    }

    pub fn calls(&self) -> usize {
        self.messages().iter().filter(|message| message["method"] == "tools/call").count()
    }

    pub fn says(&self, message: &Value) {
        let event = format!("event: message\ndata: {message}\n\n");
        self.streams.lock().unwrap().last().unwrap().send(event).unwrap();
    }

    pub fn breaks(&self) {
        self.streams.lock().unwrap().clear();
    }
}

async fn listen(State(old): State<Old>) -> Response {
    let (says, said) = mpsc::unbounded_channel();
    says.send("event: endpoint\ndata: /messages\n\n".to_owned()).unwrap();
    old.streams.lock().unwrap().push(says);
    let parts = stream::unfold(said, |mut said| async {
        said.recv().await.map(|event| (Ok::<_, std::convert::Infallible>(event), said))
    });
    Response::builder().header("content-type", "text/event-stream").body(Body::from_stream(parts)).unwrap()
}

async fn take(State(old): State<Old>, body: Bytes) -> Response {
    let message: Value = serde_json::from_slice(&body).unwrap();
    if old.streams.lock().unwrap().is_empty() {
        return StatusCode::NOT_FOUND.into_response();
    }
    old.seen.lock().unwrap().push(message.clone());
    let result = match message["method"].as_str().unwrap_or_default() {
        "initialize" => json!({"protocolVersion": "2024-11-05", "capabilities": {"tools": {}},
                               "serverInfo": {"name": "old", "version": "1"}}),
        "tools/list" => json!({"tools": [{"name": "look", "inputSchema": {"type": "object"}},
                                         {"name": "secret", "inputSchema": {"type": "object"}}]}),
        "tools/call" => match message["params"]["arguments"]["then"].as_str() {
            Some("refuse") => return (StatusCode::BAD_REQUEST, "{\"no\":1}").into_response(),
            Some("break") => {
                old.breaks();
                return StatusCode::ACCEPTED.into_response();
            }
            _ => {
                if let Some(token) = message["params"]["_meta"].get("progressToken") {
                    old.says(&json!({"jsonrpc": "2.0", "method": "notifications/progress",
                        "params": {"progressToken": token, "progress": 1}}));
                }
                json!({"content": [{"type": "text", "text": format!("{} ran", message["params"]["name"].as_str().unwrap())}]})
            }
        },
        _ => return StatusCode::ACCEPTED.into_response(),
    };
    old.says(&json!({"jsonrpc": "2.0", "id": message["id"], "result": result}));
    (StatusCode::ACCEPTED, "Accepted").into_response()
}
