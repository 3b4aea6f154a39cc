//! Receivers that fail: each message comes all the same, once more rather than once less, and in order.

use std::time::Duration;

use countersign::{
    call::CallId,
    notify::{Destination, NotifySettings},
};
use serde_json::json;
use standardwebhooks::Webhook;

use super::rig::{Answer, House, QUICK, Received, Receiver, SECRET, slack, webhook};

const OK: Answer = Answer::Says(200, "", "ok");

/// The call's id, as any of our messages has it.
fn call_of(received: &Received) -> String {
    let text = received.text();
    let at = text.find("/c/").unwrap() + 3;
    text[at..at + 36].to_owned()
}

fn ids(calls: &[CallId]) -> Vec<String> {
    calls.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn a_waiting_call_is_told_and_then_its_end() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    let _notify = house.notify(vec![slack(&receiver)]).await;
    let id = house.park(&json!({"batchId": "b-1"})).await;
    receiver.received(1).await;
    house.deny(id, "not on a Friday").await;
    let seen = receiver.received(2).await;
    assert_eq!(seen[0].json()["text"], "bot (owner zoe) wants to run cancel on rig.");
    assert_eq!(
        seen[1].json()["text"],
        "bot (owner zoe) asked to run cancel on rig: denied by ann; nothing was run."
    );
    assert!(seen[1].text().contains("not on a Friday"));
    assert!(seen.iter().all(|one| call_of(one) == id.to_string()));
}

#[tokio::test]
async fn a_failing_receiver_gets_the_message_again_until_it_takes_it() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    receiver.next([
        Answer::Says(500, "", ""),
        Answer::Resets,
        Answer::Hangs,
        Answer::Says(503, "", "busy"),
        Answer::Says(408, "", ""),
        Answer::Says(425, "", ""),
        OK,
    ]);
    let notify = house.notify(vec![webhook(&receiver)]).await;
    let first = house.park(&json!({"n": 1})).await;
    let second = house.park(&json!({"n": 2})).await;
    let seen = receiver.received(8).await;
    let told: Vec<String> = seen.iter().map(call_of).collect();
    assert_eq!(told[..7], vec![first.to_string(); 7]);
    assert_eq!(told[7], second.to_string());
    assert!(seen[..7].iter().all(|one| one.id() == seen[0].id()), "the same message has the same id");
    assert_ne!(seen[7].id(), seen[0].id());
    notify.end().await;
    assert!(notify.troubles().is_empty());
}

#[tokio::test]
async fn what_the_receiver_asks_to_wait_is_waited() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    receiver.next([Answer::Says(429, "Retry-After: 1\r\n", "rate_limited"), OK]);
    let _notify = house.notify(vec![slack(&receiver)]).await;
    house.park(&json!({})).await;
    let seen = receiver.received(2).await;
    assert!(seen[1].at - seen[0].at >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_in_a_crash_comes_again_under_the_same_id() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    receiver.next([OK, Answer::Hangs]);
    let notify = house.notify(vec![webhook(&receiver)]).await;
    let first = house.park(&json!({"n": 1})).await;
    receiver.received(1).await;
    let second = house.park(&json!({"n": 2})).await;
    receiver.received(2).await;
    drop(notify);
    let third = house.park(&json!({"n": 3})).await;
    let _notify = house.notify(vec![webhook(&receiver)]).await;
    let seen = receiver.received(4).await;
    let told: Vec<String> = seen.iter().map(call_of).collect();
    assert_eq!(told, ids(&[first, second, second, third]));
    assert_eq!(seen[1].id(), seen[2].id());
}

#[tokio::test]
async fn who_may_have_heard_of_a_call_before_a_crash_hears_of_its_end() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    receiver.next([Answer::Hangs]);
    let notify = house.notify(vec![webhook(&receiver)]).await;
    let id = house.park(&json!({})).await;
    receiver.received(1).await;
    drop(notify);
    house.deny(id, "no").await;
    let _notify = house.notify(vec![webhook(&receiver)]).await;
    let seen = receiver.received(2).await;
    assert_eq!(seen[1].json()["type"], "call.settled");
    assert_eq!(seen[1].json()["data"]["id"], id.to_string());
}

