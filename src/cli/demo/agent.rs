//! The demo's agent: a small MCP client over streamable HTTP, which knows nothing of the broker.

use anyhow::Context as _;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use crate::{
    cli::reviewer::client,
    mcp::{Version, header, sse::Splitter},
};

/// Largest event of a stream, bytes.
const LARGEST: usize = 1 << 20;

pub(super) struct Agent {
    http: reqwest::Client,
    url: String,
    token: String,
    session: Option<String>,
    last_id: u64,
}

/// What a tool answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub is_error: bool,
    pub text: String,
    /// The broker asks to call again: the call still waits.
    pub waits: bool,
}

impl Agent {
    /// The handshake.
    pub(super) async fn connect(url: &str, token: &str) -> anyhow::Result<Self> {
        let (http, url, token) = (client(url)?, url.to_owned(), token.to_owned());
        let mut agent = Self { http, url, token, session: None, last_id: 0 };
        let own = json!({ "name": "countersign-demo-agent", "version": env!("CARGO_PKG_VERSION") });
        let hello = json!({ "protocolVersion": Version::V2025_11_25.as_str(), "capabilities": {},
            "clientInfo": own });
        agent.request("initialize", hello).await?;
        agent.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await?;
        Ok(agent)
    }

    /// Names, in the server's order.
    pub(super) async fn tools(&mut self) -> anyhow::Result<Vec<String>> {
        let listed = self.request("tools/list", json!({})).await?;
        let tools = listed.get("tools").and_then(Value::as_array).context("no tools were listed")?;
        let name = |tool: &Value| tool.get("name").and_then(Value::as_str).map(str::to_owned);
        Ok(tools.iter().filter_map(name).collect())
    }

    /// Calls a tool and waits for its answer, on the line.
    pub(super) async fn call(&mut self, tool: &str, arguments: &Value) -> anyhow::Result<Answer> {
        let result = self.request("tools/call", json!({ "name": tool, "arguments": arguments })).await?;
        let text = result.pointer("/content/0/text").and_then(Value::as_str).unwrap_or_default();
        let is_error = result.get("isError").and_then(Value::as_bool).unwrap_or(false);
        let state = result.pointer("/_meta/countersign~1call/state").and_then(Value::as_str);
        let waits = is_error && matches!(state, Some("pending" | "permitted" | "dispatched"));
        Ok(Answer { is_error, text: text.to_owned(), waits })
    }

    async fn request(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.last_id += 1;
        let id = self.last_id;
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let mut answer = self.send(&message).await?.with_context(|| format!("{method} had no answer"))?;
        if let Some(error) = answer.get("error") {
            anyhow::bail!("{method} was answered with the error {error}");
        }
        Ok(answer["result"].take())
    }

    /// The last message of the answer; a notification has none.
    async fn send(&mut self, message: &Value) -> anyhow::Result<Option<Value>> {
        let mut request = self
            .http
            .post(&self.url)
            .bearer_auth(&self.token)
            .header("accept", "application/json, text/event-stream")
            .json(message);
        if let Some(session) = &self.session {
            request = request
                .header(&header::SESSION_ID, session)
                .header(&header::PROTOCOL_VERSION, Version::V2025_11_25.as_str());
        }
        let answer = request.send().await.context("the broker cannot be reached")?;
        let status = answer.status();
        if let Some(session) = answer.headers().get(&header::SESSION_ID) {
            self.session = Some(session.to_str()?.to_owned());
        }
        let kind = answer.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        if kind.is_some_and(|kind| kind.starts_with("text/event-stream")) {
            return last_event(answer).await.map(Some);
        }
        let body = answer.bytes().await?;
        anyhow::ensure!(
            status.is_success(),
            "the broker answered {status}: {}",
            String::from_utf8_lossy(&body)
        );
        Ok(if body.is_empty() { None } else { Some(serde_json::from_slice(&body)?) })
    }
}

/// The message that answers the request; progress before it is passed over.
async fn last_event(mut answer: reqwest::Response) -> anyhow::Result<Value> {
    let mut splitter = Splitter::new(LARGEST);
    while let Some(chunk) = answer.chunk().await.context("the line to the broker broke")? {
        for event in splitter.push(&chunk)? {
            let Some(text) = event.data.filter(|text| !text.is_empty()) else { continue };
            let message: Value = serde_json::from_str(&text)?;
            if message.get("method").is_none() {
                return Ok(message);
            }
        }
    }
    anyhow::bail!("the line to the broker ended before the answer came")
}
