//! An agent of 2026-07-28 that is told to come back by itself, with a state that is good for one return.

use std::time::Duration;

use countersign::call::{DetachReason, Event, StateName};
use countersign::ledger::Fact;
use serde_json::{Value, json};

use crate::rig::{Agent, House, Manner, Plan, Server, mirrored, modern, text};

/// Little patience, so that a lap is short.
fn plan(server: &Server) -> Plan {
    let mut plan = Plan::at(&server.url);
    plan.door.default_patience_s = 1;
    plan
}

fn caller(agent: Agent) -> Agent {
    mirrored(agent, "tools/call", Some("cancel"))
}

fn again(id: u64, arguments: &Value, state: Option<&str>) -> Value {
    let mut params = json!({"name": "cancel", "arguments": arguments});
    if let Some(state) = state {
        params["requestState"] = json!(state);
    }
    modern(id, "tools/call", params)
}

/// The state that this answer tells the agent to bring back.
fn state(told: &Value) -> String {
    assert_eq!(told["result"]["resultType"], "input_required", "{told}");
    assert!(told["result"].get("inputRequests").is_none());
    told["result"]["requestState"].as_str().unwrap().to_owned()
}

async fn first_lap(house: &House) -> String {
    state(&caller(house.agent()).ask(&again(1, &json!({"n": 1}), None)).await)
}

#[tokio::test]
async fn an_agent_comes_back_by_itself_and_gets_its_answer() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(plan(&server)).await;
    let brought = first_lap(&house).await;
    let pending = house.pending().await;
    assert!(pending.waiter.is_none(), "nothing is sent for who is not there");
    let answer = caller(house.agent()).post(&again(2, &json!({ "n": 1 }), Some(&brought))).await;
    let there = house.until(|call| call.waiter.is_some()).await;
    assert_eq!(there.id, pending.id);
    house.approve(&there).await;
    assert_eq!(text(&answer.response().await), r#"cancel ran with {"n":1}"#);
    assert_eq!((server.calls().len(), house.calls(&[]).await.len()), (1, 1));
    assert!(server.calls()[0]["params"].get("requestState").is_none(), "no state of ours goes up");
    let steps = house.broker.view(pending.id).await.unwrap().unwrap().timeline;
    let left = |why| {
        steps
            .iter()
            .filter(|s| matches!(&s.entry.fact, Fact::Call(Event::Detached { why: w, .. }) if *w == why))
            .count()
    };
    assert_eq!((left(DetachReason::Ticket), left(DetachReason::Closed)), (1, 0));
}

#[tokio::test]
async fn what_was_decided_meanwhile_is_told_on_the_return() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(plan(&server)).await;
    let brought = first_lap(&house).await;
    house.deny(&house.pending().await, "no").await;
    let told = caller(house.agent()).ask(&again(2, &json!({"n": 1}), Some(&brought))).await;
    assert_eq!(text(&told), "[DENIED by ann] no");
}

#[tokio::test]
async fn after_so_many_returns_there_is_a_ticket_and_some_clients_get_it_at_once() {
    let server = Server::start(Manner::Modern).await;
    let mut plan = plan(&server);
    plan.door.laps = 2;
    plan.door.no_laps = vec!["hasty".into()];
    let house = House::open(plan).await;
    let mut brought = first_lap(&house).await;
    brought = state(&caller(house.agent()).ask(&again(2, &json!({"n": 1}), Some(&brought))).await);
    let told = caller(house.agent()).ask(&again(3, &json!({"n": 1}), Some(&brought))).await;
    assert!(text(&told).starts_with("[NOT EXECUTED: waiting for approval"), "{told}");
    assert_eq!(house.calls(&[]).await.len(), 1);

    let mut other = again(4, &json!({"n": 2}), None);
    other["params"]["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": "hasty", "version": "1"});
    let told = caller(house.agent()).ask(&other).await;
    assert!(text(&told).starts_with("[NOT EXECUTED: waiting for approval"), "{told}");
}

