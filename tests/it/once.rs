//! Once, whatever the policy says by then: the repeat of a call finds its denial, its card or its answer.

use std::sync::Arc;

use countersign::{call::StateName, downstream::Patience};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::rig::{House, Manner, Plan, Script, Server, call, mirrored, modern, text};

const ALLOWED: &str = r#"{"version": "1", "default": "allow"}"#;
/// One in an hour: on the ledger before it runs.
const ONE_AN_HOUR: &str = r#"{"version": "1", "default": "allow", "tools": {
  "look": {"limits": [{"counter": "looks", "window": "1h", "max": 1}]},
  "cancel": {"action": "require_approval", "limits": [{"counter": "undo", "window": "1h", "max": 1}]}}}"#;

fn hasty(server: &Server, policy: Option<&'static str>) -> Plan {
    let mut plan = Plan::at(&server.url);
    plan.door.patience.insert("hasty".into(), Patience::Seconds(1));
    if let Some(policy) = policy {
        plan.policy = policy;
    }
    plan
}

/// The server answers the next calls only when it is told to.
fn slow(server: &Server) -> Arc<Notify> {
    let go = Arc::new(Notify::new());
    let answer = r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[{"type":"text","text":"ran"}]}}"#;
    let script = Script { after: Some(Arc::clone(&go)), ..Script::new(200, "application/json", answer) };
    server.answers("tools/call", script);
    go
}

fn is_running(response: &Value) -> bool {
    text(response).starts_with("[STILL RUNNING")
}

#[tokio::test]
async fn a_denial_holds_though_the_policy_allows_by_now() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let answer = agent.post(&call(1, "cancel", json!({"n": 1}))).await;
    house.deny(&house.pending().await, "never").await;
    assert_eq!(text(&answer.response().await), "[DENIED by ann] never");

    house.rule(ALLOWED).await.unwrap();
    assert_eq!(text(&agent.ask(&call(2, "cancel", json!({"n": 1}))).await), "[DENIED by ann] never");
    assert!(server.calls().is_empty());
    assert_eq!(text(&agent.ask(&call(3, "cancel", json!({"n": 2}))).await), r#"cancel ran with {"n":2}"#);

    let copy = house.copied();
    let restarted = House::open_in(copy, Plan { policy: ALLOWED, ..Plan::at(&server.url) }).await;
    let agent = restarted.agent().initialized("test").await;
    assert_eq!(text(&agent.ask(&call(4, "cancel", json!({"n": 1}))).await), "[DENIED by ann] never");
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn an_approved_call_that_still_runs_is_not_run_again_though_the_policy_allows_by_now() {
    let server = Server::start(Manner::Json).await;
    let go = slow(&server);
    let house = House::open(hasty(&server, None)).await;
    let agent = house.agent().initialized("hasty").await;
    let answer = agent.post(&call(1, "cancel", json!({}))).await;
    house.approve(&house.pending().await).await;
    assert!(is_running(&answer.response().await));

    house.rule(ALLOWED).await.unwrap();
    let again = agent.post(&call(2, "cancel", json!({}))).await;
    go.notify_one();
    assert_eq!(text(&again.response().await), "ran");
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn a_repeat_collects_its_answer_though_the_limit_is_full_by_now() {
    for tool in ["cancel", "look"] {
        let server = Server::start(Manner::Json).await;
        let go = slow(&server);
        let house = House::open(hasty(&server, Some(ONE_AN_HOUR))).await;
        let agent = house.agent().initialized("hasty").await;
        let answer = agent.post(&call(1, tool, json!({}))).await;
        if tool == "cancel" {
            house.approve(&house.pending().await).await;
        }
        assert!(is_running(&answer.response().await), "{tool}");

        let again = agent.post(&call(2, tool, json!({}))).await;
        go.notify_one();
        assert_eq!(text(&again.response().await), "ran", "{tool}");
        assert_eq!(server.calls().len(), 1);
        let other = agent.ask(&call(3, tool, json!({"n": 1}))).await;
        assert!(text(&other).starts_with("[LIMIT]"), "{other}");
    }
}

#[tokio::test]
async fn a_denial_holds_for_every_way_to_write_no_input_responses() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let answer = agent.post(&call(1, "cancel", json!({}))).await;
    house.deny(&house.pending().await, "never").await;
    answer.response().await;
    for (id, responses) in [json!({}), Value::Null, json!({"a": {"action": "accept"}})].iter().enumerate() {
        let mut again = call(id + 2, "cancel", json!({}));
        again["params"]["inputResponses"] = responses.clone();
        assert_eq!(text(&agent.ask(&again).await), "[DENIED by ann] never", "{responses}");
    }
}

#[tokio::test]
async fn a_next_leg_with_other_arguments_follows_nothing() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = mirrored(house.agent(), "tools/call", Some("cancel"));
    let leg = |id: u64, n: u64, state: Option<&str>| {
        let mut leg = modern(id, "tools/call", json!({"name": "cancel", "arguments": {"asks": 1, "n": n}}));
        if let Some(state) = state {
            leg["params"]["requestState"] = json!(state);
        }
        leg
    };
    let first = agent.post(&leg(1, 1, None)).await;
    let one = house.pending().await;
    house.approve(&one).await;
    assert_eq!(first.response().await["result"]["requestState"], "1");

    let other = agent.post(&leg(2, 2, Some("1"))).await;
    let card = house.pending().await;
    assert_eq!(card.request.follows, None);
    house.deny(&card, "no").await;
    other.response().await;
    let same = agent.post(&leg(3, 1, Some("1"))).await;
    assert_eq!(house.pending().await.request.follows, Some(one.id));
    drop(same);
    assert_eq!(house.until(|call| call.id == one.id).await.state.name(), StateName::Completed);
}
