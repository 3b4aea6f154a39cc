//! A call that waits as a task in the dialect of 2025-11-25: asked for by the agent, fetched by `tasks/result`.

use std::sync::Arc;

use countersign::{
    broker::End,
    call::{AttachKind, HowDelivered, StateName},
};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::rig::{Agent, House, Manner, Plan, Script, Server, Told, call, text};

const VERSION: &str = "2025-11-25";
const RELATED: &str = "io.modelcontextprotocol/related-task";

/// A server of that version with these capabilities.
pub async fn server(capabilities: Value) -> Server {
    let server = Server::start(Manner::Json).await;
    greets(&server, capabilities, "s-1");
    server
}

/// From here on its sessions have this id.
pub fn greets(server: &Server, capabilities: Value, session: &'static str) {
    let hello = json!({"jsonrpc": "2.0", "id": 0, "result": {"protocolVersion": VERSION,
        "capabilities": capabilities, "serverInfo": {"name": "rig", "version": "1"}, "x": 1.5}});
    let mut script = Script::new(200, "application/json", &hello.to_string());
    script.headers.push(("mcp-session-id", session));
    server.answers("initialize", script);
}

/// The agent in its session, and what it was told.
pub async fn greeted(agent: Agent) -> (Agent, Value) {
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "rig", "version": "1"}}});
    let answer = agent.post(&hello).await;
    let session = answer.headers["mcp-session-id"].to_str().unwrap().to_owned();
    let told = answer.response().await;
    (agent.with("mcp-session-id", &session).with("mcp-protocol-version", VERSION), told)
}

pub async fn agent(house: &House) -> Agent {
    greeted(house.agent()).await.0
}

pub fn as_task(tool: &str, arguments: Value) -> Value {
    let mut call = call(1, tool, arguments);
    call["params"]["task"] = json!({"ttl": 60_000});
    call
}

pub async fn given(agent: &Agent, tool: &str, arguments: Value) -> Value {
    let told = agent.ask(&as_task(tool, arguments)).await;
    assert_eq!(told["result"]["task"]["status"], "working", "{told}");
    told["result"]["task"].clone()
}

pub fn about(method: &str, task: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": {"taskId": task["taskId"]}})
}

