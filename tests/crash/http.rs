//! An HTTP client for a broker that may die at any byte: one connection per request, every failure a value.

use std::{io, net::SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, StatusCode, client::conn::http1};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// A whole answer. One that broke off is an error, never a short body.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub session: Option<String>,
    pub body: Bytes,
}

/// Where a request goes, and with which headers.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub path: String,
    pub headers: Vec<(&'static str, String)>,
}

impl Target {
    pub fn new(address: SocketAddr, path: &str, token: &str) -> Self {
        let headers = vec![
            ("host", address.to_string()),
            ("content-type", "application/json".into()),
            ("accept", "application/json, text/event-stream".into()),
            ("authorization", format!("Bearer {token}")),
        ];
        Self { address, path: path.into(), headers }
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn at(&self, path: &str) -> Self {
        Self { path: path.into(), ..self.clone() }
    }

    /// Dropping the future closes the connection.
    pub async fn send(&self, method: &str, body: impl Into<Bytes>) -> io::Result<Reply> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        let exchange = async {
            let mut request = Request::builder().method(method).uri(&self.path);
            for (name, value) in &self.headers {
                request = request.header(*name, value);
            }
            let request = request.body(Full::new(body.into())).map_err(io::Error::other)?;
            let (parts, body) = sender.send_request(request).await.map_err(io::Error::other)?.into_parts();
            let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
            let session = parts.headers.get("mcp-session-id");
            let session = session.and_then(|id| id.to_str().ok()).map(str::to_owned);
            Ok(Reply { status: parts.status, session, body })
        };
        // The connection is polled beside the exchange, in this task: nothing outlives it.
        tokio::pin!(connection);
        tokio::pin!(exchange);
        let mut connected = true;
        loop {
            tokio::select! {
                biased;
                done = &mut exchange => return done,
                _ = &mut connection, if connected => connected = false,
            }
        }
    }

    pub async fn get(&self) -> io::Result<Reply> {
        self.send("GET", Bytes::new()).await
    }

    pub async fn post(&self, message: &Value) -> io::Result<Reply> {
        self.send("POST", message.to_string()).await
    }
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The JSON-RPC response, from JSON or as the last message of a stream.
    pub fn response(&self) -> Option<Value> {
        if let Ok(message) = serde_json::from_slice(&self.body) {
            return Some(message);
        }
        let text = std::str::from_utf8(&self.body).ok()?;
        let said = text.lines().filter_map(|line| line.strip_prefix("data: "));
        let mut messages = said.filter_map(|data| serde_json::from_str::<Value>(data).ok());
        messages.rfind(|message| message.get("method").is_none())
    }
}
