//! A server that is a command: the door speaks HTTP for it.

use countersign::call::{HowDelivered, StateName};
use serde_json::json;

use crate::rig::{House, Plan, call, call_with_token, child, mirrored, modern, text};

#[tokio::test]
async fn a_command_answers_like_a_streamable_http_server() {
    let mut plan = Plan::of(child());
    plan.door.grace_ms = 10_000;
    let house = House::open(plan).await;
    let agent = house.agent();
    let early = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    assert_eq!(agent.post(&early).await.status, 400);

    let agent = agent.initialized("test").await;
    let mut own = agent.send("GET", "").await;
    assert!(own.is_stream());
    assert_eq!(own.message().await["params"]["data"], "hello");

    let plain = agent.post(&call(1, "look", json!({}))).await;
    assert!(!plain.is_stream());
    assert_eq!(text(&plain.response().await), "look ran, call 1");
    let told = agent.post(&call_with_token(2, "look", json!({}), "t")).await;
    assert!(told.is_stream());
    let (before, response) = told.story().await;
    assert_eq!((before.len(), text(&response)), (1, "look ran, call 2"));

    let list = agent.ask(&early).await;
    assert_eq!(list["result"]["tools"].as_array().unwrap().len(), 2);
    assert_eq!(agent.send("DELETE", "").await.status, 200);
    assert_eq!(agent.post(&early).await.status, 404);
}

#[tokio::test]
async fn a_command_runs_a_call_that_waited_once() {
    let house = House::open(Plan::of(child())).await;
    let agent = house.agent().initialized("test").await;
    let answer = agent.post(&call_with_token("x", "cancel", json!({}), "t")).await;
    house.approve(&house.pending().await).await;
    let (before, response) = answer.story().await;
    assert_eq!(text(&response), "cancel ran, call 1");
    assert_eq!(before.last().unwrap()["params"]["progress"], 1);
    assert_eq!(text(&agent.ask(&call(2, "look", json!({}))).await), "look ran, call 2");
}

#[tokio::test]
async fn a_modern_request_to_a_legacy_command_says_so_in_the_status() {
    let house = House::open(Plan::of(child())).await;
    let agent = mirrored(house.agent(), "server/discover", None);
    let answer = agent.post(&modern(1, "server/discover", json!({}))).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.response().await["error"]["code"], -32601);
    assert_eq!(agent.send("GET", "").await.status, 405);
    assert_eq!(agent.send("DELETE", "").await.status, 405);
}

/// Its server is not told: it would give no answer then, and the agent may come back for it.
#[tokio::test]
async fn a_modern_agent_that_leaves_a_call_that_was_sent_stops_nothing_and_gets_its_answer_later() {
    let house = House::open(Plan::of(child())).await;
    let folder = tempfile::tempdir().unwrap();
    let until = folder.path().join("go");
    let agent = mirrored(house.agent(), "tools/call", Some("cancel"));
    let cancel = |id: u32| {
        modern(id, "tools/call", json!({"name": "cancel", "arguments": {"until": until.to_str().unwrap()}}))
    };
    let answer = agent.post(&cancel(1)).await;
    house.approve(&house.pending().await).await;
    house.until(|call| call.state.name() == StateName::Dispatched).await;
    drop(answer);
    house.until(|call| call.waiter.is_none()).await;
    std::fs::write(&until, "").unwrap();
    house.until(|call| call.state.name() == StateName::Completed).await;
    assert_eq!(text(&agent.ask(&cancel(2)).await), "cancel ran, call 1");
    house.delivered(HowDelivered::Recall).await;
    let asking = mirrored(house.agent(), "tools/call", Some("cancelled"));
    let asked = modern(3, "tools/call", json!({"name": "cancelled", "arguments": {}}));
    assert_eq!(text(&asking.ask(&asked).await), "0 cancelled");
}