#[tokio::test]
async fn a_state_is_good_for_one_return_of_one_agent_with_one_call() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(plan(&server)).await;
    let brought = first_lap(&house).await;
    let refused = async |agent: Agent, request: Value, why: &str| {
        let answer = caller(agent).post(&request).await;
        assert_eq!(answer.status, 400);
        let told = answer.response().await;
        assert_eq!(told["error"]["code"], -32602);
        let said = told["error"]["message"].as_str().unwrap();
        assert!(said.contains(why) && said.contains("Make the call again"), "{said}");
    };
    let changed = again(2, &json!({"n": 2}), Some(&brought));
    refused(house.agent(), changed, "other arguments").await;
    let other = house.other_agent("other", &["rig"]).await;
    refused(other, again(3, &json!({"n": 1}), Some(&brought)), "not given to this agent").await;
    let mut forged = brought.clone();
    forged.replace_range(40..41, if &forged[40..41] == "A" { "B" } else { "A" });
    refused(house.agent(), again(4, &json!({"n": 1}), Some(&forged)), "not given to this agent").await;
    let mut answered = again(5, &json!({"n": 1}), Some(&brought));
    answered["params"]["inputResponses"] = json!({"who": {"action": "accept"}});
    refused(house.agent(), answered, "other arguments").await;

    let next = state(&caller(house.agent()).ask(&again(6, &json!({"n": 1}), Some(&brought))).await);
    assert_ne!(next, brought);
    refused(house.agent(), again(7, &json!({"n": 1}), Some(&brought)), "used already").await;
    assert!(server.calls().is_empty());
    assert_eq!(house.calls(&[]).await.len(), 1, "no state makes a call");
}

#[tokio::test]
async fn a_state_expires() {
    let server = Server::start(Manner::Modern).await;
    let mut plan = plan(&server);
    plan.broker.redelivery = Duration::ZERO;
    let house = House::open(plan).await;
    let brought = first_lap(&house).await;
    let answer = caller(house.agent()).post(&again(2, &json!({"n": 1}), Some(&brought))).await;
    assert_eq!(answer.status, 400);
    let told = answer.response().await;
    assert!(told["error"]["message"].as_str().unwrap().contains("expired"), "{told}");
    assert_eq!(house.calls(&[StateName::Pending]).await.len(), 1);
}

#[tokio::test]
async fn a_state_outlives_its_broker() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(plan(&server)).await;
    let brought = first_lap(&house).await;
    let restarted = House::open_in(house.copied(), plan(&server)).await;
    let answer = caller(restarted.agent()).post(&again(2, &json!({"n": 1}), Some(&brought))).await;
    let there = restarted.until(|call| call.waiter.is_some()).await;
    restarted.approve(&there).await;
    assert_eq!(text(&answer.response().await), r#"cancel ran with {"n":1}"#);
    assert_eq!((server.calls().len(), restarted.calls(&[]).await.len()), (1, 1));
}

#[tokio::test]
async fn the_servers_own_state_and_answers_are_sent_as_the_first_request_brought_them() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(plan(&server)).await;
    let arguments = json!({"asks": 1});
    let mut leg = again(1, &arguments, Some("1"));
    leg["params"]["inputResponses"] = json!({"who": {"action": "accept", "content": {"name": "me"}}});
    let brought = state(&caller(house.agent()).ask(&leg).await);
    let answer = caller(house.agent()).post(&again(2, &arguments, Some(&brought))).await;
    let there = house.until(|call| call.waiter.is_some()).await;
    house.approve(&there).await;
    assert_eq!(text(&answer.response().await), r#"cancel ran with {"asks":1}"#);
    let sent = &server.calls()[0]["params"];
    assert_eq!(
        (&sent["requestState"], &sent["inputResponses"]),
        (&json!("1"), &leg["params"]["inputResponses"])
    );
}

#[tokio::test]
async fn a_return_brings_no_header_that_people_did_not_see() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(plan(&server)).await;
    let brought = first_lap(&house).await;
    let odd = caller(house.agent()).with("mcp-param-region", "us");
    let answer = odd.post(&again(2, &json!({"n": 1}), Some(&brought))).await;
    let (status, told) = (answer.status, answer.response().await);
    assert_eq!((status.as_u16(), &told["error"]["code"]), (400, &json!(-32020)), "{told}");
    let answer = caller(house.agent()).post(&again(3, &json!({"n": 1}), Some(&brought))).await;
    let there = house.until(|call| call.waiter.is_some()).await;
    house.approve(&there).await;
    answer.response().await;
    assert!(!server.headers().last().unwrap().contains_key("mcp-param-region"));
}
