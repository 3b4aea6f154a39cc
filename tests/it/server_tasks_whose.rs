//! Whose a server's own task is: asked about, brought answers and ended by the agent whose call it came of alone.

use serde_json::{Value, json};

use crate::{
    legacy_tasks::{self, as_task, greeted, greets},
    rig::{Agent, House, Manner, Plan, Script, Server, mirrored, modern},
    tasks::{about, about_with, declaring},
};

const ALLOWED: &str = r#"{"version": "1", "default": "allow"}"#;
const MODERN: [&str; 3] = ["tasks/get", "tasks/update", "tasks/cancel"];
const LEGACY: [&str; 3] = ["tasks/get", "tasks/result", "tasks/cancel"];

fn allowing(server: &Server) -> Plan {
    Plan { policy: ALLOWED, ..Plan::at(&server.url) }
}

fn done(server: &Server, methods: &[&'static str]) {
    for method in methods {
        server.answers(
            method,
            Script::json(r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"complete"}}"#),
        );
    }
}

/// From here on its calls go on as this task.
fn makes(server: &Server, task: &str) {
    let made = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"resultType":"task","taskId":"{task}"}}}}"#);
    server.answers("tools/call", Script::json(made));
}

async fn modern_server() -> Server {
    let server = Server::start(Manner::Modern).await;
    makes(&server, "t-1");
    done(&server, &MODERN);
    server
}

/// An allowed call of this agent that asks for tasks.
async fn called(agent: Agent, name: &str) -> Value {
    let wanted = declaring(modern(1, "tools/call", json!({"name": name, "arguments": {}})));
    mirrored(agent, "tools/call", Some(name)).ask(&wanted).await["result"].clone()
}

fn assert_not_found(told: &Value) {
    assert_eq!(told["error"]["code"], -32602, "{told}");
    assert!(told["error"]["message"].as_str().unwrap().starts_with("Task not found"), "{told}");
}

/// None of it reaches the server.
async fn assert_closed(server: &Server, agent: &Agent, task: &Value) {
    for method in MODERN {
        let before = server.asked(method);
        assert_not_found(&about(agent.clone(), method, task).await.1);
        assert_eq!(server.asked(method), before);
    }
}

#[tokio::test]
async fn the_task_of_an_allowed_call_is_that_of_its_agent_alone_after_a_restart_too() {
    let server = modern_server().await;
    let first = House::open(allowing(&server)).await;
    let other = first.other_agent("other", &["rig"]).await;
    let task = called(first.agent(), "look").await;
    assert_eq!(task, json!({"resultType": "task", "taskId": "t-1"}), "as the server said");
    assert_closed(&server, &other, &task).await;
    assert_closed(&server, &other.joined(), &task).await;
    let text = first.broker.metrics().text();
    let counted = r#"countersign_refused_of_tasks_total{server="rig",why="of another agent"} 3"#;
    assert!(text.contains(counted), "{text}");

    let house = House::open_in(first.copied(), allowing(&server)).await;
    let other = house.other_agent("another", &["rig"]).await;
    assert_closed(&server, &other, &task).await;
    for method in MODERN {
        assert_eq!(about(house.agent(), method, &task).await.1["result"]["resultType"], "complete");
        assert_eq!(server.asked(method), 1);
    }
    // Of a task that was made before anybody looked, its server decides.
    about(other, "tasks/get", &json!({"taskId": "t-0"})).await;
    assert_eq!(server.asked("tasks/get"), 2);
}

#[tokio::test]
async fn an_answer_that_comes_in_events_says_whose_the_task_is_and_is_not_changed() {
    let server = modern_server().await;
    let house = House::open(allowing(&server)).await;
    let progress = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{}}"#;
    let made = r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"task","taskId":"t-1","x":1.50}}"#;
    let events = format!(": hello\n\ndata: {progress}\n\nid: 7\ndata: {made}\n\n");
    server.answers("tools/call", Script::new(200, "text/event-stream", &events));
    let wanted = declaring(modern(1, "tools/call", json!({"name": "look", "arguments": {}})));
    let answer = mirrored(house.agent(), "tools/call", Some("look")).post(&wanted).await;
    assert_eq!(answer.bytes().await, events);
    let other = house.other_agent("other", &["rig"]).await;
    assert_closed(&server, &other, &json!({"taskId": "t-1"})).await;
}

#[tokio::test]
async fn a_large_answer_of_a_call_that_asks_for_tasks_passes_as_it_is() {
    let server = modern_server().await;
    let house = House::open(allowing(&server)).await;
    let large = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"x":"{}"}}}}"#, "x".repeat(1 << 20));
    for (kind, body) in [
        ("application/json", large.clone()),
        ("text/event-stream", format!("data: {large}\n\n: after it\n\n")),
    ] {
        server.answers("tools/call", Script::new(200, kind, &body));
        let wanted = declaring(modern(1, "tools/call", json!({"name": "look", "arguments": {}})));
        let answer = mirrored(house.agent(), "tools/call", Some("look")).post(&wanted).await;
        assert!(answer.bytes().await == body, "{kind}: not a byte is changed");
    }
}

