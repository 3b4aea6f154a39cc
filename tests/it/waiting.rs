//! What an agent hears while people decide, and what leaving means.

use std::time::Duration;

use countersign::call::{DetachReason, Event, StateName};
use countersign::downstream::Patience;
use countersign::ledger::{Fact, Stream};
use serde_json::json;

use crate::rig::{House, Manner, Plan, Server, call, call_with_token, text};

#[tokio::test]
async fn an_agent_without_patience_gets_a_ticket_and_the_same_call_goes_on_waiting() {
    let server = Server::start(Manner::Json).await;
    let mut plan = Plan::at(&server.url);
    plan.door.patience.insert("hasty".into(), Patience::Seconds(0));
    let house = House::open(plan).await;
    let agent = house.agent().initialized("hasty").await;

    let response = agent.ask(&call(1, "cancel", json!({}))).await;
    let pending = house.pending().await;
    let told = text(&response);
    let code = pending.digest.short_code();
    assert!(told.starts_with(&format!("[NOT EXECUTED: waiting for approval {code}]")), "{told}");
    assert!(told.contains("call again with the same arguments to keep waiting"));
    let meta = &response["result"]["_meta"]["countersign/call"];
    assert_eq!(meta["id"], json!(pending.id));
    assert_eq!(meta["state"], "pending");
    assert!(meta["retry_after_ms"].is_u64() && meta["expires_at"].is_string());

    house.approve(&pending).await;
    assert!(server.calls().is_empty(), "a ticket is not a waiter");
    let restarted = house.agent().initialized("patient").await;
    let response = restarted.ask(&call(2, "cancel", json!({}))).await;
    assert_eq!(text(&response), "cancel ran with {}");
    assert_eq!(server.calls().len(), 1);
    assert_eq!(house.calls(&[]).await.len(), 1, "one card");
}

#[tokio::test]
async fn a_cancelled_request_leaves_its_call_in_place_and_nothing_goes_upstream() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let mut answer = agent.post(&call(5, "cancel", json!({}))).await;
    let pending = house.pending().await;

    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}});
    assert_eq!(agent.post(&cancel).await.status, 202);
    while let Some(told) = answer.told().await {
        drop(told);
    }
    let entries = house.broker.view(pending.id).await.unwrap().unwrap();
    let left = entries.timeline.iter().any(|step| {
        matches!(&step.entry.fact, Fact::Call(Event::Detached { why: DetachReason::Cancelled, .. }))
    });
    assert!(left);
    assert_eq!(entries.timeline[0].entry.stream, Stream::Call(pending.id));
    assert_eq!(house.calls(&[StateName::Pending]).await.len(), 1);
    assert!(!server.messages().iter().any(|m| m["method"] == "notifications/cancelled"));
}

#[tokio::test]
async fn a_waiting_agent_hears_signs_of_life() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;

    let mut with_token = agent.post(&call_with_token(1, "cancel", json!({"n": 1}), "t")).await;
    let mut without = agent.post(&call(2, "cancel", json!({"n": 2}))).await;
    let mut last = 0.0;
    for _ in 0..3 {
        let Some(crate::rig::Told::Message(beat)) = with_token.told().await else { panic!("a message") };
        assert_eq!(beat["params"]["progressToken"], "t");
        let progress = beat["params"]["progress"].as_f64().unwrap();
        assert!(progress > last && progress < 0.001);
        last = progress;
        let words = beat["params"]["message"].as_str().unwrap();
        assert!(words.ends_with("14 min left, 0 of 1 approvals"), "{words}");
        assert!(matches!(without.told().await, Some(crate::rig::Told::Comment)));
    }
}

/// Makes a call and leaves it after some signs of life, as a client with a clock of its own does.
async fn hang_up(house: &House, agent: &crate::rig::Agent, id: u64, cancels: bool) {
    let mut answer = agent.post(&call(id, "cancel", json!({"n": id}))).await;
    let waits = house.until(|call| call.waiter.is_some()).await;
    for _ in 0..4 {
        answer.told().await;
    }
    if cancels {
        let cancel =
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": id}});
        assert_eq!(agent.post(&cancel).await.status, 202);
    }
    drop(answer);
    house.until(|call| call.id == waits.id && call.waiter.is_none()).await;
}

#[tokio::test]
async fn a_client_that_hung_up_twice_gets_its_ticket_before_that() {
    for cancels in [true, false] {
        let server = Server::start(Manner::Json).await;
        let mut plan = Plan::at(&server.url);
        plan.door.learn_from_ms = 1;
        plan.door.resume_grace_ms = 1;
        let house = House::open(plan).await;
        let agent = house.agent().initialized("clocked").await;
        hang_up(&house, &agent, 1, cancels).await;
        hang_up(&house, &agent, 2, cancels).await;
        let told = agent.ask(&call(3, "cancel", json!({"n": 3}))).await;
        assert!(text(&told).starts_with("[NOT EXECUTED: waiting for approval"), "{told}");

        let other = house.agent().initialized("patient").await;
        let mut answer = other.post(&call(4, "cancel", json!({"n": 4}))).await;
        for _ in 0..8 {
            assert!(
                matches!(answer.told().await, Some(crate::rig::Told::Comment)),
                "a client of another name waits"
            );
        }
    }
}

#[tokio::test]
async fn a_drain_gives_each_waiting_agent_its_ticket_and_takes_no_new_waiter() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let answer = agent.post(&call(1, "cancel", json!({}))).await;
    house.pending().await;

    tokio::time::timeout(Duration::from_secs(5), house.door.drain()).await.unwrap();
    let told = answer.response().await;
    assert!(text(&told).starts_with("[NOT EXECUTED: waiting for approval"));
    let refused = agent.post(&call(2, "cancel", json!({"other": 1}))).await;
    assert_eq!(refused.status, 503);
    assert_eq!(refused.headers["retry-after"], "5");
}

#[tokio::test]
async fn when_the_only_reviewer_leaves_nobody_waits_for_the_deadline() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let answer = agent.post(&call(1, "cancel", json!({}))).await;
    house.pending().await;
    house.broker.identity().revoke_reviewer("ann", "test", house.now()).await.unwrap();
    house.broker.people_changed();
    let told = answer.response().await;
    assert_eq!(
        text(&told),
        "[POLICY DENIED] the quorum cannot be met: 1 of any reviewer needed, 0 could vote"
    );
    assert!(server.calls().is_empty());
}
