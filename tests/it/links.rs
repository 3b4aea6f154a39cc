//! A link to the call's page, shown by the client to the person before it; what it answers decides nothing.

use countersign::call::StateName;
use serde_json::{Value, json};

use crate::rig::{Agent, House, Manner, Plan, Server, call, mirrored, modern, text};

fn plan(server: &Server) -> Plan {
    let mut plan = Plan::at(&server.url);
    plan.door.show_link = vec!["shows".into()];
    plan
}

fn shows() -> Value {
    json!({"elicitation": {"form": {}, "url": {}}})
}

#[tokio::test]
async fn a_session_is_asked_to_show_it_and_no_answer_to_that_is_a_verdict() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(plan(&server)).await;
    let agent = house.agent().initialized_with("shows", shows()).await;
    let before = server.messages().len();
    let mut line = agent.post(&call(1, "cancel", json!({"n": 1}))).await;
    let asked = line.message().await;
    let waits = house.pending().await;
    assert_eq!((&asked["method"], &asked["params"]["mode"]), (&json!("elicitation/create"), &json!("url")));
    assert!(asked["params"]["url"].as_str().unwrap().ends_with(&format!("/c/{}", waits.id)), "{asked}");
    assert!(asked["params"].get("requestedSchema").is_none(), "nothing to fill in");
    for action in ["accept", "decline", "cancel"] {
        let answer = json!({"jsonrpc": "2.0", "id": asked["id"], "result": {"action": action}});
        assert_eq!(agent.post(&answer).await.status, 202);
    }
    let still = house.pending().await;
    assert!(still.waiter.is_some() && still.id == waits.id, "it waits as before");
    assert_eq!(server.messages().len(), before, "the server hears nothing of it");

    house.approve(&waits).await;
    let (told, response) = line.story().await;
    assert_eq!(text(&response), r#"cancel ran with {"n":1}"#);
    assert_eq!(told.last().unwrap()["method"], "notifications/elicitation/complete");
    assert_eq!(told.last().unwrap()["params"]["elicitationId"], asked["params"]["elicitationId"]);
}

#[tokio::test]
async fn it_is_shown_only_where_it_is_wanted_and_can_be_shown() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(plan(&server)).await;
    for (name, can) in [("shows", json!({"elicitation": {"form": {}}})), ("another", shows())] {
        let agent = house.agent().initialized_with(name, can).await;
        let line = agent.post(&call(1, "cancel", json!({"of": name}))).await;
        let waits = house.pending().await;
        house.deny(&waits, "no").await;
        let (told, response) = line.story().await;
        assert!(told.is_empty(), "{name}: {told:?}");
        assert_eq!(text(&response), "[DENIED by ann] no");
    }
}

fn showing(id: u64, state: Option<&str>, answers: Option<Value>) -> Value {
    let mut params = json!({"name": "cancel", "arguments": {"n": 1}});
    if let Some(state) = state {
        params["requestState"] = json!(state);
    }
    if let Some(answers) = answers {
        params["inputResponses"] = answers;
    }
    let mut message = modern(id, "tools/call", params);
    let meta = &mut message["params"]["_meta"];
    meta["io.modelcontextprotocol/clientCapabilities"] = shows();
    meta["io.modelcontextprotocol/clientInfo"] = json!({"name": "shows", "version": "1"});
    message
}

fn caller(house: &House) -> Agent {
    mirrored(house.agent(), "tools/call", Some("cancel"))
}

#[tokio::test]
async fn a_modern_client_is_sent_back_with_it_once() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(plan(&server)).await;
    let told = caller(&house).ask(&showing(1, None, None)).await;
    let waits = house.pending().await;
    assert_eq!(told["result"]["resultType"], "input_required", "{told}");
    let shown = &told["result"]["inputRequests"]["countersign"];
    assert_eq!((&shown["method"], &shown["params"]["mode"]), (&json!("elicitation/create"), &json!("url")));
    assert!(shown["params"]["url"].as_str().unwrap().ends_with(&format!("/c/{}", waits.id)), "{told}");
    let state = told["result"]["requestState"].as_str().unwrap();

    let other = json!({"countersign": {"action": "accept"}, "who": {"action": "accept"}});
    let refused = caller(&house).post(&showing(2, Some(state), Some(other))).await;
    assert_eq!(refused.status, 400, "what the server did not ask is not answered");
    let answers = json!({"countersign": {"action": "decline"}});
    let line = caller(&house).post(&showing(3, Some(state), Some(answers))).await;
    let there = house.until(|call| call.waiter.is_some()).await;
    assert_eq!((there.id, there.state.name()), (waits.id, StateName::Pending));
    house.approve(&there).await;
    assert_eq!(text(&line.response().await), r#"cancel ran with {"n":1}"#, "and it is not sent back again");
    let sent = &server.calls()[0]["params"];
    assert!(sent.get("inputResponses").is_none() && sent.get("requestState").is_none(), "{sent}");
    assert_eq!((server.calls().len(), house.calls(&[]).await.len()), (1, 1));
}