#[tokio::test]
async fn a_backlog_of_five_hundred_is_told_whole_and_in_order() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    let away = Answer::Says(503, "", "");
    receiver.always(Some(away));
    let _notify = house.notify(vec![slack(&receiver)]).await;
    let mut calls = Vec::new();
    for n in 0..500 {
        calls.push(house.park(&json!({ "n": n })).await);
    }
    let failed = receiver.received(1).await.len();
    receiver.always(None);
    let enough = receiver.received(failed + 500).await;
    let mut told: Vec<String> = enough.iter().map(call_of).collect();
    told.dedup();
    let missing = 500 - told.len();
    if missing > 0 {
        // Some of the counted requests were still failures of the first message.
        told = receiver.received(enough.len() + missing).await.iter().map(call_of).collect();
        told.dedup();
    }
    assert_eq!(told, ids(&calls));
}

#[tokio::test]
async fn one_webhook_of_slack_gets_at_most_one_message_per_interval() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    let mut settings = NotifySettings { destinations: vec![slack(&receiver)], pace: QUICK };
    settings.pace.slack_interval = Duration::from_millis(150);
    let stop = tokio_util::sync::CancellationToken::new();
    let _notify = countersign::notify::Notify::start(house.broker.clone(), settings, stop).await.unwrap();
    for n in 0..4 {
        house.park(&json!({ "n": n })).await;
    }
    let seen = receiver.received(4).await;
    assert!(seen.windows(2).all(|two| two[1].at - two[0].at >= Duration::from_millis(150)));
}

#[tokio::test]
async fn a_refused_message_becomes_a_dead_letter_and_the_next_is_told() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    receiver.next(vec![Answer::Says(404, "", "no_service"); 3]);
    let notify = house.notify(vec![slack(&receiver)]).await;
    let first = house.park(&json!({"n": 1})).await;
    let second = house.park(&json!({"n": 2})).await;
    let seen = receiver.received(4).await;
    let told: Vec<String> = seen.iter().map(call_of).collect();
    assert_eq!(told, ids(&[first, first, first, second]));
    assert_eq!(notify.troubles(), ["notify.slack.room: 1 messages were given up in the last seven days"]);
    let letters = house.broker.store().list("dead_letter").await.unwrap();
    let letter = String::from_utf8(letters[0].1.clone()).unwrap();
    assert!(letter.contains("no_service") && letter.contains("removed in Slack"), "{letter}");
    assert!(!letter.contains("urlsecret") && letters.len() == 1);
    let line = "countersign_notify_dead_letters_total{destination=\"slack.room\"} 1";
    assert!(house.metrics.text().contains(line));
}

#[tokio::test]
async fn a_message_is_given_up_when_its_patience_is_used_up() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    receiver.always(Some(Answer::Says(500, "", "")));
    let short = Destination { retry_for: Duration::from_millis(40), ..webhook(&receiver) };
    let notify = house.notify(vec![short]).await;
    house.park(&json!({"n": 1})).await;
    let given_up = async {
        while !notify.troubles().iter().any(|trouble| trouble.contains("given up")) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), given_up).await.expect("it is given up");
    assert!(receiver.seen().len() > 1);
}

#[tokio::test]
async fn an_endless_redirect_is_not_followed() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    let elsewhere = Receiver::start().await;
    let location: &'static str = format!("Location: {}\r\n", elsewhere.url).leak();
    receiver.next(vec![Answer::Says(307, location, ""); 3]);
    let _notify = house.notify(vec![webhook(&receiver)]).await;
    house.park(&json!({"n": 1})).await;
    house.park(&json!({"n": 2})).await;
    receiver.received(4).await;
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn the_signature_is_that_of_standard_webhooks() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    let _notify = house.notify(vec![webhook(&receiver)]).await;
    house.park(&json!({"batchId": "b"})).await;
    let seen = receiver.received(1).await;
    let judge = Webhook::new(SECRET).unwrap();
    judge.verify(&seen[0].body, &seen[0].headers).unwrap();
    let mut other = seen[0].body.to_vec();
    other[10] ^= 1;
    assert!(judge.verify(&other, &seen[0].headers).is_err());
    assert_eq!(seen[0].headers["content-type"], "application/json");
}
