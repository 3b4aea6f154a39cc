//! What a denial says to the same call made again, and how people end that.

use std::time::Duration;

use countersign::broker::Submission;
use serde_json::{Value, json};

use crate::rig::{World, until, world};

const TEN_MINUTES: Duration = Duration::from_secs(600);

async fn deny(w: &World, id: &str, more: Value) -> (u16, Value) {
    let digest = w.get(&w.ann, &format!("/api/v1/calls/{id}")).await.1["digest"].clone();
    let mut vote = json!({ "vote": "deny", "digest": digest });
    vote.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    w.post(&w.ann, &format!("/api/v1/calls/{id}/reviews"), &vote).await
}

#[tokio::test]
async fn a_denial_answers_the_same_call_until_it_is_lifted() {
    let w = world().await;
    let id = w.park("plain", "{}").await.call();
    let lift = format!("/api/v1/calls/{id}/lift");
    let (status, problem) = w.post(&w.bob, &lift, &json!({})).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:countersign:problem:state")), "{problem}");
    let (status, call) = deny(&w, &id.to_string(), json!({})).await;
    assert_eq!((status, &call["answers_until"]), (200, &json!("2027-01-15T08:10:00.000Z")), "{call}");
    assert!(matches!(w.submit("plain", "{}").await, Submission::Recalled(..)));

    let (status, call) = w.post(&w.bob, &lift, &json!({})).await;
    assert_eq!((status, &call["answers_until"]), (200, &Value::Null), "{call}");
    let (status, problem) = w.post(&w.ann, &lift, &json!({})).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:countersign:problem:lifted")), "{problem}");
    let again = w.park("plain", "{}").await.call();
    assert_ne!(again, id);
    let last = w.call(id).await["timeline"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["event"], &last["by"]), (&json!("lifted"), &json!("bob")));
}

#[tokio::test]
async fn a_denial_that_answers_no_longer_is_not_lifted() {
    let w = world().await;
    let id = w.park("plain", "{}").await.call();
    deny(&w, &id.to_string(), json!({})).await;
    w.clock.advance(TEN_MINUTES);
    assert_eq!(w.call(id).await["answers_until"], Value::Null);
    let (status, problem) = w.post(&w.ann, &format!("/api/v1/calls/{id}/lift"), &json!({})).await;
    assert_eq!((status, &problem["type"]), (409, &json!("urn:countersign:problem:nothing")), "{problem}");
    assert!(matches!(w.submit("plain", "{}").await, Submission::Waiting(_)));
}

#[tokio::test]
async fn once_goes_with_a_denial_and_is_shown() {
    let w = world().await;
    let id = w.park("plain", "{}").await.call();
    let (status, problem) = deny(&w, &id.to_string(), json!({ "vote": "approve", "once": true })).await;
    assert_eq!(status, 422, "{problem}");
    assert_eq!(w.call(id).await["state"], "pending");
    let (status, call) = deny(&w, &id.to_string(), json!({ "once": true })).await;
    assert_eq!((status, &call["reviews"][0]["once"]), (200, &json!(true)), "{call}");
}

#[tokio::test]
async fn a_call_that_those_who_are_left_cannot_let_go_is_denied_at_once() {
    let w = world().await;
    let both = w.park("both", "{}").await.call();
    let one = w.park("plain", "{}").await.call();
    w.vote(&w.bob, both, "approve").await;
    let now = w.broker.clock().now();
    w.identity().revoke_reviewer("bob", "test", now).await.unwrap();
    w.broker.people_changed();
    until("the denial", async || w.call(both).await["state"] == "denied").await;
    let call = w.call(both).await;
    assert_eq!((&call["state"], &call["settled_by"]), (&json!("denied"), &json!("the policy")));
    assert_eq!(call["outcome"]["text"], "the quorum cannot be met: 2 of any reviewer needed, 1 could vote");
    assert_eq!(w.call(one).await["state"], "pending", "ann is still there");
}
