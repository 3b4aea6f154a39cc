//! A server that speaks HTTP+SSE: the door speaks streamable HTTP for it.

use countersign::{call::StateName, upstream::Transport};
use serde_json::json;

use crate::rig::{House, Old, Plan, Told, call, call_with_token, mirrored, modern, text};

#[tokio::test]
async fn it_answers_like_a_streamable_http_server_and_a_waiting_call_runs_once() {
    let old = Old::start().await;
    // It is not said how it speaks: that is found out.
    let house = House::open(Plan::of(old.settings(None))).await;
    let agent = house.agent().initialized("test").await;
    let mut own = agent.send("GET", "").await;
    old.says(&json!({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "hello"}}));
    let Some(Told::Message(hello)) = own.told().await else { panic!("a message") };
    assert_eq!(hello["params"]["data"], "hello");
    let list = agent.ask(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await;
    assert_eq!(list["result"]["tools"].as_array().unwrap().len(), 1, "what is hidden stays so");
    assert_eq!(text(&agent.ask(&call(2, "look", json!({}))).await), "look ran");

    let answer = agent.post(&call_with_token(3, "cancel", json!({}), "t")).await;
    let pending = house.pending().await;
    assert_eq!(old.calls(), 1);
    house.approve(&pending).await;
    let (before, response) = answer.story().await;
    assert_eq!(text(&response), "cancel ran");
    assert_eq!(before.last().unwrap()["params"]["progress"], 1);
    assert_eq!(old.calls(), 2);

    assert_eq!(agent.send("DELETE", "").await.status, 200);
    assert_eq!(agent.post(&call(4, "look", json!({}))).await.status, 404);
    assert_eq!(old.calls(), 2);
}

#[tokio::test]
async fn a_stream_that_breaks_loses_its_call_and_a_refused_one_failed() {
    for (then, state, posted) in
        [("break", StateName::Lost, 1), ("refuse", StateName::Failed, 1), ("", StateName::Failed, 0)]
    {
        let old = Old::start().await;
        let house = House::open(Plan::of(old.settings(Some(Transport::Sse)))).await;
        let agent = house.agent().initialized("test").await;
        let answer = agent.post(&call(1, "cancel", json!({"then": then}))).await;
        let pending = house.pending().await;
        if then.is_empty() {
            // The session is gone before the claim: nothing is sent.
            old.breaks();
            agent.until_gone(&json!({"jsonrpc": "2.0", "id": 9, "method": "ping"})).await;
        }
        house.approve(&pending).await;
        house.until(|call| call.state.name() == state).await;
        drop(answer);
        assert_eq!(old.calls(), posted, "{then}");
        let after = agent.post(&call(2, "look", json!({}))).await.status;
        assert_eq!(after, if then == "refuse" { 200 } else { 404 }, "{then}: its client initializes again");
    }
}

#[tokio::test]
async fn a_modern_request_is_answered_so_that_its_client_initializes() {
    let old = Old::start().await;
    let house = House::open(Plan::of(old.settings(Some(Transport::Sse)))).await;
    for method in ["server/discover", "tools/call"] {
        let agent = mirrored(house.agent(), method, Some("cancel").filter(|_| method == "tools/call"));
        let answer = agent.post(&modern(1, method, json!({"name": "cancel", "arguments": {}}))).await;
        assert_eq!(answer.status, 404);
        assert_eq!(answer.response().await["error"]["code"], -32601);
    }
    assert!(house.calls(&[]).await.is_empty() && old.messages().is_empty());
    assert_eq!(house.agent().send("GET", "").await.status, 405);
}
