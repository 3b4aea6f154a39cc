//! What is told at all, from where on, and to whom after a change.

use std::time::Duration;

use serde_json::json;

use super::rig::{Answer, House, QUICK, Receiver, slack, webhook};
use countersign::notify::NotifySettings;

#[tokio::test]
async fn a_new_destination_is_told_nothing_of_the_past() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    let old = house.park(&json!({"n": 1})).await;
    let _notify = house.notify(vec![webhook(&receiver)]).await;
    house.deny(old, "no").await;
    let new = house.park(&json!({"n": 2})).await;
    let seen = receiver.received(1).await;
    assert_eq!(seen[0].json()["data"]["id"], new.to_string());
}

#[tokio::test]
async fn a_call_that_settled_before_it_could_be_told_is_not_told_at_all() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    let notify = house.notify(vec![webhook(&receiver)]).await;
    notify.end().await;
    let settled = house.park(&json!({"n": 1})).await;
    house.deny(settled, "no").await;
    let waiting = house.park(&json!({"n": 2})).await;
    let _notify = house.notify(vec![webhook(&receiver)]).await;
    let seen = receiver.received(1).await;
    assert_eq!(seen[0].json()["data"]["id"], waiting.to_string());
    house.deny(waiting, "no").await;
    let seen = receiver.received(2).await;
    assert_eq!(seen[1].json()["type"], "call.settled");
    assert_eq!(seen[1].json()["data"]["id"], waiting.to_string());
}

#[tokio::test]
async fn a_call_that_settles_while_the_receiver_is_away_is_not_told() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    receiver.always(Some(Answer::Says(503, "", "")));
    let _notify = house.notify(vec![webhook(&receiver)]).await;
    let gone = house.park(&json!({"n": 1})).await;
    receiver.received(2).await;
    house.deny(gone, "no").await;
    receiver.always(None);
    let before = receiver.seen().len();
    let next = house.park(&json!({"n": 2})).await;
    // At most one try of the first call was on its way.
    let mut seen = receiver.received(before + 1).await;
    if seen.last().unwrap().json()["data"]["id"] == gone.to_string() {
        seen = receiver.received(before + 2).await;
    }
    let last = seen.last().unwrap().json();
    assert_eq!((&last["type"], &last["data"]["id"]), (&json!("call.pending"), &json!(next.to_string())));
}

#[tokio::test]
async fn a_call_that_the_policy_denies_or_allows_is_not_told() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    let _notify = house.notify(vec![webhook(&receiver)]).await;
    house.refuse("forbidden").await;
    let id = house.park(&json!({})).await;
    let seen = receiver.received(1).await;
    assert_eq!(seen[0].json()["data"]["id"], id.to_string());
}

#[tokio::test]
async fn each_destination_has_its_own_pace() {
    let (house, fine, broken) = (House::open().await, Receiver::start().await, Receiver::start().await);
    broken.always(Some(Answer::Says(500, "", "")));
    let notify = house.notify(vec![slack(&broken), webhook(&fine)]).await;
    for n in 0..3 {
        house.park(&json!({ "n": n })).await;
    }
    fine.received(3).await;
    broken.received(2).await;
    assert!(notify.troubles()[0].starts_with("notify.slack.room cannot be told: 500"));
}

#[tokio::test]
async fn a_changed_destination_goes_on_where_it_was() {
    let (house, old, new) = (House::open().await, Receiver::start().await, Receiver::start().await);
    old.always(Some(Answer::Says(404, "", "no_service")));
    let mut settings = NotifySettings { destinations: vec![slack(&old)], pace: QUICK };
    settings.pace.refused_tries = u32::MAX;
    let stop = tokio_util::sync::CancellationToken::new();
    let notify = countersign::notify::Notify::start(house.broker.clone(), settings, stop).await.unwrap();
    let first = house.park(&json!({"n": 1})).await;
    old.received(1).await;
    notify.replace(NotifySettings { destinations: vec![slack(&new)], pace: QUICK }).await.unwrap();
    let seen = new.received(1).await;
    assert!(seen[0].text().contains(&first.to_string()));
    notify.replace(NotifySettings::default()).await.unwrap();
    assert!(notify.troubles().is_empty());
}

#[tokio::test]
async fn an_end_waits_for_the_message_on_its_way_and_not_for_those_behind_it() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    receiver.always(Some(Answer::Late(Duration::from_millis(200))));
    let notify = house.notify(vec![webhook(&receiver)]).await;
    let mut calls = Vec::new();
    for n in 0..8 {
        calls.push(house.park(&json!({ "n": n })).await.to_string());
    }
    receiver.received(1).await;
    notify.end().await;
    let told = receiver.seen().len();
    assert!(told < 4, "{told} of 8 were told before it ended");
    receiver.always(None);
    let _notify = house.notify(vec![webhook(&receiver)]).await;
    let seen = receiver.received(8).await;
    let told: Vec<_> = seen.iter().map(|one| one.json()["data"]["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, calls, "the rest goes out after the next start, each once");
}
