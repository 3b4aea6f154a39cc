//! Limits longer than a minute: what a call took is on the ledger, and a restart counts it again.

use countersign::{
    call::{CallId, Event, StateName, Used},
    ledger::Fact,
};
use serde_json::json;

use crate::rig::{House, Manner, Plan, Server, call, text};

/// Sliding windows: none of them turns over while a story is told.
const LIMITED: &str = r#"{"version": "1", "default": "allow", "tools": {
  "cancel": {"action": "require_approval", "limits": [{"counter": "undo", "window": "1h", "max": 1}]},
  "look": {"limits": [{"counter": "looks", "window": "2h", "max": 3, "increment_from": "args.n"}]}}}"#;

fn plan(server: &Server) -> Plan {
    Plan { policy: LIMITED, ..Plan::at(&server.url) }
}

fn used(counter: &str, window: &str, amount: &str) -> Vec<Used> {
    vec![Used { counter: counter.into(), window: window.into(), amount: amount.into() }]
}

/// How many entries the last signed head covers.
fn signed(house: &House) -> u64 {
    let sql = "SELECT coalesce(max(size), 0) FROM heads";
    house.vandal().query_row(sql, [], |row| row.get(0)).unwrap()
}

/// What the call took, and what it gave back, as its entries say.
async fn on_the_ledger(house: &House, id: CallId) -> (Vec<Used>, Vec<Used>) {
    let (mut took, mut gave) = (Vec::new(), Vec::new());
    for step in house.broker.view(id).await.unwrap().unwrap().timeline {
        match step.entry.fact {
            Fact::Call(Event::Dispatched { taken, .. }) => took = taken,
            Fact::Call(Event::Failed { given_back, .. }) => gave = given_back,
            _ => {}
        }
    }
    (took, gave)
}

#[tokio::test]
async fn what_an_allowed_call_took_of_a_long_limit_still_counts_after_a_restart() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(plan(&server)).await;
    let agent = house.agent().initialized("test").await;
    assert_eq!(text(&agent.ask(&call(1, "look", json!({"n": 2.5}))).await), r#"look ran with {"n":2.5}"#);
    let ran = house.until(|call| call.state.name() == StateName::Completed).await;
    assert_eq!(on_the_ledger(&house, ran.id).await, (used("looks|bot", "7200s", "2.5"), Vec::new()));

    let restarted = House::open_in(house.copied(), plan(&server)).await;
    let agent = restarted.agent().initialized("test").await;
    let over = agent.ask(&call(2, "look", json!({"n": 1}))).await;
    assert!(text(&over).contains("limit"), "{over}");
    let fits = agent.ask(&call(3, "look", json!({"n": 0.5}))).await;
    assert_eq!(text(&fits), r#"look ran with {"n":0.5}"#);
    assert_eq!(server.calls().len(), 2);
}

#[tokio::test]
async fn what_a_call_took_that_cannot_have_run_is_given_back_on_the_ledger_too() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(plan(&server)).await;
    let agent = house.agent().initialized("test").await;
    let answer = agent.post(&call(1, "cancel", json!({"refuse": true}))).await;
    house.approve(&house.pending().await).await;
    assert_eq!(answer.response().await["error"]["data"]["status"], 403);
    let failed = house.until(|call| call.state.name() == StateName::Failed).await;
    let undo = || used("undo|bot", "3600s", "1");
    assert_eq!(on_the_ledger(&house, failed.id).await, (undo(), undo()));

    let again = agent.post(&call(2, "cancel", json!({"number": 0}))).await;
    house.deny(&house.pending().await, "enough").await;
    assert_eq!(text(&again.response().await), "[DENIED by ann] enough", "it was not over the limit");

    let mut houses = vec![house];
    for number in 1..=2 {
        let before = houses.pop().unwrap();
        let house = House::open_in(before.copied(), plan(&server)).await;
        let agent = house.agent().initialized("test").await;
        let answer = agent.post(&call(2, "cancel", json!({ "number": number }))).await;
        if number == 2 {
            let over = answer.response().await;
            assert!(text(&over).contains("limit"), "the one that ran counts: {over}");
        } else {
            house.approve(&house.pending().await).await;
            assert_eq!(text(&answer.response().await), r#"cancel ran with {"number":1}"#);
        }
        houses.push(house);
    }
}

#[tokio::test]
async fn a_policy_that_comes_later_counts_what_was_taken_before_once() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(plan(&server)).await;
    house.agent().initialized("test").await.ask(&call(1, "look", json!({"n": 2.5}))).await;
    house.until(|call| call.state.name() == StateName::Completed).await;

    let restarted = House::open_in(house.copied(), Plan::at(&server.url)).await;
    let agent = restarted.agent().initialized("test").await;
    restarted.rule(LIMITED).await.unwrap();
    let over = agent.ask(&call(2, "look", json!({"n": 1}))).await;
    assert!(text(&over).contains("limit"), "{over}");
    restarted.rule(LIMITED).await.unwrap();
    let fits = agent.ask(&call(3, "look", json!({"n": 0.5}))).await;
    assert_eq!(text(&fits), r#"look ran with {"n":0.5}"#);
}

#[tokio::test]
async fn a_use_that_was_made_smaller_in_the_file_lets_no_limit_into_force() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(plan(&server)).await;
    let agent = house.agent().initialized("test").await;
    agent.ask(&call(1, "look", json!({"n": 2.5}))).await;
    house.until(|call| call.state.name() == StateName::Completed).await;
    // Behind the last signed head, which is made once a second, the start itself would find the change.
    let taken = house.vandal().query_row("SELECT max(number) FROM entries", [], |row| row.get::<_, u64>(0));
    let taken = taken.unwrap();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while signed(&house) < taken {
        agent.ask(&call(2, "forbidden", json!({}))).await;
        assert!(std::time::Instant::now() < deadline, "no head was signed");
    }
    let copy = house.copied();
    let sql = "UPDATE entries SET bytes = CAST(replace(CAST(bytes AS TEXT), '\"2.5\"', '\"0.5\"') AS BLOB) \
               WHERE bytes LIKE '%\"taken\"%'";
    let vandal = rusqlite::Connection::open(copy.path().join("countersign.db")).unwrap();
    assert_eq!(vandal.execute(sql, []).unwrap(), 1);
    drop(vandal);
    let restarted = House::open_in(copy, Plan::at(&server.url)).await;
    let refused = restarted.rule(LIMITED).await.unwrap_err().to_string();
    assert!(refused.contains("it was changed"), "{refused}");
}
