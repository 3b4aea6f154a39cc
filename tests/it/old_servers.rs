//! A server that speaks HTTP+SSE: the door speaks streamable HTTP for it.

use countersign::{call::StateName, upstream::Transport};
use serde_json::json;

use crate::rig::{House, Manner, Old, Plan, Server, Told, call, call_with_token, mirrored, modern, text};

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
async fn the_endpoint_of_a_stream_that_lives_is_taken_by_no_other_agent() {
    for transport in [None, Some(Transport::Sse)] {
        // It has one for all.
        let old = Old::start().await;
        let house = House::open(Plan::of(old.settings(transport))).await;
        let mine = house.agent().initialized("test").await;
        let eve = house.other_agent("eve", &["*"]).await;
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}});
        let seen = old.messages().len();
        let refused = eve.post(&hello).await;
        assert_eq!(refused.status, 502);
        let told = refused.response().await;
        assert!(told["error"]["message"].as_str().unwrap().contains("another agent's"), "{told}");
        assert_eq!(old.messages().len(), seen);
        assert_eq!(mine.send("DELETE", "").await.status, 200);
        let eve = eve.initialized("test").await;
        assert_eq!(text(&eve.ask(&call(1, "look", json!({}))).await), "look ran");
    }
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

#[tokio::test]
async fn it_is_one_of_those_that_are_joined() {
    let (old, new) = (Old::start().await, Server::start(Manner::Modern).await);
    let mut plan = Plan::at(&new.url);
    let server = plan.servers.remove(0).1;
    plan.servers = vec![("new", server), ("old", Plan::of(old.settings(None)).servers.remove(0).1)];
    let house = House::open(plan).await;
    let agent = house.agent().joined().initialized("test").await;
    let list = agent.ask(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await;
    let tools = list["result"]["tools"].as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap());
    assert_eq!(tools.collect::<Vec<_>>(), ["new__look", "new__cancel", "new__forbidden", "old__look"]);
    assert_eq!(text(&agent.ask(&call(2, "old__look", json!({}))).await), "look ran");
    let answer = agent.post(&call_with_token(3, "old__cancel", json!({}), "t")).await;
    house.approve(&house.pending().await).await;
    let (before, response) = answer.story().await;
    assert_eq!(text(&response), "cancel ran");
    assert_eq!(before.last().unwrap()["params"], json!({"progressToken": "t", "progress": 1}));
    assert_eq!((old.calls(), new.calls().len()), (2, 0));
    // Its stream ended: the next call opens another session.
    old.breaks();
    let again = async {
        while old.messages().iter().filter(|message| message["method"] == "initialize").count() < 2 {
            agent.ask(&call(4, "old__look", json!({}))).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(10), again).await.expect("another session");
    assert_eq!(text(&agent.ask(&call(5, "old__look", json!({}))).await), "look ran");
    // To a modern client it does not exist, and the others do.
    let modern_agent = mirrored(house.agent().joined(), "tools/list", None);
    let list = modern_agent.ask(&modern(6, "tools/list", json!({}))).await;
    let listed = list["result"].to_string();
    assert!(listed.contains("new__look") && !listed.contains("old__"), "{list}");
}