#[tokio::test]
async fn an_agent_that_asks_for_a_task_is_given_one_and_waits_for_its_result() {
    let server = server(json!({"tools": {}})).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = agent(&house).await;
    let told = agent.ask(&as_task("cancel", json!({"n": 1}))).await;
    let task = told["result"]["task"].clone();
    let waits = house.pending().await;
    assert_eq!(waits.waiter.as_ref().unwrap().kind, AttachKind::Task, "on the ledger before it is told");
    let immediate = told["result"]["_meta"]["io.modelcontextprotocol/model-immediate-response"].as_str();
    assert!(immediate.unwrap().contains(&waits.digest.short_code()), "{told}");
    assert_eq!((&task["ttl"], &task["pollInterval"]), (&json!(1_500_000), &json!(5_000)));
    let stands = agent.ask(&about("tasks/get", &task)).await;
    assert_eq!(
        (&stands["result"]["taskId"], &stands["result"]["status"]),
        (&task["taskId"], &json!("working"))
    );

    let mut result = agent.post(&about("tasks/result", &task)).await;
    assert!(result.is_stream(), "it waits");
    let Some(Told::Message(status)) = ({
        // The priming event comes first.
        result.told().await;
        result.told().await
    }) else {
        panic!("a status")
    };
    assert_eq!(status["method"], "notifications/tasks/status", "{status}");
    assert_eq!(
        (&status["params"]["taskId"], &status["params"]["status"]),
        (&task["taskId"], &json!("working"))
    );
    house.approve(&waits).await;
    let told = result.response().await;
    assert_eq!((&told["id"], text(&told)), (&json!(7), r#"cancel ran with {"n":1}"#));
    assert_eq!(told["result"]["_meta"][RELATED]["taskId"], task["taskId"]);
    house.delivered(HowDelivered::Task).await;

    let sent = &server.calls()[0];
    assert!(sent["params"].get("task").is_none(), "the server is asked for no task: {sent}");
    assert_eq!(server.headers().last().unwrap()["mcp-session-id"], "s-1", "in the agent's own session");
    let again = agent.ask(&about("tasks/result", &task)).await;
    assert_eq!(again["result"], told["result"]);
    assert_eq!(agent.ask(&about("tasks/get", &task)).await["result"]["status"], "completed");
    assert_eq!(server.calls().len(), 1);
    assert!(!server.messages().iter().any(|m| m["method"].as_str().unwrap().starts_with("tasks/")));
}

#[tokio::test]
async fn tasks_are_offered_where_a_call_can_wait_and_nowhere_else() {
    let server = server(json!({"tools": {}})).await;
    let house = House::open(Plan::at(&server.url)).await;
    let (agent, told) = greeted(house.agent()).await;
    let offered = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
    assert_eq!(told["result"]["capabilities"], json!({"tools": {}, "tasks": offered}));
    let listed = agent.ask(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})).await;
    let support: Vec<_> = listed["result"]["tools"].as_array().unwrap().iter().collect();
    let support: Vec<_> = support
        .iter()
        .map(|tool| (tool["name"].as_str().unwrap(), tool["execution"]["taskSupport"].as_str()))
        .collect();
    assert_eq!(support, [("look", None), ("cancel", Some("optional")), ("forbidden", None)]);

    let older = house.agent().initialized("old").await;
    assert!(older.post(&as_task("cancel", json!({}))).await.is_stream(), "it was offered none");

    house.rule(r#"{"version": "1", "default": "allow"}"#).await.unwrap();
    let (_, told) = greeted(house.agent()).await;
    assert_eq!(told["result"]["capabilities"], json!({"tools": {}}));
}

#[tokio::test]
async fn whoever_asks_for_a_task_reads_a_task_whatever_the_policy_says() {
    let server = server(json!({"tools": {}})).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = agent(&house).await;
    let allowed = given(&agent, "look", json!({"n": 1})).await;
    let told = agent.ask(&about("tasks/result", &allowed)).await;
    assert_eq!(text(&told), r#"look ran with {"n":1}"#);
    let denied = given(&agent, "forbidden", json!({})).await;
    assert_eq!(agent.ask(&about("tasks/get", &denied)).await["result"]["status"], "failed");
    let told = agent.ask(&about("tasks/result", &denied)).await;
    assert_eq!((&told["result"]["isError"], text(&told)), (&json!(true), "[POLICY DENIED] not here"));
    let hidden = agent.ask(&as_task("secret", json!({}))).await;
    assert_eq!(hidden["error"]["code"], -32602);
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn a_servers_own_tasks_stay_its_own() {
    let tasks = json!({"list": {}, "requests": {"tools": {"call": {}}}});
    let server = server(json!({"tools": {}, "tasks": tasks})).await;
    let tool = |name: &str, support: &str| json!({"name": name, "inputSchema": {"type": "object"}, "execution": {"taskSupport": support}});
    let tools = json!({"jsonrpc": "2.0", "id": 2, "result":
        {"tools": [tool("look", "optional"), tool("cancel", "optional"), tool("wait", "required")]}});
    server.answers("tools/list", Script::new(200, "application/json", &tools.to_string()));
    const POLICY: &str = r#"{"version": "1", "default": "allow", "tools":
        {"cancel": {"action": "require_approval"}, "wait": {"action": "require_approval"}}}"#;
    let house = House::open(Plan { policy: POLICY, ..Plan::at(&server.url) }).await;
    let agent = agent(&house).await;
    let listed = agent.ask(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})).await;
    assert_eq!(listed, tools, "what it says stays");

    // Allowed: the server's own task, untouched.
    let theirs = r#"{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"t-1","status":"working"},"x":1.50}}"#;
    server.answers("tools/call", Script::new(200, "application/json", theirs));
    let bytes = agent.post(&as_task("look", json!({}))).await.bytes().await;
    assert_eq!(bytes, theirs);
    assert_eq!(server.calls()[0]["params"]["task"], json!({"ttl": 60_000}));
    let asked = agent.ask(&about("tasks/get", &json!({"taskId": "t-1"}))).await;
    assert_eq!(asked["error"]["message"], "no tasks/get", "the server's to answer");

    // Gated: ours first, then those of the server.
    let ours = given(&agent, "cancel", json!({})).await;
    let list = |cursor: Value| json!({"jsonrpc": "2.0", "id": 9, "method": "tasks/list", "params": cursor});
    let page = agent.ask(&list(json!({}))).await["result"].clone();
    assert_eq!((page["tasks"].as_array().unwrap().len(), &page["tasks"][0]["taskId"]), (1, &ours["taskId"]));
    let more = r#"{"jsonrpc":"2.0","id":9,"result":{"tasks":[{"taskId":"t-1"}],"nextCursor":"n"}}"#;
    server.answers("tasks/list", Script::new(200, "application/json", more));
    let page = agent.ask(&list(json!({"cursor": page["nextCursor"]}))).await;
    assert_eq!(page["result"]["nextCursor"], "n");
    assert!(server.messages().last().unwrap()["params"].get("cursor").is_none());
    agent.ask(&list(json!({"cursor": "n"}))).await;
    assert_eq!(server.messages().last().unwrap()["params"]["cursor"], "n");

    // A tool that the server runs as a task only is held, and answered with the server's.
    let held = agent.post(&as_task("wait", json!({}))).await;
    assert!(held.is_stream());
    house.approve(&house.until(|call| call.request.tool == "wait").await).await;
    assert_eq!(held.response().await["result"]["task"]["taskId"], "t-1");
}

