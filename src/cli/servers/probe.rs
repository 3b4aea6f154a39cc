//! `servers test`: starts or reaches a server through the broker's own upstream side, and lists its tools.

use std::{cell::Cell, collections::BTreeMap, convert::Infallible, process::ExitCode, time::Duration};

use anyhow::Context as _;
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderValue, StatusCode, header::ACCEPT};
use serde_json::{Value, json};

use crate::{
    cli::print,
    config::Config,
    mcp::{
        Frame, Limits, Version, header,
        methods::{self, Route},
        sse::Splitter,
    },
    upstream::{Conversation, Link, Outbound, ReplyBody, Upstreams},
};

const PATIENCE: Duration = Duration::from_secs(60);
/// Whoever watches hears after this what is waited for, and again each time it has passed.
const SILENCE: Duration = Duration::from_secs(3);
/// Largest event of a stream, bytes.
const LARGEST: usize = 64 << 20;
/// A server that goes on past this many pages never ends.
const MOST_PAGES: usize = 100;

pub(super) fn run(config: &Config, name: &str, json: bool) -> anyhow::Result<ExitCode> {
    let mut servers = config.compose()?.servers;
    let settings = servers
        .remove(name)
        .with_context(|| format!("there is no server {name:?}; `countersign servers list` shows them"))?;
    anyhow::ensure!(
        settings.oauth.is_none(),
        "the running broker signs in at {name}, and has its tokens: `countersign servers login {name}`, then let \
         an agent list the tools"
    );
    // A command that ends at once says why, and with which last words.
    crate::telemetry::log_to_stderr_from("warn");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let found = runtime.block_on(async {
        let upstreams = Upstreams::new(config.file.upstream.clone());
        upstreams.replace(BTreeMap::from([(name.to_owned(), settings)]))?;
        let step = Cell::new("");
        let found = tokio::select! {
            found = tokio::time::timeout(PATIENCE, probe(&upstreams, name, &step)) => found,
            never = say_what_for(name, &step) => match never {},
        };
        upstreams.drain().await;
        found.with_context(|| format!("{name} took longer than {} s {}", PATIENCE.as_secs(), step.get()))?
    })?;
    if json {
        print::json(&json!({ "name": name, "server": found.server, "protocol": found.version,
            "tools": found.tools }));
        return Ok(ExitCode::SUCCESS);
    }
    for tool in &found.tools {
        print::line(&print::visible(tool));
    }
    let own = print::visible(&found.server);
    eprintln!("{name} works: {own}, MCP {}, {} tools", print::visible(&found.version), found.tools.len());
    Ok(ExitCode::SUCCESS)
}

/// A server may take its time, such as for a download; silence would look like a fault.
async fn say_what_for(name: &str, step: &Cell<&str>) -> Infallible {
    let begun = tokio::time::Instant::now();
    loop {
        tokio::time::sleep(SILENCE).await;
        let (waited, most) = (begun.elapsed().as_secs(), PATIENCE.as_secs());
        eprintln!("waiting for {name} {} ({waited} of at most {most} s)", step.get());
    }
}

/// What a server said of itself.
struct Found {
    server: String,
    version: String,
    tools: Vec<String>,
}

async fn probe(upstreams: &Upstreams, name: &str, step: &Cell<&str>) -> anyhow::Result<Found> {
    let server = upstreams.server(name).context("the server is gone")?;
    let link = upstreams.link(&server, Conversation::Session { grant: "(probe)" });
    let mut talk = Talk { upstreams, link, version: Version::V2025_11_25.as_str().to_owned(), last_id: 0 };
    let hello = json!({ "protocolVersion": talk.version, "capabilities": {},
        "clientInfo": { "name": "countersign", "version": env!("CARGO_PKG_VERSION") } });
    step.set("to start and to answer `initialize`");
    let welcome = talk.request("initialize", hello).await?;
    step.set("to list its tools");
    let text =
        |pointer: &str| welcome.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    let server = format!("{} {}", text("/serverInfo/name"), text("/serverInfo/version")).trim().to_owned();
    let version = text("/protocolVersion");
    talk.version.clone_from(&version);
    talk.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" })).await?;
    let (mut tools, mut cursor) = (Vec::new(), Value::Null);
    for _ in 0..MOST_PAGES {
        let params = if cursor.is_null() { json!({}) } else { json!({ "cursor": cursor }) };
        let mut page = talk.request("tools/list", params).await?;
        let listed = page.get("tools").and_then(Value::as_array).context("the server listed no tools")?;
        let names = listed.iter().filter_map(|tool| tool.get("name").and_then(Value::as_str));
        tools.extend(names.map(str::to_owned));
        cursor = page.get_mut("nextCursor").map(Value::take).unwrap_or_default();
        if cursor.is_null() {
            break;
        }
    }
    Ok(Found { server, version, tools })
}

