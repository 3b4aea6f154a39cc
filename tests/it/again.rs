//! The same call again: answered by a denial or asked about anew, joined or a call of its own, the next leg.

use countersign::{
    call::{Call, HowDelivered, StateName},
    downstream::Patience,
    identity::GrantSettings,
};
use serde_json::{Value, json};

use crate::rig::{Agent, House, Manner, Plan, Server, ann, call, mirrored, modern, text};

/// An agent that is told at once to call again.
async fn hasty(house: &House) -> Agent {
    house.agent().initialized("hasty").await
}

fn plan(server: &Server) -> Plan {
    let mut plan = Plan::at(&server.url);
    plan.door.patience.insert("hasty".into(), Patience::Seconds(0));
    plan
}

fn is_ticket(response: &Value) -> bool {
    text(response).starts_with("[NOT EXECUTED: waiting for approval")
}

#[tokio::test]
async fn a_denial_once_answers_this_call_and_its_repeat_asks_people_again() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(plan(&server)).await;
    let agent = house.agent().initialized("test").await;
    let mut answer = agent.post(&call(1, "cancel", json!({}))).await;
    let first = house.pending().await;
    house.deny_once(&first).await;
    while answer.told().await.is_some() {}
    house.delivered(HowDelivered::Line).await;

    let again = agent.post(&call(2, "cancel", json!({}))).await;
    let second = house.pending().await;
    assert_ne!(second.id, first.id, "people are asked again");
    house.deny(&second, "never").await;
    assert_eq!(text(&again.response().await), "[DENIED by ann] never");
    let third = agent.ask(&call(3, "cancel", json!({}))).await;
    assert_eq!(text(&third), "[DENIED by ann] never", "a plain denial answers the repeat");
    assert_eq!(house.calls(&[]).await.len(), 2);
    assert!(server.calls().is_empty());
}

#[tokio::test]
async fn a_denial_once_still_reaches_the_agent_that_was_told_to_call_again() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(plan(&server)).await;
    let agent = hasty(&house).await;
    assert!(is_ticket(&agent.ask(&call(1, "cancel", json!({}))).await));
    house.deny_once(&house.pending().await).await;
    let back = agent.post(&call(2, "cancel", json!({}))).await;
    house.delivered(HowDelivered::Recall).await;
    assert_eq!(text(&back.response().await), "[DENIED by ann] not now");
    assert!(is_ticket(&agent.ask(&call(3, "cancel", json!({}))).await), "it has heard it: now it asks again");
    assert_eq!(house.calls(&[]).await.len(), 2);
}

#[tokio::test]
async fn a_lifted_denial_lets_the_same_call_ask_again() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(plan(&server)).await;
    let agent = hasty(&house).await;
    agent.ask(&call(1, "cancel", json!({}))).await;
    let denied = house.pending().await;
    house.deny(&denied, "no").await;
    assert_eq!(text(&agent.ask(&call(2, "cancel", json!({}))).await), "[DENIED by ann] no");

    house.broker.lift(denied.id, ann()).await.unwrap();
    assert!(is_ticket(&agent.ask(&call(3, "cancel", json!({}))).await));
    house.approve(&house.pending().await).await;
    let agent = house.agent().initialized("test").await;
    assert_eq!(text(&agent.ask(&call(4, "cancel", json!({}))).await), "cancel ran with {}");
    assert_eq!(server.calls().len(), 1);
}

const NEVER: &str = r#"{"version": "1", "default": "allow", "tools": {"cancel": {
  "action": "require_approval", "approval": {"join": "never"}}}}"#;
const GRANT: &str = r#"{"version": "1", "default": "allow", "tools": {"cancel": {
  "action": "require_approval", "approval": {"join": "grant"}}}}"#;

#[tokio::test]
async fn where_the_policy_says_never_each_repeat_is_a_call_of_its_own() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan { policy: NEVER, ..plan(&server) }).await;
    let agent = hasty(&house).await;
    for number in 1..=2 {
        assert!(is_ticket(&agent.ask(&call(number, "cancel", json!({}))).await));
    }
    let [second, first] = house.calls(&[StateName::Pending]).await.try_into().unwrap();
    assert_eq!(second.request.twin, Some(first.id), "the cards link each other");
    house.deny(&first, "no").await;
    assert_eq!(
        text(&agent.ask(&call(3, "cancel", json!({}))).await),
        "[DENIED by ann] no",
        "a denial answers"
    );
}

