//! Agents that speak HTTP+SSE: one stream, a URL of its own for what is POSTed, every answer on the stream.

use std::time::Duration;

use countersign::{
    call::{DetachReason, Event, HowDelivered, StateName},
    downstream::Patience,
    ledger::Fact,
};
use serde_json::{Value, json};

use crate::rig::{
    Agent, Answer, House, Manner, Old, Plan, Server, Told, call, call_with_token, child, mirrored, text,
};

/// An agent with its open stream.
struct Talk {
    agent: Agent,
    stream: Answer,
}

impl Talk {
    async fn open(house: &House) -> Self {
        Self::of(house.agent()).await
    }

    async fn of(agent: Agent) -> Self {
        Self::opened(agent.at("/mcp/rig/sse")).await
    }

    /// At the endpoint that joins all servers.
    async fn joined(agent: Agent) -> Self {
        Self::opened(agent.joined()).await
    }

    async fn opened(agent: Agent) -> Self {
        let mut stream = agent.send("GET", "").await;
        assert_eq!(stream.status, 200);
        assert!(stream.is_stream());
        let endpoint = stream.endpoint().await;
        Self { agent: agent.at(&endpoint), stream }
    }

    async fn initialized(house: &House, name: &str) -> Self {
        let mut talk = Self::open(house).await;
        talk.initialize(name).await;
        talk
    }

