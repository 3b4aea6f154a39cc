//! What servers may know a task of theirs by, and may say of it: other spellings, long words, late answers.

use std::{sync::Arc, time::Duration};

use countersign::{broker::Settings, call::State};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    legacy_tasks::{self, as_task, greeted, greets},
    rig::{Agent, House, Manner, Plan, Script, Server, mirrored, modern},
    tasks::{about, about_with, caller, declaring, given},
};

const ALLOWED: &str = r#"{"version": "1", "default": "allow"}"#;
const OTHERS_WAIT: &str =
    r#"{"version": "1", "default": "allow", "tools": {"wait": {"action": "require_approval"}}}"#;
const UUID: &str = "7ae9c7bd-0f0a-4d5e-9c3b-0123456789ab";
const SPELT: [&str; 5] = [
    UUID,
    "7AE9C7BD-0F0A-4D5E-9C3B-0123456789AB",
    "7ae9c7bd0f0a4d5e9c3b0123456789ab",
    "urn:uuid:7ae9c7bd-0f0a-4d5e-9c3b-0123456789ab",
    "{7ae9c7bd-0f0a-4d5e-9c3b-0123456789ab}",
];

async fn server() -> Server {
    let server = Server::start(Manner::Modern).await;
    server.answers("tools/call", Script::json(made("working")));
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        server.answers(method, Script::json(r#"{"jsonrpc":"2.0","id":$ID,"result":{}}"#));
    }
    server
}

fn made(words: &str) -> String {
    let result = json!({"resultType": "task", "taskId": UUID, "statusMessage": words});
    format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{result}}}"#)
}

async fn answers(agent: Agent, name: &str) -> Value {
    let said = json!({"inputResponses": {"confirm": {"delete": "EVERYTHING"}}});
    about_with(agent, "tasks/update", &json!({"taskId": name}), said).await.1
}

fn assert_unseen(told: &Value) {
    assert_eq!(told["error"]["code"], -32602, "{told}");
    assert!(told["error"]["message"].as_str().unwrap().contains("without anyone having seen them"), "{told}");
}

/// Nothing of another agent reaches the task, however it is spelt.
async fn assert_closed(server: &Server, other: &Agent) {
    for name in SPELT {
        for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
            let before = server.asked(method);
            let told = about(other.clone(), method, &json!({"taskId": name})).await.1;
            assert!(told["error"]["message"].as_str().is_some_and(|words| words.starts_with("Task not")));
            assert_eq!(server.asked(method), before, "{method} of {name}");
        }
    }
}

#[tokio::test]
async fn a_reviewed_calls_task_takes_no_unseen_answers_by_any_spelling_of_its_name() {
    let server = server().await;
    let house = House::open(Plan::at(&server.url)).await;
    given(&caller(&house), &json!({"n": 1})).await;
    house.approve(&house.pending().await).await;
    house.until(|call| call.state.is_settled()).await;
    for name in SPELT {
        assert_unseen(&answers(house.agent(), name).await);
    }
    let other = house.other_agent("other", &["rig"]).await;
    assert_closed(&server, &other).await;
    assert_eq!(server.asked("tasks/update"), 0);
    house.rule(OTHERS_WAIT).await.unwrap();
    assert!(answers(house.agent(), SPELT[1]).await["result"].is_object(), "it is known whose it is");
    assert_eq!(server.asked("tasks/update"), 1);
}

#[tokio::test]
async fn a_task_of_which_nothing_is_known_takes_answers_only_where_no_call_waits_for_people() {
    let server = server().await;
    let house = House::open(Plan::at(&server.url)).await;
    assert_unseen(&answers(house.agent(), "t-0").await);
    assert_eq!(server.asked("tasks/update"), 0);
    about(house.agent(), "tasks/get", &json!({"taskId": "t-0"})).await;
    assert_eq!(server.asked("tasks/get"), 1, "how it stands, its server says");
    house.rule(ALLOWED).await.unwrap();
    assert!(answers(house.agent(), "t-0").await["result"].is_object());
}

