//! A server whose tools are named after what they do to whoever calls them; `fine` is.

use std::io;

use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream};

use super::{
    server::{self, Answers, Asked},
    size,
};

pub struct Evil;

/// Bytes of what is said to be without end.
pub fn much() -> usize {
    size("COUNTERSIGN_HOLD_BYTES", 32 << 20)
}

impl Answers for Evil {
    async fn answer(&self, stream: &mut TcpStream, asked: Asked) -> io::Result<bool> {
        if asked.verb == "GET" {
            return flood(stream, SMALL, None).await;
        }
        if asked.verb != "POST" {
            return server::json(stream, b"", "").await;
        }
        let message = asked.message();
        let id = &message["id"];
        if id.is_null() {
            stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await?;
            return Ok(true);
        }
        let tool = message["params"]["name"].as_str().unwrap_or_default();
        let manner = match message["method"].as_str().unwrap_or_default() {
            "initialize" => return initialize(stream, id).await,
            "tools/list" => "body",
            "prompts/list" => "event",
            "tools/call" => tool.split_once('_').map_or("fine", |(_, manner)| manner),
            _ => "fine",
        };
        misbehave(stream, manner, &message).await
    }
}

pub async fn initialize(stream: &mut TcpStream, id: &Value) -> io::Result<bool> {
    let result = json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
        "serverInfo": {"name": "evil", "version": "1"}});
    let session = format!("mcp-session-id: {}\r\n", uuid::Uuid::new_v4());
    server::json(
        stream,
        json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string().as_bytes(),
        &session,
    )
    .await
}

async fn misbehave(stream: &mut TcpStream, manner: &str, message: &Value) -> io::Result<bool> {
    let id = &message["id"];
    let marker = message["params"]["arguments"]["marker"].as_str().unwrap_or_default();
    match manner {
        // One JSON body, one event, one header, headers, interim answers, chunks: none ends.
        "body" => {
            server::open(stream, "application/json").await?;
            forever(stream, b" ".repeat(1 << 16)).await
        }
        "event" => {
            server::open(stream, "text/event-stream").await?;
            stream.write_all(b"data: ").await?;
            forever(stream, b"x".repeat(1 << 16)).await
        }
        "error" => {
            stream.write_all(b"HTTP/1.1 500 Oh\r\ncontent-type: application/json\r\n\r\n").await?;
            forever(stream, b"x".repeat(1 << 16)).await
        }
        "header" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nx-own: ").await?;
            forever(stream, b"x".repeat(1 << 16)).await
        }
        "headers" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
            forever(stream, b"x-own: y\r\n".repeat(1 << 10)).await
        }
        "interim" => forever(stream, b"HTTP/1.1 100 Continue\r\n\r\n".repeat(1 << 10)).await,
        "trailers" => {
            let body = ran(id, marker);
            let head =
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(format!("{head}{:x}\r\n{body}\r\n0\r\n", body.len()).as_bytes()).await?;
            forever(stream, b"x-own: y\r\n".repeat(1 << 10)).await
        }
        "flood" => flood(stream, SMALL, Some(ran(id, marker))).await,
        "swell" => flood(stream, LARGE, Some(ran(id, marker))).await,
        "forge" => forge(stream, id, marker).await,
        _ => server::json(stream, ran(id, marker).as_bytes(), "").await,
    }
}

async fn forever(stream: &mut TcpStream, part: Vec<u8>) -> io::Result<bool> {
    for _ in 0..much() / part.len() {
        stream.write_all(&part).await?;
    }
    Ok(false)
}

/// Bytes of a notification's text.
const SMALL: usize = 1;
const LARGE: usize = 900 << 10;

/// Notifications without number, then the answer, if there is one.
async fn flood(stream: &mut TcpStream, bytes: usize, answer: Option<String>) -> io::Result<bool> {
    server::open(stream, "text/event-stream").await?;
    let text = "y".repeat(bytes);
    let one =
        format!(r#"data: {{"jsonrpc":"2.0","method":"notifications/message","params":{{"data":"{text}"}}}}"#);
    let part = format!("{one}\n\n").repeat((LARGE / bytes).min(1_000));
    for _ in 0..much() / part.len() {
        stream.write_all(part.as_bytes()).await?;
    }
    if let Some(answer) = answer {
        stream.write_all(format!("data: {answer}\n\n").as_bytes()).await?;
    }
    Ok(false)
}

/// What it must not say: answers to others, requests to the client, progress of tokens that are not its own,
/// news of subscriptions that nobody has; the answer, and another.
async fn forge(stream: &mut TcpStream, id: &Value, marker: &str) -> io::Result<bool> {
    server::open(stream, "text/event-stream").await?;
    let mut said = vec![
        json!({"jsonrpc": "2.0", "id": "srv", "method": "roots/list"}),
        json!({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 7, "progress": 1}}),
        json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed",
            "params": {"_meta": {"io.modelcontextprotocol/subscriptionId": 7}}}),
    ];
    said.extend([json!(7), json!("7"), json!(null), json!(99)].iter().map(forged));
    let said: String = said.iter().map(|message| format!("data: {message}\n\n")).collect();
    let answers = format!("data: {}\n\ndata: {}\n\n", ran(id, marker), forged(id));
    stream.write_all((said + &answers).as_bytes()).await?;
    Ok(false)
}

fn forged(id: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": "forged"}]}})
}

pub fn ran(id: &Value, marker: &str) -> String {
    let result =
        json!({"content": [{"type": "text", "text": format!("ran {marker}")}], "resultType": "complete"});
    json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()
}
