//! A call that waits as a task (2026-07-28): nobody holds a line, and it is sent and fetched all the same.

use countersign::{
    call::{AttachKind, HowDelivered, StateName},
    upstream::ServerSettings,
};
use serde_json::{Value, json};

use crate::rig::{Agent, House, Manner, Plan, Script, Server, mirrored, modern, text};

pub const TASKS: &str = "io.modelcontextprotocol/tasks";

pub fn declaring(mut request: Value) -> Value {
    let meta = &mut request["params"]["_meta"];
    meta["io.modelcontextprotocol/clientCapabilities"] = json!({"extensions": {TASKS: {}}});
    request
}

pub fn wanted(id: u64, arguments: &Value) -> Value {
    declaring(modern(id, "tools/call", json!({"name": "cancel", "arguments": arguments})))
}

pub fn caller(house: &House) -> Agent {
    mirrored(house.agent(), "tools/call", Some("cancel"))
}

/// Asks for a call, and is given a task.
pub async fn given(agent: &Agent, arguments: &Value) -> Value {
    let answer = agent.post(&wanted(1, arguments)).await;
    assert!(!answer.is_stream());
    let told = answer.response().await;
    assert_eq!(told["result"]["resultType"], "task", "{told}");
    told["result"].clone()
}

pub async fn about(agent: Agent, method: &str, task: &Value) -> (u16, Value) {
    about_with(agent, method, task, json!({})).await
}

/// The same, with more parameters.
pub async fn about_with(agent: Agent, method: &str, task: &Value, mut params: Value) -> (u16, Value) {
    let id = task["taskId"].as_str().unwrap();
    params["taskId"] = json!(id);
    let request = declaring(modern(7, method, params));
    let answer = mirrored(agent, method, Some(id)).post(&request).await;
    (answer.status.as_u16(), answer.response().await)
}

pub async fn stands(house: &House, task: &Value) -> Value {
    let (status, told) = about(house.agent(), "tasks/get", task).await;
    assert_eq!((status, &told["result"]["resultType"]), (200, &json!("complete")), "{told}");
    told["result"].clone()
}

#[tokio::test]
async fn a_declaring_agent_is_given_a_task_which_is_sent_at_its_quorum_and_fetched() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = caller(&house).with("mcp-param-region", "eu");
    let task = given(&agent, &json!({"region": "eu"})).await;
    let pending = house.pending().await;
    let waits = pending.waiter.as_ref().unwrap();
    assert_eq!((waits.kind, pending.ticket), (AttachKind::Task, false), "on the ledger before it is told");
    assert_eq!(task["status"], "working");
    let said = task["statusMessage"].as_str().unwrap();
    assert!(said.contains(&pending.digest.short_code()) && said.contains("/c/"), "{said}");
    assert!(said.contains("0 of 1 approvals"), "{said}");
    // 15 minutes to decide, and ten more in which the answer is kept.
    assert_eq!(task["ttlMs"], 1_500_000);
    assert_eq!(task["pollIntervalMs"], 5_000);
    assert_eq!(stands(&house, &task).await["status"], "working");
    assert!(server.calls().is_empty());

    house.approve(&pending).await;
    house.until(|call| call.state.name() == StateName::Completed).await;
    let done = stands(&house, &task).await;
    assert_eq!((&done["status"], &done["taskId"]), (&json!("completed"), &task["taskId"]));
    assert_eq!(done["result"]["content"][0]["text"], r#"cancel ran with {"region":"eu"}"#);
    assert_eq!(done["ttlMs"], Value::Null);
    house.delivered(HowDelivered::Task).await;
    assert_eq!(stands(&house, &task).await["status"], "completed", "as often as it likes");
    assert_eq!((server.calls().len(), house.calls(&[]).await.len()), (1, 1));
    let sent = server.headers().last().unwrap().clone();
    for (name, value) in [("mcp-name", "cancel"), ("mcp-method", "tools/call"), ("mcp-param-region", "eu")] {
        assert_eq!(sent[name], value);
    }
}

#[tokio::test]
async fn an_agent_that_does_not_declare_it_in_this_very_request_is_given_no_task() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    given(&caller(&house), &json!({"n": 1})).await;
    let request = modern(2, "tools/call", json!({"name": "cancel", "arguments": {"n": 2}}));
    assert!(caller(&house).post(&request).await.is_stream());
}

