//! Many who listen to one task that has its outcome: each is told of it, and none keeps it.

use std::{io, time::Duration};

use serde_json::{Value, json};
use tokio::net::TcpStream;

use crate::{
    http::Target,
    rig::{
        beside,
        broker::{Agent, Broker, tools_call},
        evil::{Evil, ran},
        server::{self, Answers, Asked},
        wire,
    },
};

/// Bytes of what the server asks, less than a kept answer may have (1 MiB).
const LARGE: usize = 900 << 10;
const LISTENERS: usize = 48;
const LAST_WORDS: &str = "that was the question";

/// Answers a call with a large question, so that its task goes on (2026-07-28).
struct Asking;

impl Answers for Asking {
    async fn answer(&self, stream: &mut TcpStream, asked: Asked) -> io::Result<bool> {
        let message = asked.message();
        let question = json!({"message": "x".repeat(LARGE) + LAST_WORDS, "requestedSchema": {}});
        let requests = json!({"who": {"method": "elicitation/create", "params": question}});
        let result = json!({"resultType": "input_required", "requestState": "s", "inputRequests": requests});
        let answer = json!({"jsonrpc": "2.0", "id": message["id"], "result": result});
        match message["params"]["name"].as_str() {
            Some("do_ask") => server::json(stream, answer.to_string().as_bytes(), "").await,
            _ => server::json(stream, ran(&message["id"], "m").as_bytes(), "").await,
        }
    }
}

/// A request of an agent that knows tasks.
fn declaring(method: &str, mut params: Value) -> Value {
    let mut request = tools_call(json!("l-1"), "", "");
    request["method"] = json!(method);
    params["_meta"] = request["params"]["_meta"].clone();
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] =
        json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    request["params"] = params;
    request
}

/// The task of a call that was approved, and whose server asks.
async fn asked(broker: &Broker, bot: &Agent) -> Value {
    let call = declaring("tools/call", json!({"name": "do_ask", "arguments": {}}));
    let task = bot.modern("tools/call", Some("do_ask")).post(&call).await.unwrap().json();
    let task = task["result"]["taskId"].clone();
    broker.approve("do_ask").await;
    let get = bot.modern("tasks/get", task.as_str());
    let asks = async {
        let stands = declaring("tasks/get", json!({"taskId": task}));
        while get.post(&stands).await.unwrap().json()["result"]["status"] != "input_required" {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asks).await.expect("its server asks");
    task
}

/// A stream on which it was told of the task.
async fn told(broker: &Broker, listen: &Target, task: &Value) -> TcpStream {
    let request = declaring("subscriptions/listen", json!({"notifications": {"taskIds": [task]}}));
    let request = wire::bytes(listen, "POST", request.to_string().as_bytes());
    let mut stream = wire::unread(broker.address, &request).await.unwrap();
    wire::until(&mut stream, LAST_WORDS).await;
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_listens_to_a_task_keeps_nothing_of_its_outcome() {
    let url = |url: String| format!("url = \"{url}\"");
    let servers = [("asking", url(server::serve(Asking).await)), ("good", url(server::serve(Evil).await))];
    let broker = Broker::start(&servers, &["bot", "ann-bot"], "[mcp]\ngrace_ms = 20\n").await;
    let bot = broker.agent("bot", "asking");
    let task = asked(&broker, &bot).await;
    let listen = bot.modern("subscriptions/listen", None);
    let story = async {
        let mut streams = Vec::new();
        for _ in 0..LISTENERS {
            streams.push(told(&broker, &listen, &task).await);
        }
        streams
    };
    // One at a time is told of it: some copies of 900 KiB, and not one for each of the 48.
    beside(&broker, 24, story).await;
}
