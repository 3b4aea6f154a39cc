//! `countersign stdio`: a client that starts a command, joined to a broker.

use std::time::Duration;

use countersign::downstream::{StdioError, StdioSettings, join};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, DuplexStream, Lines},
    task::JoinHandle,
};

use crate::rig::{Agent, House, Manner, Plan, Script, Server, call, call_with_token, child, modern, text};

/// A client's ends of the bridge's pipes.
struct Pipe {
    input: DuplexStream,
    output: Lines<BufReader<DuplexStream>>,
    bridge: JoinHandle<Result<(), StdioError>>,
}

fn bridge(agent: &Agent, url: String) -> Pipe {
    let bearer = agent.headers["authorization"].to_str().unwrap();
    let token = bearer.strip_prefix("Bearer ").unwrap().to_owned();
    let (input, stdin) = tokio::io::duplex(1 << 16);
    let (stdout, output) = tokio::io::duplex(1 << 16);
    let mut settings = StdioSettings::new(url, token);
    settings.linger = Duration::from_secs(5);
    let bridge = tokio::spawn(join(settings, stdin, stdout));
    Pipe { input, output: BufReader::new(output).lines(), bridge }
}

impl Pipe {
    fn to(house: &House) -> Self {
        bridge(&house.agent(), format!("http://{}/mcp/rig", house.address))
    }

    async fn say(&mut self, message: &Value) {
        self.input.write_all(format!("{message}\n").as_bytes()).await.unwrap();
    }

    async fn hear(&mut self) -> Value {
        let line = tokio::time::timeout(Duration::from_secs(10), self.output.next_line()).await;
        serde_json::from_str(&line.expect("an answer within 10 s").unwrap().expect("a line")).unwrap()
    }

    /// The next message with this id; what came before it.
    async fn hear_answer(&mut self, id: Value) -> (Vec<Value>, Value) {
        let mut before = Vec::new();
        loop {
            let message = self.hear().await;
            if message["id"] == id {
                return (before, message);
            }
            before.push(message);
        }
    }

    async fn greet(&mut self) {
        self.say(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "pipe", "version": "1"}}}))
            .await;
        assert_eq!(self.hear().await["result"]["protocolVersion"], "2025-06-18");
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"})).await;
    }

    /// Closes stdin and waits for the end.
    async fn end(self) {
        drop(self.input);
        tokio::time::timeout(Duration::from_secs(10), self.bridge).await.unwrap().unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_legacy_client_on_a_pipe_waits_while_its_other_calls_go_on() {
    let house = House::open(Plan::of(child())).await;
    let mut pipe = Pipe::to(&house);
    pipe.greet().await;
    assert_eq!(pipe.hear().await["params"]["data"], "hello", "the server's own stream");
    pipe.say(&call_with_token("slow", "cancel", json!({}), "t")).await;
    let pending = house.pending().await;
    pipe.say(&call("quick", "look", json!({}))).await;
    let (_, quick) = pipe.hear_answer(json!("quick")).await;
    assert_eq!(text(&quick), "look ran, call 1");
    house.approve(&pending).await;
    let (before, slow) = pipe.hear_answer(json!("slow")).await;
    assert_eq!(text(&slow), "cancel ran, call 2");
    assert!(!before.is_empty(), "signs of life");
    pipe.end().await;
}

#[tokio::test]
async fn a_modern_client_on_a_pipe_cancels_by_a_notification() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let mut pipe = Pipe::to(&house);
    pipe.say(&modern(1, "tools/call", json!({"name": "look", "arguments": {}}))).await;
    assert_eq!(text(&pipe.hear().await), "look ran with {}");
    pipe.say(&modern(2, "tools/call", json!({"name": "cancel", "arguments": {}}))).await;
    house.pending().await;
    pipe.say(&json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}))
        .await;
    house.until(|call| call.waiter.is_none()).await;
    pipe.end().await;
}

