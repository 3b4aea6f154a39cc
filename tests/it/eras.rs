//! What differs by protocol version: the stateless era, and batches.

use countersign::call::StateName;
use serde_json::{Value, json};

use crate::rig::{House, Manner, Plan, Script, Server, Told, call, mirrored, modern, text};

#[tokio::test]
async fn a_modern_call_waits_without_a_session_and_its_answer_is_complete() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = mirrored(house.agent(), "tools/call", Some("cancel"));
    let request = modern(1, "tools/call", json!({"name": "cancel", "arguments": {"b": 1}}));

    let answer = agent.post(&request).await;
    house.deny(&house.pending().await, "no").await;
    let response = answer.response().await;
    assert_eq!(response["result"]["resultType"], "complete");
    assert_eq!(text(&response), "[DENIED by ann] no");

    let other = modern(2, "tools/call", json!({"name": "cancel", "arguments": {"b": 2}}));
    let answer = agent.post(&other).await;
    house.approve(&house.pending().await).await;
    assert_eq!(text(&answer.response().await), r#"cancel ran with {"b":2}"#);
    assert_eq!(server.calls().len(), 1);
    assert_eq!(server.headers().last().unwrap()["mcp-name"], "cancel");
}

#[tokio::test]
async fn a_modern_call_whose_headers_say_something_else_is_refused_before_anyone_is_asked() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = mirrored(house.agent(), "tools/call", Some("look"));
    let request = modern(1, "tools/call", json!({"name": "cancel", "arguments": {}}));
    let answer = agent.post(&request).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.response().await["error"]["code"], -32020);
    assert!(house.calls(&[]).await.is_empty() && server.calls().is_empty());
}

#[tokio::test]
async fn a_modern_list_that_hides_a_tool_is_private_and_short_lived() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = mirrored(house.agent(), "tools/list", None);
    let list = agent.ask(&modern(1, "tools/list", json!({}))).await;
    assert_eq!(list["result"]["cacheScope"], "private");
    assert_eq!(list["result"]["ttlMs"], 30_000);
    assert_eq!(list["result"]["tools"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn an_http_error_within_a_batch_is_an_error_of_its_call() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await.with("mcp-protocol-version", "2025-03-26");
    server.answers("tools/call", Script::new(503, "text/plain", "busy"));
    let batch = json!([call(1, "cancel", json!({})), call(2, "look", json!({}))]);
    let mut answer = agent.post(&batch).await;
    house.approve(&house.pending().await).await;
    let mut told = Vec::new();
    while let Some(one) = answer.told().await {
        if let Told::Message(message) = one {
            told.push(message);
        }
    }
    told.sort_by_key(|message| message["id"].as_u64());
    for (message, id) in told.iter().zip([1, 2]) {
        assert_eq!((&message["id"], &message["error"]["data"]["body"]), (&json!(id), &json!("busy")));
    }
    assert_eq!(told.len(), 2);
}

#[tokio::test]
async fn one_call_of_a_batch_waits_and_the_others_do_not() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await.with("mcp-protocol-version", "2025-03-26");
    let batch = json!([call(1, "cancel", json!({})), call(2, "look", json!({})), call(3, "secret", json!({})),
        {"jsonrpc": "2.0", "method": "notifications/progress", "params": {}}]);
    let mut answer = agent.post(&batch).await;
    assert!(answer.is_stream());
    let mut answered: Vec<Value> = Vec::new();
    while let Some(told) = answer.told().await {
        let crate::rig::Told::Message(message) = told else { continue };
        answered.push(message["id"].clone());
        if answered.len() == 2 {
            assert!(answered.contains(&json!(2)) && answered.contains(&json!(3)), "{answered:?}");
            house.approve(&house.pending().await).await;
        }
    }
    assert_eq!(answered.last(), Some(&json!(1)));
    assert_eq!(server.calls().len(), 2);

    let newer = agent.with("mcp-protocol-version", "2025-06-18").post(&batch).await;
    assert_eq!(newer.status, 400);
}

