//! Many sessions of ten agents, each doing a bit of everything for long: nobody reads what is another's, and
//! the broker is as large in the end as it was when it had warmed up.
//!
//! `just soak` has 1,000 sessions for ten minutes; here it is 100 for a little.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http_body_util::BodyExt as _;
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt as _, net::TcpStream, task::JoinSet};

use crate::{
    http::Target,
    rig::{
        broker::{Agent, Broker, legacy_call, text, tools_call},
        evil::ran,
        line::Line,
        server::{self, Answers, Asked},
        size,
    },
};

const AGENTS: usize = 10;
const LIMITS: &str = "[mcp]\nlaps = 0\ngrace_ms = 50\n[approval]\nredelivery = \"5s\"\ndetach_grace = \"5s\"\n\
    [limits]\nkept_answer = 4096\n[upstream]\nconnect_timeout_ms = 200000\n";

/// Says in each message whose it is.
struct Fair;

impl Answers for Fair {
    async fn answer(&self, stream: &mut TcpStream, asked: Asked) -> io::Result<bool> {
        let message = asked.message();
        let id = &message["id"];
        match (&*asked.verb, message["method"].as_str().unwrap_or_default()) {
            ("GET", _) => {
                let whose = asked.head.lines().find_map(|line| line.strip_prefix("mcp-session-id: "));
                news(stream, &json!({"level": "info", "data": whose}), None).await
            }
            ("DELETE", _) => server::json(stream, b"", "").await,
            (_, "initialize") => {
                let result = json!({"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
                    "serverInfo": {"name": "fair", "version": "1"}});
                let answer = json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
                let session = format!("mcp-session-id: {}\r\n", uuid::Uuid::new_v4());
                server::json(stream, answer.as_bytes(), &session).await
            }
            (_, "subscriptions/listen") => {
                let meta = json!({"_meta": {"io.modelcontextprotocol/subscriptionId": id}});
                news(stream, &meta, Some(id)).await
            }
            (_, "tools/call") => call(stream, &message).await,
            _ if id.is_null() => {
                stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await?;
                Ok(true)
            }
            _ => {
                let tool = json!({"name": "say_json", "inputSchema": {"type": "object"}, "x-for": id});
                let answer = json!({"jsonrpc": "2.0", "id": id,
                    "result": {"resultType": "complete", "tools": [tool]}});
                server::json(stream, answer.to_string().as_bytes(), "").await
            }
        }
    }
}

