//! Each kind of message of both eras, with anything in the place of its members, through the real door: each is
//! answered in time, nothing panics, and nobody reads what is another session's.
//!
//! `just fuzz` sends a hundred thousand; here it is some thousands, the same in each run.

use std::{
    collections::BTreeMap,
    io,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};

use crate::{
    http::{Reply, Target},
    rig::{
        broker::{Agent, Broker},
        line::Line,
        server::{self, Answers, Asked},
        size,
    },
    soak::{approve_all, only},
};

const LIMITS: &str = "[mcp]\nlaps = 0\ngrace_ms = 20\ndefault_patience_s = 1\nwait_tool = true\n";
const POLICY: &str = r#"{
  "version": "1", "default": "allow", "resources": "allow", "prompts": "allow", "hide": ["gone_*"],
  "tools": { "do_*": { "action": "require_approval" } }
}"#;
const IN_TIME: Duration = Duration::from_secs(5);

/// Says each request's parameters back, some after a notification; of a call its arguments only, which all
/// have in common who get the one answer to the same call.
struct Echo;

impl Answers for Echo {
    async fn answer(&self, stream: &mut TcpStream, asked: Asked) -> io::Result<bool> {
        let message = asked.message();
        let (id, params) = (&message["id"], &message["params"]);
        if id.is_null() {
            stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await?;
            return Ok(true);
        }
        let session = format!("mcp-session-id: {}\r\n", uuid::Uuid::new_v4());
        let (said, headers) = match message["method"].as_str().unwrap_or_default() {
            "initialize" => (
                json!({"protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
                "serverInfo": {"name": "echo", "version": "1"}}),
                &*session,
            ),
            "tools/call" => (params["arguments"].clone(), ""),
            _ => (params.clone(), ""),
        };
        let result = match headers {
            "" => {
                json!({"resultType": "complete", "content": [], "tools": [{"name": "say_x"}], "said": said})
            }
            _ => said,
        };
        let answer = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
        let token = &params["_meta"]["progressToken"];
        if token.is_null() || params["name"].as_str().is_none_or(|name| name.starts_with("do_")) {
            return server::json(stream, answer.as_bytes(), headers).await;
        }
        let told = json!({"jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": token, "progress": 1}});
        server::open(stream, "text/event-stream").await?;
        stream.write_all(format!("data: {told}\n\ndata: {answer}\n\n").as_bytes()).await?;
        Ok(false)
    }
}

