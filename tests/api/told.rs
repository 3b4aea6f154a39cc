//! The words that an agent reads of its call, where those who decide see them too.

use countersign::call::{CallId, Commitment, Event, HowDelivered};
use serde_json::{Value, json};

use crate::rig::{World, replica, world};

async fn told(w: &World, id: CallId) -> Value {
    w.call(id).await["told"].clone()
}

#[tokio::test]
async fn an_agent_on_the_line_was_told_nothing_and_one_with_a_ticket_its_words() {
    let w = world().await;
    let waiter = w.park("cancel", "{}").await;
    let id = waiter.call();
    assert_eq!(told(&w, id).await, Value::Null);
    w.broker.ticket(*waiter).await;
    let call = w.call(id).await;
    let words = call["told"].as_str().unwrap();
    let begin = format!("[NOT EXECUTED: waiting for approval {}]", call["short_code"].as_str().unwrap());
    assert!(words.starts_with(&begin), "{words}");
    assert!(words.contains(&w.url(&format!("/c/{id} . Nothing was run yet"))), "{words}");
    w.vote(&w.ann, id, "approve").await;
    assert_eq!(told(&w, id).await, Value::Null, "that it waits is no longer so");
}

#[tokio::test]
async fn the_end_of_a_call_is_shown_in_the_words_that_its_agent_reads() {
    let w = world().await;
    let denied = w.park("cancel", "{}").await.call();
    w.vote(&w.ann, denied, "deny").await;
    assert_eq!(told(&w, denied).await, "[DENIED by ann] because");
    let policy = w.submit("other", "{}").await;
    let countersign::broker::Submission::Settled(outcome) = policy else { panic!("denied: {policy:?}") };
    let id = outcome.call.as_ref().unwrap().id;
    assert_eq!(told(&w, id).await, json!(countersign::downstream::told(&outcome)));
    let lost = w.park("plain", "{}").await.call();
    w.happened(lost, Event::Lost { by: replica(), why: "reset".into() }).await;
    let words = told(&w, lost).await.to_string();
    assert!(words.contains("[OUTCOME UNKNOWN]") && words.contains("is not known: reset."), "{words}");
}

#[tokio::test]
async fn an_answer_too_large_to_keep_is_told_with_its_size_until_somebody_had_it() {
    let w = world().await;
    let id = w.park("cancel", "{}").await.call();
    let (by, answer, duration_ms) = (replica(), Commitment([0; 32]), 1);
    w.happened(id, Event::Completed { by, answer, bytes: 2_000_000, is_error: false, duration_ms }).await;
    let words = told(&w, id).await.to_string();
    assert!(words.contains("[DONE]") && words.contains("its answer of 2000000 bytes"), "{words}");
    w.happened(id, Event::Delivered { how: HowDelivered::Line }).await;
    assert_eq!(told(&w, id).await, Value::Null, "it had the answer itself");
}
