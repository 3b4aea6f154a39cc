//! Tasks at the joined endpoint in the dialect of 2025-11-25: one offer, one list, and each task its server's.

use countersign::call::{HowDelivered, StateName};
use serde_json::{Value, json};

use crate::rig::{Agent, House, Manner, Plan, Script, Server, call, request, task_id, text};

const RELATED: &str = "io.modelcontextprotocol/related-task";
const VERSION: &str = "2025-11-25";

/// A server of a version with these capabilities.
async fn server(version: &str, capabilities: Value) -> Server {
    let server = Server::start(Manner::Json).await;
    greets(&server, version, capabilities, "s-1");
    server
}

/// From here on its sessions have this id: one that lives is given to no other agent.
fn greets(server: &Server, version: &str, capabilities: Value, session: &'static str) {
    let hello = json!({"jsonrpc": "2.0", "id": 0, "result": {"protocolVersion": version,
        "capabilities": capabilities, "serverInfo": {"name": "rig", "version": "1"}}});
    let mut script = Script::json(hello);
    script.headers.push(("mcp-session-id", session));
    server.answers("initialize", script);
}

/// Two servers, of which the second makes tasks of its own.
async fn two() -> (Server, Server, House) {
    let own = json!({"tools": {}, "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}});
    let (a, b) = (server(VERSION, json!({"tools": {}})).await, server(VERSION, own).await);
    let tool = |name: &str| json!({"name": name, "inputSchema": {"type": "object"}, "execution": {"taskSupport": "optional"}});
    b.answers(
        "tools/list",
        Script::json(json!({"jsonrpc": "2.0", "id": 2, "result": {"tools": [tool("look"), tool("cancel")]}})),
    );
    let house = House::open(Plan::two(&a.url, &b.url)).await;
    (a, b, house)
}

async fn greeted(agent: Agent) -> (Agent, Value) {
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": VERSION, "capabilities": {}, "clientInfo": {"name": "rig", "version": "1"}}});
    let answer = agent.post(&hello).await;
    let session = answer.headers["mcp-session-id"].to_str().unwrap().to_owned();
    let told = answer.response().await["result"].clone();
    (agent.with("mcp-session-id", &session).with("mcp-protocol-version", VERSION), told)
}

fn as_task(tool: &str, arguments: Value) -> Value {
    let mut call = call(1, tool, arguments);
    call["params"]["task"] = json!({"ttl": 60_000});
    call
}

async fn given(agent: &Agent, tool: &str, arguments: Value) -> Value {
    let told = agent.ask(&as_task(tool, arguments)).await;
    assert_eq!(told["result"]["task"]["status"], "working", "{told}");
    told["result"]["task"].clone()
}

fn of(method: &str, task: &Value) -> Value {
    request(7, method, json!({"taskId": task_id(task)}))
}

#[tokio::test]
async fn a_session_of_all_is_offered_tasks_where_a_call_can_be_one() {
    let (_, _, house) = two().await;
    let (agent, told) = greeted(house.agent().joined()).await;
    assert_eq!(told["protocolVersion"], VERSION);
    let offered = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
    assert_eq!(told["capabilities"], json!({"tools": {}, "tasks": offered}));
    let listed = agent.ask(&request(2, "tools/list", json!({}))).await;
    let support: Vec<_> = listed["result"]["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| (tool["name"].as_str().unwrap(), tool["execution"]["taskSupport"].as_str()))
        .collect();
    let optional = Some("optional");
    assert_eq!(
        support,
        [
            ("a__look", None),
            ("a__cancel", optional),
            ("a__forbidden", None),
            ("b__look", optional),
            ("b__cancel", optional)
        ]
    );
}

#[tokio::test]
async fn the_result_of_a_task_is_waited_for_here_and_by_nobody_else() {
    let (a, b, house) = two().await;
    let (agent, _) = greeted(house.agent().joined()).await;
    let task = given(&agent, "a__cancel", json!({"n": 1})).await;
    assert_eq!(agent.ask(&of("tasks/get", &task)).await["result"]["status"], "working");
    let mut result = agent.post(&of("tasks/result", &task)).await;
    assert!(result.is_stream(), "it waits");
    let status = result.message().await;
    assert_eq!(
        (&status["method"], task_id(&status["params"])),
        (&json!("notifications/tasks/status"), task_id(&task))
    );
    assert!(result.last_id.as_deref().unwrap().starts_with("a:countersign-"), "{:?}", result.last_id);
    house.approve(&house.pending().await).await;
    let told = result.response().await;
    assert_eq!((&told["id"], text(&told)), (&json!(7), r#"cancel ran with {"n":1}"#));
    assert_eq!(told["result"]["_meta"][RELATED]["taskId"], task["taskId"]);
    house.delivered(HowDelivered::Task).await;
    let (plain, _) = greeted(house.agent_of("a")).await;
    assert_eq!(
        plain.ask(&of("tasks/get", &task)).await["result"]["status"],
        "completed",
        "the same name there"
    );

    let unwanted = given(&agent, "a__cancel", json!({"n": 2})).await;
    assert_eq!(agent.ask(&of("tasks/cancel", &unwanted)).await["result"]["status"], "cancelled");
    for server in [&a, &b] {
        greets(server, VERSION, json!({"tools": {}}), "s-2");
    }
    let (other, _) = greeted(house.other_agent("other", &["*"]).await.joined()).await;
    for method in ["tasks/get", "tasks/result", "tasks/cancel"] {
        assert_eq!(other.ask(&of(method, &task)).await["error"]["code"], -32602);
    }
    assert_eq!((a.calls().len(), b.calls().len()), (1, 0));
    assert!(
        !a.messages()
            .iter()
            .chain(&b.messages())
            .any(|m| m["method"].as_str().unwrap().starts_with("tasks/"))
    );
}

#[tokio::test]
async fn the_tasks_of_all_servers_are_one_list_and_each_can_be_asked_about() {
    let (a, b, house) = two().await;
    let (agent, _) = greeted(house.agent().joined()).await;
    agent.ask(&request(2, "tools/list", json!({}))).await;
    let created = json!({"jsonrpc": "2.0", "id": 1, "result": {"task": {"taskId": "t-1", "status": "working"}, "x": 1.5}});
    b.answers("tools/call", Script::json(created));
    let theirs = given(&agent, "b__look", json!({})).await;
    assert_ne!(task_id(&theirs), "t-1");
    assert_eq!(b.calls()[0]["params"]["task"], json!({"ttl": 60_000}));
    let ours = [given(&agent, "a__cancel", json!({})).await, given(&agent, "b__cancel", json!({})).await];

    let own = |tasks: Value, next: Value| json!({"jsonrpc": "2.0", "id": 9, "result": {"tasks": tasks, "nextCursor": next}});
    let list = |cursor: &Value| {
        let params = if cursor.is_null() { json!({}) } else { json!({"cursor": cursor}) };
        request(9, "tasks/list", params)
    };
    let ids = |page: &Value| -> Vec<String> {
        page["tasks"]
            .as_array()
            .unwrap_or_else(|| panic!("{page}"))
            .iter()
            .map(|task| task_id(task).to_owned())
            .collect()
    };
    let first = agent.ask(&list(&Value::Null)).await["result"].clone();
    assert_eq!(ids(&first), [task_id(&ours[0]), task_id(&ours[1])], "ours of each");
    assert_eq!(b.asked("tasks/list"), 0);
    b.answers(
        "tasks/list",
        Script::json(own(json!([{"taskId": "t-1", "status": "working", "n": 1.5}]), json!("n"))),
    );
    let second = agent.ask(&list(&first["nextCursor"])).await["result"].clone();
    assert_eq!((ids(&second), &second["tasks"][0]["n"]), (vec![task_id(&theirs).to_owned()], &json!(1.5)));
    b.answers("tasks/list", Script::json(own(json!([]), Value::Null)));
    let third = agent.ask(&list(&second["nextCursor"])).await["result"].clone();
    assert_eq!((ids(&third).len(), third.get("nextCursor")), (0, None));
    assert_eq!(b.messages().pop().unwrap()["params"]["cursor"], "n");
    assert_eq!(a.asked("tasks/list"), 0, "it has none of its own");

    let done = json!({"jsonrpc": "2.0", "id": 7, "result": {"content": [], "taskId": "mine", "_meta": {RELATED: {"taskId": "t-1"}}}});
    b.answers("tasks/result", Script::json(done));
    let result = agent.ask(&of("tasks/result", &theirs)).await["result"].clone();
    assert_eq!(result["_meta"][RELATED]["taskId"], theirs["taskId"]);
    assert_eq!(result["taskId"], "mine", "a member of the tool's own");
    b.answers(
        "tasks/cancel",
        Script::json(json!({"jsonrpc": "2.0", "id": 7, "result": {"taskId": "t-1", "status": "cancelled"}})),
    );
    let ended = agent.ask(&of("tasks/cancel", &theirs)).await["result"].clone();
    assert_eq!((task_id(&ended), &ended["status"]), (task_id(&theirs), &json!("cancelled")));
    assert_eq!(b.messages().pop().unwrap()["params"], json!({"taskId": "t-1"}));
    assert_eq!(agent.ask(&of("tasks/get", &json!({"taskId": "t-1"}))).await["error"]["code"], -32602);
    assert_eq!((a.asked("tasks/cancel"), b.asked("tasks/get")), (0, 0));
}

#[tokio::test]
async fn what_a_server_says_and_asks_of_its_task_names_it_as_here() {
    let (_, b, house) = two().await;
    let meta = json!({RELATED: {"taskId": "t-1"}});
    b.answers("GET", Script::events(&[
        json!({"jsonrpc": "2.0", "method": "notifications/tasks/status", "params": {"taskId": "t-1", "status": "working"}}),
        json!({"jsonrpc": "2.0", "id": 4, "method": "elicitation/create", "params": {"message": "who?", "_meta": meta}}),
        json!({"jsonrpc": "2.0", "id": 5, "method": "tasks/get", "params": {"taskId": "the-agents-own"}}),
    ]));
    let (agent, _) = greeted(house.agent().joined()).await;
    let mut stream = agent.send("GET", "").await;
    let status = stream.message().await;
    let name = task_id(&status["params"]).to_owned();
    assert_ne!(name, "t-1");
    let asks = stream.message().await;
    assert_eq!(
        (&asks["id"], asks["params"]["_meta"][RELATED]["taskId"].as_str()),
        (&json!("b:4"), Some(&*name))
    );
    assert_eq!(stream.message().await["params"]["taskId"], "the-agents-own");
    let said = |id: &str, task: &str| json!({"jsonrpc": "2.0", "id": id, "result": {"_meta": {RELATED: {"taskId": task}}}});
    assert_eq!(agent.post(&said("b:4", &name)).await.status, 202);
    assert_eq!(b.messages().pop().unwrap(), json!({"jsonrpc": "2.0", "id": 4, "result": {"_meta": meta}}));
    assert_eq!(agent.post(&said("b:5", "the-agents-own")).await.status, 202);
    assert_eq!(b.messages().pop().unwrap()["result"]["_meta"][RELATED]["taskId"], "the-agents-own");
}

#[tokio::test]
async fn a_task_goes_on_in_the_next_session_of_all_after_a_restart() {
    let (a, _, first) = two().await;
    let (agent, _) = greeted(first.agent().joined()).await;
    let task = given(&agent, "a__cancel", json!({"n": 1})).await;
    let b = server(VERSION, json!({"tools": {}})).await;
    let second = House::open_in(first.copied(), Plan::two(&a.url, &b.url)).await;
    second.approve(&second.pending().await).await;
    second.until(|call| call.state.name() == StateName::Permitted).await;
    assert!(a.calls().is_empty(), "its session is gone");
    let (agent, _) = greeted(second.agent().joined()).await;
    assert_eq!(text(&agent.ask(&of("tasks/result", &task)).await), r#"cancel ran with {"n":1}"#);
    assert_eq!(a.calls().len(), 1);
}

#[tokio::test]
async fn where_one_server_is_older_no_session_is_offered_tasks() {
    let (a, b) =
        (server(VERSION, json!({"tools": {}})).await, server("2025-06-18", json!({"tools": {}})).await);
    let house = House::open(Plan::two(&a.url, &b.url)).await;
    let (agent, told) = greeted(house.agent().joined()).await;
    assert_eq!(
        (&told["protocolVersion"], &told["capabilities"]),
        (&json!("2025-06-18"), &json!({"tools": {}}))
    );
    let listed = agent.ask(&request(2, "tools/list", json!({}))).await;
    assert!(!listed.to_string().contains("taskSupport"), "{listed}");
    assert!(agent.post(&as_task("a__cancel", json!({}))).await.is_stream(), "it was offered none");
}
