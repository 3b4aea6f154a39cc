//! What the benches over sockets share: a small MCP server, a broker process, agents that cost little.

#![allow(dead_code, reason = "each bench uses its own part of it")]

use std::{
    collections::HashMap,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::value::RawValue;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

pub const TOKEN: &str = "bench-token-0123456789abcdef0123456789";

/// An MCP server that echoes, and remembers when each marked call reached it.
#[derive(Clone)]
pub struct Echo {
    pub address: SocketAddr,
    arrived: Arc<Mutex<HashMap<String, Instant>>>,
}

#[derive(serde::Deserialize)]
struct Asked<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    method: &'a str,
    #[serde(borrow)]
    params: Option<&'a RawValue>,
}

impl Echo {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let echo = Self { address, arrived: Arc::default() };
        let served = echo.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                let served = served.clone();
                tokio::spawn(async move {
                    let service = service_fn(move |request| answer(served.clone(), request));
                    let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        echo
    }

    /// When the call with this marker came, if it came.
    pub fn arrival(&self, marker: &str) -> Option<Instant> {
        self.arrived.lock().expect("no panics").get(marker).copied()
    }
}

async fn answer(echo: Echo, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let now = Instant::now();
    let body = request.into_body().collect().await?.to_bytes();
    let asked: Asked<'_> = serde_json::from_slice(&body).expect("JSON-RPC");
    let params = asked.params.map_or("{}", RawValue::get);
    if let Some(marker) = marker(params) {
        echo.arrived.lock().expect("no panics").insert(marker.to_owned(), now);
    }
    let id = asked.id.map_or("null", RawValue::get);
    let result = match asked.method {
        "tools/call" => r#"{"content":[{"type":"text","text":"done"}],"resultType":"complete"}"#,
        "initialize" => {
            r#"{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"echo","version":"1"}}"#
        }
        _ => r#"{"tools":[]}"#,
    };
    let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#);
    let response = Response::builder().header("content-type", "application/json");
    Ok(response.body(Full::new(body.into())).expect("a response"))
}

fn marker(params: &str) -> Option<&str> {
    params.split_once(r#""marker":""#)?.1.split_once('"').map(|(marker, _)| marker)
}

/// A broker process of this build, in a folder that vanishes.
pub struct Process {
    pub address: SocketAddr,
    pub reviewer: String,
    child: Child,
    folder: tempfile::TempDir,
}

impl Process {
    /// `more` is added to the configuration.
    pub async fn start(upstream: SocketAddr, policy: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let config = format!(
            "listen = \"{address}\"\nstore = \"sqlite:bench.db\"\n\
             [servers.echo]\nurl = \"http://{upstream}/mcp\"\npolicy = \"policy.json\"\n\
             [grants.bench]\ntoken = \"env:BENCH_TOKEN\"\nservers = [\"echo\"]\n{more}"
        );
        std::fs::write(folder.path().join("countersign.toml"), config).expect("a config");
        std::fs::write(folder.path().join("policy.json"), policy).expect("a policy");
        let added = command(&folder, &["reviewers", "add", "ann", "--json"]).output().expect("a reviewer");
        let added: serde_json::Value = serde_json::from_slice(&added.stdout).expect("a token");
        let reviewer = added["token"].as_str().expect("a token").to_owned();
        let child = command(&folder, &["serve"]).stderr(Stdio::null()).spawn().expect("a broker");
        let process = Self { address, reviewer, child, folder };
        let begun = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            assert!(begun.elapsed() < Duration::from_secs(20), "the broker does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        process
    }

    /// Resident memory, KiB.
    pub fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    /// CPU time used so far.
    pub fn cpu(&self) -> Duration {
        cpu_of(self.id())
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }
}

/// CPU time that a process has used; its unit is a hundredth of a second.
pub fn cpu_of(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).expect("Linux");
    let after = stat.rsplit_once(") ").expect("a name").1;
    let ticks: u64 = after.split(' ').skip(11).take(2).map(|t| t.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(folder: &tempfile::TempDir, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(arguments).current_dir(folder.path()).stdin(Stdio::null()).env("BENCH_TOKEN", TOKEN);
    command.env("COUNTERSIGN_CONFIG", folder.path().join("countersign.toml"));
    command
}

/// One keep-alive HTTP/1.1 connection, with as little around it as possible.
pub struct Line {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Line {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        Self { stream, buffer: Vec::new() }
    }

    pub async fn write(&mut self, request: &[u8]) {
        self.stream.write_all(request).await.expect("a request is taken");
    }

    /// Reads until `end` is there; forgets what was read.
    pub async fn read_until(&mut self, end: &[u8]) -> Vec<u8> {
        loop {
            if memmem(&self.buffer, end) {
                return std::mem::take(&mut self.buffer);
            }
            let mut part = [0; 2048];
            let read = self.stream.read(&mut part).await.expect("an answer");
            assert!(read > 0, "the broker closed: {}", String::from_utf8_lossy(&self.buffer));
            self.buffer.extend_from_slice(&part[..read]);
        }
    }

    /// One request whose answer has a length.
    pub async fn ask(&mut self, request: &[u8]) -> Vec<u8> {
        self.write(request).await;
        loop {
            if let Some(whole) = whole(&self.buffer) {
                assert_eq!(whole, self.buffer.len(), "one answer at a time");
                return std::mem::take(&mut self.buffer);
            }
            let read = self.stream.read_buf(&mut self.buffer).await.expect("an answer");
            assert!(read > 0, "closed: {}", String::from_utf8_lossy(&self.buffer));
        }
    }
}

/// The length of the answer that `bytes` begins with, once its head is there.
fn whole(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&bytes[..head]).expect("a head");
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let end = head + length.unwrap_or_else(|| panic!("an answer without a length: {text}"));
    (bytes.len() >= end).then_some(end)
}

fn memmem(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// A modern `tools/call` as a whole HTTP request.
pub fn tools_call(address: SocketAddr, tool: &str, marker: &str) -> Vec<u8> {
    let body = format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{{"marker":"{marker}","region":"eu-1","count":3}},"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
    );
    let head = format!(
        "POST /mcp/echo HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nauthorization: Bearer {TOKEN}\r\n\
         mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: {tool}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    (head + &body).into_bytes()
}

/// A request to the door for people.
pub fn rest(address: SocketAddr, reviewer: &str, method: &str, path: &str, body: &str) -> Vec<u8> {
    format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\n\
         authorization: Bearer {reviewer}\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The value below which `share` of the times lie.
pub fn at(sorted: &[Duration], share: f64) -> Duration {
    sorted[((sorted.len() - 1) as f64 * share) as usize]
}