#[tokio::test]
async fn a_decision_within_the_grace_is_answered_at_once() {
    let server = Server::start(Manner::Modern).await;
    let mut plan = Plan::at(&server.url);
    plan.door.grace_ms = 10_000;
    let house = House::open(plan).await;
    let agent = caller(&house);
    let asked = tokio::spawn(async move { agent.ask(&wanted(1, &json!({}))).await });
    house.approve(&house.pending().await).await;
    assert_eq!(text(&asked.await.unwrap()), "cancel ran with {}");
}

#[tokio::test]
async fn a_task_outlives_its_broker_and_is_sent_when_it_was_approved_meanwhile() {
    let server = Server::start(Manner::Modern).await;
    let first = House::open(Plan::at(&server.url)).await;
    let task = given(&caller(&first), &json!({"n": 1})).await;

    // A broker that does not know the server: people decide, nothing is sent.
    let other = ServerSettings { url: Some(server.url.clone()), ..ServerSettings::default() };
    let elsewhere = Plan { servers: vec![("other", other)], ..Plan::at(&server.url) };
    let second = House::open_in(first.copied(), elsewhere).await;
    second.approve(&second.pending().await).await;
    let approved = second.until(|call| call.state.name() == StateName::Permitted).await;
    assert_eq!(approved.waiter.unwrap().kind, AttachKind::Task, "a restart takes no task away");
    assert!(server.calls().is_empty());

    let third = House::open_in(second.copied(), Plan::at(&server.url)).await;
    third.until(|call| call.state.name() == StateName::Completed).await;
    let done = stands(&third, &task).await;
    assert_eq!(done["result"]["content"][0]["text"], r#"cancel ran with {"n":1}"#);
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn a_denied_tasks_result_says_so_and_a_cancelled_one_has_none() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let denied = given(&caller(&house), &json!({"n": 1})).await;
    house.deny(&house.pending().await, "no").await;
    let told = stands(&house, &denied).await;
    assert_eq!((&told["status"], &told["result"]["isError"]), (&json!("completed"), &json!(true)));
    assert_eq!(told["result"]["content"][0]["text"], "[DENIED by ann] no");

    let unwanted = given(&caller(&house), &json!({"n": 2})).await;
    house.pending().await;
    for method in ["tasks/update", "tasks/cancel"] {
        let (status, told) = about(house.agent(), method, &unwanted).await;
        assert_eq!((status, &told["result"]), (200, &json!({"resultType": "complete"})));
    }
    let told = stands(&house, &unwanted).await;
    assert_eq!(told["status"], "cancelled");
    assert!(
        told.get("result").is_none() && told["statusMessage"].as_str().unwrap().starts_with("[WITHDRAWN")
    );
    assert_eq!(house.calls(&[StateName::Cancelled]).await.len(), 1);
    assert!(server.calls().is_empty());
    assert!(!server.messages().iter().any(|m| m["method"].as_str().unwrap().starts_with("tasks/")));
}

#[tokio::test]
async fn a_servers_json_rpc_error_is_a_failed_task() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let error = r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32000,"message":"busy"}}"#;
    server.answers("tools/call", Script::new(200, "application/json", error));
    let task = given(&caller(&house), &json!({})).await;
    house.approve(&house.pending().await).await;
    house.until(|call| call.state.name() == StateName::Completed).await;
    let told = stands(&house, &task).await;
    assert_eq!((&told["status"], &told["error"]["message"]), (&json!("failed"), &json!("busy")));
}

#[tokio::test]
async fn a_task_is_nobody_elses_and_only_ours_are_answered_here() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let task = given(&caller(&house), &json!({})).await;
    let other = house.other_agent("other", &["rig"]).await;
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let (_, told) = about(other.clone(), method, &task).await;
        assert_eq!(told["error"]["code"], -32602, "{told}");
    }
    let mut forged = task["taskId"].as_str().unwrap().to_owned();
    forged.replace_range(30..31, if &forged[30..31] == "A" { "B" } else { "A" });
    let (_, told) = about(house.agent(), "tasks/get", &json!({"taskId": forged})).await;
    assert_eq!(told["error"]["code"], -32602);
    assert_eq!(house.calls(&[StateName::Pending]).await.len(), 1, "nobody cancelled it");

    let id = task["taskId"].as_str().unwrap();
    let ask = declaring(modern(3, "tasks/get", json!({"taskId": id})));
    let misled = mirrored(house.agent(), "tasks/get", Some("other")).post(&ask).await;
    assert_eq!(misled.status, 400);
    assert_eq!(misled.response().await["error"]["code"], -32020);
    let silent = modern(4, "tasks/get", json!({"taskId": id}));
    let refused = mirrored(house.agent(), "tasks/get", Some(id)).post(&silent).await;
    assert_eq!(refused.status, 400);
    let refused = refused.response().await;
    assert_eq!(refused["error"]["code"], -32021);
    assert!(refused["error"]["data"]["requiredCapabilities"]["extensions"][TASKS].is_object());
    assert!(!server.messages().iter().any(|m| m["method"] == "tasks/get"));

    let (_, theirs) = about(house.agent(), "tasks/get", &json!({"taskId": "their-own"})).await;
    assert_eq!(theirs["error"]["message"], "no tasks/get", "the server's to answer");
}

