//! An agent: one HTTP connection per request, so that leaving is closing it.

use std::time::Duration;

use bytes::Bytes;
use countersign::mcp::sse::Splitter;
use http_body_util::{BodyExt as _, Full};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    client::conn::http1,
    header::{HeaderMap, HeaderName, HeaderValue},
};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::{net::TcpStream, task::JoinHandle};

/// An agent with its headers (token, session, version).
#[derive(Clone)]
pub struct Agent {
    address: std::net::SocketAddr,
    path: String,
    pub headers: HeaderMap,
}

/// An answer that may still be coming; dropping it closes the connection.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    splitter: Splitter,
    ready: std::collections::VecDeque<Told>,
    /// Of the last event that had one.
    pub last_id: Option<String>,
    connection: JoinHandle<()>,
    /// Without it the connection would end with the answer.
    _sender: http1::SendRequest<Full<Bytes>>,
}

/// A story that waits longer for one thing has gone wrong.
const PATIENCE: Duration = Duration::from_secs(10);

/// One event of a stream.
#[derive(Debug)]
pub enum Told {
    Message(Value),
    Comment,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

impl Agent {
    pub fn new(address: std::net::SocketAddr, server: &str, token: &str) -> Self {
        let agent = Self { address, path: format!("/mcp/{server}"), headers: HeaderMap::new() };
        agent
            .with("host", &address.to_string())
            .with("content-type", "application/json")
            .with("accept", "application/json, text/event-stream")
            .with("authorization", &format!("Bearer {token}"))
    }

    /// The same agent at another path.
    pub fn at(mut self, path: &str) -> Self {
        path.clone_into(&mut self.path);
        self
    }

    pub fn path(&self) -> &str {
        &self.path
    }

    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        self
    }

    /// The same agent at the joined endpoint.
    pub fn joined(mut self) -> Self {
        self.path = "/mcp".to_owned();
        self
    }

    /// The same, at another server.
    pub fn to(mut self, server: &str) -> Self {
        self.path = format!("/mcp/{server}");
        self
    }

    pub fn without(mut self, name: &'static str) -> Self {
        self.headers.remove(name);
        self
    }