#[tokio::test]
async fn what_a_client_on_http_would_say_in_headers_is_said_for_one_on_a_pipe() {
    let server = Server::start(Manner::Modern).await;
    let schema = json!({"properties": {"region": {"type": "string", "x-mcp-header": "Region"}}});
    let tools = json!({"tools": [{"name": "look", "inputSchema": schema}]});
    let list = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{tools}}}"#);
    server.answers("tools/list", Script::new(200, "application/json", &list));
    let house = House::open(Plan::at(&server.url)).await;
    let mut pipe = Pipe::to(&house);
    pipe.say(&modern(1, "tools/list", json!({}))).await;
    assert_eq!(pipe.hear().await["result"]["tools"][0]["name"], "look");
    pipe.say(&modern(2, "tools/call", json!({"name": "look", "arguments": {"region": "ä"}}))).await;
    assert_eq!(text(&pipe.hear().await), r#"look ran with {"region":"ä"}"#);
    assert_eq!(server.headers().pop().unwrap()["mcp-param-region"], "=?base64?w6Q=?=");
    pipe.end().await;
}

#[tokio::test]
async fn a_client_on_a_pipe_does_not_notice_that_its_stream_is_closed_and_taken_up_again() {
    let server = Server::start(Manner::Json).await;
    let hello = r#"{"jsonrpc":"2.0","id":$ID,"result":{"protocolVersion":"2025-11-25","capabilities":{},"serverInfo":{"name":"r","version":"1"}}}"#;
    let mut script = Script::new(200, "application/json", hello);
    script.headers.push(("mcp-session-id", "s-1"));
    server.answers("initialize", script);
    let mut plan = Plan::at(&server.url);
    plan.door.poll_after_s = 1;
    let house = House::open(plan).await;
    let mut pipe = Pipe::to(&house);
    pipe.say(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}})).await;
    assert_eq!(pipe.hear().await["result"]["protocolVersion"], "2025-11-25");
    pipe.say(&call(1, "cancel", json!({}))).await;
    let pending = house.pending().await;
    for times in [1, 0, 1, 0] {
        house.away(times).await;
    }
    house.approve(&pending).await;
    let (before, answer) = pipe.hear_answer(json!(1)).await;
    assert_eq!((before.len(), text(&answer)), (0, "cancel ran with {}"));
    assert!(
        house
            .until(|call| call.id == pending.id)
            .await
            .waiter
            .is_some_and(|w| w.attachment == pending.waiter.as_ref().unwrap().attachment)
    );
    pipe.end().await;
}

#[tokio::test]
async fn a_request_whose_id_is_null_is_refused_on_the_pipe_too() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let mut pipe = Pipe::to(&house);
    pipe.greet().await;
    for message in [call(json!(null), "look", json!({})), modern(json!(null), "ping", json!({}))] {
        pipe.say(&message).await;
        assert_eq!(pipe.hear_answer(json!(null)).await.1["error"]["code"], -32600, "{message}");
    }
    assert!(server.messages().iter().all(|m| m["method"] != "ping" && m["method"] != "tools/call"));
    pipe.end().await;
}

#[tokio::test]
async fn a_session_that_the_broker_forgot_is_opened_again_without_the_client() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let mut pipe = Pipe::to(&house);
    pipe.greet().await;
    // As after a restart of the broker: it knows no session any more.
    house.door.forget_sessions();
    pipe.say(&call(1, "look", json!({}))).await;
    assert_eq!(text(&pipe.hear().await), "look ran with {}");
    assert_eq!(server.calls().len(), 1);
    pipe.end().await;
}

#[tokio::test]
async fn a_broker_that_is_not_there_is_told_with_what_to_do() {
    let house = House::open(Plan::of(child())).await;
    let mut pipe = bridge(&house.agent(), "http://127.0.0.1:9/mcp/rig".into());
    pipe.say(&call(1, "look", json!({}))).await;
    let told = pipe.hear().await;
    assert_eq!(told["id"], 1);
    let words = told["error"]["message"].as_str().unwrap();
    assert!(words.contains("start it with `countersign serve`"), "{words}");
    pipe.input.write_all(b"{\n").await.unwrap();
    assert_eq!(pipe.hear().await["error"]["code"], -32700);
    pipe.end().await;
}
