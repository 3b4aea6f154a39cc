//! The main job: a call waits for a person, then runs once.

use countersign::{
    call::{HowDelivered, StateName},
    ledger::StopScope,
};
use serde_json::{Value, json};

use crate::rig::{House, Manner, Plan, Script, Server, call, call_with_token, text};

#[tokio::test]
async fn a_call_waits_for_a_person_and_then_runs_once() {
    for manner in [Manner::Json, Manner::Stream] {
        let server = Server::start(manner).await;
        let house = House::open(Plan::at(&server.url)).await;
        let agent = house.agent().initialized("test").await;

        let answer = agent.post(&call_with_token(7, "cancel", json!({"batch": "b-1"}), "t")).await;
        assert!(answer.is_stream());
        let pending = house.pending().await;
        assert_eq!((pending.request.agent.as_str(), pending.request.tool.as_str()), ("bot", "cancel"));
        assert_eq!(server.calls(), Vec::<serde_json::Value>::new());
        house.approve(&pending).await;

        let (before, response) = answer.story().await;
        assert_eq!(response["id"], 7);
        assert_eq!(text(&response), r#"cancel ran with {"batch":"b-1"}"#);
        assert_eq!(server.calls().len(), 1);
        let progress: Vec<f64> = before.iter().map(|m| m["params"]["progress"].as_f64().unwrap()).collect();
        assert!(progress.is_sorted_by(|a, b| a < b), "{progress:?}");
        assert!(before[0]["params"]["message"].as_str().unwrap().starts_with("waiting for approval "));
        let last = house.until(|call| call.state.name() == StateName::Completed).await;
        assert_eq!(last.id, pending.id);
    }
}

/// What an allowed call's server may say, a reviewed one's may say too.
#[tokio::test]
async fn an_answer_that_no_agent_could_send_is_an_answer() {
    let server = Server::start(Manner::Json).await;
    let mut plan = Plan::at(&server.url);
    plan.door.max_depth = 400;
    let house = House::open(plan).await;
    let agent = house.agent().initialized("test").await;
    let deep = |depth: usize| format!("{}7{}", "[".repeat(depth), "]".repeat(depth));
    let long = "x".repeat(17 << 20);
    for (id, data) in [(1, format!(r#"{{"a":1,"a":{}}}"#, deep(300))), (2, format!("{long:?}"))] {
        let body =
            format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"content":[],"structuredContent":{data}}}}}"#);
        server.answers("tools/call", Script::json(&body));
        let arguments: Value = serde_json::from_str(&deep(100)).unwrap();
        let answer = agent.post(&call(id, "cancel", json!({"n": id, "deep": arguments}))).await;
        house.approve(&house.pending().await).await;
        let said = String::from_utf8(answer.bytes().await.to_vec()).unwrap();
        assert!(said.contains(&body.replace("$ID", &id.to_string())), "{}", &said[..said.len().min(400)]);
    }
}

#[tokio::test]
async fn a_denied_call_never_runs_and_the_agent_reads_why() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;

    let answer = agent.post(&call("a", "cancel", json!({}))).await;
    let pending = house.pending().await;
    house.deny(&pending, "not on a Friday").await;

    let response = answer.response().await;
    assert_eq!(response["id"], "a");
    assert_eq!(response["result"]["isError"], true);
    assert_eq!(text(&response), "[DENIED by ann] not on a Friday");
    assert_eq!(response["result"]["_meta"]["countersign/call"]["state"], "denied");
    assert!(server.calls().is_empty());
}

#[tokio::test]
async fn an_agent_that_stays_has_its_answer_delivered_on_the_line() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;

    let mut answer = agent.post(&call(1, "cancel", json!({}))).await;
    house.approve(&house.pending().await).await;
    while answer.told().await.is_some() {}
    house.delivered(HowDelivered::Line).await;
    drop(answer);
}

