//! A waiting stream that breaks, or is closed so that its client comes back, and goes on with
//! `Last-Event-ID`.

use std::{sync::Arc, time::Duration};

use countersign::{
    call::{Call, DetachReason, Event, HowDelivered, StateName},
    ledger::{Fact, Stream},
    upstream::ServerSettings,
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::rig::{Agent, Answer, House, Manner, Plan, Script, Server, Told, call, call_with_token, text};

const NEW: &str = "2025-11-25";
const OLD: &str = "2025-06-18";

async fn agent(house: &House, version: &str) -> Agent {
    house.agent().initialized("test").await.with("mcp-protocol-version", version)
}

async fn open(version: &str) -> (Server, House, Agent) {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = agent(&house, version).await;
    (server, house, agent)
}

/// A call that waits: its stream, and the id of the first event there.
async fn waiting(agent: &Agent, call: &Value) -> (Answer, String) {
    let mut stream = agent.post(call).await;
    let last = named(&mut stream).await;
    (stream, last)
}

/// Reads until an event had an id.
async fn named(answer: &mut Answer) -> String {
    while answer.last_id.is_none() {
        answer.told().await.expect("an event with an id");
    }
    answer.last_id.clone().unwrap()
}

/// Why its waiters left, as the ledger has it.
async fn left(house: &House, call: &Call) -> Vec<DetachReason> {
    let view = house.broker.view(call.id).await.unwrap().unwrap();
    let why = view.timeline.iter().filter_map(|step| match &step.entry.fact {
        Fact::Call(Event::Detached { why, .. }) => Some(*why),
        _ => None,
    });
    assert_eq!(view.timeline[0].entry.stream, Stream::Call(call.id));
    why.collect()
}

#[tokio::test]
async fn a_stream_that_broke_goes_on_and_its_agent_never_left() {
    for version in [NEW, OLD] {
        let (server, house, agent) = open(version).await;
        let mut first = agent.post(&call_with_token(7, "cancel", json!({}), "t")).await;
        let told = first.told().await;
        assert_eq!(matches!(told, Some(Told::Message(_))), version == OLD, "an old client is not primed");
        let last = named(&mut first).await;
        let pending = house.pending().await;
        drop(first);
        house.away(1).await;
        assert!(house.pending().await.waiter.is_some(), "it may come back");

        let mut second = agent.resume(Some(&last)).await;
        assert!(second.is_stream());
        assert_ne!(named(&mut second).await, last);
        house.approve(&pending).await;
        let (before, response) = second.story().await;
        assert_eq!((&response["id"], text(&response)), (&json!(7), "cancel ran with {}"));
        let progress: Vec<f64> = before.iter().filter_map(|m| m["params"]["progress"].as_f64()).collect();
        assert!(progress.is_sorted_by(|a, b| a < b), "{progress:?}");
        assert_eq!(left(&house, &pending).await, []);
        assert_eq!(server.calls().len(), 1);
    }
}

#[tokio::test]
async fn an_answer_on_a_resumed_stream_counts_as_delivered() {
    let (_server, house, agent) = open(NEW).await;
    let (first, last) = waiting(&agent, &call(1, "cancel", json!({}))).await;
    drop(first);
    let mut second = agent.resume(Some(&last)).await;
    house.approve(&house.pending().await).await;
    while second.told().await.is_some() {}
    house.delivered(HowDelivered::Line).await;
    assert_eq!(agent.resume(Some(&last)).await.status, 410, "there is nothing more to say");
    drop(second);
}

#[tokio::test]
async fn nothing_runs_for_an_agent_that_is_away() {
    let (server, house, agent) = open(NEW).await;
    let (first, last) = waiting(&agent, &call(1, "cancel", json!({}))).await;
    drop(first);
    house.away(1).await;
    house.approve(&house.pending().await).await;
    house.until(|call| call.state.name() == StateName::Permitted).await;
    // Others are served meanwhile.
    assert_eq!(text(&agent.ask(&call(2, "look", json!({}))).await), "look ran with {}");
    assert_eq!(house.calls(&[StateName::Permitted]).await.len(), 1);
    assert_eq!(server.calls().len(), 1);
    let response = agent.resume(Some(&last)).await.response().await;
    assert_eq!(text(&response), "cancel ran with {}");
}

#[tokio::test]
async fn a_stream_that_nobody_takes_up_again_is_an_agent_that_left() {
    let server = Server::start(Manner::Json).await;
    let mut plan = Plan::at(&server.url);
    plan.door.resume_grace_ms = 100;
    let house = House::open(plan).await;
    let agent = agent(&house, NEW).await;
    let (first, last) = waiting(&agent, &call(1, "cancel", json!({}))).await;
    drop(first);
    let pending = house.until(|call| call.waiter.is_none()).await;
    assert_eq!(left(&house, &pending).await, [DetachReason::Closed]);
    let gone = agent.resume(Some(&last)).await;
    assert_eq!(gone.status, 410);
    let words = gone.response().await["error"]["message"].as_str().unwrap().to_owned();
    assert!(words.contains("make the same call again"), "{words}");
    assert_eq!(agent.post(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})).await.status, 200);
}

