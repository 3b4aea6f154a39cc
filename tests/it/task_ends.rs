//! A task whose call was sent, and whose agent no longer wants it (2026-07-28): its server is left, on each wire.

use std::sync::Arc;

use countersign::{
    call::{DetachReason, Event, HowDelivered, StateName},
    ledger::Fact,
    upstream::ServerSettings,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    rig::{House, Manner, Plan, Script, Server, mirrored, modern, text},
    tasks::{about, caller, given, stands},
};

/// An approved task whose call is under way.
async fn sent(house: &House, arguments: &Value) -> Value {
    let task = given(&caller(house), arguments).await;
    house.approve(&house.pending().await).await;
    house.until(|call| call.state.name() == StateName::Dispatched).await;
    task
}

fn slow(server: &Server) -> Arc<Notify> {
    let go = Arc::new(Notify::new());
    let answer = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","content":[]}}"#;
    let script = Script { after: Some(Arc::clone(&go)), ..Script::new(200, "application/json", answer) };
    server.answers("tools/call", script);
    go
}

async fn cancelled(house: &House, task: &Value) {
    let (status, told) = about(house.agent(), "tasks/cancel", task).await;
    assert_eq!((status, &told["result"]), (200, &json!({"resultType": "complete"})), "{told}");
    let lost = house.until(|call| call.state.is_settled()).await;
    assert_eq!(lost.state.name(), StateName::Lost, "nobody knows whether it was run");
    let steps = house.broker.view(lost.id).await.unwrap().unwrap().timeline;
    let left =
        |entry: &Fact| matches!(entry, Fact::Call(Event::Detached { why: DetachReason::Cancelled, .. }));
    assert!(steps.iter().any(|step| left(&step.entry.fact)), "the ledger says who left");
    let told = stands(house, task).await;
    assert_eq!(told["status"], "cancelled", "{told}");
    let said = told["statusMessage"].as_str().unwrap();
    assert!(said.starts_with("[OUTCOME UNKNOWN]") && said.contains("cancelled the task"), "{said}");
    assert!(told.get("result").is_none());
}

#[tokio::test]
async fn a_task_that_is_cancelled_when_it_was_sent_leaves_its_server_and_says_that_it_may_have_run() {
    let server = Server::start(Manner::Modern).await;
    let _never = slow(&server);
    let house = House::open(Plan::at(&server.url)).await;
    let task = sent(&house, &json!({"n": 1})).await;
    while server.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    cancelled(&house, &task).await;
    server.left().await;
    assert_eq!(server.calls().len(), 1);
    assert!(server.messages().iter().all(|message| message["method"] == "tools/call"), "leaving says it");
    assert_eq!(stands(&house, &task).await["status"], "cancelled", "as often as it likes");
}

#[tokio::test]
async fn a_task_whose_call_streams_is_left_too() {
    let server = Server::start(Manner::Modern).await;
    let stream = Script { open: true, ..Script::new(200, "text/event-stream", ": at work\n\n") };
    server.answers("tools/call", stream);
    let house = House::open(Plan::at(&server.url)).await;
    let task = sent(&house, &json!({})).await;
    while server.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    cancelled(&house, &task).await;
}

#[tokio::test]
async fn an_answer_that_was_there_first_is_the_tasks_end() {
    let server = Server::start(Manner::Modern).await;
    let go = slow(&server);
    let house = House::open(Plan::at(&server.url)).await;
    let task = sent(&house, &json!({})).await;
    go.notify_one();
    house.until(|call| call.state.name() == StateName::Completed).await;
    let (_, told) = about(house.agent(), "tasks/cancel", &task).await;
    assert_eq!(told["result"], json!({"resultType": "complete"}));
    assert_eq!(stands(&house, &task).await["status"], "completed");
}

/// A server of 2026-07-28 on a pipe, which answers no call of `cancel`; `look` tells what it was sent.
const CHILD: &str = r#"
import json, sys
asked, told = [], []
for line in sys.stdin:
    m = json.loads(line); p = m.get("params", {}); method = m.get("method")
    if method == "notifications/cancelled": told.append(p["requestId"])
    elif method == "tools/call" and p["name"] == "cancel": asked.append(m["id"])
    elif "id" in m:
        text = json.dumps({"asked": asked, "told": told})
        result = {"resultType": "complete", "content": [{"type": "text", "text": text}]}
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": result}) + "\n"); sys.stdout.flush()
"#;

async fn seen(house: &House) -> Value {
    let look = modern(9, "tools/call", json!({"name": "look", "arguments": {}}));
    let agent = mirrored(house.agent(), "tools/call", Some("look"));
    serde_json::from_str(text(&agent.ask(&look).await)).unwrap()
}

#[tokio::test]
async fn on_a_pipe_the_server_is_told_by_a_notification() {
    let command = ["python3", "-u", "-c", CHILD].map(String::from).to_vec();
    let child = ServerSettings { command: Some(command), ..ServerSettings::default() };
    let house = House::open(Plan::of(child)).await;
    let task = sent(&house, &json!({})).await;
    while seen(&house).await["asked"] == json!([]) {
        tokio::task::yield_now().await;
    }
    cancelled(&house, &task).await;
    let seen = seen(&house).await;
    assert_eq!((seen["asked"].as_array().unwrap().len(), &seen["told"]), (1, &seen["asked"]), "{seen}");
}

#[tokio::test]
async fn the_same_call_again_is_asked_about_whatever_the_policy_says() {
    let server = Server::start(Manner::Modern).await;
    let _never = slow(&server);
    let house = House::open(Plan::at(&server.url)).await;
    let task = sent(&house, &json!({})).await;
    cancelled(&house, &task).await;
    house.delivered(HowDelivered::Task).await;
    house.rule(r#"{"version": "1", "default": "allow"}"#).await.unwrap();
    given(&caller(&house), &json!({})).await;
    let again = house.pending().await;
    assert_eq!(again.terms.unwrap().reason.rule, "(lost before)");
}