/// The same on a pipe.
const CHILD: &str = r#"
import json, sys
def say(m): sys.stdout.write(json.dumps(m) + "\n"); sys.stdout.flush()
for line in sys.stdin:
    m = json.loads(line); id = m.get("id"); p = m.get("params"); method = m.get("method")
    p = p if isinstance(p, dict) else {}
    if "id" not in m or method is None: continue
    meta = p.get("_meta"); token = meta.get("progressToken") if isinstance(meta, dict) else None
    if method == "initialize": result = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "c", "version": "1"}}
    else: result = {"resultType": "complete", "content": [], "tools": [{"name": "say_x"}], "said": p.get("arguments") if method == "tools/call" else p}
    if token is not None: say({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
    say({"jsonrpc": "2.0", "id": id, "result": result})
"#;

/// Each method and what it is asked with, for `mark`.
fn kinds(mark: &str) -> Vec<(&'static str, Value)> {
    let call = |tool: &str| json!({"name": tool, "arguments": {"marker": mark, "n": 1}});
    let task = json!({"taskId": format!("{mark}-task")});
    let mut gated = call("do_x");
    gated["task"] = json!({"ttl": 60_000});
    vec![
        (
            "initialize",
            json!({"protocolVersion": "2025-11-25", "capabilities": {"x": mark},
            "clientInfo": {"name": mark, "version": "1"}}),
        ),
        ("tools/call", call("say_x")),
        ("tools/call", call("say_y")),
        ("tools/call", call("gone_x")),
        ("tools/call", call("countersign_wait")),
        ("tools/call", call("do_x")),
        ("tools/call", gated),
        ("tools/list", json!({"cursor": mark})),
        ("resources/list", json!({"cursor": mark})),
        ("resources/templates/list", json!({"cursor": mark})),
        ("resources/read", json!({"uri": mark})),
        ("resources/subscribe", json!({"uri": mark})),
        ("resources/unsubscribe", json!({"uri": mark})),
        ("prompts/list", json!({"cursor": mark})),
        ("prompts/get", json!({"name": mark, "arguments": {"x": mark}})),
        (
            "completion/complete",
            json!({"ref": {"type": "ref/prompt", "name": mark}, "argument": {"name": "x"}}),
        ),
        ("logging/setLevel", json!({"level": "info", "x": mark})),
        ("ping", json!({"x": mark})),
        ("server/discover", json!({"x": mark})),
        ("subscriptions/listen", json!({"notifications": {"toolsListChanged": true}, "x": mark})),
        ("tasks/get", task.clone()),
        ("tasks/cancel", task.clone()),
        ("tasks/update", task.clone()),
        ("tasks/result", task),
        ("tasks/list", json!({"cursor": mark})),
        ("notifications/cancelled", json!({"requestId": mark})),
        ("notifications/initialized", json!({"x": mark})),
        ("notifications/progress", json!({"progressToken": mark, "progress": 1})),
        ("notifications/roots/list_changed", json!({"x": mark})),
        ("notifications/tasks/status", json!({"taskId": mark})),
        ("nobody/knows", json!({"x": mark})),
    ]
}

/// What stands in a member's place.
fn odd(random: &mut StdRng) -> Value {
    let deep = |n: usize| {
        (0..n).fold(json!(1), |inner, n| if n % 2 == 0 { json!([inner]) } else { json!({"a": inner}) })
    };
    match random.random_range(0..20) {
        0 => Value::Null,
        1 => json!(true),
        2 => json!(0),
        3 => json!(-1),
        4 => json!(1.5),
        5 => json!(9_007_199_254_740_993_u64),
        6 => json!(u64::MAX),
        7 => json!(""),
        8 => json!("x".repeat(random.random_range(1..70_000))),
        9 => json!("\u{0}\u{202e}\n\r\"\\"),
        10 => json!([]),
        11 => json!({}),
        12 => json!([null, {"id": 1}, []]),
        13 => deep(random.random_range(1..90)),
        14 => json!("tools/call"),
        15 => json!("do_x"),
        16 => json!("2026-07-28"),
        17 => json!("2025-06-18"),
        18 => json!({"name": "say_x", "_meta": {"progressToken": 1}, "taskId": 1}),
        _ => json!((0..300).map(|n| (n.to_string(), json!(n))).collect::<BTreeMap<_, _>>()),
    }
}

/// A member somewhere becomes another, leaves, or is called otherwise.
fn mutate(message: &mut Value, random: &mut StdRng) {
    let mut here = message;
    loop {
        let Some(members) = here.as_object_mut().filter(|members| !members.is_empty()) else { return };
        let at = random.random_range(0..members.len());
        let Some(name) = members.keys().nth(at).cloned() else { return };
        if members[&name].is_object() && random.random_bool(0.7) {
            here = &mut members[&name];
            continue;
        }
        match random.random_range(0..10) {
            0 => drop(members.remove(&name)),
            1 => {
                let value = members.remove(&name).unwrap_or_default();
                members.insert(name.to_uppercase(), value);
            }
            2 => drop(members.insert("task".into(), odd(random))),
            3 => drop(members.insert("_meta".into(), odd(random))),
            _ => drop(members.insert(name, odd(random))),
        }
        return;
    }
}

/// One agent at one server, in one era, and what it may read.
struct Party {
    mark: String,
    agent: Agent,
    /// In its session; `None`: it speaks 2026-07-28.
    session: Option<Target>,
    piped: bool,
    line: Line,
    random: StdRng,
}

impl Party {
    async fn work(mut self, frames: usize) -> BTreeMap<String, usize> {
        let mut told = BTreeMap::new();
        for number in 0..frames {
            let (target, body) = self.frame(number);
            let asked = tokio::time::timeout(IN_TIME, self.line.ask(&target, "POST", body.clone())).await;
            let short: String = body.chars().take(2_000).collect();
            let reply = asked.unwrap_or_else(|_| panic!("{}: not answered in time: {short}", self.mark));
            let reply = reply.unwrap_or_else(|why| panic!("{}: {why}: {short}", self.mark));
            self.judge(&reply, &short);
            *told.entry(reply.status.to_string()).or_default() += 1;
        }
        told
    }

    fn judge(&self, reply: &Reply, frame: &str) {
        let said = String::from_utf8_lossy(&reply.body);
        assert_ne!(reply.status, 500, "{frame}: {said}");
        only(&said, &self.mark);
    }

    fn frame(&mut self, number: usize) -> (Target, String) {
        let all = kinds(&self.mark);
        let (method, params) = loop {
            let (method, params) = &all[self.random.random_range(0..all.len())];
            // Each would be a process more, and a person is not asked so often.
            let rare = *method == "initialize" && (self.piped || self.session.is_none())
                || params["name"].as_str().is_some_and(|name| name.starts_with("do_"))
                    && self.random.random_bool(0.7);
            if !rare {
                break (*method, params.clone());
            }
        };
        let mut message = json!({"jsonrpc": "2.0", "method": method, "params": params});
        if !method.starts_with("notifications/") {
            message["id"] = json!(format!("{}-{number}", self.mark));
        }
        if self.random.random_bool(0.5) {
            message["params"]["_meta"]["progressToken"] = json!(format!("{}-{number}", self.mark));
        }
        if self.session.is_none() {
            message["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
            message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
        }
        for _ in 0..self.random.random_range(0..4) {
            mutate(&mut message, &mut self.random);
        }
        (self.target(&message, method), self.written(&message))
    }

    fn target(&self, message: &Value, method: &str) -> Target {
        if let Some(session) = &self.session {
            return session.clone();
        }
        let fits = |said: &&str| said.len() < 200 && said.bytes().all(|byte| byte.is_ascii_graphic());
        let named = ["name", "uri", "taskId"].iter().find_map(|name| message["params"][name].as_str());
        self.agent.modern(message["method"].as_str().filter(fits).unwrap_or(method), named.filter(fits))
    }

    /// Now and then it says something twice, or is cut.
    fn written(&mut self, message: &Value) -> String {
        let mut text = message.to_string();
        match self.random.random_range(0..40) {
            0 => text.insert_str(1, r#""method":"tools/call","#),
            1 => text.insert_str(1, r#""METHOD":"tools/call","#),
            2 => text = format!("[{text}]"),
            3 => drop(text.pop()),
            _ => {}
        }
        text
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_member_of_any_message_is_answered_in_time_and_to_who_asked() {
    let frames: usize = size("COUNTERSIGN_FUZZ_FRAMES", 2_000);
    let url = format!("url = \"{}\"", server::serve(Echo).await);
    let child = format!("command = {}", json!(["python3", "-u", "-c", CHILD]));
    let grants = ["bot", "ann-bot"];
    let broker = Broker::governed(POLICY, &[("web", url), ("pipe", child)], &grants, LIMITS).await;
    let (begun, mut parties) = (Instant::now(), JoinSet::new());
    // Two of a kind at a time: on a pipe those of one agent share a process.
    for number in 0..16_usize {
        let (grant, server) = (grants[number % 2], ["web", "pipe"][number / 2 % 2]);
        let agent = broker.agent(grant, server);
        let session = if number < 8 { Some(agent.session().await.unwrap()) } else { None };
        let random = StdRng::seed_from_u64(number as u64);
        let mark = format!("<{grant}-{server}-{number}>");
        let party = Party { mark, agent, session, piped: server == "pipe", line: Line::default(), random };
        parties.spawn(party.work(frames / 16));
    }
    let reviewer = tokio::spawn(approve_all(broker.reviewer.clone()));
    let mut told = BTreeMap::<String, usize>::new();
    while let Some(done) = parties.join_next().await {
        done.unwrap_or_else(|why| panic!("{why}\n{}", broker.log())).into_iter().for_each(
            |(status, count)| {
                *told.entry(status).or_default() += count;
            },
        );
    }
    reviewer.abort();
    eprintln!("{frames} frames in {:.1?}, {} KiB: {told:?}", begun.elapsed(), broker.resident());
    let log = broker.log();
    assert!(!log.contains("panicked"), "{log}");
    // Neither is all refused at the door, nor does all pass.
    let fine = told.get("200 OK").copied().unwrap_or_default();
    assert!(fine > frames / 5 && fine < frames, "{told:?}");
    assert_eq!(broker.reviewer.at("/readyz").get().await.unwrap().status, 200);
}