#[tokio::test]
async fn the_same_call_again_takes_the_place_of_one_who_is_away() {
    let (server, house, agent) = open(NEW).await;
    let (first, last) = waiting(&agent, &call(1, "cancel", json!({}))).await;
    drop(first);
    house.away(1).await;
    let mut again = agent.post(&call(2, "cancel", json!({}))).await;
    named(&mut again).await;
    assert_eq!(house.calls(&[]).await.len(), 1, "one card");
    let late = agent.resume(Some(&last)).await.response().await;
    assert!(text(&late).starts_with("[NOT EXECUTED: waiting for approval"), "{late}");
    house.approve(&house.pending().await).await;
    assert_eq!(text(&again.response().await), "cancel ran with {}");
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn a_stream_that_breaks_while_the_call_runs_goes_on_too() {
    let server = Server::start(Manner::Json).await;
    let work = Arc::new(Notify::new());
    let answer = r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[{"type":"text","text":"at last"}]}}"#;
    let script = Script { after: Some(work.clone()), ..Script::new(200, "application/json", answer) };
    server.answers("tools/call", script);
    let house = House::open(Plan::at(&server.url)).await;
    let agent = agent(&house, NEW).await;
    let (first, last) = waiting(&agent, &call("x", "cancel", json!({}))).await;
    house.approve(&house.pending().await).await;
    let running = house.until(|call| call.state.name() == StateName::Dispatched).await;
    drop(first);
    house.away(1).await;
    let second = agent.resume(Some(&last)).await;
    work.notify_one();
    let response = second.response().await;
    assert_eq!((&response["id"], text(&response)), (&json!("x"), "at last"));
    assert_eq!(left(&house, &running).await, []);
    assert_eq!(server.calls().len(), 1);
}

/// The id of a stream's first event, as it comes byte by byte.
async fn first_id(stream: &std::net::TcpStream) -> String {
    let mut stream = {
        stream.set_nonblocking(true).unwrap();
        tokio::net::TcpStream::from_std(stream.try_clone().unwrap()).unwrap()
    };
    let mut read = String::new();
    loop {
        if let Some((id, _)) = read.split_once("id: ").and_then(|(_, rest)| rest.split_once('\n')) {
            return id.trim().to_owned();
        }
        read.push(char::from(tokio::io::AsyncReadExt::read_u8(&mut stream).await.unwrap()));
    }
}

#[tokio::test]
async fn an_answer_that_was_on_its_way_when_the_connection_broke_is_said_again() {
    let server = Server::start(Manner::Json).await;
    let mut plan = Plan::at(&server.url);
    plan.door.delivery_ms = 1500;
    let house = House::open(plan).await;
    let agent = agent(&house, NEW).await;
    // A socket that reads no further than it is told to.
    let first = agent.post_unread(&call(3, "cancel", json!({})));
    let last = first_id(&first).await;
    house.approve(&house.pending().await).await;
    house.until(|call| call.state.name() == StateName::Completed).await;
    Agent::unread(&first, "ran with").await;
    drop(first);
    house.away(1).await;
    let mut second = agent.resume(Some(&last)).await;
    let mut said = Vec::new();
    while let Some(told) = second.told().await {
        if let Told::Message(message) = told {
            said.push(message);
        }
    }
    assert_eq!(said.len(), 1);
    assert_eq!((&said[0]["id"], text(&said[0])), (&json!(3), "cancel ran with {}"));
    house.delivered(HowDelivered::Line).await;
    drop(second);
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn a_stream_is_taken_from_a_connection_that_seems_alive() {
    let (_server, house, agent) = open(NEW).await;
    let (mut first, last) = waiting(&agent, &call(1, "cancel", json!({}))).await;
    let second = agent.resume(Some(&last)).await;
    while first.told().await.is_some() {}
    house.approve(&house.pending().await).await;
    assert_eq!(text(&second.response().await), "cancel ran with {}");
}

#[tokio::test]
async fn a_stream_belongs_to_its_session_and_ids_of_the_server_are_its_own() {
    let server = Server::start(Manner::Stream).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = agent(&house, NEW).await;
    let (mut first, last) = waiting(&agent, &call(1, "cancel", json!({}))).await;
    let other = house.agent().initialized("test").await;
    assert_eq!(other.resume(Some(&last)).await.status, 410);
    let nobody = house.other_agent("other", &["*"]).await.initialized("test").await;
    assert_eq!(nobody.resume(Some(&last)).await.status, 410);
    let seen = server.headers().len();
    assert_eq!(agent.resume(Some("7")).await.status, 200);
    assert_eq!(server.headers()[seen]["last-event-id"], "7");
    assert!(matches!(first.told().await, Some(Told::Comment)), "it was not disturbed");
}

#[tokio::test]
async fn an_agent_that_is_away_can_cancel() {
    let (_server, house, agent) = open(NEW).await;
    let (first, _) = waiting(&agent, &call(5, "cancel", json!({}))).await;
    drop(first);
    house.away(1).await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}});
    assert_eq!(agent.post(&cancel).await.status, 202);
    let pending = house.until(|call| call.waiter.is_none()).await;
    assert_eq!(left(&house, &pending).await, [DetachReason::Cancelled]);
}