#[tokio::test]
async fn an_answer_that_the_agent_did_not_wait_for_is_given_to_the_same_call() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;

    let first = agent.post(&call(1, "cancel", json!({"n": 1}))).await;
    let pending = house.pending().await;
    drop(first);
    house.until(|call| call.waiter.is_none()).await;
    house.approve(&pending).await;
    assert!(server.calls().is_empty(), "nobody was there to run it for");

    let response = agent.ask(&call(2, "cancel", json!({"n": 1}))).await;
    assert_eq!(text(&response), r#"cancel ran with {"n":1}"#);
    assert_eq!(response["id"], 2);
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn a_decision_within_the_grace_is_answered_as_plain_json() {
    let server = Server::start(Manner::Json).await;
    let mut plan = Plan::at(&server.url);
    plan.door.grace_ms = 60_000;
    plan.door.heartbeat_ms = 1;
    let house = House::open(plan).await;
    let agent = house.agent().initialized("test").await;

    let request = call(1, "cancel", json!({}));
    let (answer, ()) = tokio::join!(agent.post(&request), async {
        house.approve(&house.pending().await).await;
    });
    assert!(!answer.is_stream());
    assert_eq!(text(&answer.response().await), "cancel ran with {}");
}

#[tokio::test]
async fn an_answer_that_was_missed_is_recalled_once() {
    let server = Server::start(Manner::Json).await;
    let mut plan = Plan::at(&server.url);
    plan.door.delivery_ms = 1500;
    let house = House::open(plan).await;
    let agent = house.agent().initialized("test").await;

    house.missed_by(&agent, &call(1, "cancel", json!({})), "ran with").await;
    let again = agent.post(&call(2, "cancel", json!({}))).await;
    assert_eq!(again.status, 200);
    house.delivered(HowDelivered::Recall).await;
    assert_eq!(text(&again.response().await), "cancel ran with {}");
    assert_eq!(server.calls().len(), 1);

    let third = agent.post(&call(3, "cancel", json!({}))).await;
    assert!(house.pending().await.delivered.is_none(), "a call of its own");
    drop(third);
}

#[tokio::test]
async fn an_agent_that_read_its_answer_and_calls_again_at_once_means_it_again() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;

    // Its connection stays open.
    let mut first = agent.post(&call(1, "cancel", json!({}))).await;
    let one = house.pending().await;
    house.approve(&one).await;
    while first.told().await.is_some() {}

    let second = agent.post(&call(2, "cancel", json!({}))).await;
    let two = house.pending().await;
    assert_ne!(one.id, two.id, "a call of its own");
    house.approve(&two).await;
    assert_eq!(text(&second.response().await), "cancel ran with {}");
    assert_eq!(server.calls().len(), 2);
    let first = house.until(|call| call.id == one.id).await;
    assert_eq!(first.delivered, Some(HowDelivered::Line));
}

#[tokio::test]
async fn a_client_with_a_connection_for_each_call_has_read_what_it_closed_after() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;

    for times in 1..=3 {
        let answer = agent.post(&call(times, "cancel", json!({}))).await;
        house.approve(&house.pending().await).await;
        assert_eq!(text(&answer.response().await), "cancel ran with {}");
        assert_eq!(server.calls().len(), times);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stop_lets_nothing_slip_through_that_was_on_its_way() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..64 {
        let agent = agent.clone();
        calls.spawn(async move {
            let answer = agent.post(&call(number, "cancel", json!({ "batch": number }))).await;
            answer.response().await
        });
    }
    house.pending().await;
    house.broker.stop(StopScope::All, "ann", "drill").await.expect("it stops");
    while let Some(answered) = calls.join_next().await {
        assert_eq!(text(&answered.expect("an answer")), "[STOPPED] drill");
    }
    assert_eq!(house.calls(&[StateName::Pending, StateName::Permitted]).await, []);
    assert!(server.calls().is_empty());
}
