//! What is refused at the door, so that nothing of it reaches a server or a person.

use countersign::ledger::StopScope;
use serde_json::json;

use crate::rig::{House, Manner, Plan, Server, Told, ann, call, mirrored, modern};

#[tokio::test]
async fn odd_names_ids_methods_and_headers_reach_nobody() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let seen = server.messages().len();

    for name in ["", "look\nx", "look\u{202e}", "look ", &"x".repeat(129)] {
        assert_eq!(agent.ask(&call(1, name, json!({}))).await["error"]["code"], -32602, "{name:?}");
    }
    let long = agent.ask(&call("x".repeat(2_000), "look", json!({}))).await;
    assert_eq!((&long["error"]["code"], &long["id"]), (&json!(-32600), &json!(null)));
    for method in ["Tools/Call", "tools/call ", "tools/call\u{0}", "TOOLS/LIST"] {
        let odd = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": "cancel"}});
        assert_eq!(agent.ask(&odd).await["error"]["code"], -32601, "{method:?}");
    }
    let silent = json!({"jsonrpc": "2.0", "method": "resources/list"});
    assert_eq!(agent.post(&silent).await.status, 202);
    let mut twice = agent.clone();
    twice.headers.append("mcp-name", "look".parse().unwrap());
    twice.headers.append("mcp-name", "cancel".parse().unwrap());
    assert_eq!(twice.post(&call(1, "look", json!({}))).await.status, 400);
    assert_eq!(server.messages().len(), seen);
    assert!(house.calls(&[]).await.is_empty());
}

#[tokio::test]
async fn a_request_that_does_not_say_its_version_of_json_rpc_is_refused() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let seen = server.messages().len();
    for version in [json!("1.0"), json!(2.0), json!(null), json!("2.0 ")] {
        for method in ["ping", "tools/list", "tools/call"] {
            let ask = json!({"jsonrpc": version, "id": 5, "method": method, "params": {"name": "cancel"}});
            let answer = agent.post(&ask).await;
            assert_eq!(answer.status, 400);
            let told = answer.response().await;
            assert_eq!((&told["error"]["code"], &told["id"]), (&json!(-32600), &json!(5)), "{ask}");
        }
    }
    let absent = json!({"id": 5, "method": "tools/call", "params": {"name": "look"}});
    assert_eq!(agent.ask(&absent).await["error"]["code"], -32600);
    assert_eq!(server.messages().len(), seen);
    assert!(house.calls(&[]).await.is_empty());
}

#[tokio::test]
async fn a_request_whose_id_is_null_is_refused_and_others_of_its_batch_are_not() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let joined = house.agent().joined().initialized("test").await;
    let ask = |method: &str, name: &str| json!({"jsonrpc": "2.0", "id": null, "method": method, "params": {"name": name}});
    let seen = server.messages().len();
    for method in ["ping", "tools/list", "tools/call", "initialize", "notifications/initialized"] {
        let message = modern(json!(null), method, json!({"name": "cancel"}));
        let newer = mirrored(house.agent(), method, Some("cancel")).post(&message).await;
        for answer in
            [agent.post(&ask(method, "cancel")).await, joined.post(&ask(method, "rig__cancel")).await, newer]
        {
            assert_eq!(answer.status, 400);
            let told = answer.response().await;
            assert_eq!((&told["error"]["code"], &told["id"]), (&json!(-32600), &json!(null)), "{told}");
            assert!(told["error"]["message"].as_str().unwrap().contains("not null"), "{told}");
        }
    }
    assert_eq!(server.messages().len(), seen);

    let batch = json!([ask("tools/call", "look"), call(2, "look", json!({}))]);
    let mut answer = agent.clone().with("mcp-protocol-version", "2025-03-26").post(&batch).await;
    let mut codes = Vec::new();
    while let Some(Told::Message(message)) = answer.told().await {
        codes.push((message["id"].clone(), message["error"]["code"].clone()));
    }
    codes.sort_by_key(|(id, _)| id.is_null());
    assert_eq!(codes, [(json!(2), json!(null)), (json!(null), json!(-32600))]);
    assert_eq!(server.messages().len(), seen + 1);
    // An error about what could not be read has no id: an answer may be without one.
    let unread = json!({"jsonrpc": "2.0", "id": null, "error": {"code": -32700, "message": "?"}});
    assert_eq!(agent.post(&unread).await.status, 202);
    assert!(house.calls(&[]).await.is_empty());
}