/// A conversation with the server.
struct Talk<'a> {
    upstreams: &'a Upstreams,
    link: Link,
    version: String,
    last_id: u64,
}

impl Talk<'_> {
    async fn request(&mut self, method: &str, params: Value) -> anyhow::Result<Value> {
        self.last_id += 1;
        let message = json!({ "jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params });
        let mut answer = self.send(&message).await?.with_context(|| format!("{method} had no answer"))?;
        if let Some(error) = answer.get("error") {
            anyhow::bail!("{method} was answered with the error {}", print::visible(&error.to_string()));
        }
        Ok(answer["result"].take())
    }

    /// The response to a request; a notification has none.
    async fn send(&self, message: &Value) -> anyhow::Result<Option<Value>> {
        let body = Bytes::from(message.to_string());
        let Ok(Frame::One(parsed)) = Frame::parse(&body, &Limits::default()) else {
            anyhow::bail!("our own message is unreadable");
        };
        let Route::Pass(_, passthrough) = methods::route(Version::V2025_11_25, &parsed) else {
            anyhow::bail!("only messages that are no call are sent here");
        };
        let accept = HeaderValue::from_static("application/json, text/event-stream");
        let mut outbound = Outbound::post(body.clone()).header(ACCEPT, accept);
        if self.last_id > 1 || message.get("id").is_none() {
            let version = HeaderValue::from_str(&self.version)?;
            outbound = outbound.header(header::PROTOCOL_VERSION.clone(), version);
        }
        let reply = self.upstreams.relay(passthrough, &self.link, outbound).await?;
        let status = reply.status;
        anyhow::ensure!(
            status != StatusCode::UNAUTHORIZED,
            "the server answered {status}: it wants credentials of the broker. Give it `headers`, or an empty \
             [servers.NAME.oauth] and `countersign servers login NAME`"
        );
        anyhow::ensure!(status.is_success(), "the server answered {status}; check its URL and headers");
        let is_events = reply.is_event_stream();
        match reply.body {
            ReplyBody::Empty => Ok(None),
            ReplyBody::Messages(mut messages) => {
                while let Some(message) = messages.next().await {
                    if let Some(answer) = response(&message?)? {
                        return Ok(Some(answer));
                    }
                }
                Ok(None)
            }
            ReplyBody::Bytes(body) => {
                let mut whole = Vec::new();
                let mut splitter = Splitter::new(LARGEST);
                let mut body = std::pin::pin!(http_body_util::BodyStream::new(body));
                while let Some(part) = body.next().await {
                    let Ok(chunk) = part?.into_data() else { continue };
                    if !is_events {
                        whole.extend_from_slice(&chunk);
                        continue;
                    }
                    for event in splitter.push(&chunk)? {
                        let data = event.data.unwrap_or_default();
                        if !data.is_empty()
                            && let Some(answer) = response(data.as_bytes())?
                        {
                            return Ok(Some(answer));
                        }
                    }
                }
                if whole.is_empty() { Ok(None) } else { response(&whole) }
            }
        }
    }
}

/// The message, if it is a response.
fn response(bytes: &[u8]) -> anyhow::Result<Option<Value>> {
    let message: Value = serde_json::from_slice(bytes).context("the server's answer is no JSON")?;
    Ok(Some(message).filter(|message| message.get("method").is_none()))
}