#[tokio::test]
async fn two_agents_whose_servers_give_one_name_to_two_tasks_both_ask() {
    let server = modern_server().await;
    let house = House::open(allowing(&server)).await;
    let other = house.other_agent("other", &["rig"]).await;
    let agents = [house.agent(), other];
    for agent in &agents {
        called(agent.clone(), "look").await;
    }
    for (number, agent) in (1..).zip(agents) {
        about(agent, "tasks/get", &json!({"taskId": "t-1"})).await;
        assert_eq!(server.asked("tasks/get"), number);
    }
}

#[tokio::test]
async fn an_allowed_call_does_not_make_its_own_of_a_task_that_people_were_asked_about() {
    let server = modern_server().await;
    let house = House::open(Plan::at(&server.url)).await;
    let ours = called(house.agent(), "cancel").await;
    house.approve(&house.pending().await).await;
    house.until(|call| call.state.is_settled()).await;
    // The server gives its name to an allowed call too.
    let raw = called(house.agent(), "look").await;
    assert_ne!(ours["taskId"], raw["taskId"]);
    let said = json!({"inputResponses": {"confirm": {}}});
    let (_, told) = about_with(house.agent(), "tasks/update", &raw, said).await;
    assert_eq!((&told["error"]["code"], server.asked("tasks/update")), (&json!(-32602), 0), "{told}");
    let counted = r#"countersign_refused_of_tasks_total{server="rig",why="unseen answers"} 1"#;
    assert!(house.broker.metrics().text().contains(counted));
}

#[tokio::test]
async fn a_subscription_leaves_out_the_tasks_of_other_agents() {
    let server = modern_server().await;
    let house = House::open(allowing(&server)).await;
    called(house.agent(), "look").await;
    let agreed =
        json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {}});
    server.answers("subscriptions/listen", Script::events(&[agreed]));
    let listens = async |agent: Agent, tasks: Value| {
        let wanted = json!({"notifications": {"taskIds": tasks}});
        let request = declaring(modern("l-1", "subscriptions/listen", wanted));
        mirrored(agent, "subscriptions/listen", None).post(&request).await.message().await
    };
    let heard = || server.messages().pop().unwrap()["params"]["notifications"]["taskIds"].clone();
    let other = house.other_agent("other", &["rig"]).await;
    listens(other.clone(), json!(["t-1", "t-0"])).await;
    assert_eq!(heard(), json!(["t-0"]));
    let told = listens(other, json!(["t-1"])).await;
    assert_eq!(told["params"]["notifications"], json!({"taskIds": []}), "{told}");
    assert_eq!(server.asked("subscriptions/listen"), 1, "nothing of it is for the server");
    listens(house.agent(), json!(["t-1"])).await;
    assert_eq!(heard(), json!(["t-1"]));
}

#[tokio::test]
async fn a_task_whose_name_servers_may_read_in_two_ways_is_not_asked_about() {
    let server = modern_server().await;
    let house = House::open(allowing(&server)).await;
    for params in [
        json!({"taskId": "t-2", "taskid": "t-1"}),
        json!({"task_id": "t-1"}),
        json!({"taskId": ["t-1"]}),
        json!({"taskId": 1}),
    ] {
        for method in MODERN {
            let request = declaring(modern(1, method, params.clone()));
            let told = mirrored(house.agent(), method, Some("t-2")).ask(&request).await;
            assert_eq!(told["error"]["code"], -32602, "{told}");
        }
    }
    let request = declaring(modern(1, "tasks/get", json!({"taskId": "t-2"})));
    let told = mirrored(house.agent(), "tasks/get", Some("t-1")).ask(&request).await;
    assert_eq!(told["error"]["code"], -32020, "its header names another: {told}");
    for method in MODERN {
        assert_eq!(server.asked(method), 0);
    }
}

// ── 2025-11-25 ────────────────────────────────────────────────────────

const SOME: &str =
    r#"{"version": "1", "default": "allow", "tools": {"wait": {"action": "require_approval"}}}"#;
const MADE: &str =
    r#"{"jsonrpc":"2.0","id":1,"result":{"task":{"taskId":"t-1","status":"working"},"x":1.50}}"#;

