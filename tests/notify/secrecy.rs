//! Values of arguments stay in the broker unless the destination's settings say otherwise.

use serde_json::{Map, Value, json};

use super::rig::{Answer, House, Receiver, slack, webhook, with_values};

/// Two hundred secrets of the kinds that agents pass around.
fn canaries() -> Vec<String> {
    let kinds: [fn(usize) -> String; 8] = [
        |n| format!("AKIACANARY{n:010}"),
        |n| format!("ghp_canary{n:030}"),
        |n| format!("xoxb-canary-{n:012}-secret"),
        |n| format!("eyJhbGciOiJIUzI1NiJ9.canary{n:08}.sig"),
        |n| format!("-----BEGIN PRIVATE KEY-----\ncanary{n:08}\n-----END PRIVATE KEY-----"),
        |n| format!("41111111canary{n:08}"),
        |n| format!("DE89canary{n:018}"),
        |n| format!("canary{n:08}@example.com"),
    ];
    (0..200).map(|n| kinds[n % kinds.len()](n)).collect()
}

#[tokio::test]
async fn two_hundred_secrets_in_arguments_are_in_no_message() {
    let (house, room, siem) = (House::open().await, Receiver::start().await, Receiver::start().await);
    let _notify = house.notify(vec![slack(&room), webhook(&siem)]).await;
    for (n, twenty) in canaries().chunks(20).enumerate() {
        let mut arguments = Map::new();
        for (i, canary) in twenty.iter().enumerate() {
            let value = match i % 3 {
                0 => json!(canary),
                1 => json!({ canary: [canary] }),
                _ => json!([{ "deep": { "value": canary } }]),
            };
            arguments.insert(format!("argument_{i}"), value);
        }
        let id = house.park(&Value::Object(arguments)).await;
        room.received(2 * n + 1).await;
        siem.received(2 * n + 1).await;
        house.deny(id, "no").await;
        room.received(2 * n + 2).await;
        siem.received(2 * n + 2).await;
    }
    for message in room.seen().iter().chain(&siem.seen()) {
        assert!(!message.text().to_lowercase().contains("canary"), "{}", message.text());
    }
    assert_eq!((room.seen().len(), siem.seen().len()), (20, 20));
}

#[tokio::test]
async fn a_receiver_that_repeats_the_secret_url_puts_it_nowhere() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    receiver.next(vec![Answer::Says(404, "", "cannot POST /services/T0/B0/URLsecret"); 3]);
    let notify = house.notify(vec![slack(&receiver)]).await;
    house.park(&json!({"n": 1})).await;
    house.park(&json!({"n": 2})).await;
    receiver.received(4).await;
    let letters = house.broker.store().list("dead_letter").await.unwrap();
    let letter = String::from_utf8(letters[0].1.clone()).unwrap();
    assert!(letter.contains("404") && !letter.to_lowercase().contains("urlsecret"), "{letter}");
    assert!(!notify.troubles().concat().to_lowercase().contains("urlsecret"));
}

#[tokio::test]
async fn values_are_shown_where_the_settings_say_so() {
    let (house, room, siem) = (House::open().await, Receiver::start().await, Receiver::start().await);
    let _notify = house.notify(vec![with_values(slack(&room)), with_values(webhook(&siem))]).await;
    house.park(&json!({"batchId": "b-1", "n": 7})).await;
    let (room, siem) = (room.received(1).await, siem.received(1).await);
    let arguments = room[0].json()["blocks"][3]["text"]["text"].clone();
    assert_eq!(arguments, "• batchId = \"b-1\"\n• n = 7");
    assert_eq!(siem[0].json()["data"]["arguments"], json!({"batchId": "b-1", "n": 7}));
}
