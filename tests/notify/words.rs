//! What stands in a message, and what can never stand in it.

use countersign::call::{By, Commitment, Digest, Event, Replica, Vote, Why};
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
        let id = house.park_as("bot", &format!("cancel {text}"), &json!({ *text: text, "n": n })).await;
        receiver.received(2 * n + 1).await;
        house.deny(id, text).await;
        receiver.received(2 * n + 2).await;
    }
    let seen = receiver.received(2 * HOSTILE.len()).await;
    seen.iter().for_each(check);
}

#[tokio::test]
async fn what_is_sent_beside_the_arguments_is_named_and_never_quoted() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    let siem = Receiver::start().await;
    let _notify = house.notify(vec![super::rig::with_values(slack(&receiver)), webhook(&siem)]).await;
    house.park(&json!({ "a": 1 })).await;
    let beside = concat!(
        r#","inputResponses":{"q":"secret"},"<!here>":1,"_meta":{"traceparent":"t","x/y":"secret"}}"#,
        r#","su":"secret","z":{"a":1"#
    );
    house.park_with("bot", "cancel", &json!({ "a": 2 }), beside).await;
    let seen = receiver.received(2).await;
    seen.iter().for_each(check);
    let [plain, loud] = [0, 1].map(|i| seen[i].json()["blocks"].to_string());
    assert!(!plain.contains("Also sends"), "{plain}");
    let names = "Also sends: inputResponses, &lt;!here&gt;, _meta.x/y, message.su, message.z";
    assert!(loud.contains(names), "{loud}");
    assert!(!loud.contains("secret"), "{loud}");
    let told = siem.received(2).await;
    let [plain, loud] = [0, 1].map(|i| told[i].json());
    assert_eq!(plain["data"].get("other_names"), None);
    let names = ["inputResponses", "<!here>", "_meta.x/y", "message.su", "message.z"];
    assert_eq!(loud["data"]["other_names"], json!(names));
    assert!(!loud.to_string().contains("secret"), "{loud}");
}

#[tokio::test]
async fn lines_of_others_cannot_pose_as_lines_of_ours() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    let _notify = house.notify(vec![super::rig::with_values(slack(&receiver))]).await;
    house
        .park(&json!({"note": "x\nSeverity: low", "a\nRule: fine": 1, "Severity: low": 2, "Code X": 3}))
        .await;
    let text = receiver.received(1).await[0].json()["blocks"].clone();
    let lines: Vec<String> = texts(&json!({ "blocks": text }))
        .iter()
        .flat_map(|text| text["text"].as_str().unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    for ours in ["Severity", "Rule", "Code"] {
        assert_eq!(lines.iter().filter(|line| line.starts_with(ours)).count(), 1, "{lines:?}");
    }
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
        "Severity: high (destructive)",
        "Rule: /tools/cancel*/action",
        "Arguments (values on the page): batchId, force",
        &format!("Code {}", call.digest.short_code()),
        &format!("https://approvals.example/c/{id}"),
        "<!date^",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test]
async fn every_end_of_a_call_has_its_words() {
    let (house, room, siem) = (House::open().await, Receiver::start().await, Receiver::start().await);
    let _notify = house.notify(vec![slack(&room), webhook(&siem)]).await;
    let by = Replica { name: "countersign".into(), epoch: 1 };
    let completed = |is_error| Event::Completed {
        by: by.clone(),
        answer: Commitment([0; 32]),
        bytes: 2,
        is_error,
        duration_ms: 7,
    };
    let cancelled = |by| Event::Cancelled { by, reason: Why::default() };
    let ends = [
        (completed(false), "Ran: ", "it ran, and the server answered."),
        (completed(true), "Ran, with an error: ", "the server answered with an error."),
        (
            Event::Failed { by: by.clone(), why: "no <route>".into(), given_back: Vec::new() },
            "Not sent: ",
            "not sent (no &lt;route&gt;).",
        ),
        (Event::Lost { by: by.clone(), why: "reset".into() }, "Unknown outcome: ", "it may have run"),
        (
            Event::Expired { lapsed: false },
            "Expired: ",
            "nobody decided in time, so it was denied; nothing was run.",
        ),
        (Event::Expired { lapsed: true }, "Expired: ", "the agent did not come back for it in time"),
        (cancelled(By::Agent), "Withdrawn: ", "withdrawn by the agent; nothing was run."),
        (cancelled(By::Timer), "Withdrawn: ", "withdrawn, as the agent left and did not come back;"),
    ];
    for (n, (event, title, words)) in ends.into_iter().enumerate() {
        let id = house.park(&json!({ "n": n })).await;
        room.received(2 * n + 1).await;
        siem.received(2 * n + 1).await;
        house.append(id, event).await;
        let told = room.received(2 * n + 2).await.pop().unwrap();
        check(&told);
        let message = told.json();
        assert_eq!(message["blocks"][0]["text"]["text"], format!("{title}cancel"));
        assert!(message["text"].as_str().unwrap().contains(words), "{words} in {}", message["text"]);
        let told = siem.received(2 * n + 2).await.pop().unwrap().json();
        assert_eq!(told["data"]["state"], house.call(id).await.state.name().as_str());
    }
}

#[tokio::test]
async fn an_approval_that_is_void_is_asked_for_again() {
    let (house, room, siem) = (House::open().await, Receiver::start().await, Receiver::start().await);
    let _notify = house.notify(vec![slack(&room), webhook(&siem)]).await;
    let id = house.park(&json!({})).await;
    let call = house.call(id).await;
    let event = Event::Reparked {
        why: "the policy <changed>".into(),
        round: 1,
        digest: Digest([7; 32]),
        terms: call.terms.clone().unwrap(),
        policy: call.policy.clone(),
        expires_at: house.broker.clock().now().plus(std::time::Duration::from_secs(900)),
    };
    house.append(id, event).await;
    let (room, siem) = (room.received(2).await, siem.received(2).await);
    check(&room[1]);
    let text = room[1].json()["text"].as_str().unwrap().to_owned();
    assert!(text.ends_with("the votes start anew: the policy &lt;changed&gt;."), "{text}");
    let told = siem[1].json();
    assert_eq!((&told["type"], &told["data"]["round"]), (&json!("call.reparked"), &json!(1)));
    assert_eq!(told["data"]["why"], "the policy <changed>");
}

#[tokio::test]
async fn an_approvers_comment_is_told_with_who_approved() {
    let (house, receiver) = (House::open().await, Receiver::start().await);
    let _notify = house.notify(vec![slack(&receiver)]).await;
    let id = house.park(&json!({})).await;
    // What is settled before it was told is not told.
    receiver.received(1).await;
    let digest = house.call(id).await.digest;
    let comment = Some("looked at it".to_owned());
    house.broker.review(id, super::rig::ann(), Vote::Approve, digest, comment).await.unwrap();
    house.append(id, Event::Expired { lapsed: true }).await;
    let text = receiver.received(2).await[1].text();
    assert!(text.contains("approved by ann; the agent did not come back"), "{text}");
    assert!(text.contains("Comment: looked at it"), "{text}");
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