/// A server that makes tasks of its own, with its agent's and another's session.
async fn legacy(policy: &'static str) -> (Server, House, Agent, Agent) {
    let tasks = json!({"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}});
    let capabilities = json!({"tools": {}, "tasks": tasks});
    let server = legacy_tasks::server(capabilities.clone()).await;
    let tool = |name: &str, support: &str| json!({"name": name, "inputSchema": {"type": "object"}, "execution": {"taskSupport": support}});
    let tools = json!({"tools": [tool("look", "optional"), tool("wait", "required")]});
    server.answers("tools/list", Script::json(json!({"jsonrpc": "2.0", "id": 2, "result": tools})));
    server.answers("tools/call", Script::json(MADE));
    done(&server, &LEGACY);
    let house = House::open(Plan { policy, ..Plan::at(&server.url) }).await;
    let agent = legacy_tasks::agent(&house).await;
    agent.ask(&json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"})).await;
    greets(&server, capabilities, "s-2");
    let (other, _) = greeted(house.other_agent("other", &["rig"]).await).await;
    (server, house, agent, other)
}

fn about_raw(method: &str) -> Value {
    legacy_tasks::about(method, &json!({"taskId": "t-1"}))
}

async fn assert_its_agents_alone(server: &Server, agent: &Agent, other: &Agent) {
    // Another version has no tasks, and a lenient server may have them all the same.
    for version in ["2025-11-25", "2025-06-18"] {
        for method in LEGACY {
            assert_not_found(
                &other.clone().with("mcp-protocol-version", version).ask(&about_raw(method)).await,
            );
            let mut silent = about_raw(method);
            silent.as_object_mut().unwrap().remove("id");
            let other = other.clone().with("mcp-protocol-version", version);
            assert_eq!(other.post(&silent).await.status, 202);
            assert_eq!(server.asked(method), 0, "{method} of {version}");
        }
    }
    for method in LEGACY {
        assert_eq!(agent.ask(&about_raw(method)).await["result"]["resultType"], "complete");
        assert_eq!(server.asked(method), 1);
    }
    for agent in [agent, other] {
        let told = agent.ask(&about_raw("tasks/update")).await;
        assert_eq!((&told["error"]["code"], server.asked("tasks/update")), (&json!(-32601), 0), "{told}");
    }
}

#[tokio::test]
async fn an_allowed_calls_task_of_2025_11_25_is_that_of_its_agent_alone() {
    let (server, _house, agent, other) = legacy(ALLOWED).await;
    let answer = agent.post(&as_task("look", json!({}))).await.bytes().await;
    assert_eq!(answer, MADE, "not a byte is changed");
    assert_its_agents_alone(&server, &agent, &other).await;
}

#[tokio::test]
async fn a_list_of_the_servers_tasks_leaves_out_those_of_other_agents() {
    let listed = json!({"tasks": [{"taskId": "t-1"}, {"taskId": "t-0", "x": 1}], "nextCursor": "n"});
    for (policy, ours_first) in [(ALLOWED, false), (SOME, true)] {
        let (server, _house, agent, other) = legacy(policy).await;
        server.answers("tasks/list", Script::json(json!({"jsonrpc": "2.0", "id": 9, "result": listed})));
        agent.ask(&as_task("look", json!({}))).await;
        for (agent, left) in [
            (&agent, listed.clone()),
            (&other, json!({"tasks": [{"taskId": "t-0", "x": 1}], "nextCursor": "n"})),
        ] {
            let list =
                |params: Value| json!({"jsonrpc": "2.0", "id": 9, "method": "tasks/list", "params": params});
            let mut params = json!({});
            if ours_first {
                params["cursor"] = agent.ask(&list(json!({}))).await["result"]["nextCursor"].clone();
            }
            assert_eq!(agent.ask(&list(params)).await["result"], left);
            assert_eq!(agent.ask(&list(json!({"cursor": "n"}))).await["result"], left);
            let older = agent.clone().with("mcp-protocol-version", "2025-06-18");
            assert_eq!(older.ask(&list(json!({}))).await["result"], left);
        }
    }
}

#[tokio::test]
async fn where_some_calls_wait_an_allowed_one_that_the_server_makes_a_task_of_is_its_agents_too() {
    let (server, _house, agent, other) = legacy(SOME).await;
    assert_eq!(agent.post(&as_task("look", json!({}))).await.bytes().await, MADE);
    assert_its_agents_alone(&server, &agent, &other).await;
}

#[tokio::test]
async fn a_reviewed_calls_task_of_2025_11_25_is_that_of_its_agent_alone() {
    let (server, house, agent, other) = legacy(SOME).await;
    let held = agent.post(&as_task("wait", json!({}))).await;
    assert!(held.is_stream(), "the server runs it as a task only: it waits on its line");
    house.approve(&house.pending().await).await;
    assert_eq!(held.response().await["result"]["task"]["taskId"], "t-1", "by its server's name");
    assert_its_agents_alone(&server, &agent, &other).await;
}