#[tokio::test]
async fn a_task_outlives_its_broker_and_goes_on_in_its_agents_next_session() {
    let server = server(json!({"tools": {}})).await;
    let first = House::open(Plan::at(&server.url)).await;
    let task = given(&agent(&first).await, "cancel", json!({"n": 1})).await;

    let second = House::open_in(first.copied(), Plan::at(&server.url)).await;
    second.approve(&second.pending().await).await;
    let permitted = second.until(|call| call.state.name() == StateName::Permitted).await;
    assert_eq!(permitted.waiter.unwrap().kind, AttachKind::Task);
    assert!(server.calls().is_empty(), "its session is gone");

    let other = second.other_agent("other", &["rig"]).await;
    let (other, _) = greeted(other).await;
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        assert_eq!(other.ask(&about(method, &task)).await["error"]["code"], -32602);
    }
    assert!(server.calls().is_empty());
    greets(&server, json!({"tools": {}}), "s-2");
    let agent = agent(&second).await;
    let told = agent.ask(&about("tasks/result", &task)).await;
    assert_eq!(text(&told), r#"cancel ran with {"n":1}"#);
    let listed = agent.ask(&json!({"jsonrpc": "2.0", "id": 9, "method": "tasks/list"})).await;
    assert_eq!(listed["result"]["tasks"][0]["taskId"], task["taskId"], "under the same name");
    assert_eq!(listed["result"]["tasks"][0]["status"], "completed");
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn a_cancelled_task_is_never_sent_and_one_that_was_sent_is_called_off() {
    let server = server(json!({"tools": {}})).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = agent(&house).await;
    let unwanted = given(&agent, "cancel", json!({"n": 1})).await;
    let waiting = agent.post(&about("tasks/result", &unwanted)).await;
    let told = agent.ask(&about("tasks/cancel", &unwanted)).await;
    assert_eq!(told["result"]["status"], "cancelled", "{told}");
    assert!(text(&waiting.response().await).starts_with("[WITHDRAWN"));
    assert_eq!(agent.ask(&about("tasks/cancel", &unwanted)).await["error"]["code"], -32602);
    assert!(server.calls().is_empty());

    let gate = Arc::new(Notify::new());
    let mut slow =
        Script::new(200, "application/json", r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[]}}"#);
    slow.after = Some(gate.clone());
    server.answers("tools/call", slow);
    let sent = given(&agent, "cancel", json!({"n": 2})).await;
    house.approve(&house.pending().await).await;
    house.until(|call| call.state.name() == StateName::Dispatched).await;
    while server.calls().is_empty() {
        tokio::task::yield_now().await;
    }
    let told = agent.ask(&about("tasks/cancel", &sent)).await;
    assert_eq!(told["result"]["status"], "working", "it was sent: {told}");
    let said = server.messages().pop().unwrap();
    assert_eq!(said["method"], "notifications/cancelled");
    assert_eq!(said["params"]["requestId"], server.calls()[0]["id"]);
    gate.notify_one();
    house.until(|call| call.state.name() == StateName::Completed).await;
    assert_eq!(agent.ask(&about("tasks/get", &sent)).await["result"]["status"], "completed", "and recorded");
}

#[tokio::test]
async fn allowed_tasks_that_no_connection_counts_are_counted() {
    let server = server(json!({"tools": {}})).await;
    let gate = Arc::new(Notify::new());
    let mut slow =
        Script::new(200, "application/json", r#"{"jsonrpc":"2.0","id":$ID,"result":{"content":[]}}"#);
    slow.after = Some(gate.clone());
    server.answers("tools/call", slow);
    let mut plan = Plan::at(&server.url);
    plan.broker.pending_per_agent = 2;
    let house = House::open(plan).await;
    let agent = agent(&house).await;
    for n in [1, 2] {
        given(&agent, "look", json!({"n": n})).await;
    }
    let refused = agent.ask(&as_task("look", json!({"n": 3}))).await;
    let said = refused["error"]["message"].as_str().unwrap_or_default();
    assert!(said.contains("2 calls of this agent"), "{refused}");
    while server.calls().len() < 2 {
        tokio::task::yield_now().await;
    }
    gate.notify_waiters();
    house.until(|call| call.state.name() == StateName::Completed).await;
    while house.broker.parked() > 0 {
        tokio::task::yield_now().await;
    }
    given(&agent, "look", json!({"n": 4})).await;
}

#[tokio::test]
async fn the_result_of_one_task_is_waited_for_by_so_many_and_a_list_holds_no_answers() {
    let server = server(json!({"tools": {}})).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = agent(&house).await;
    let task = given(&agent, "cancel", json!({"n": 1})).await;
    let mut waiting = Vec::new();
    for _ in 0..16 {
        let answer = agent.post(&about("tasks/result", &task)).await;
        assert!(answer.is_stream());
        waiting.push(answer);
    }
    let refused = agent.post(&about("tasks/result", &task)).await;
    assert!(!refused.is_stream(), "one more");
    assert_eq!(refused.response().await["error"]["code"], -32603);
    house.approve(&house.pending().await).await;
    for answer in waiting {
        assert_eq!(text(&answer.response().await), r#"cancel ran with {"n":1}"#);
    }
    assert_eq!(server.calls().len(), 1);
    let (tasks, _) = house.broker.tasks("bot", "rig", None).await.unwrap();
    assert_eq!(tasks[0].call.state.name(), StateName::Completed);
    assert!(!matches!(tasks[0].outcome.end, End::Completed { .. }), "{:?}", tasks[0].outcome);
}
