//! Every sample message through the whole broker, up and down: what goes in comes out byte for byte, but the
//! one field that the broker must change.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use countersign::mcp::{Frame, Json, Limits, Message};
use serde_json::json;
use tokio::net::TcpStream;

use crate::rig::{
    broker::Broker,
    server::{self, Answers, Asked},
};

const SAMPLES: &str = include_str!("../data/frames.jsonl");

/// Says what it was told to, and keeps the bytes that reached it.
#[derive(Clone, Default)]
struct Mirror {
    says: Arc<Mutex<Vec<u8>>>,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Answers for Mirror {
    async fn answer(&self, stream: &mut TcpStream, asked: Asked) -> io::Result<bool> {
        self.heard.lock().unwrap().push(asked.body);
        let says = self.says.lock().unwrap().clone();
        server::json(stream, &says, "").await
    }
}

fn samples() -> impl Iterator<Item = &'static str> {
    SAMPLES.lines().filter(|line| !line.starts_with('#') && !line.trim_start().starts_with('['))
}

fn message(text: &str) -> Message<'_> {
    match Frame::parse(text.as_bytes(), &Limits::default()).unwrap() {
        Frame::One(message) => message,
        Frame::Batch(_) => unreachable!("batches are left out"),
    }
}

fn written(json: Option<Json<'_>>) -> String {
    json.map_or_else(String::new, |json| json.as_str().to_owned())
}

async fn broker(mirror: &Mirror, policy: &str) -> Broker {
    let url = server::serve(mirror.clone()).await;
    let servers = [("mirror", format!("url = \"{url}\""))];
    Broker::governed(policy, &servers, &["bot"], "[mcp]\ngrace_ms = 10000\n").await
}

const ALL: &str = r#"{"version": "1", "default": "allow", "resources": "allow", "prompts": "allow"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sample_of_a_client_reaches_the_server_as_it_was_written() {
    let mirror = Mirror::default();
    let broker = broker(&mirror, ALL).await;
    let (mut sent, mut passed) = (0, BTreeMap::<&str, usize>::new());
    for text in samples() {
        let message = message(text);
        let id = written(message.id());
        let meta = message
            .params()
            .and_then(|params| params.at(&["_meta", "io.modelcontextprotocol/protocolVersion"]));
        let version = meta.and_then(|said| said.string().map(|said| said.into_owned()));
        let mut target = broker.agent("bot", "mirror").0;
        if let Some(version) = &version {
            target = target.with("mcp-protocol-version", version);
            target = target.with("mcp-method", message.method().unwrap());
            let params = message.params().unwrap();
            if let Some(name) = ["name", "uri", "taskId"].iter().find_map(|name| params.get(name)) {
                target = target.with("mcp-name", &name.string().unwrap());
            }
        }
        let answer = format!(r#"{{ "result":{{"x":1.50,"\u0061":[1e400]}} ,"id":{id},"jsonrpc":"2.0"}}"#);
        *mirror.says.lock().unwrap() = answer.clone().into_bytes();
        mirror.heard.lock().unwrap().clear();
        let reply = target.send("POST", text).await.unwrap();
        sent += 1;
        let heard = mirror.heard.lock().unwrap().clone();
        if heard.is_empty() {
            // Refused or dropped, and then in whole.
            let told = String::from_utf8_lossy(&reply.body).into_owned();
            *passed.entry("kept here").or_default() += 1;
            assert!(reply.status == 202 || told.contains("error"), "{text}: {reply:?}");
            continue;
        }
        assert_eq!(heard.len(), 1, "{text} is sent once");
        assert_eq!(String::from_utf8_lossy(&heard[0]), text);
        if message.id().is_some() && matches!(message, Message::Request(_)) {
            // A list is sieved: it may lose its white space, and nothing else.
            assert_eq!(String::from_utf8_lossy(&reply.body), answer, "{text}");
        }
        *passed.entry("passed").or_default() += 1;
    }
    assert!(sent >= 117, "{sent}");
    assert!(passed["passed"] >= 100, "{passed:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_sample_of_a_server_reaches_the_client_as_it_was_written() {
    let mirror = Mirror::default();
    let broker = broker(&mirror, ALL).await;
    for text in samples() {
        *mirror.says.lock().unwrap() = text.as_bytes().to_vec();
        let ask = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "t"}});
        for ask in [ask, json!({"jsonrpc": "2.0", "id": 1, "method": "ping"})] {
            let reply = broker.agent("bot", "mirror").0.post(&ask).await.unwrap();
            assert_eq!(String::from_utf8_lossy(&reply.body), text);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sample_that_was_approved_is_sent_as_it_was_written_but_for_who_waits() {
    let mirror = Mirror::default();
    let gate = r#"{"version": "1", "default": "require_approval"}"#;
    let broker = broker(&mirror, gate).await;
    let mut approved = 0;
    for text in samples() {
        let message = message(text);
        let call =
            matches!(&message, Message::Request(request) if request.method == "tools/call" && request.is_2_0);
        let modern = text.contains("io.modelcontextprotocol/protocolVersion");
        // A task of 2025-11-25 and an answer to a server's question are not waited for on a line.
        let plain = !text.contains("\"task\":")
            && !text.contains("inputResponses")
            && !text.contains("\"name\":\"\"");
        if !call || modern || !plain || written(message.id()) == "null" {
            continue;
        }
        let id = written(message.id());
        let answer = format!(r#"{{ "id":{id},"jsonrpc":"2.0","result":{{"content":[],"x":1.50}}}}"#);
        *mirror.says.lock().unwrap() = answer.clone().into_bytes();
        mirror.heard.lock().unwrap().clear();
        let tool = message.params().unwrap().get("name").unwrap().string().unwrap().into_owned();
        let target = broker.agent("bot", "mirror").0;
        let (reply, ()) = tokio::join!(target.send("POST", text), broker.approve(&tool));
        let reply = reply.unwrap();
        let heard = mirror.heard.lock().unwrap().clone();
        assert_eq!(heard.len(), 1, "{text} is sent once");
        // Without the white space around it, which is no part of the message.
        assert_eq!(String::from_utf8_lossy(&heard[0]), text.trim());
        assert!(String::from_utf8_lossy(&reply.body).contains(&answer), "{text}: {reply:?}");
        approved += 1;
    }
    assert!(approved >= 20, "{approved}");
}