#[tokio::test]
async fn whose_a_task_is_is_known_however_much_its_server_says_of_it_and_before_it() {
    let long = |bytes: usize| {
        let params = json!({"data": "x".repeat(bytes)});
        format!(
            "data: {}\n\n",
            json!({"jsonrpc": "2.0", "method": "notifications/message", "params": params})
        )
    };
    let event = |message: String| format!("data: {message}\n\n");
    for (kind, body) in [
        ("application/json", made(&"x".repeat(70_000))),
        ("text/event-stream", event(made(&"x".repeat(70_000)))),
        ("text/event-stream", long(70_000) + &event(made("working"))),
        ("text/event-stream", long(3 << 20) + &event(made("working"))),
        ("text/event-stream", event(made("working")) + &long(3 << 20)),
    ] {
        let server = server().await;
        let house = House::open(Plan { policy: ALLOWED, ..Plan::at(&server.url) }).await;
        server.answers("tools/call", Script::new(200, kind, &body));
        let wanted = declaring(modern(1, "tools/call", json!({"name": "look", "arguments": {}})));
        let answer = mirrored(house.agent(), "tools/call", Some("look")).post(&wanted).await;
        assert!(answer.bytes().await == body.replace("$ID", "1"), "not a byte is changed");
        assert_closed(&server, &house.other_agent("other", &["rig"]).await).await;
    }
}

#[tokio::test]
async fn a_task_whose_call_was_given_up_before_its_answer_came_takes_no_unseen_answers() {
    let server = server().await;
    let told = Arc::new(Notify::new());
    let script = Script { after: Some(told.clone()), ..Script::json(made("working")) };
    server.answers("tools/call", script);
    let short = Duration::from_millis(50);
    let settings = Settings { lease: short, skew: short, ..Settings::default() };
    let house = House::open(Plan { broker: settings, ..Plan::at(&server.url) }).await;
    given(&caller(&house), &json!({"n": 1})).await;
    house.approve(&house.pending().await).await;
    house.until(|call| matches!(call.state, State::Lost { .. })).await;
    told.notify_one();
    house.until(|call| matches!(call.state, State::Lost { late_answer: true, .. })).await;
    assert_unseen(&answers(house.agent(), UUID).await);
    assert_closed(&server, &house.other_agent("other", &["rig"]).await).await;
    // It is known of which call it came.
    house.rule(OTHERS_WAIT).await.unwrap();
    assert!(answers(house.agent(), UUID).await["result"].is_object());
}

#[tokio::test]
async fn a_list_of_tasks_that_cannot_be_read_is_not_passed_on() {
    let capabilities = json!({"tools": {}, "tasks": {"list": {}, "requests": {"tools": {"call": {}}}}});
    let server = legacy_tasks::server(capabilities.clone()).await;
    let tools = json!([{"name": "look", "inputSchema": {}, "execution": {"taskSupport": "optional"}}]);
    server
        .answers("tools/list", Script::json(json!({"jsonrpc": "2.0", "id": 2, "result": {"tools": tools}})));
    server.answers(
        "tools/call",
        Script::json(r#"{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"t-1"}}}"#),
    );
    let house = House::open(Plan { policy: ALLOWED, ..Plan::at(&server.url) }).await;
    let agent = legacy_tasks::agent(&house).await;
    agent.ask(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})).await;
    agent.ask(&as_task("look", json!({}))).await;
    greets(&server, capabilities, "s-2");
    let (other, _) = greeted(house.other_agent("other", &["rig"]).await).await;
    let unread = r#"{"jsonrpc":"2.0","id":9,"result":{"tasks":[{"taskId":"t-1","statusMessage":"WORDS"}]}}"#;
    let odd = unread.replace("tasks", "Tasks");
    let cut = unread.replace("WORDS", r"\ud83d");
    let unnamed = cut.replace("t-1", "t-1\\udead");
    let list = json!({"jsonrpc": "2.0", "id": 9, "method": "tasks/list", "params": {}});
    for (text, empty) in [(cut, true), (unnamed, true), (odd, false)] {
        for (status, kind, body) in [
            (200, "application/json", text.clone()),
            (500, "application/json", text.clone()),
            (200, "text/event-stream", format!("data: {text}\n\n")),
        ] {
            server.answers("tasks/list", Script::new(status, kind, &body));
            let told = other.post(&list).await.bytes().await;
            let told = String::from_utf8_lossy(&told);
            let says = if empty { r#""tasks":[]"# } else { "cannot be read" };
            assert!(told.contains(says) && !told.contains("t-1"), "{status} {kind}: {told}");
        }
    }
    server.answers("tasks/list", Script::new(503, "text/plain", "busy"));
    assert_eq!(other.post(&list).await.bytes().await, "busy", "no list: it says what is wrong");
}
