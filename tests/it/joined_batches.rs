//! JSON-RPC batches at the joined endpoint: each message finds its server, and all answers are on one stream.

use serde_json::json;

use crate::rig::{Agent, House, Manner, Plan, Script, Server, call, call_with_token, request, text};

/// Two servers with the same tools, and an agent of a version with batches.
async fn two(manner: Manner) -> (Server, Server, House, Agent) {
    let (a, b) = (Server::start(manner).await, Server::start(manner).await);
    let house = House::open(Plan::two(&a.url, &b.url)).await;
    let agent = house.agent().joined().initialized("test").await.with("mcp-protocol-version", "2025-03-26");
    (a, b, house, agent)
}

#[tokio::test]
async fn each_message_reaches_its_server_and_one_that_waits_holds_no_other() {
    let (a, b, house, agent) = two(Manner::Json).await;
    let batch = json!([
        call(1, "a__cancel", json!({"n": 1})),
        call(2, "b__look", json!({})),
        call(3, "c__look", json!({})),
        request(4, "tools/list", json!({})),
        request(5, "ping", json!({})),
        call(6, "b__forbidden", json!({}))
    ]);
    let mut answer = agent.post(&batch).await;
    assert!(answer.is_stream());
    let mut told = std::collections::BTreeMap::new();
    for _ in 0..5 {
        let one = answer.next().await.expect("an answer");
        told.insert(one["id"].as_u64().unwrap(), one);
    }
    assert_eq!(told.keys().copied().collect::<Vec<_>>(), [2, 3, 4, 5, 6], "one waits");
    assert_eq!(text(&told[&2]), "look ran with {}");
    assert_eq!(told[&3]["error"]["message"], "Unknown tool: c__look");
    assert_eq!(told[&4]["result"]["tools"].as_array().unwrap().len(), 6);
    assert_eq!(text(&told[&6]), "[POLICY DENIED] not here");
    assert!(a.calls().is_empty());
    house.approve(&house.pending().await).await;
    let last = answer.next().await.expect("the last");
    assert_eq!((&last["id"], text(&last)), (&json!(1), "cancel ran with {\"n\":1}"));
    assert!(answer.next().await.is_none());
    assert_eq!((a.calls().len(), b.calls()[0]["params"]["name"].clone()), (1, json!("look")));

    let newer = agent.clone().with("mcp-protocol-version", "2025-06-18").post(&batch).await;
    assert_eq!(newer.status, 400, "that version has none");
    let many: Vec<_> = (0..101).map(|id| request(id, "ping", json!({}))).collect();
    assert_eq!(agent.post(&json!(many)).await.status, 400);
    assert_eq!((a.calls().len(), b.calls().len()), (1, 1));
}

#[tokio::test]
async fn what_asks_for_no_answer_reaches_its_server_and_gets_none() {
    let (a, b, house, agent) = two(Manner::Json).await;
    let _waits = agent.post(&call(7, "b__cancel", json!({}))).await;
    house.pending().await;
    let answers = json!([{"jsonrpc": "2.0", "id": "b:1", "result": {"roots": []}},
        {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"},
        {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}]);
    let answer = agent.post(&answers).await;
    assert_eq!(answer.status, 202);
    assert!(answer.bytes().await.is_empty());
    let heard = json!({"jsonrpc": "2.0", "id": 1, "result": {"roots": []}});
    assert!(b.messages().contains(&heard) && !a.messages().contains(&heard));
    for server in [&a, &b] {
        assert_eq!(
            server.messages().iter().filter(|m| m["method"] == "notifications/roots/list_changed").count(),
            1
        );
    }
    house.until(|call| call.waiter.is_none()).await;
}

#[tokio::test]
async fn a_conversation_begins_in_no_batch() {
    let (a, _, house, agent) = two(Manner::Json).await;
    let hello = request(
        1,
        "initialize",
        json!({"protocolVersion": "2025-03-26", "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"}}),
    );
    let before = a.messages().len();
    let stranger = house.agent().joined().with("mcp-protocol-version", "2025-03-26");
    let plain = house.agent_of("a").with("mcp-protocol-version", "2025-03-26");
    for agent in [stranger, agent, plain] {
        let answer = agent.post(&json!([hello])).await;
        assert!(answer.headers.get("mcp-session-id").is_none());
        let refused = answer.response().await;
        assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(1), &json!(-32600)));
    }
    assert_eq!(a.messages().len(), before);
}

#[tokio::test]
async fn the_streams_of_several_servers_are_one_that_cannot_be_resumed() {
    let (_a, _b, house, agent) = two(Manner::Stream).await;
    let batch = json!([
        call_with_token(1, "a__look", json!({}), "x"),
        call_with_token(2, "b__look", json!({}), "y"),
        call_with_token(3, "b__cancel", json!({}), "z")
    ]);
    let mut answer = agent.post(&batch).await;
    let mut tokens = Vec::new();
    for _ in 0..7 {
        let told = answer.next().await.expect("more");
        tokens.extend(told["params"]["progressToken"].as_str().map(str::to_owned));
    }
    for token in ["x", "y", "z"] {
        assert!(tokens.iter().any(|said| said == token), "{token} in {tokens:?}");
    }
    assert_eq!(answer.last_id, None);
    drop(answer);
    house.until(|call| call.waiter.is_none()).await;
}

#[tokio::test]
async fn an_answer_that_is_too_large_or_an_http_error_is_that_of_its_message_only() {
    let (a, b) = (Server::start(Manner::Json).await, Server::start(Manner::Json).await);
    a.answers("tools/call", Script::new(503, "text/plain", "busy"));
    let large = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"x":"{}"}}}}"#, "x".repeat(4_000));
    b.answers("tools/call", Script::new(200, "application/json", &large));
    let mut plan = Plan::two(&a.url, &b.url);
    plan.upstream.max_body = 2_000;
    let house = House::open(plan).await;
    let agent = house.agent().joined().initialized("test").await.with("mcp-protocol-version", "2025-03-26");
    let batch =
        json!([call(1, "a__look", json!({})), call(2, "b__look", json!({})), request(3, "ping", json!({}))]);
    let mut answer = agent.post(&batch).await;
    let mut told = Vec::new();
    while let Some(one) = answer.next().await {
        told.push(one);
    }
    told.sort_by_key(|message| message["id"].as_u64());
    assert_eq!(told.len(), 3, "{told:?}");
    assert_eq!(told[0]["error"]["data"]["body"], "busy", "{told:?}");
    assert!(told[1]["error"]["message"].as_str().unwrap().contains("larger than 2000 bytes"), "{told:?}");
    assert_eq!(told[2]["result"], json!({}));
}
