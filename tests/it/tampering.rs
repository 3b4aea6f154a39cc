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
    assert!(house.broker.params(pending.id).await.unwrap().is_some());
    assert_eq!(house.vandal().execute(SWAP, []).unwrap(), 1);

    assert_eq!(house.broker.params(pending.id).await.unwrap(), None);
    assert_eq!(house.broker.view(pending.id).await.unwrap().unwrap().params, None);
    house.approve(&pending).await;
    let response = answer.response().await;
    assert!(text(&response).contains("not those on the ledger"), "{response}");
    assert!(server.calls().is_empty());
    let failed = house.until(|call| call.state.name() == StateName::Failed).await;
    assert!(matches!(failed.state, State::Failed { why } if why.contains("not those on the ledger")));
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
    assert!(text(&response).contains("cannot write its ledger"), "{response}");
}
