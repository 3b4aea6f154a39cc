//! Somebody writes to the store's file: what they wrote is neither shown nor sent.

use countersign::call::{State, StateName};
use serde_json::json;

use crate::rig::{House, Manner, Plan, Server, call, text};

const SWAP: &str = "UPDATE payloads SET bytes = CAST(replace(CAST(bytes AS TEXT), 'small', 'LARGE') AS BLOB)";

#[tokio::test]
async fn arguments_that_were_changed_in_the_file_are_neither_shown_nor_sent() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let answer = agent.post(&call(1, "cancel", json!({"batch": "small"}))).await;
    let pending = house.pending().await;
    assert!(house.broker.message(pending.id).await.unwrap().is_some());
    assert_eq!(house.vandal().execute(SWAP, []).unwrap(), 1);

    assert_eq!(house.broker.message(pending.id).await.unwrap(), None);
    assert_eq!(house.broker.view(pending.id).await.unwrap().unwrap().message, None);
    house.approve(&pending).await;
    let response = answer.response().await;
    assert!(text(&response).contains("not those in the audit log"), "{response}");
    assert!(server.calls().is_empty());
    let failed = house.until(|call| call.state.name() == StateName::Failed).await;
    assert!(matches!(failed.state, State::Failed { why } if why.contains("not those in the audit log")));
}

#[tokio::test]
async fn a_call_whose_entries_say_something_else_is_not_sent() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let answer = agent.post(&call(1, "cancel", json!({}))).await;
    let pending = house.pending().await;
    let sql = "UPDATE entries SET bytes = CAST(replace(CAST(bytes AS TEXT), '\"cancel\"', '\"delete\"') AS BLOB) \
               WHERE stream = ?1 AND version = 1";
    assert_eq!(house.vandal().execute(sql, [pending.id.0.as_bytes()]).unwrap(), 1);

    house.approve(&pending).await;
    let response = answer.response().await;
    assert!(server.calls().is_empty(), "{response}");
    assert!(text(&response).contains("cannot write its audit log"), "{response}");
}

#[tokio::test]
async fn a_call_that_was_permitted_by_hand_in_the_file_is_not_sent_after_a_restart() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let answer = agent.post(&call(1, "cancel", json!({}))).await;
    let mut forged = house.pending().await;
    drop(answer);
    let folder = house.copied();
    let State::Pending { expires_at } = forged.state else { panic!("{forged:?}") };
    forged.state = State::Permitted { use_by: expires_at, expires_at };
    forged.terms = None;
    let vandal = rusqlite::Connection::open(folder.path().join("countersign.db")).unwrap();
    let snapshot = serde_json::to_vec(&forged).unwrap();
    assert_eq!(vandal.execute("UPDATE calls SET state = 1, snapshot = ?1", [snapshot]).unwrap(), 1);
    drop(vandal);

    let after = House::open_in(folder, Plan::at(&server.url)).await;
    let response = after.agent().initialized("test").await.ask(&call(1, "cancel", json!({}))).await;
    assert!(server.calls().is_empty(), "{response}");
    assert!(text(&response).contains("cannot write its audit log"), "{response}");
}

#[tokio::test]
async fn an_answer_that_was_changed_in_the_file_is_not_given_to_the_agent() {
    let server = Server::start(Manner::Json).await;
    let mut plan = Plan::at(&server.url);
    plan.door.delivery_ms = 200;
    let house = House::open(plan).await;
    let agent = house.agent().initialized("test").await;
    let first = agent.post(&call(1, "cancel", json!({"batch": "small"}))).await;
    house.approve(&house.pending().await).await;
    house.until(|call| call.state.name() == StateName::Completed).await;
    // It closes its connection before it counts as having the answer.
    drop(first);
    assert_eq!(house.vandal().execute(&format!("{SWAP} WHERE kind = 1"), []).unwrap(), 1);

    let response = agent.ask(&call(2, "cancel", json!({"batch": "small"}))).await;
    assert!(!response.to_string().contains("LARGE"), "{response}");
    assert_eq!(server.calls().len(), 1);
}
