//! A server over HTTP answers a call that waited with what is no answer, or is one in an odd shape.

use countersign::call::StateName;
use serde_json::{Value, json};

use crate::{
    rig::{House, Manner, Plan, Script, Server, Told, call, mirrored, modern},
    tasks::{about, about_with, caller, declaring},
};

const PROGRESS: &str = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"on it"}}"#;
const DONE: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[{"type":"text","text":"ran"}]}}"#;

fn events(messages: &[&str]) -> Script {
    let body: String = messages.iter().map(|message| format!("data: {message}\n\n")).collect();
    Script::new(200, "text/event-stream", &body)
}

/// All that the agent is told of a call that people agreed to, and how the ledger says it ended.
async fn told(script: Script) -> (Vec<Value>, StateName) {
    let server = Server::start(Manner::Json).await;
    server.answers("tools/call", script);
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let mut line = agent.post(&call(7, "cancel", json!({}))).await;
    house.approve(&house.pending().await).await;
    let mut messages = Vec::new();
    while let Some(told) = line.told().await {
        messages.extend(match told {
            Told::Message(message) => Some(message),
            Told::Comment => None,
        });
    }
    (messages, house.until(|call| call.state.is_settled()).await.state.name())
}

fn words(message: &Value) -> &str {
    message["result"]["content"][0]["text"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn what_is_no_answer_is_told_to_nobody_and_the_call_is_lost_in_words() {
    for (odd, why) in [
        (r#"{"jsonrpc":"2.0","id":$ID,"result":{"n":Infinity}}"#, "cannot be read: not valid JSON"),
        (r#"{"jsonrpc":"2.0","id":$ID,"result":{},"error":{"code":1}}"#, "cannot be read: not a JSON-RPC"),
        (r#"{"jsonrpc":"2.0","id":"$ID","result":{}}"#, "an answer to nothing that was asked"),
        (r#"{"jsonrpc":"2.0","id":8,"result":{}}"#, "an answer to nothing that was asked"),
        (r#"{"jsonrpc":"2.0","id":$ID}"#, "what cannot be read: not a JSON-RPC"),
    ] {
        let (messages, state) = told(events(&[PROGRESS, odd])).await;
        assert_eq!((messages.len(), state), (2, StateName::Lost), "{odd}: {messages:?}");
        assert_eq!(messages[0]["method"], "notifications/message");
        let said = words(&messages[1]);
        assert!(said.starts_with("[OUTCOME UNKNOWN]") && said.contains(why), "{odd}: {said}");
    }
    let infinite = r#"{"jsonrpc":"2.0","id":$ID,"result":{"n":Infinity}}"#;
    let (messages, state) = told(Script::new(200, "application/json", infinite)).await;
    assert_eq!((messages.len(), state), (1, StateName::Lost));
    assert!(words(&messages[0]).contains("cannot be read: not valid JSON"), "{messages:?}");
}

#[tokio::test]
async fn an_answer_after_what_was_dropped_or_in_a_batch_is_told_once() {
    let odd = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progress":NaN}}"#;
    let stray = r#"{"jsonrpc":"2.0","id":8,"result":{}}"#;
    let batch = format!("[{PROGRESS}, {DONE}]");
    for (messages, before) in [(vec![odd, stray, DONE], 0), (vec![&*batch], 1)] {
        let (messages, state) = told(events(&messages)).await;
        assert_eq!((messages.len(), state), (before + 1, StateName::Completed), "{messages:?}");
        assert_eq!((&messages[before]["id"], words(&messages[before])), (&json!(7), "ran"));
    }
}

/// A server of tasks whose answer to a reviewed call is this; the agent is told it as it is.
async fn reviewed(script: Script) -> (Server, House, String) {
    let server = Server::start(Manner::Modern).await;
    server.answers("tools/call", script);
    let done =
        Script::json(r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","taskId":"t-1"}}"#);
    server.answers("tasks/get", done.clone());
    server.answers("tasks/update", done);
    let house = House::open(Plan::at(&server.url)).await;
    let agent = caller(&house);
    let wanted = modern(7, "tools/call", json!({"name": "cancel", "arguments": {}}));
    let line = tokio::spawn(async move { agent.post(&wanted).await.bytes().await });
    house.approve(&house.pending().await).await;
    let told = line.await.unwrap();
    (server, house, String::from_utf8(told.to_vec()).unwrap())
}

async fn is_guarded(server: &Server, house: &House) {
    let task = json!({"taskId": "t-1"});
    let said = json!({"inputResponses": {"confirm": {"delete": "EVERYTHING"}}});
    let (_, told) = about_with(house.agent(), "tasks/update", &task, said).await;
    assert_eq!((&told["error"]["code"], server.asked("tasks/update")), (&json!(-32602), 0), "{told}");
    let other = house.other_agent("other", &["rig"]).await;
    let (_, told) = about(other, "tasks/get", &task).await;
    assert_eq!((&told["error"]["code"], server.asked("tasks/get")), (&json!(-32602), 0), "{told}");
}

#[tokio::test]
async fn half_of_a_surrogate_pair_in_an_answer_is_passed_on_and_hides_nothing() {
    let cut = r#"{"jsonrpc":"2.0","id":$ID,"result":{"\ud83d":1,"resultType":"task","taskId":"t-1","said":"cut \ud83d"}}"#;
    for script in [events(&[cut]), Script::new(200, "application/json", cut)] {
        let (server, house, told) = reviewed(script).await;
        assert!(told.contains(&cut.replace("$ID", "7")) && !told.contains("OUTCOME UNKNOWN"), "{told}");
        assert_eq!(house.calls(&[]).await[0].state.name(), StateName::Completed);
        is_guarded(&server, &house).await;
    }
}

#[tokio::test]
async fn a_servers_task_is_known_in_whatever_shape_it_is_named() {
    for result in [
        r#"{"resultType":"task","task":{"taskId":"t-1"}}"#,
        r#"{"resultType":"complete","taskId":"t-1"}"#,
        r#"{"taskId":"t-1"}"#,
        r#"{"resultType":"task","taskId":"t-2","task":{"taskId":"t-1"}}"#,
    ] {
        let (server, house, told) =
            reviewed(events(&[&format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{result}}}"#)])).await;
        assert!(told.contains(result), "{told}");
        is_guarded(&server, &house).await;
    }
}

#[tokio::test]
async fn the_task_of_an_allowed_call_is_its_agents_in_whatever_shape_it_is_named() {
    let server = Server::start(Manner::Modern).await;
    let odd = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"task","task":{"taskId":"t-1"}}}"#;
    server.answers("tools/call", Script::json(odd));
    let house = House::open(Plan::at(&server.url)).await;
    let wanted = declaring(modern(7, "tools/call", json!({"name": "look", "arguments": {}})));
    mirrored(house.agent(), "tools/call", Some("look")).ask(&wanted).await;
    let other = house.other_agent("other", &["rig"]).await;
    let (_, told) = about(other, "tasks/get", &json!({"taskId": "t-1"})).await;
    assert_eq!((&told["error"]["code"], server.asked("tasks/get")), (&json!(-32602), 0), "{told}");
}
