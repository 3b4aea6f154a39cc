//! A server that answers a call with an HTTP error: the agent hears the server itself.

use countersign::call::StateName;
use serde_json::{Value, json};

use crate::rig::{House, Manner, Plan, Script, Server, call, text};

/// What an agent reads when the call that it waited for is answered so.
async fn late(status: u16, body: &str) -> (Server, House, Value) {
    let server = Server::start(Manner::Json).await;
    server.answers("tools/call", Script::new(status, "application/json", body));
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let answer = agent.post(&call(7, "cancel", json!({}))).await;
    assert!(answer.is_stream());
    house.approve(&house.pending().await).await;
    let response = answer.response().await;
    (server, house, response)
}

#[tokio::test]
async fn a_late_http_error_is_an_error_in_the_stream_with_its_body() {
    let json = r#"{"why": "no such run", "n": 1.0}"#;
    for (status, body, state) in [
        (403, json, StateName::Failed),
        (429, "slow down", StateName::Failed),
        (503, json, StateName::Lost),
        (302, "", StateName::Lost),
    ] {
        let (server, house, response) = late(status, body).await;
        assert_eq!(response["id"], 7);
        assert!(response.get("result").is_none(), "{response}");
        let data = &response["error"]["data"];
        assert_eq!(data["status"], status);
        if body == json {
            assert_eq!(data["body"], json!({"why": "no such run", "n": 1.0}));
        } else {
            assert_eq!(data["body"], body);
        }
        let words = response["error"]["message"].as_str().unwrap();
        let doubt = words.contains("whether it was run is not known");
        assert_eq!(doubt, state == StateName::Lost, "{words}");
        assert_eq!(data["countersign/call"]["state"], json!(state));
        house.until(|call| call.state.name() == state).await;
        assert_eq!(server.calls().len(), 1);
    }
}

#[tokio::test]
async fn a_late_refusal_that_is_a_json_rpc_error_is_the_servers_own() {
    let error = r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32021,"message":"no","data":{"n":1.0}}}"#;
    for (status, code) in [(400, -32021), (503, -32603)] {
        let (.., response) = late(status, &error.replace("$ID", "null")).await;
        // Of one that may have run it is said that it may.
        assert_eq!((&response["id"], &response["error"]["code"]), (&json!(7), &json!(code)), "{response}");
        assert_eq!(response["error"]["data"]["n"] == 1.0, status == 400);
    }
}

#[tokio::test]
async fn an_http_error_before_any_header_left_passes_untouched() {
    let server = Server::start(Manner::Json).await;
    let mut script = Script::new(429, "text/plain", "slow down");
    script.headers.push(("retry-after", "7"));
    script.headers.push(("set-cookie", "a=b"));
    server.answers("tools/call", script);
    let mut plan = Plan::at(&server.url);
    plan.door.grace_ms = 60_000;
    plan.door.heartbeat_ms = 1;
    let house = House::open(plan).await;
    let agent = house.agent().initialized("test").await;
    let request = call(1, "cancel", json!({}));
    let (answer, ()) = tokio::join!(agent.post(&request), async {
        house.approve(&house.pending().await).await;
    });
    assert_eq!(answer.status, 429);
    assert_eq!(
        (&answer.headers["retry-after"], &answer.headers["content-type"]),
        (&"7".parse().unwrap(), &"text/plain".parse().unwrap())
    );
    assert!(!answer.headers.contains_key("set-cookie"));
    assert_eq!(answer.bytes().await, "slow down");
}

#[tokio::test]
async fn a_server_that_forgot_the_session_has_its_client_initialize_again() {
    let server = Server::start(Manner::Json).await;
    server.answers("tools/call", Script::new(404, "text/plain", "no session"));
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let answer = agent.post(&call(1, "cancel", json!({}))).await;
    house.approve(&house.pending().await).await;
    assert_eq!(answer.response().await["error"]["data"]["status"], 404);
    let next = agent.post(&call(2, "look", json!({}))).await;
    assert_eq!(next.status, 404);
    assert!(next.response().await["error"]["message"].as_str().unwrap().contains("initialize again"));
}

#[tokio::test]
async fn an_agent_that_was_away_reads_what_the_ledger_has() {
    let server = Server::start(Manner::Json).await;
    server.answers("tools/call", Script::new(403, "text/plain", "not you"));
    let mut plan = Plan::at(&server.url);
    plan.door.delivery_ms = 1500;
    let house = House::open(plan).await;
    let agent = house.agent().initialized("test").await;
    house.missed_by(&agent, &call(1, "cancel", json!({})), "not you").await;
    let again = agent.ask(&call(2, "cancel", json!({}))).await;
    assert_eq!(text(&again), "[NOT SENT] the server answered HTTP 403: not you");
}

#[tokio::test]
async fn a_server_says_nothing_of_the_protocol_in_headers_but_its_session() {
    let answer = r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[],"tools":[]}}"#;
    for status in [200, 403] {
        let server = Server::start(Manner::Json).await;
        let mut plan = Plan::at(&server.url);
        plan.door.grace_ms = 60_000;
        let house = House::open(plan).await;
        let agent = house.agent().initialized("test").await;
        for method in ["tools/call", "tools/list", "ping"] {
            let mut script = Script::new(status, "application/json", answer);
            script.headers.extend([("mcp-session-id", "evil"), ("mcp-anything", "x"), ("retry-after", "7")]);
            server.answers(method, script);
        }
        let waiting = call(1, "cancel", json!({}));
        let (waited, ()) = tokio::join!(agent.post(&waiting), async {
            house.approve(&house.pending().await).await;
        });
        let mut answers = vec![waited, agent.post(&call(2, "look", json!({}))).await];
        for method in ["tools/list", "ping"] {
            answers.push(agent.post(&json!({"jsonrpc": "2.0", "id": 3, "method": method})).await);
        }
        for answer in answers {
            let said: Vec<_> =
                answer.headers.keys().filter(|name| name.as_str().starts_with("mcp-")).collect();
            assert_eq!(said, [] as [&str; 0], "{status}");
        }
    }
}
