//! Who is let in, and in which order the door looks.

use serde_json::json;

use crate::rig::{House, Manner, Plan, Script, Server, call};

#[tokio::test]
async fn the_door_looks_at_site_then_token_then_server_then_session() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent();
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "ping"});

    let evil = agent.clone().with("host", "evil.example").without("authorization");
    assert_eq!(evil.post(&ping).await.status, 403);
    let page = agent.clone().with("origin", "https://evil.example");
    assert_eq!(page.post(&ping).await.status, 403);
    let nobody = agent.clone().with("authorization", "Bearer wrong").post(&ping).await;
    assert_eq!(nobody.status, 401);
    assert_eq!(nobody.headers["www-authenticate"], "Bearer");
    let elsewhere = house.other_agent("narrow", &["another"]).await;
    assert_eq!(elsewhere.post(&ping).await.status, 404);
    let lost = agent.clone().with("mcp-session-id", "nobody-gave-this");
    assert_eq!(lost.post(&ping).await.status, 404);
    assert!(server.messages().is_empty());
}

#[tokio::test]
async fn a_session_belongs_to_its_grant_and_ends_by_delete() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let ping = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let session = agent.headers["mcp-session-id"].to_str().unwrap().to_owned();

    let other = house.other_agent("other", &["*"]).await.with("mcp-session-id", &session);
    assert_eq!(other.post(&ping).await.status, 404);
    assert_eq!(agent.clone().without("mcp-session-id").post(&ping).await.status, 400);
    assert_eq!(agent.post(&ping).await.status, 200);
    assert_eq!(agent.send("DELETE", "").await.status, 200);
    assert_eq!(agent.post(&ping).await.status, 404);
}

#[tokio::test]
async fn the_id_of_a_session_that_lives_is_taken_by_no_other_agent() {
    let server = Server::start(Manner::Json).await;
    let hello = json!({"jsonrpc": "2.0", "id": 0, "result": {"protocolVersion": "2025-06-18",
        "capabilities": {}, "serverInfo": {"name": "rig", "version": "1"}}});
    let mut script = Script::new(200, "application/json", &hello.to_string());
    script.headers.push(("mcp-session-id", "1000"));
    server.answers("initialize", script);
    let house = House::open(Plan::at(&server.url)).await;
    let mine = house.agent().initialized("test").await;
    let eve = house.other_agent("eve", &["*"]).await;
    let ask = |method: &str| json!({"jsonrpc": "2.0", "id": 0, "method": method, "params": {}});

    let refused = eve.post(&ask("initialize")).await;
    assert_eq!((refused.status.as_u16(), refused.headers.get("mcp-session-id")), (502, None));
    let told = refused.response().await;
    assert!(told["error"]["message"].as_str().unwrap().contains("another agent's"), "{told}");
    let seen = server.messages().len();
    assert_eq!(eve.clone().with("mcp-session-id", "1000").post(&ask("tools/list")).await.status, 404);
    assert_eq!(server.messages().len(), seen);
    assert_eq!(mine.post(&ask("tools/list")).await.status, 200, "it is as it was");
    // Whoever comes back may be given what was its own; what has ended is anyone's.
    let mine = house.agent().initialized("test").await;
    assert_eq!(mine.send("DELETE", "").await.status, 200);
    let eve = eve.initialized("test").await;
    assert_eq!(eve.post(&ask("tools/list")).await.status, 200);
    assert_eq!(mine.post(&ask("tools/list")).await.status, 404);
}

#[tokio::test]
async fn bad_frames_are_answered_with_what_is_wrong_and_reach_nobody() {
    let server = Server::start(Manner::Json).await;
    let mut plan = Plan::at(&server.url);
    plan.door.max_body = 2_000;
    plan.door.max_arguments = 1_000;
    let house = House::open(plan).await;
    let agent = house.agent().initialized("test").await;
    let seen = server.messages().len();

    let twice = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"look","name":"cancel"}}"#;
    for (bytes, code) in [
        (twice.to_owned(), -32700),
        ("{".to_owned(), -32700),
        ("\"text\"".to_owned(), -32600),
        ("[]".to_owned(), -32600),
        (format!("{}{}", "[".repeat(100), "]".repeat(100)), -32700),
    ] {
        let answer = agent.send("POST", bytes.clone()).await;
        assert_eq!(answer.status, 400, "{bytes}");
        assert_eq!(answer.response().await["error"]["code"], code, "{bytes}");
    }
    assert_eq!(agent.send("POST", vec![b'"', 0xff, b'"']).await.status, 400);
    assert_eq!(agent.send("POST", " ".repeat(3_000)).await.status, 413);
    let large = agent.ask(&call(1, "look", json!({"a": "x".repeat(1_200)}))).await;
    assert_eq!(large["error"]["code"], -32602);
    let nameless = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {}});
    assert_eq!(agent.ask(&nameless).await["error"]["code"], -32602);
    let silent = json!({"jsonrpc": "2.0", "method": "tools/call", "params": {"name": "look"}});
    assert_eq!(agent.post(&silent).await.status, 202);
    assert_eq!(house.door.calls_without_id(), 1);
    assert_eq!(server.messages().len(), seen);
}
