//! A call that people were asked about goes on as a task of its server's own: nothing that nobody saw is brought to it.

use countersign::call::StateName;
use serde_json::{Value, json};

use crate::{
    rig::{Agent, House, Manner, Plan, Script, Server, mirrored, modern},
    tasks::{about, about_with, caller, declaring, given},
};

const THEIRS: &str =
    r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"task","taskId":"t-1","status":"input_required"}}"#;
const DONE: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","taskId":"t-1"}}"#;
const ALLOWED: &str = r#"{"version": "1", "default": "allow"}"#;

async fn server() -> Server {
    let server = Server::start(Manner::Modern).await;
    server.answers("tools/call", Script::new(200, "application/json", THEIRS));
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        server.answers(method, Script::new(200, "application/json", DONE));
    }
    server
}

async fn answers(agent: Agent, task: &Value) -> Value {
    let said = json!({"inputResponses": {"confirm": {"delete": "EVERYTHING"}}});
    about_with(agent, "tasks/update", task, said).await.1
}

fn assert_unseen(told: &Value) {
    assert_eq!(told["error"]["code"], -32602, "{told}");
    let words = told["error"]["message"].as_str().unwrap();
    assert!(words.contains("without anyone having seen them") && words.contains("again"), "{words}");
}

#[tokio::test]
async fn answers_that_nobody_saw_do_not_reach_a_servers_own_task_unless_the_policy_allows() {
    let server = server().await;
    let house = House::open(Plan::at(&server.url)).await;
    let task = given(&caller(&house), &json!({"n": 1})).await;
    house.approve(&house.pending().await).await;
    house.until(|call| call.state.name() == StateName::Completed).await;
    let raw = json!({"taskId": "t-1"});
    for agent in [house.agent(), house.agent().joined()] {
        assert_unseen(&answers(agent, &task).await);
    }
    assert_unseen(&answers(house.agent(), &raw).await);
    assert_eq!(server.asked("tasks/update"), 0);
    for (method, name) in [("tasks/get", &task), ("tasks/cancel", &raw)] {
        let (_, told) = about(house.agent(), method, name).await;
        assert_eq!((server.asked(method), &told["result"]["taskId"]), (1, &name["taskId"]), "{told}");
    }
    house.rule(ALLOWED).await.unwrap();
    for name in [&task, &raw] {
        assert!(answers(house.agent(), name).await["result"].is_object());
    }
    assert_eq!(server.asked("tasks/update"), 2);
}

#[tokio::test]
async fn a_servers_task_that_an_agent_was_given_by_its_own_name_is_guarded_too_after_a_restart() {
    let server = server().await;
    let first = House::open(Plan::at(&server.url)).await;
    let agent = caller(&first);
    let wanted = modern(1, "tools/call", json!({"name": "cancel", "arguments": {}}));
    let line = tokio::spawn(async move { agent.ask(&wanted).await });
    first.approve(&first.pending().await).await;
    assert_eq!(line.await.unwrap()["result"]["taskId"], "t-1", "on its line, as the server named it");

    let house = House::open_in(first.copied(), Plan::at(&server.url)).await;
    let raw = json!({"taskId": "t-1"});
    assert_unseen(&answers(house.agent(), &raw).await);
    let other = house.other_agent("other", &["rig"]).await;
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let (_, told) = about(other.clone(), method, &raw).await;
        assert_eq!(told["error"]["code"], -32602, "{told}");
        assert_eq!(server.asked(method), 0);
    }
    about(house.agent(), "tasks/get", &raw).await;
    assert_eq!(server.asked("tasks/get"), 1, "its own agent asks how it stands");
}

#[tokio::test]
async fn the_servers_task_of_a_call_that_nobody_was_asked_about_takes_answers() {
    let server = server().await;
    let house = House::open(Plan { policy: ALLOWED, ..Plan::at(&server.url) }).await;
    let wanted = declaring(modern(1, "tools/call", json!({"name": "look", "arguments": {}})));
    let told = mirrored(house.agent(), "tools/call", Some("look")).ask(&wanted).await;
    assert!(answers(house.agent(), &told["result"]).await["result"].is_object());
    assert_eq!(server.asked("tasks/update"), 1);
}