#[tokio::test]
async fn a_call_goes_up_with_the_headers_of_its_body() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let lying = agent.with("mcp-method", "ping").with("mcp-name", "cancel").with("mcp-param-a", "x");
    lying.ask(&call(1, "look", json!({}))).await;
    let up = server.headers().pop().unwrap();
    assert!(
        !up.contains_key("mcp-method") && !up.contains_key("mcp-name") && !up.contains_key("mcp-param-a")
    );

    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = mirrored(house.agent(), "tools/call", Some("=?base64?bG9vaw==?=")).with("mcp-param-a", "x");
    agent.ask(&modern(1, "tools/call", json!({"name": "look", "arguments": {"a": "x"}}))).await;
    let up = server.headers().pop().unwrap();
    assert_eq!((&up["mcp-name"], &up["mcp-param-a"]), (&"look".parse().unwrap(), &"x".parse().unwrap()));
    let other = agent.post(&modern(2, "tools/call", json!({"name": "look", "arguments": {"a": "y"}}))).await;
    assert_eq!(other.status, 400);
}

#[tokio::test]
async fn a_hidden_tool_is_absent_from_a_list_that_a_listening_stream_repeats() {
    let server = Server::start(Manner::Stream).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let list = agent.send("GET", "").await.response().await;
    let names: Vec<_> = list["result"]["tools"].as_array().unwrap().iter().map(|t| &t["name"]).collect();
    assert_eq!(names, ["look", "cancel", "forbidden"]);
}

#[tokio::test]
async fn one_grant_has_at_most_half_of_the_sessions() {
    let server = Server::start(Manner::Json).await;
    let mut plan = Plan::at(&server.url);
    plan.door.max_sessions = 2;
    let house = House::open(plan).await;
    let first = house.agent().initialized("test").await;
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}});
    assert_eq!(house.agent().post(&hello).await.status, 503);
    house.other_agent("other", &["*"]).await.initialized("test").await;
    assert_eq!(first.send("DELETE", "").await.status, 200);
    house.agent().initialized("test").await;
}

#[tokio::test]
async fn tasks_and_subscriptions_follow_the_policy() {
    let server = Server::start(Manner::Json).await;
    let mut plan = Plan::at(&server.url);
    plan.policy = r#"{"version": "1", "default": "deny", "tools": {"look": {"action": "allow"}}}"#;
    let house = House::open(plan).await;
    let agent = house.agent().initialized("test").await.with("mcp-protocol-version", "2025-11-25");
    let seen = server.messages().len();
    for method in ["tasks/get", "tasks/list", "tasks/cancel", "tasks/result", "resources/subscribe"] {
        let ask = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {}});
        assert_eq!(agent.ask(&ask).await["error"]["code"], -32601, "{method}");
    }
    assert_eq!(server.messages().len(), seen);
}

#[tokio::test]
async fn of_what_is_stopped_nothing_reaches_the_server() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let seen = server.messages().len();
    let scope = StopScope::Agent("bot".into());
    house.broker.stop(scope.clone(), &ann().name, "it went astray").await.unwrap();

    for method in ["tools/list", "resources/list", "initialize", "x/unheard-of"] {
        let ask = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": {}});
        let said = agent.ask(&ask).await;
        assert_eq!(said["error"]["message"], "[STOPPED] it went astray", "{method}");
    }
    let answer = json!({"jsonrpc": "2.0", "id": 1, "result": {}});
    assert_eq!(agent.post(&answer).await.status, 202);
    assert_eq!(agent.send("GET", "").await.status, 403);
    assert_eq!(server.messages().len(), seen);
    assert_eq!(agent.send("DELETE", "").await.status, 200);

    house.broker.resume(scope, &ann().name, "all well").await.unwrap();
    let agent = house.agent().initialized("test").await;
    assert!(
        agent.ask(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await.get("result").is_some()
    );
}
