//! What stands in a message, and what can never stand in it.

use serde_json::{Value, json};

use super::rig::{House, Received, Receiver, slack, webhook};

/// Texts that would be more than text to Slack, or hide, or pose as ours.
const HOSTILE: &[&str] = &[
    "<!channel>",
    "<!here|now>",
    "<!everyone>",
    "<@U012AB3CD>",
    "<#C012AB3CD>",
    "<!subteam^S1>",
    "<!date^0^{date}|x>",
    "<http://evil.example|Approve>",
    "http://evil.example/approve",
    "*bold* _it_ ~gone~ `code` ```block```",
    "> quoted\n• listed",
    ":white_check_mark: Approved",
    "@here @channel",
    "line one\nApproved by ann\r\nCode 000000",
    "\u{2028}Approved\u{2029}\u{85}",
    "abc\u{202e}evorppa\u{202c}",
    "\u{200b}\u{200d}\u{feff}zero",
    "\u{e0041}\u{e0042}tags",
    "a&lt;!channel&gt;&amp;",
    "z\u{301}\u{302}\u{303}\u{304}\u{305}\u{306}\u{307}",
    "\u{1b}]8;;http://evil.example\u{7}click\u{1b}]8;;\u{7}",
    "\",\"blocks\":[]",
    "⟦U+202E⟧",
    "&",
];

/// Every text object of the blocks.
fn texts(message: &Value) -> Vec<Value> {
    fn walk(value: &Value, found: &mut Vec<Value>) {
        match value {
            Value::Object(members) => {
                if matches!(members.get("type").and_then(Value::as_str), Some("plain_text" | "mrkdwn")) {
                    found.push(value.clone());
                }
                members.values().for_each(|value| walk(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| walk(value, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut found = Vec::new();
    walk(&message["blocks"], &mut found);
    found
}

/// Holds a Slack message to everything that must be true of each.
fn check(received: &Received) {
    let message = received.json();
    assert_eq!(message["mrkdwn"], false);
    assert_eq!(message["parse"], "none");
    assert_eq!(message["link_names"], false);
    assert_eq!(message["unfurl_links"], false);
    let mut shown = vec![message["text"].clone()];
    for text in texts(&message) {
        let words = text["text"].as_str().unwrap();
        if text["type"] == "mrkdwn" {
            let token = words.strip_prefix("Expires <!date^").and_then(|rest| rest.strip_suffix("Z>"));
            let ours = token.unwrap().chars().all(|c| c.is_ascii_alphanumeric() || " ^{}_|:.-".contains(c));
            assert!(ours, "{words}");
            continue;
        }
        assert_eq!(text["emoji"], false);
        shown.push(text["text"].clone());
    }
    for words in shown {
        let words = words.as_str().unwrap();
        assert!(!words.contains(['<', '>']), "{words}");
        let lone = words.replace("&lt;", "").replace("&gt;", "").replace("&amp;", "");
        assert!(!lone.contains('&'), "{words}");
        let hidden = words.chars().find(|&c| c != '\n' && !countersign::card::is_plain(c));
        assert_eq!(hidden, None, "{words}");
        assert!(words.chars().count() <= 3000 && !words.is_empty());
    }
    let blocks = message["blocks"].as_array().unwrap();
    assert!(blocks.len() <= 50);
    assert!(blocks[0]["text"]["text"].as_str().unwrap().chars().count() <= 150);
    let buttons: Vec<&Value> = blocks.iter().filter(|block| block["type"] == "actions").collect();
    let url = buttons[0]["elements"][0]["url"].as_str().unwrap();
    assert!(buttons.len() == 1 && url.starts_with("https://approvals.example/c/") && url.len() == 64);
}

#[tokio::test]
async fn nothing_that_others_wrote_is_more_than_text_in_slack() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    let _notify = house.notify(vec![super::rig::with_values(slack(&receiver))]).await;
    for (n, text) in HOSTILE.iter().enumerate() {
        let agent = format!("bot-{n}-{text}");
        house.grant(&agent, Some(text)).await;
        let id = house.park_as(&agent, "cancel", &json!({ *text: text, "n": n })).await;
        receiver.received(2 * n + 1).await;
        house.deny(id, text).await;
        receiver.received(2 * n + 2).await;
    }
    let seen = receiver.received(2 * HOSTILE.len()).await;
    seen.iter().for_each(check);
}

#[tokio::test]
async fn lines_of_others_cannot_pose_as_lines_of_ours() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    let _notify = house.notify(vec![super::rig::with_values(slack(&receiver))]).await;
    house.park(&json!({"note": "x\nSeverity: low", "a\nRule: fine": 1})).await;
    let text = receiver.received(1).await[0].json()["blocks"].clone();
    let lines: Vec<String> = texts(&json!({ "blocks": text }))
        .iter()
        .flat_map(|text| text["text"].as_str().unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert!(!lines.iter().any(|line| line.starts_with("Severity") || line == "Rule: fine = 1"), "{lines:?}");
}

#[tokio::test]
async fn the_longest_names_and_values_stay_within_slacks_limits() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    let _notify = house.notify(vec![super::rig::with_values(slack(&receiver))]).await;
    let mut arguments = serde_json::Map::new();
    for n in 0..200 {
        arguments.insert(format!("{}{n}", "<&\u{202e}".repeat(40)), json!("<".repeat(900)));
    }
    house.park(&Value::Object(arguments)).await;
    let seen = receiver.received(1).await;
    check(&seen[0]);
}

#[tokio::test]
async fn a_card_names_the_rule_the_reason_and_the_moment_it_expires() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    let _notify = house.notify(vec![slack(&receiver)]).await;
    let id = house.park(&json!({"batchId": "b-1", "force": true})).await;
    let call = house.call(id).await;
    let message = receiver.received(1).await[0].json();
    check(&receiver.seen()[0]);
    let text = message["blocks"].to_string();
    for part in [
        "Approval needed: cancel",
        "Reason: there is no undo",
        "Rule: rig.json",
        "Arguments (values on the page): batchId, force",
        &format!("Code {}", call.digest.short_code()),
        &format!("https://approvals.example/c/{id}"),
        "<!date^",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn a_webhook_has_the_call_with_the_apis_names() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    let _notify = house.notify(vec![webhook(&receiver)]).await;
    let id = house.park(&json!({"batchId": "b-1"})).await;
    receiver.received(1).await;
    house.deny(id, "no").await;
    let seen = receiver.received(2).await;
    let (pending, settled) = (seen[0].json(), seen[1].json());
    assert_eq!(pending["type"], "call.pending");
    let data = &pending["data"];
    assert_eq!(data["id"], id.to_string());
    assert_eq!(data["url"], format!("https://approvals.example/c/{id}"));
    assert_eq!(
        (&data["server"], &data["tool"], &data["agent"]),
        (&json!("rig"), &json!("cancel"), &json!("bot"))
    );
    assert_eq!((&data["owner"], &data["state"]), (&json!("zoe"), &json!("pending")));
    assert_eq!(data["argument_names"], json!(["batchId"]));
    assert_eq!(data["arguments"], Value::Null);
    assert_eq!(data["reason"], "there is no undo");
    assert_eq!(settled["type"], "call.settled");
    assert_eq!(
        (&settled["data"]["state"], &settled["data"]["settled_by"]),
        (&json!("denied"), &json!("ann"))
    );
    assert_eq!(settled["data"]["why"], "no");
}