#[tokio::test]
async fn a_client_that_polls_is_sent_away_and_comes_back() {
    let server = Server::start(Manner::Json).await;
    let mut plan = Plan::at(&server.url);
    plan.door.poll_after_s = 1;
    let house = House::open(plan).await;
    let (new, old) = (agent(&house, NEW).await, agent(&house, OLD).await);
    let mut stays = old.post(&call_with_token(1, "cancel", json!({"n": 1}), "t")).await;
    let mut answer = new.post(&call(1, "cancel", json!({"n": 2}))).await;
    for _ in 0..2 {
        while answer.told().await.is_some() {}
        answer = new.resume(answer.last_id.as_deref()).await;
    }
    assert!(stays.told().await.is_some(), "an old client would not come back");
    for pending in house.calls(&[StateName::Pending]).await {
        assert_eq!(left(&house, &pending).await, []);
        house.approve(&pending).await;
    }
    assert_eq!(text(&answer.response().await), r#"cancel ran with {"n":2}"#);
    assert_eq!(text(&stays.response().await), r#"cancel ran with {"n":1}"#);
}

#[tokio::test]
async fn a_drain_does_not_wait_for_those_who_are_away() {
    let (_server, house, agent) = open(NEW).await;
    let (first, _) = waiting(&agent, &call(1, "cancel", json!({}))).await;
    drop(first);
    house.away(1).await;
    tokio::time::timeout(Duration::from_secs(3), house.door.drain()).await.expect("at once");
    house.until(|call| call.waiter.is_none()).await;
}

#[tokio::test]
async fn the_streams_of_a_batch_are_one_and_cannot_be_resumed() {
    let (_server, _house, agent) = open("2025-03-26").await;
    let batch = json!([call_with_token(1, "cancel", json!({}), "t"), call(2, "look", json!({}))]);
    let mut answer = agent.post(&batch).await;
    for _ in 0..3 {
        answer.told().await.expect("a beat");
    }
    assert_eq!(answer.last_id, None);
}

#[tokio::test]
async fn a_session_of_the_same_id_at_another_server_reaches_no_stream_of_mine() {
    let (server, theirs) = (Server::start(Manner::Json).await, Server::start(Manner::Json).await);
    for server in [&server, &theirs] {
        let hello = r#"{"jsonrpc":"2.0","id":$ID,"result":{"protocolVersion":"2025-11-25","capabilities":{},
            "serverInfo":{"name":"rig","version":"1"}}}"#;
        let mut script = Script::new(200, "application/json", hello);
        script.headers.push(("mcp-session-id", "1000"));
        server.answers("initialize", script);
    }
    let mut plan = Plan::at(&server.url);
    plan.servers
        .push(("other", ServerSettings { url: Some(theirs.url.clone()), ..ServerSettings::default() }));
    let house = House::open(plan).await;
    let mine = agent(&house, NEW).await;
    let eve = house.other_agent("eve", &["other"]).await.to("other").initialized("test").await;
    let eve = eve.with("mcp-protocol-version", NEW);

    let (first, last) = waiting(&mine, &call(1, "cancel", json!({}))).await;
    let pending = house.pending().await;
    assert_eq!(last.split('-').nth(1).map(str::len), Some(32), "128 bits: {last}");
    assert_eq!(eve.resume(Some(&last)).await.status, 410);
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}});
    assert_eq!(eve.post(&cancel).await.status, 202);
    assert_eq!(theirs.messages().last(), Some(&cancel), "it was not for us");
    // A request of theirs with the same id does not hide mine.
    let hers = eve.post(&call(1, "cancel", json!({"n": 2}))).await;
    house.until(|call| call.request.agent == "eve").await;
    drop(first);
    house.away(1).await;
    let second = mine.resume(Some(&last)).await;
    assert_eq!(second.status, 200);
    house.approve(&pending).await;
    assert_eq!(text(&second.response().await), "cancel ran with {}");
    assert_eq!(server.calls().len(), 1);
    drop(hers);
}