    pub async fn send(&self, method: &str, body: impl Into<Bytes>) -> Answer {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let connection = tokio::spawn(async move {
            let _ = connection.await;
        });
        let mut request = Request::builder().method(method).uri(&self.path);
        *request.headers_mut().unwrap() = self.headers.clone();
        let response = sender.send_request(request.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (parts, body) = Response::into_parts(response);
        Answer {
            status: parts.status,
            headers: parts.headers,
            body,
            splitter: Splitter::new(1 << 20),
            ready: std::collections::VecDeque::new(),
            last_id: None,
            connection,
            _sender: sender,
        }
    }

    /// Takes up a stream whose last event had this id.
    pub async fn resume(&self, last: Option<&str>) -> Answer {
        self.clone().with("last-event-id", last.expect("an id")).send("GET", "").await
    }

    pub async fn post(&self, message: &Value) -> Answer {
        self.send("POST", message.to_string()).await
    }

    /// Posts and reads nothing of the answer. Dropping it breaks the connection, as a process that dies does.
    pub fn post_unread(&self, message: &Value) -> std::net::TcpStream {
        let mut request = format!("POST {} HTTP/1.1\r\n", self.path);
        for (name, value) in &self.headers {
            request.push_str(&format!("{name}: {}\r\n", value.to_str().unwrap()));
        }
        let body = message.to_string();
        request.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
        let mut stream = std::net::TcpStream::connect(self.address).unwrap();
        std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
        stream
    }

    /// Posts until it is told that there is no such session.
    pub async fn until_gone(&self, message: &Value) {
        let gone = async {
            while self.post(message).await.status != StatusCode::NOT_FOUND {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PATIENCE, gone).await.expect("it ends");
    }

    /// Returns when `text` lies unread in the socket.
    pub async fn unread(stream: &std::net::TcpStream, text: &str) {
        stream.set_nonblocking(true).unwrap();
        let socket = TcpStream::from_std(stream.try_clone().unwrap()).unwrap();
        let mut seen = vec![0; 1 << 16];
        loop {
            let size = socket.peek(&mut seen).await.unwrap();
            if String::from_utf8_lossy(&seen[..size]).contains(text) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Posts and waits for the whole answer.
    pub async fn ask(&self, message: &Value) -> Value {
        self.post(message).await.response().await
    }

    /// The handshake; the agent with its session.
    pub async fn initialized(self, name: &str) -> Self {
        self.initialized_with(name, json!({})).await
    }

    /// The same, of a client that can do more.
    pub async fn initialized_with(self, name: &str, capabilities: Value) -> Self {
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": capabilities, "clientInfo": {"name": name, "version": "1"}}});
        let answer = self.post(&hello).await;
        assert_eq!(answer.status, 200);
        let session = answer.headers["mcp-session-id"].to_str().unwrap().to_owned();
        answer.response().await;
        let agent = self.with("mcp-session-id", &session).with("mcp-protocol-version", "2025-06-18");
        let said = json!({"jsonrpc": "2.0", "method": "notifications/initialized"});
        assert_eq!(agent.post(&said).await.status, 202);
        agent
    }
}

impl Answer {
    pub fn is_stream(&self) -> bool {
        self.headers["content-type"].as_bytes().starts_with(b"text/event-stream")
    }

    /// The whole body as bytes.
    pub async fn bytes(mut self) -> Bytes {
        let mut whole = Vec::new();
        while let Some(frame) = self.body.frame().await {
            whole.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        whole.into()
    }

    /// What the first event of an HTTP+SSE stream says.
    pub async fn endpoint(&mut self) -> String {
        let mut events = Vec::new();
        while events.is_empty() {
            let part = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("an endpoint");
            let part = part.expect("a stream").unwrap().into_data().unwrap();
            events = self.splitter.push(&part).unwrap();
        }
        assert_eq!((events.len(), events[0].event.as_deref()), (1, Some("endpoint")));
        events.remove(0).data.unwrap()
    }

    /// The next event of a stream; `None` at its end.
    pub async fn told(&mut self) -> Option<Told> {
        loop {
            if let Some(told) = self.ready.pop_front() {
                return Some(told);
            }
            let part = tokio::time::timeout(PATIENCE, self.body.frame()).await.expect("more of the stream");
            let part = part?.unwrap().into_data().unwrap();
            for event in self.splitter.push(&part).unwrap() {
                self.last_id = event.id.or(self.last_id.take());
                let told = match event.data.filter(|data| !data.is_empty()) {
                    Some(data) => Told::Message(serde_json::from_str(&data).unwrap()),
                    None => Told::Comment,
                };
                self.ready.push_back(told);
            }
        }
    }

    /// The next message of a stream; `None` at its end. Comments between them are no news.
    pub async fn next(&mut self) -> Option<Value> {
        let next = async {
            loop {
                if let Told::Message(message) = self.told().await? {
                    return Some(message);
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("a message in time")
    }

    /// The same of a stream that goes on.
    pub async fn message(&mut self) -> Value {
        self.next().await.expect("more of the stream")
    }

    /// The JSON-RPC response, from JSON or from a stream read to its end; the messages before it.
    pub async fn story(mut self) -> (Vec<Value>, Value) {
        if !self.is_stream() {
            return (Vec::new(), serde_json::from_slice(&self.bytes().await).unwrap());
        }
        let mut before = Vec::new();
        let mut response = None;
        while let Some(told) = self.told().await {
            match told {
                Told::Message(message) if message.get("method").is_none() => response = Some(message),
                Told::Message(message) => before.push(message),
                Told::Comment => {}
            }
        }
        (before, response.expect("a response"))
    }

    pub async fn response(self) -> Value {
        self.story().await.1
    }
}
