//! A server that hangs up on a call it still works on, and lets its client come back for the rest.

use std::time::Duration;

use countersign::call::StateName;
use serde_json::{Value, json};

use crate::rig::{House, Manner, Plan, Script, Server, call, mirrored, modern, text};

const PRIMES: &str = "id: s1_0\nretry: 20\ndata:\n\n";
const ANSWER: &str = "id: s1_2\ndata: {\"jsonrpc\":\"2.0\",\"id\":7.0,\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"done\"}]}}\n\n";
const PROGRESS: &str =
    "id: s1_1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n";

fn events(body: &str) -> Script {
    Script::new(200, "text/event-stream", body)
}

/// What was asked for by GET, in order.
fn polled(server: &Server) -> Vec<String> {
    let headers = server.headers();
    let last = headers.iter().filter_map(|headers| headers.get("last-event-id"));
    last.map(|id| id.to_str().unwrap().to_owned()).collect()
}

async fn polls(server: &Server, times: usize) {
    let enough = async {
        while polled(server).len() < times {
            server.another().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), enough).await.expect("it is polled");
}

#[tokio::test]
async fn the_rest_of_a_stream_is_fetched_until_the_answer_comes_and_the_call_is_made_once() {
    let server = Server::start(Manner::Json).await;
    server.answers("tools/call", events(PRIMES));
    server.answers("GET", events(PROGRESS));
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let answer = agent.post(&call(7, "cancel", json!({}))).await;
    house.approve(&house.pending().await).await;
    polls(&server, 2).await;
    server.answers("GET", Script::new(503, "text/plain", "busy"));
    polls(&server, 3).await;
    server.answers("GET", events(ANSWER));

    let (before, response) = answer.story().await;
    assert_eq!(text(&response), "done");
    assert_eq!(response["id"].to_string(), "7");
    assert!(
        !before.is_empty() && before.iter().all(|m| m["method"] == "notifications/message"),
        "{before:?}"
    );
    house.until(|call| call.state.name() == StateName::Completed).await;
    assert_eq!(server.calls().len(), 1);
    let polled = polled(&server);
    assert_eq!((&*polled[0], &*polled[1], &**polled.last().unwrap()), ("s1_0", "s1_1", "s1_1"));
    let gets = server.headers().into_iter().filter(|headers| headers.contains_key("last-event-id"));
    let session = agent.headers["mcp-session-id"].clone();
    for headers in gets {
        assert_eq!(
            (&headers["accept"], &headers["mcp-session-id"]),
            (&"text/event-stream".parse().unwrap(), &session)
        );
    }
}

#[tokio::test]
async fn an_agent_that_left_meanwhile_reads_the_answer_when_it_comes_back() {
    let server = Server::start(Manner::Json).await;
    server.answers("tools/call", events(PRIMES));
    server.answers("GET", events(PRIMES));
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let answer = agent.post(&call(7, "cancel", json!({}))).await;
    house.approve(&house.pending().await).await;
    polls(&server, 1).await;
    drop(answer);
    server.answers("GET", events(ANSWER));
    house.until(|call| call.state.name() == StateName::Completed).await;
    assert_eq!(text(&agent.ask(&call(8, "cancel", json!({}))).await), "done");
    assert_eq!(server.calls().len(), 1);
}

/// How a call ends whose rest cannot be had, and how often it was asked for.
async fn lost(manner: Manner, stream: &str, get: Option<Script>) -> (Value, usize) {
    let server = Server::start(manner).await;
    server.answers("tools/call", events(stream));
    if let Some(get) = get {
        server.answers("GET", get);
    }
    let house = House::open(Plan::at(&server.url)).await;
    let answer = if manner == Manner::Modern {
        let agent = mirrored(house.agent(), "tools/call", Some("cancel"));
        agent.post(&modern(7, "tools/call", json!({"name": "cancel", "arguments": {}}))).await
    } else {
        house.agent().initialized("test").await.post(&call(7, "cancel", json!({}))).await
    };
    house.approve(&house.pending().await).await;
    let response = answer.response().await;
    house.until(|call| call.state.name() == StateName::Lost).await;
    assert_eq!(server.calls().len(), 1);
    (response, polled(&server).len())
}

#[tokio::test]
async fn what_cannot_be_fetched_is_lost_and_says_why() {
    let (response, asked) = lost(Manner::Json, PRIMES, None).await;
    assert!(text(&response).contains("it answered HTTP 405"), "{response}");
    assert_eq!(asked, 1);
    let busy = Script::new(503, "text/plain", "busy");
    let (response, asked) = lost(Manner::Json, PRIMES, Some(busy)).await;
    assert!(text(&response).contains("it answered HTTP 503"), "{response}");
    assert_eq!(asked, 5);
    let no_stream = Script::new(200, "application/json", "{}");
    assert_eq!(lost(Manner::Json, PRIMES, Some(no_stream)).await.1, 1);
    // Without an id there is nothing to ask for; a modern stream cannot be resumed.
    for (manner, stream) in [(Manner::Json, ": nothing\n\n"), (Manner::Modern, PRIMES)] {
        let (response, asked) = lost(manner, stream, Some(events(ANSWER))).await;
        assert!(text(&response).contains("ended without an answer"), "{response}");
        assert_eq!(asked, 0);
    }
}
