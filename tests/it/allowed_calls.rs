//! What passes without a person, and how untouched it arrives.

use serde_json::json;

use crate::rig::{House, Manner, Plan, Server, call, call_with_token, text};

#[tokio::test]
async fn an_allowed_call_passes_at_once_in_the_servers_own_form() {
    for manner in [Manner::Json, Manner::Stream] {
        let server = Server::start(manner).await;
        let house = House::open(Plan::at(&server.url)).await;
        let agent = house.agent().initialized("test").await;
        let answer = agent.post(&call_with_token(1, "look", json!({"at": 1.0}), "t")).await;
        assert_eq!(answer.is_stream(), manner == Manner::Stream);
        let (before, response) = answer.story().await;
        assert_eq!(text(&response), r#"look ran with {"at":1.0}"#);
        assert_eq!(before.len(), if manner == Manner::Stream { 2 } else { 0 });
        assert!(house.calls(&[]).await.is_empty(), "an allowed call is no card");
    }
}

#[tokio::test]
async fn the_agents_token_never_goes_upstream() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().with("cookie", "a=b").initialized("test").await;
    agent.ask(&call(1, "look", json!({}))).await;
    let answer = agent.post(&call(2, "cancel", json!({}))).await;
    house.approve(&house.pending().await).await;
    answer.response().await;
    assert!(server.headers().len() >= 4);
    for headers in server.headers() {
        assert!(!headers.contains_key("authorization") && !headers.contains_key("cookie"), "{headers:?}");
    }
}

#[tokio::test]
async fn a_hidden_tool_is_absent_from_the_list_and_unknown_when_called() {
    for manner in [Manner::Json, Manner::Stream] {
        let server = Server::start(manner).await;
        let house = House::open(Plan::at(&server.url)).await;
        let agent = house.agent().initialized("test").await;
        let list = agent.ask(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await;
        let names: Vec<_> = list["result"]["tools"].as_array().unwrap().iter().map(|t| &t["name"]).collect();
        assert_eq!(names, ["look", "cancel", "forbidden"]);
        assert_eq!(list["result"]["tools"][0]["x-own"].to_string(), "1.5");

        let response = agent.ask(&call(2, "secret", json!({}))).await;
        assert_eq!(response["error"], json!({"code": -32602, "message": "Unknown tool: secret"}));
        assert!(server.calls().is_empty());
    }
}

#[tokio::test]
async fn a_call_denied_by_policy_says_so() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let response = agent.ask(&call(1, "forbidden", json!({}))).await;
    assert_eq!(response["result"]["isError"], true);
    assert_eq!(text(&response), "[POLICY DENIED] not here");
    assert!(server.calls().is_empty());
}