#[tokio::test]
async fn a_header_that_is_no_argument_goes_up_with_what_nobody_is_asked_about() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let asks = |tool: &str| {
        let agent = mirrored(house.agent(), "tools/call", Some(tool)).with("mcp-param-new", "x");
        (agent, modern(1, "tools/call", json!({"name": tool, "arguments": {"region": "eu"}})))
    };
    let (agent, look) = asks("look");
    assert_eq!(text(&agent.ask(&look).await), r#"look ran with {"region":"eu"}"#);
    assert_eq!(server.headers().last().unwrap()["mcp-param-new"], "x");

    let (agent, cancel) = asks("cancel");
    let other = agent.clone().with("mcp-param-region", "us").with("mcp-name", "look");
    for (agent, request, why) in [(agent, cancel, "would not see it"), (other, look, "of that name")] {
        let answer = agent.post(&request).await;
        assert_eq!(answer.status, 400);
        let error = answer.response().await["error"].clone();
        assert_eq!(error["code"], -32020);
        assert!(error["message"].as_str().unwrap().contains(why), "{error}");
    }
    assert_eq!(server.calls().len(), 1);
    assert!(house.calls(&[StateName::Pending]).await.is_empty());
}

#[tokio::test]
async fn a_call_of_an_unknown_version_is_told_what_the_server_supports() {
    let known = json!(["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28"]);
    let found = r#"{"jsonrpc":"2.0","id":$ID,"result":{"supportedVersions":["2026-07-28","2030-01-01"]}}"#;
    let refused = r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32022,"data":{"supported":["2025-11-25"]}}}"#;
    for (script, supported) in [
        (Script::new(200, "application/json", found), json!(["2026-07-28"])),
        (Script::new(200, "text/event-stream", &format!("data: {found}\n\n")), json!(["2026-07-28"])),
        (Script::new(400, "application/json", refused), json!(["2025-11-25"])),
        (Script::new(404, "text/plain", "what?"), known),
    ] {
        let server = Server::start(Manner::Modern).await;
        server.answers("server/discover", script);
        let house = House::open(Plan::at(&server.url)).await;
        let agent = mirrored(house.agent(), "tools/call", Some("look"));
        let request = modern("a", "tools/call", json!({"name": "look"})).to_string();
        let agent = agent.with("mcp-protocol-version", "2099-01-01");
        let answer = agent.send("POST", request.replace("2026-07-28", "2099-01-01")).await;
        assert_eq!(answer.status, 400);
        let response = answer.response().await;
        assert_eq!((&response["id"], &response["error"]["code"]), (&json!("a"), &json!(-32022)));
        assert_eq!(response["error"]["data"], json!({"supported": supported, "requested": "2099-01-01"}));
        assert!(server.calls().is_empty());
    }
}

#[tokio::test]
async fn ids_of_several_streams_are_none_of_the_one_they_become() {
    let server = Server::start(Manner::Stream).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await.with("mcp-protocol-version", "2025-03-26");
    let look = agent.post(&call(3, "look", json!({}))).await.bytes().await;
    assert!(String::from_utf8_lossy(&look).contains("id: 7\n"), "the server gives ids");
    let mut answer = agent.post(&json!([call(1, "look", json!({})), call(2, "look", json!({}))])).await;
    let mut answers = 0;
    while let Some(told) = answer.told().await {
        answers += usize::from(matches!(told, Told::Message(_)));
    }
    assert_eq!((answers, &answer.last_id), (2, &None));
}

#[tokio::test]
async fn verbs_that_a_version_does_not_have_are_not_offered() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    for (agent, verbs) in
        [(mirrored(house.agent(), "ping", None), "POST"), (house.agent(), "POST, GET, DELETE")]
    {
        let answer = agent.send("PUT", "").await;
        assert_eq!((answer.status.as_u16(), answer.headers["allow"].to_str().unwrap()), (405, verbs));
    }
}

