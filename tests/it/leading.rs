//! A task of 2025-11-25 goes on in another conversation of its agent when its own is gone; and what happens just then.

use bytes::Bytes;
use countersign::{
    broker::Task,
    call::StateName,
    mcp::Passthrough,
    upstream::{Conversation, Link, Outbound},
};
use serde_json::{Value, json};

use crate::{
    legacy_tasks::{about, agent, given, greets, server},
    rig::{House, Plan, Server, text},
};

/// A task that waits in a house whose broker has just begun, as it stands, and its name.
async fn waiting() -> (Server, House, Task) {
    let server = server(json!({"tools": {}})).await;
    let first = House::open(Plan::at(&server.url)).await;
    let given = given(&agent(&first).await, "cancel", json!({"n": 1})).await;
    let house = House::open_in(first.copied(), Plan::at(&server.url)).await;
    let name = given["taskId"].as_str().unwrap();
    let task = house.broker.task("bot", "rig", name).await.unwrap().unwrap();
    (server, house, task)
}

/// A conversation of the agent's, begun.
async fn conversation(house: &House) -> Link {
    let upstreams = house.broker.upstreams();
    let link = upstreams.link(&upstreams.server("rig").unwrap(), Conversation::Session { grant: "bot" });
    let hello = Bytes::from_static(br#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#);
    house.broker.relay(Passthrough::without_body(), &link, Outbound::post(hello)).await.unwrap();
    assert_eq!(link.session_id(), Some("s-1"));
    link
}

/// Whatever has begun goes on to where it waits.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_task_that_is_approved_while_its_agent_comes_back_is_sent() {
    let (server, house, before) = waiting().await;
    let link = conversation(&house).await;
    house.approve(&house.pending().await).await;
    house.until(|call| call.state.name() == StateName::Permitted).await;
    // Nobody is there to send it, and whoever looked at it before does not know that it may go.
    settle().await;
    house.broker.lead(&before, &link).await;
    house.until(|call| call.state.name() == StateName::Completed).await;
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn a_task_that_ends_while_its_agent_comes_back_holds_no_conversation() {
    let (server, house, before) = waiting().await;
    let link = conversation(&house).await;
    house.deny(&house.pending().await, "no").await;
    house.until(|call| call.state.is_settled()).await;
    house.broker.lead(&before, &link).await;
    drop(link);
    let seen = server.headers().len();
    house.broker.upstreams().drain().await;
    assert_eq!(server.headers().len(), seen, "there is no conversation left to end");
}

#[tokio::test]
async fn a_task_whose_agent_ended_its_session_goes_on_in_the_next() {
    let server = server(json!({"tools": {}})).await;
    let house = House::open(Plan::at(&server.url)).await;
    let first = agent(&house).await;
    let task = given(&first, "cancel", json!({"n": 1})).await;
    assert_eq!(first.send("DELETE", "").await.status, 200);
    house.approve(&house.pending().await).await;
    house.until(|call| call.state.name() == StateName::Permitted).await;
    settle().await;
    assert!(server.calls().is_empty(), "its session is over");
    greets(&server, json!({"tools": {}}), "s-2");
    let told: Value = agent(&house).await.ask(&about("tasks/result", &task)).await;
    assert_eq!(text(&told), r#"cancel ran with {"n":1}"#);
    let sent = server.headers().into_iter().rfind(|headers| headers.contains_key("mcp-session-id")).unwrap();
    assert_eq!(sent["mcp-session-id"], "s-2");
}