    async fn initialize(&mut self, name: &str) {
        self.post(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": name, "version": "1"}}}))
            .await;
        assert!(self.answer(0).await.1["result"]["serverInfo"].is_object());
        self.post(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    }

    async fn post(&self, message: &Value) {
        assert_eq!(self.agent.post(message).await.status, 202);
    }

    async fn message(&mut self) -> Value {
        loop {
            if let Told::Message(message) = self.stream.told().await.expect("more of the stream") {
                return message;
            }
        }
    }

    /// The answer to that id, and the messages before it.
    async fn answer(&mut self, id: impl Into<Value>) -> (Vec<Value>, Value) {
        let (id, mut before) = (id.into(), Vec::new());
        loop {
            let message = self.message().await;
            if message["id"] == id && message.get("method").is_none() {
                return (before, message);
            }
            before.push(message);
        }
    }
}

#[tokio::test]
async fn every_answer_comes_on_the_stream() {
    for manner in [Manner::Json, Manner::Stream] {
        let server = Server::start(manner).await;
        let house = House::open(Plan::at(&server.url)).await;
        let mut talk = Talk::initialized(&house, "test").await;
        talk.post(&json!({"jsonrpc": "2.0", "id": "l", "method": "tools/list"})).await;
        let list = talk.answer("l").await.1;
        assert_eq!(list["result"]["tools"].as_array().unwrap().len(), 3, "what is hidden stays so");
        talk.post(&call_with_token(1, "look", json!({"n": 1}), "t")).await;
        let (before, response) = talk.answer(1).await;
        assert_eq!(text(&response), "look ran with {\"n\":1}");
        assert_eq!(before.len(), if manner == Manner::Stream { 2 } else { 0 });
        talk.post(&call(2, "forbidden", json!({}))).await;
        assert!(text(&talk.answer(2).await.1).contains("POLICY DENIED"));
        talk.post(&json!({"jsonrpc": "2.0", "id": 3, "method": "nonsense/x"})).await;
        assert_eq!(talk.answer(3).await.1["error"]["code"], -32601);
        talk.post(&call(json!(null), "look", json!({}))).await;
        assert_eq!(talk.answer(json!(null)).await.1["error"]["code"], -32600);
        drop(talk);
        // The session ends with the stream, at the server too.
        server.ended().await;
    }
}

#[tokio::test]
async fn a_call_waits_with_signs_of_life_and_runs_once() {
    for plan in [Plan::at(&Server::start(Manner::Stream).await.url), Plan::of(child())] {
        let house = House::open(plan).await;
        let mut talk = Talk::initialized(&house, "test").await;
        talk.post(&call_with_token(1, "cancel", json!({}), "t")).await;
        // Others are not held up.
        talk.post(&call(2, "look", json!({}))).await;
        let (_, other) = talk.answer(2).await;
        assert!(text(&other).starts_with("look ran"));
        let waiting = talk.message().await;
        assert_eq!(waiting["method"], "notifications/progress");
        assert!(waiting["params"]["message"].as_str().unwrap().contains("waiting"), "{waiting}");
        house.approve(&house.pending().await).await;
        let (_, response) = talk.answer(1).await;
        assert!(text(&response).starts_with("cancel ran"), "{response}");
        house.delivered(HowDelivered::Line).await;
    }
}

#[tokio::test]
async fn both_ends_may_be_old() {
    let old = Old::start().await;
    let house = House::open(Plan::of(old.settings(None))).await;
    let mut talk = Talk::initialized(&house, "test").await;
    let asks = json!({"jsonrpc": "2.0", "id": 0, "method": "sampling/createMessage", "params": {}});
    old.says(&asks);
    assert_eq!(talk.message().await, asks, "the id is the server's own");
    let reply = json!({"jsonrpc": "2.0", "id": 0, "result": {"x": 1}});
    talk.post(&reply).await;
    assert!(old.messages().contains(&reply));
    talk.post(&call(0, "cancel", json!({}))).await;
    let pending = house.pending().await;
    assert_eq!(pending.request.protocol.as_deref(), Some("2024-11-05"), "it is said in no header");
    house.approve(&pending).await;
    assert_eq!(text(&talk.answer(0).await.1), "cancel ran");
    assert_eq!(old.calls(), 1);
}

#[tokio::test]
async fn patience_ends_with_a_ticket() {
    let server = Server::start(Manner::Json).await;
    let mut plan = Plan::at(&server.url);
    plan.door.patience.insert("hasty".into(), Patience::Seconds(0));
    let house = House::open(plan).await;
    let mut talk = Talk::initialized(&house, "hasty").await;
    talk.post(&call(1, "cancel", json!({}))).await;
    let response = talk.answer(1).await.1;
    assert!(text(&response).starts_with("[NOT EXECUTED: waiting for approval"), "{response}");
    let pending = house.pending().await;
    house.approve(&pending).await;
    let mut restarted = Talk::initialized(&house, "patient").await;
    restarted.post(&call(2, "cancel", json!({}))).await;
    assert_eq!(text(&restarted.answer(2).await.1), "cancel ran with {}");
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn a_cancel_and_the_end_of_the_stream_leave_the_call() {
    let (cancelled, closed) = (DetachReason::Cancelled, DetachReason::Closed);
    // One that gives no sessions: the stream is one all the same.
    for (manner, why) in [(Manner::Json, cancelled), (Manner::Modern, cancelled), (Manner::Json, closed)] {
        let cancels = why == cancelled;
        let server = Server::start(manner).await;
        let house = House::open(Plan::at(&server.url)).await;
        let mut talk = Talk::initialized(&house, "test").await;
        talk.post(&call_with_token(5, "cancel", json!({}), "t")).await;
        let pending = house.pending().await;
        talk.message().await;
        if cancels {
            let cancel =
                json!({"method": "notifications/cancelled", "params": {"requestId": 5}, "jsonrpc": "2.0"});
            talk.post(&cancel).await;
        } else {
            drop(talk);
        }
        house.until(|call| call.waiter.is_none()).await;
        let view = house.broker.view(pending.id).await.unwrap().unwrap();
        let left = view.timeline.iter().filter_map(|step| match &step.entry.fact {
            Fact::Call(Event::Detached { why, .. }) => Some(*why),
            _ => None,
        });
        assert_eq!(left.collect::<Vec<_>>(), [why]);
        house.approve(&pending).await;
        // Nothing runs for one who left.
        house.until(|call| call.state.name() == StateName::Permitted).await;
        assert!(server.calls().is_empty());
        let agent = house.agent().with("mcp-protocol-version", "2025-06-18");
        let status = agent.post(&call(9, "look", json!({}))).await.status;
        assert_eq!(status, if manner == Manner::Modern { 200 } else { 400 }, "others need no session for it");
    }
}

#[tokio::test]
async fn a_stream_is_of_its_own_agent_and_both_its_ends_ask_for_the_token() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let talk = Talk::initialized(&house, "test").await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let stranger = house.agent().at("/mcp/rig/sse").without("authorization");
    assert_eq!(stranger.send("GET", "").await.status, 401);
    assert_eq!(talk.agent.clone().without("authorization").post(&ping).await.status, 401);
    let mut other = talk.agent.clone();
    other.headers = house.other_agent("other", &["rig"]).await.headers;
    assert_eq!(other.post(&ping).await.status, 404);
    assert_eq!(talk.agent.clone().with("origin", "http://evil.example").post(&ping).await.status, 403);
    assert_eq!(talk.agent.clone().at("/mcp/rig/sse/guess").post(&ping).await.status, 404);
    assert_eq!(house.agent().at("/mcp/rig/sse").post(&ping).await.status, 405);
    assert_eq!(house.agent().at("/mcp/rig/other").send("GET", "").await.status, 404);
    assert_eq!(talk.agent.post(&ping).await.status, 202);
    let Talk { agent, stream } = talk;
    drop(stream);
    agent.until_gone(&ping).await;
}

#[tokio::test]
async fn a_stream_ends_with_its_token_and_a_new_token_opens_another() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let mut talk = Talk::of(house.other_agent("other", &["rig"]).await).await;
    talk.initialize("test").await;
    let identity = house.broker.identity();
    let new = identity.rotate_agent("other", "test", house.now()).await.unwrap().token;
    assert!(talk.stream.next().await.is_none(), "the stream is over");
    let look = |id: u64| call(id, "look", json!({}));
    assert_eq!(talk.agent.post(&look(1)).await.status, 401, "the old one is void");
    let agent = talk.agent.with("authorization", &format!("Bearer {new}"));
    agent.until_gone(&look(1)).await;
    let mut talk = Talk::of(agent).await;
    talk.initialize("test").await;
    talk.post(&look(1)).await;
    assert_eq!(text(&talk.answer(1).await.1), "look ran with {}");
    identity.revoke_agent("other", "test", house.now()).await.unwrap();
    assert_eq!(talk.agent.post(&look(2)).await.status, 401);
    assert!(talk.stream.next().await.is_none(), "the stream is over");
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn old_agents_reach_all_servers_over_one_stream() {
    let (a, b) = (Server::start(Manner::Json).await, Server::start(Manner::Stream).await);
    let house = House::open(Plan::two(&a.url, &b.url)).await;
    let mut talk = Talk::joined(house.agent()).await;
    talk.initialize("test").await;
    talk.post(&json!({"jsonrpc": "2.0", "id": "l", "method": "tools/list"})).await;
    assert_eq!(talk.answer("l").await.1["result"]["tools"].as_array().unwrap().len(), 6);
    talk.post(&call_with_token(1, "b__cancel", json!({"n": 1}), "t")).await;
    talk.post(&call(2, "a__look", json!({}))).await;
    assert_eq!(text(&talk.answer(2).await.1), "look ran with {}");
    let waiting = talk.message().await;
    assert_eq!(
        (&waiting["method"], &waiting["params"]["progressToken"]),
        (&json!("notifications/progress"), &json!("t"))
    );
    house.approve(&house.pending().await).await;
    assert_eq!(text(&talk.answer(1).await.1), "cancel ran with {\"n\":1}");
    house.delivered(HowDelivered::Line).await;
    assert_eq!((a.calls().len(), b.calls().len()), (1, 1));

    // The stream is the session: its end leaves what waits, at once, and ends the conversation with each server.
    talk.post(&call(3, "a__cancel", json!({"n": 2}))).await;
    house.pending().await;
    drop(talk);
    house
        .until(|call| &*call.request.server == "a" && call.request.tool == "cancel" && call.waiter.is_none())
        .await;
    a.ended().await;
    b.ended().await;
}

#[tokio::test]
async fn a_cancel_on_the_stream_of_all_is_heard_for_a_server_without_sessions_too() {
    let (a, b) = (Server::start(Manner::Json).await, Server::start(Manner::Modern).await);
    let house = House::open(Plan::two(&a.url, &b.url)).await;
    let mut talk = Talk::joined(house.agent()).await;
    talk.initialize("test").await;
    talk.post(&call_with_token(5, "b__cancel", json!({}), "t")).await;
    house.pending().await;
    talk.message().await;
    talk.post(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}}))
        .await;
    house.until(|call| call.waiter.is_none()).await;
    assert!(
        !b.messages().iter().any(|message| message["method"] == "notifications/cancelled"),
        "it waited here"
    );
}