#[tokio::test]
async fn where_the_policy_says_grant_a_repeat_takes_the_place_of_who_waits() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan { policy: GRANT, ..plan(&server) }).await;
    let first = house.agent().initialized("test").await;
    let waiting = first.post(&call(1, "cancel", json!({}))).await;
    let pending = house.pending().await;
    let second = house.agent().initialized("test").await;
    let newer = second.post(&call(2, "cancel", json!({}))).await;
    let moved = house
        .until(|call| call.waiter.as_ref().is_some_and(|now| Some(now) != pending.waiter.as_ref()))
        .await;
    assert_eq!(moved.id, pending.id);
    house.approve(&moved).await;
    assert_eq!(text(&newer.response().await), "cancel ran with {}");
    assert_eq!((server.calls().len(), house.calls(&[]).await.len()), (1, 1));
    drop(waiting);
}

#[tokio::test]
async fn agents_of_a_shared_grant_never_take_each_others_place() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan { policy: GRANT, ..plan(&server) }).await;
    let shared = GrantSettings { servers: vec!["rig".into()], shared: true, ..GrantSettings::default() };
    let token = house.broker.identity().add_agent("many", shared, "test", house.now()).await.unwrap().token;
    let agent = Agent::new(house.address, "rig", &token).initialized("test").await;
    let one = agent.post(&call(1, "cancel", json!({}))).await;
    let first = house.pending().await;
    let two = agent.post(&call(2, "cancel", json!({}))).await;
    let twin = house.until(|call| call.id != first.id).await;
    assert_eq!(twin.request.twin, Some(first.id));
    drop((one, two));
}

/// A leg of a call that the server asks about `asks` times.
fn leg(id: u64, state: Option<&str>, input: bool) -> Value {
    let mut params = json!({"name": "cancel", "arguments": {"asks": 2}});
    if let Some(state) = state {
        params["requestState"] = json!(state);
    }
    if input {
        params["inputResponses"] = json!({"who": {"action": "accept", "content": {"name": "me"}}});
    }
    modern(id, "tools/call", params)
}

async fn approved(house: &House, agent: &Agent, leg: &Value) -> (Call, Value) {
    let answer = agent.post(leg).await;
    let pending = house.pending().await;
    house.approve(&pending).await;
    (pending, answer.response().await)
}

#[tokio::test]
async fn the_next_leg_is_asked_about_anew_and_says_which_call_it_follows() {
    let server = Server::start(Manner::Modern).await;
    let mut plan = plan(&server);
    // No answer counts as delivered: a next leg must not be told the last one's answer instead.
    plan.door.delivery_ms = 60_000;
    let house = House::open(plan).await;
    let agent = mirrored(house.agent(), "tools/call", Some("cancel"));
    let (first, asked) = approved(&house, &agent, &leg(1, None, false)).await;
    assert_eq!(asked["result"]["requestState"], "1", "{asked}");
    assert_eq!(first.request.follows, None);
    let (second, asked) = approved(&house, &agent, &leg(2, Some("1"), false)).await;
    assert_eq!((second.request.follows, &asked["result"]["requestState"]), (Some(first.id), &json!("2")));
    let (third, ran) = approved(&house, &agent, &leg(3, Some("2"), true)).await;
    assert_eq!(third.request.follows, Some(second.id));
    assert_eq!(text(&ran), r#"cancel ran with {"asks":2}"#);
    assert_eq!(server.calls().len(), 3);
}

#[tokio::test]
async fn another_agents_state_is_followed_by_nobody_and_a_restart_forgets_none() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(plan(&server)).await;
    let agent = mirrored(house.agent(), "tools/call", Some("cancel"));
    let (first, _) = approved(&house, &agent, &leg(1, None, false)).await;
    let other = mirrored(house.other_agent("other", &["rig"]).await, "tools/call", Some("cancel"));
    let (theirs, _) = approved(&house, &other, &leg(2, Some("1"), true)).await;
    assert_eq!(theirs.request.follows, None);

    let restarted = House::open_in(house.copied(), plan(&server)).await;
    let agent = mirrored(restarted.agent(), "tools/call", Some("cancel"));
    let (second, _) = approved(&restarted, &agent, &leg(3, Some("1"), true)).await;
    assert_eq!(second.request.follows, Some(first.id));
}