#[tokio::test]
async fn the_same_call_beside_a_task_is_a_call_of_its_own() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let task = given(&caller(&house), &json!({})).await;
    let first = house.pending().await;
    let second = given(&caller(&house), &json!({})).await;
    assert_ne!(task["taskId"], second["taskId"]);
    let twin = house.until(|call| call.id != first.id).await;
    assert_eq!(twin.request.twin, Some(first.id));
}

const DISCOVERED: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{"tools":{"x": 1.50}},"ttlMs":600000,"cacheScope":"public"}}"#;

#[tokio::test]
async fn tasks_are_advertised_where_a_call_can_wait_and_nowhere_else() {
    let server = Server::start(Manner::Modern).await;
    server.answers("server/discover", Script::new(200, "application/json", DISCOVERED));
    let house = House::open(Plan::at(&server.url)).await;
    let agent = mirrored(house.agent(), "server/discover", None);
    let ask = modern(5, "server/discover", json!({}));
    let told = agent.ask(&ask).await;
    assert_eq!(told["result"]["capabilities"]["extensions"], json!({TASKS: {}}));
    assert_eq!(
        (&told["result"]["cacheScope"], &told["result"]["ttlMs"]),
        (&json!("private"), &json!(30_000))
    );
    house.rule(r#"{"version": "1", "default": "allow", "hide": ["secret"]}"#).await.unwrap();
    let bytes = agent.post(&ask).await.bytes().await;
    assert_eq!(bytes, DISCOVERED.replace("$ID", "5"), "byte for byte");
}

const ONCE_A_WHILE: &str = r#"{"version": "1", "default": "allow", "tools": {"cancel": {
  "action": "require_approval", "limits": [{"counter": "undo", "window": "2s", "max": 1}]}}}"#;

#[tokio::test]
async fn an_approved_task_over_a_limit_is_sent_when_there_is_room_again() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan { policy: ONCE_A_WHILE, ..Plan::at(&server.url) }).await;
    let tasks =
        [given(&caller(&house), &json!({"n": 1})).await, given(&caller(&house), &json!({"n": 2})).await];
    let calls = house.calls(&[StateName::Pending]).await;
    assert_eq!(calls.len(), 2);
    for call in &calls {
        house.approve(call).await;
    }
    for call in &calls {
        house.until(|now| now.id == call.id && now.state.name() == StateName::Completed).await;
    }
    assert_eq!(server.calls().len(), 2);
    for task in &tasks {
        assert_eq!(stands(&house, task).await["result"]["isError"], false);
    }
}

const THEIRS: &str =
    r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"task","taskId":"t-1","status":"working","x":1.50}}"#;

#[tokio::test]
async fn a_server_that_goes_on_with_a_task_of_its_own_is_asked_about_that_one() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    for method in ["tools/call", "tasks/get", "tasks/cancel"] {
        server.answers(method, Script::new(200, "application/json", THEIRS));
    }
    let task = given(&caller(&house), &json!({})).await;
    house.approve(&house.pending().await).await;
    house.until(|call| call.state.name() == StateName::Completed).await;
    for method in ["tasks/get", "tasks/cancel"] {
        let (_, told) = about(house.agent(), method, &task).await;
        assert_eq!((&told["id"], &told["result"]["taskId"]), (&json!(7), &task["taskId"]));
        assert_eq!(told["result"]["x"], 1.5);
        let asked = server.messages().pop().unwrap();
        assert_eq!((&asked["method"], &asked["params"]["taskId"]), (&json!(method), &json!("t-1")));
        assert_eq!(server.headers().last().unwrap()["mcp-name"], "t-1");
    }
    let other = house.other_agent("other", &["rig"]).await;
    let (_, told) = about(other, "tasks/get", &task).await;
    assert_eq!(told["error"]["code"], -32602);
}