#[tokio::test]
async fn the_stream_of_all_servers_is_of_its_own_agent_and_of_nobody_modern() {
    let house = House::open(Plan::at(&Server::start(Manner::Json).await.url)).await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});
    let talk = Talk::joined(house.agent()).await;
    let mut other = talk.agent.clone();
    other.headers = house.other_agent("other", &["rig"]).await.headers;
    assert_eq!(other.post(&ping).await.status, 404);
    assert_eq!(talk.agent.clone().without("authorization").post(&ping).await.status, 401);
    let plain = Talk::open(&house).await;
    let key = plain.agent.path().rsplit('/').next().unwrap().to_owned();
    assert_eq!(
        house.agent().at(&format!("/mcp?stream={key}")).post(&ping).await.status,
        404,
        "of one server"
    );
    assert_eq!(talk.agent.post(&ping).await.status, 202);

    let quiet = house.agent().joined().with("accept", "application/json");
    for agent in [quiet, mirrored(house.agent().joined(), "ping", None)] {
        let refused = agent.send("GET", "").await;
        assert_eq!(refused.status, 405);
        let said = refused.bytes().await;
        assert!(String::from_utf8_lossy(&said).contains("HTTP+SSE"), "{said:?}");
    }
    let elsewhere = house.agent().at("/mcp/sse").send("GET", "").await;
    assert_eq!(elsewhere.status, 404);
    let said = elsewhere.bytes().await;
    assert!(String::from_utf8_lossy(&said).contains("/mcp/SERVER/sse"), "{said:?}");
    let Talk { agent, stream } = talk;
    drop(stream);
    agent.until_gone(&ping).await;
}

#[tokio::test]
async fn a_drain_gives_the_ticket_and_ends_the_stream() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let mut talk = Talk::initialized(&house, "test").await;
    talk.post(&call(1, "cancel", json!({}))).await;
    house.pending().await;
    let door = house.door.clone();
    let drain = tokio::spawn(async move { door.drain().await });
    assert!(text(&talk.answer(1).await.1).starts_with("[NOT EXECUTED: waiting for approval"));
    let end = async { while talk.stream.told().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(5), end).await.expect("the stream ends");
    drop(talk);
    tokio::time::timeout(Duration::from_secs(5), drain).await.expect("the drain ends").unwrap();
}
