//! An MCP server that misbehaves as the tool's name says; `fine` does not. It counts what reaches it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

#[derive(Clone)]
pub struct Liar {
    pub url: String,
    seen: Arc<Mutex<HashMap<String, usize>>>,
}

impl Liar {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/mcp", listener.local_addr().unwrap());
        let liar = Self { url, seen: Arc::default() };
        let served = liar.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let served = served.clone();
                // A peer that goes away in the middle ends the conversation, nothing else.
                tokio::spawn(async move { drop(Box::pin(served.converse(stream)).await) });
            }
        });
        liar
    }

    /// How often a call with this marker arrived.
    pub fn times(&self, marker: &str) -> usize {
        self.seen.lock().unwrap().get(marker).copied().unwrap_or(0)
    }

    async fn converse(&self, mut stream: TcpStream) -> std::io::Result<()> {
        while let Some(message) = read(&mut stream).await? {
            let marker = message["params"]["arguments"]["marker"].as_str().unwrap_or_default();
            *self.seen.lock().unwrap().entry(marker.to_owned()).or_default() += 1;
            let tool = message["params"]["name"].as_str().unwrap_or("say_fine");
            let manner = tool.split_once('_').map_or("fine", |(_, manner)| manner);
            if !Box::pin(misbehave(&mut stream, manner, &message["id"])).await? {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// One request's message.
async fn read(stream: &mut TcpStream) -> std::io::Result<Option<Value>> {
    let mut bytes = Vec::new();
    loop {
        if let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            if bytes.len() >= head + 4 + length {
                return Ok(Some(serde_json::from_slice(&bytes[head + 4..]).unwrap_or_default()));
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Ok(None);
        }
    }
}

/// False: the connection ends here.
async fn misbehave(stream: &mut TcpStream, manner: &str, id: &Value) -> std::io::Result<bool> {
    match manner {
        "hang" => {
            let mut nothing = [0];
            stream.read_exact(&mut nothing).await?;
            Ok(false)
        }
        "slam" => Ok(false),
        "half" => {
            let body = answer(id);
            let head = head("application/json", body.len());
            stream.write_all(&[head.as_bytes(), &body.as_bytes()[..body.len() / 2]].concat()).await?;
            Ok(false)
        }
        "foreign" => json_body(stream, &answer(&json!("another"))).await,
        "garbage" => json_body(stream, "not JSON at all").await,
        "huge" => {
            stream.write_all(head("application/json", 1 << 30).as_bytes()).await?;
            let part = [b' '; 65536];
            for _ in 0..(1 << 30) / part.len() {
                stream.write_all(&part).await?;
            }
            Ok(false)
        }
        "flood" => {
            let told = r#"data: {"jsonrpc":"2.0","method":"notifications/message","params":{"data":"x"}}"#;
            let events = format!("{}data: {}\n\n", format!("{told}\n\n").repeat(2_000), answer(id));
            let head = head("text/event-stream", events.len());
            stream.write_all((head + &events).as_bytes()).await?;
            Ok(true)
        }
        "endless" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n").await?;
            loop {
                stream.write_all(b": still here\n\n").await?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        other => match other.strip_prefix("http") {
            Some(status) => {
                let status = format!("HTTP/1.1 {status} Whatever\r\nlocation: /elsewhere\r\n");
                stream.write_all(format!("{status}content-length: 2\r\n\r\nno").as_bytes()).await?;
                Ok(true)
            }
            None => json_body(stream, &answer(id)).await,
        },
    }
}

fn answer(id: &Value) -> String {
    let result = json!({"content": [{"type": "text", "text": "done"}], "resultType": "complete"});
    json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()
}

fn head(kind: &str, length: usize) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n")
}

async fn json_body(stream: &mut TcpStream, body: &str) -> std::io::Result<bool> {
    stream.write_all((head("application/json", body.len()) + body).as_bytes()).await?;
    Ok(true)
}