#[tokio::test]
async fn an_answer_of_a_batch_that_is_too_large_fails_its_element_only() {
    let server = Server::start(Manner::Json).await;
    let large = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"x":"{}"}}}}"#, "x".repeat(4_000));
    server.answers("tools/call", Script::new(200, "application/json", &large));
    let mut plan = Plan::at(&server.url);
    plan.upstream.max_body = 2_000;
    let house = House::open(plan).await;
    let agent = house.agent().initialized("test").await.with("mcp-protocol-version", "2025-03-26");
    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ping"});
    let mut answer = agent.post(&json!([call(1, "look", json!({})), ping])).await;
    let mut told = Vec::new();
    while let Some(event) = answer.told().await {
        if let Told::Message(message) = event {
            told.push(message);
        }
    }
    told.sort_by_key(|message| message["id"].as_i64());
    assert_eq!(told.len(), 2, "{told:?}");
    let words = told[0]["error"]["message"].as_str().unwrap();
    assert!(words.contains("larger than 2000 bytes"), "{words}");
    assert_eq!(told[1]["id"], 2);
}

/// A server that answers `initialize` with this version, whatever it was asked for.
async fn of_version(version: &str, session: &'static str) -> Server {
    let server = Server::start(Manner::Json).await;
    let hello = json!({"jsonrpc": "2.0", "id": 0, "result": {"protocolVersion": version,
        "capabilities": {"tools": {}}, "serverInfo": {"name": "rig", "version": "1"}}});
    let mut script = Script::json(hello);
    script.headers.push(("mcp-session-id", session));
    server.answers("initialize", script);
    server
}

#[tokio::test]
async fn the_version_that_a_session_agreed_on_is_on_its_calls() {
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let server = of_version(version, "s-1").await;
        let house = House::open(Plan::at(&server.url)).await;
        // It asked for 2025-06-18; in the headers of its calls it says that again, or nothing.
        let says = house.agent().initialized("test").await;
        let mute = says.clone().without("mcp-protocol-version");
        for (n, agent) in [says, mute].iter().enumerate() {
            let _answer = agent.post(&call(1, "cancel", json!({"n": n}))).await;
            let pending = house.pending().await;
            assert_eq!(pending.request.protocol.as_deref(), Some(version));
            house.deny(&pending, "no").await;
        }
    }
}

#[tokio::test]
async fn without_a_session_a_call_is_of_the_version_that_it_says() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let said = house.agent().with("mcp-protocol-version", "2025-03-26");
    let modern_agent = mirrored(house.agent(), "tools/call", Some("cancel"));
    let request = modern(1, "tools/call", json!({"name": "cancel", "arguments": {"n": 3}}));
    for (agent, request, version) in [
        (said, call(1, "cancel", json!({"n": 1})), Some("2025-03-26")),
        (house.agent(), call(1, "cancel", json!({"n": 2})), None),
        (modern_agent, request, Some("2026-07-28")),
    ] {
        let _answer = agent.post(&request).await;
        let pending = house.pending().await;
        assert_eq!(pending.request.protocol.as_deref(), version);
        house.deny(&pending, "no").await;
    }
}

#[tokio::test]
async fn a_joined_session_has_one_version_whatever_its_servers_speak() {
    let (a, b) = (of_version("2025-06-18", "s-a").await, of_version("2025-03-26", "s-b").await);
    let house = House::open(Plan::two(&a.url, &b.url)).await;
    let agent = house.agent().joined().initialized("test").await.without("mcp-protocol-version");
    for tool in ["a__cancel", "b__cancel"] {
        let _answer = agent.post(&call(1, tool, json!({}))).await;
        let pending = house.pending().await;
        assert_eq!(pending.request.protocol.as_deref(), Some("2025-03-26"));
        house.deny(&pending, "no").await;
    }
}