/// A stream that goes on until its reader leaves.
async fn news(stream: &mut TcpStream, params: &Value, subscription: Option<&Value>) -> io::Result<bool> {
    server::open(stream, "text/event-stream").await?;
    let method = if subscription.is_some() { "tools/list_changed" } else { "message" };
    let said = json!({"jsonrpc": "2.0", "method": format!("notifications/{method}"), "params": params});
    for _ in 0..600 {
        stream.write_all(format!("data: {said}\n\n").as_bytes()).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(false)
}

async fn call(stream: &mut TcpStream, message: &Value) -> io::Result<bool> {
    let marker = message["params"]["arguments"]["marker"].as_str().unwrap_or_default();
    let answer = ran(&message["id"], marker);
    match message["params"]["name"].as_str().unwrap_or_default() {
        "say_stream" | "do_stream" => {
            let token = &message["params"]["_meta"]["progressToken"];
            let told = json!({"jsonrpc": "2.0", "method": "notifications/progress",
                "params": {"progressToken": token, "progress": 1, "message": marker}});
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n";
            let body = format!("data: {told}\n\ndata: {told}\n\ndata: {answer}\n\n");
            let whole = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(whole.as_bytes()).await?;
            Ok(true)
        }
        "say_slow" => {
            tokio::time::sleep(Duration::from_secs(2)).await;
            server::json(stream, answer.as_bytes(), "").await
        }
        _ => server::json(stream, answer.as_bytes(), "").await,
    }
}

#[derive(Default, Debug)]
struct Tally {
    allowed: AtomicUsize,
    gated: AtomicUsize,
    lists: AtomicUsize,
    cancelled: AtomicUsize,
    news: AtomicUsize,
    sessions: AtomicUsize,
}

fn count(of: &AtomicUsize) {
    of.fetch_add(1, Ordering::Relaxed);
}

/// One session's agent.
struct Party {
    number: usize,
    modern: bool,
    agent: Agent,
    line: Line,
    session: Option<(Target, String)>,
    tally: Arc<Tally>,
    random: StdRng,
}

impl Party {
    async fn work(mut self, until: Instant, pace: Duration) {
        for turn in 0.. {
            let nap = pace.mul_f64(self.random.random_range(0.5..1.5));
            tokio::time::sleep(nap).await;
            if Instant::now() > until {
                return;
            }
            let marker = format!("<{}-{turn}>", self.number);
            match self.random.random_range(0..100) {
                0..50 => self.call("say_json", &marker, &self.tally.clone().allowed).await,
                50..78 => self.call("say_stream", &marker, &self.tally.clone().allowed).await,
                78..82 => self.call("do_stream", &marker, &self.tally.clone().gated).await,
                82..90 => self.list(&marker).await,
                90..95 => self.cancel(&marker).await,
                95..98 => self.listen(&marker).await,
                _ => self.end().await,
            }
        }
    }

    /// Where this method goes: legacy agents have a session first.
    async fn target(&mut self, method: &str, name: Option<&str>) -> Target {
        if self.modern {
            return self.agent.modern(method, name);
        }
        if self.session.is_none() {
            let session = self.agent.session().await.unwrap();
            count(&self.tally.sessions);
            let id = session.headers.iter().find(|(name, _)| *name == "mcp-session-id").unwrap().1.clone();
            self.session = Some((session, id));
        }
        self.session.as_ref().unwrap().0.clone()
    }

    fn message(&self, tool: &str, marker: &str) -> Value {
        let mut call = match self.modern {
            true => tools_call(json!(marker), tool, marker),
            false => legacy_call(json!(marker), tool, marker),
        };
        call["params"]["_meta"]["progressToken"] = json!(marker);
        call
    }

    async fn call(&mut self, tool: &str, marker: &str, tally: &AtomicUsize) {
        let target = self.target("tools/call", Some(tool)).await;
        let message = self.message(tool, marker).to_string();
        let mut reply = self.line.ask(&target, "POST", message.clone()).await.unwrap();
        // Given a ticket, it asks again, as agents do.
        while text(&reply).contains("call again") || text(&reply).contains("Call again") {
            only(&String::from_utf8_lossy(&reply.body), marker);
            reply = self.line.ask(&target, "POST", message.clone()).await.unwrap();
        }
        let expected = format!("ran {marker}");
        assert!(text(&reply) == expected, "{}: {reply:?}", self.number);
        only(&String::from_utf8_lossy(&reply.body), marker);
        count(tally);
    }

    async fn list(&mut self, marker: &str) {
        let target = self.target("tools/list", None).await;
        let mut list = self.message("", marker);
        list["method"] = json!("tools/list");
        let params = list["params"].as_object_mut().unwrap();
        params.retain(|name, _| name == "_meta");
        let reply = self.line.ask(&target, "POST", list.to_string()).await.unwrap();
        assert_eq!(reply.json()["result"]["tools"][0]["x-for"], marker, "{reply:?}");
        only(&String::from_utf8_lossy(&reply.body), marker);
        count(&self.tally.lists);
    }

    /// It changes its mind about a call, sent or waiting for a person, and leaves.
    async fn cancel(&mut self, marker: &str) {
        let tool = if self.random.random_bool(0.5) { "say_slow" } else { "do_json" };
        let target = self.target("tools/call", Some(tool)).await;
        let message = self.message(tool, marker).to_string();
        let heard =
            tokio::time::timeout(Duration::from_millis(30), self.line.ask(&target, "POST", message)).await;
        if let Ok(Ok(reply)) = heard {
            only(&String::from_utf8_lossy(&reply.body), marker);
        }
        if !self.modern {
            let gone = json!({"jsonrpc": "2.0", "method": "notifications/cancelled",
                "params": {"requestId": marker}});
            let told = Line::default().ask(&target, "POST", gone.to_string()).await.unwrap();
            assert_eq!(told.status, 202, "{told:?}");
        }
        self.line.hang_up();
        count(&self.tally.cancelled);
    }

    /// It listens for two seconds, and hears its own only.
    async fn listen(&mut self, marker: &str) {
        let target = self.target("subscriptions/listen", None).await;
        let mut listen = self.message("", marker);
        listen["method"] = json!("subscriptions/listen");
        listen["params"]["notifications"] = json!({"toolsListChanged": true});
        let (verb, body, whose) = match &self.session {
            Some((_, id)) => ("GET", String::new(), id.clone()),
            None => ("POST", listen.to_string(), marker.to_owned()),
        };
        let mut line = Line::default();
        let mut answer = line.open(&target, verb, body).await.unwrap().into_body();
        let mut heard = String::new();
        let reading = async {
            while let Some(Ok(frame)) = answer.frame().await {
                heard += &String::from_utf8_lossy(frame.data_ref().map_or(&[], |data| data));
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(2), reading).await;
        let events: Vec<_> = heard.lines().filter(|line| line.starts_with("data: {")).collect();
        assert!(events.iter().all(|event| event.contains(&whose)), "{whose}: {heard}");
        // On a busy machine two seconds may be too little for the first.
        if !events.is_empty() {
            count(&self.tally.news);
        }
    }

    async fn end(&mut self) {
        let Some((session, _)) = self.session.take() else { return };
        let ended = self.line.ask(&session, "DELETE", String::new()).await.unwrap();
        assert!(ended.status.is_success(), "{ended:?}");
    }
}

/// Every marker in it is this one.
fn only(whole: &str, marker: &str) {
    let mut rest = whole;
    while let Some(at) = rest.find('<') {
        rest = &rest[at..];
        assert!(rest.starts_with(marker), "{marker} was given {whole}");
        rest = &rest[marker.len()..];
    }
}

/// Approves all that waits, until it is dropped.
async fn approve_all(reviewer: Target) {
    let mut line = Line::default();
    loop {
        let page = reviewer.at("/api/v1/calls?state=pending&limit=200");
        let page = line.ask(&page, "GET", String::new()).await.unwrap().json();
        for call in page["calls"].as_array().unwrap() {
            let vote = json!({"vote": "approve", "digest": call["digest"]}).to_string();
            let path = format!("/api/v1/calls/{}/reviews", call["id"].as_str().unwrap());
            // Its agent may have cancelled it meanwhile.
            line.ask(&reviewer.at(&path), "POST", vote).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Its memory, the mean of ten looks.
async fn memory(broker: &Broker) -> f64 {
    let mut sum = 0.0;
    for _ in 0..10 {
        sum += f64::from(u32::try_from(broker.resident()).unwrap()) / 1024.0;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    sum / 10.0
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sessions_for_long_hear_their_own_and_leave_nothing_behind() {
    let (seconds, sessions): (u64, usize) =
        (size("COUNTERSIGN_SOAK_SECONDS", 20), size("COUNTERSIGN_SOAK_SESSIONS", 100));
    // So many calls a second in all.
    let rate: f64 = size("COUNTERSIGN_SOAK_RATE", 150.0);
    let fair = format!("url = \"{}\"", server::serve(Fair).await);
    let grants: Vec<String> = (0..AGENTS).map(|agent| format!("bot{agent}")).collect();
    let names: Vec<&str> = grants.iter().map(String::as_str).collect();
    let broker = Broker::unchanged(&[("fair", fair)], &names, LIMITS).await;
    let (begun, tally) = (Instant::now(), Arc::<Tally>::default());
    let until = begun + Duration::from_secs(seconds);
    let pace = Duration::from_secs_f64(f64::from(u32::try_from(sessions).unwrap()) / rate);
    let mut parties = JoinSet::new();
    for number in 0..sessions {
        let agent = broker.agent(names[number % AGENTS], "fair");
        let (random, tally) = (StdRng::seed_from_u64(number as u64), tally.clone());
        let modern = number % 20 < 10;
        let party = Party { number, modern, agent, line: Line::default(), session: None, tally, random };
        parties.spawn(party.work(until, pace));
    }
    let reviewer = tokio::spawn(approve_all(broker.reviewer.clone()));
    let warm = Duration::from_secs(seconds / 4);
    tokio::time::sleep(warm).await;
    let before = memory(&broker).await;
    while begun.elapsed() + Duration::from_secs(4) < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if seconds >= 300 && begun.elapsed().as_secs() % 30 == 0 {
            eprintln!("{} s: {} KiB, {tally:?}", begun.elapsed().as_secs(), broker.resident());
        }
    }
    let after = memory(&broker).await;
    while let Some(done) = parties.join_next().await {
        done.unwrap();
    }
    assert!(!reviewer.is_finished(), "the reviewer worked to the end");
    reviewer.abort();
    let drift = (after / before - 1.0) * 100.0;
    eprintln!(
        "{sessions} sessions, {seconds} s: {before:.1} MiB, then {after:.1} MiB ({drift:+.1} %); {tally:?}"
    );
    let each = [&tally.allowed, &tally.gated, &tally.lists, &tally.cancelled, &tally.news, &tally.sessions];
    assert!(each.iter().all(|done| done.load(Ordering::Relaxed) > 0), "{tally:?}");
    // In a short time caches still fill; a leak for each call would be more all the same.
    let most = if seconds >= 300 { 5.0 } else { 25.0 };
    assert!(drift < most, "it grew by {drift:.1} %, from {before:.1} MiB");
}
