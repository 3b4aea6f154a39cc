//! A server of bare sockets, that answers each request with whatever bytes it likes.

use std::{io, sync::Arc};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

pub struct Asked {
    pub verb: String,
    /// In lower case.
    pub head: String,
    pub body: Vec<u8>,
}

impl Asked {
    pub fn message(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// Answers one request on the stream; false: the connection ends.
pub trait Answers: Send + Sync + 'static {
    fn answer(&self, stream: &mut TcpStream, asked: Asked) -> impl Future<Output = io::Result<bool>> + Send;
}

/// Its URL.
pub async fn serve(answers: impl Answers) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mcp", listener.local_addr().unwrap());
    let answers = Arc::new(answers);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.set_nodelay(true);
            let answers = answers.clone();
            tokio::spawn(async move {
                // A broker that goes away in the middle ends the conversation, nothing else.
                let mut rest = Vec::new();
                while let Ok(Some(asked)) = read(&mut stream, &mut rest).await {
                    if !matches!(Box::pin(answers.answer(&mut stream, asked)).await, Ok(true)) {
                        return;
                    }
                }
            });
        }
    });
    url
}

async fn read(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<Option<Asked>> {
    loop {
        if let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.and_then(|length| length.trim().parse().ok()).unwrap_or(0);
            if bytes.len() >= head + 4 + length {
                let verb = text.split(' ').next().unwrap_or_default().to_uppercase();
                let body = bytes[head + 4..head + 4 + length].to_vec();
                bytes.drain(..head + 4 + length);
                return Ok(Some(Asked { verb, head: text, body }));
            }
        }
        if stream.read_buf(bytes).await? == 0 {
            return Ok(None);
        }
    }
}

/// A whole answer.
pub async fn json(stream: &mut TcpStream, body: &[u8], headers: &str) -> io::Result<bool> {
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{headers}content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), body].concat()).await?;
    Ok(true)
}

/// The head of a body that ends with its connection.
pub async fn open(stream: &mut TcpStream, kind: &str) -> io::Result<()> {
    stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n\r\n").as_bytes()).await
}
