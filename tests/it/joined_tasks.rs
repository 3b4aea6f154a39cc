//! Tasks at the joined endpoint (2026-07-28): ours, for calls that wait, and those that servers make.

use countersign::call::{AttachKind, HowDelivered, StateName};
use serde_json::{Value, json};

use crate::rig::{Agent, House, Manner, Plan, Script, Server, mirrored, modern, task_id};

const TASKS: &str = "io.modelcontextprotocol/tasks";

async fn two_modern() -> (Server, Server, House) {
    let (a, b) = (Server::start(Manner::Modern).await, Server::start(Manner::Modern).await);
    let house = House::open(Plan::two(&a.url, &b.url)).await;
    (a, b, house)
}

fn declaring(mut request: Value) -> Value {
    request["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] =
        json!({"extensions": {TASKS: {}}});
    request
}

async fn called(house: &House, tool: &str, arguments: Value) -> Value {
    let wanted = declaring(modern(1, "tools/call", json!({"name": tool, "arguments": arguments})));
    let told = mirrored(house.agent().joined(), "tools/call", Some(tool)).ask(&wanted).await;
    assert_eq!(told["result"]["resultType"], "task", "{told}");
    told["result"].clone()
}

async fn about(agent: Agent, method: &str, id: &str) -> Value {
    let request = declaring(modern(7, method, json!({"taskId": id})));
    mirrored(agent, method, Some(id)).ask(&request).await
}

#[tokio::test]
async fn the_task_of_a_call_that_waits_is_asked_about_at_either_endpoint_and_by_nobody_else() {
    let (a, b, house) = two_modern().await;
    let task = called(&house, "b__cancel", json!({"n": 1})).await;
    let pending = house.pending().await;
    assert_eq!((&*pending.request.server, pending.waiter.as_ref().unwrap().kind), ("b", AttachKind::Task));
    let joined = || house.agent().joined();
    let other = house.other_agent("other", &["*"]).await.joined();
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        assert_eq!(about(other.clone(), method, task_id(&task)).await["error"]["code"], -32602);
    }
    let stands = about(joined(), "tasks/get", task_id(&task)).await;
    assert_eq!(
        (&stands["result"]["status"], task_id(&stands["result"])),
        (&json!("working"), task_id(&task))
    );
    house.approve(&pending).await;
    house.until(|call| call.state.name() == StateName::Completed).await;
    for agent in [joined(), house.agent_of("b")] {
        let done = about(agent, "tasks/get", task_id(&task)).await["result"].clone();
        assert_eq!((&done["status"], task_id(&done)), (&json!("completed"), task_id(&task)));
        assert_eq!(done["result"]["content"][0]["text"], r#"cancel ran with {"n":1}"#);
    }
    house.delivered(HowDelivered::Task).await;
    assert_eq!(about(house.agent_of("a"), "tasks/get", task_id(&task)).await["error"]["code"], -32602);

    let unwanted = called(&house, "a__cancel", json!({"n": 2})).await;
    house.pending().await;
    assert_eq!(about(joined(), "tasks/cancel", task_id(&unwanted)).await["result"]["resultType"], "complete");
    assert_eq!(about(joined(), "tasks/get", task_id(&unwanted)).await["result"]["status"], "cancelled");
    assert_eq!((a.calls().len(), b.calls().len()), (0, 1));
    assert_eq!(a.asked("tasks/get") + b.asked("tasks/get") + a.asked("tasks/cancel"), 0);
}

fn theirs(words: &str) -> Script {
    Script::json(format!(
        r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"resultType":"task","taskId":"t-1","status":"working","x":"{words}","n":1.50}}}}"#
    ))
}

#[tokio::test]
async fn two_servers_tasks_of_one_name_are_two_and_each_is_asked_about_its_own() {
    let (a, b, house) = two_modern().await;
    for (server, words) in [(&a, "of a"), (&b, "of b")] {
        for method in ["tools/call", "tasks/get", "tasks/update", "tasks/cancel"] {
            server.answers(method, theirs(words));
        }
    }
    let (of_a, of_b) =
        (called(&house, "a__look", json!({})).await, called(&house, "b__look", json!({})).await);
    assert_ne!(task_id(&of_a), task_id(&of_b));
    assert_eq!((&of_a["x"], &of_b["x"]), (&json!("of a"), &json!("of b")));
    let joined = || house.agent().joined();
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let told = about(joined(), method, task_id(&of_b)).await;
        assert_eq!((task_id(&told["result"]), &told["result"]["x"]), (task_id(&of_b), &json!("of b")));
        let heard = b.messages().pop().unwrap();
        assert_eq!((&heard["method"], &heard["params"]["taskId"]), (&json!(method), &json!("t-1")));
        assert_eq!(b.headers().last().unwrap()["mcp-name"], "t-1");
        assert_eq!(a.asked(method), 0);
    }
    // A name says whose it is: neither the server's own word for it, nor another agent's, nor a changed one.
    let other = house.other_agent("other", &["*"]).await.joined();
    let only_a = house.other_agent("only-a", &["a"]).await.joined();
    let mut forged = task_id(&of_b).to_owned();
    forged.replace_range(30..31, if &forged[30..31] == "A" { "B" } else { "A" });
    for (agent, id) in
        [(joined(), "t-1"), (joined(), &*forged), (other, task_id(&of_b)), (only_a, task_id(&of_a))]
    {
        let refused = about(agent, "tasks/get", id).await;
        assert_eq!(refused["error"]["code"], -32602, "{refused}");
        assert!(refused["error"]["message"].as_str().unwrap().starts_with("Task not found"), "{refused}");
    }
    assert_eq!((a.asked("tasks/get"), b.asked("tasks/get")), (0, 1));
    let misled = mirrored(joined(), "tasks/get", Some(task_id(&of_a)));
    let misled = misled.post(&declaring(modern(3, "tasks/get", json!({"taskId": task_id(&of_b)})))).await;
    assert_eq!(
        (misled.status.as_u16(), misled.response().await["error"]["code"].clone()),
        (400, json!(-32020))
    );

    // What did not ask for tasks is given none, and nothing of its answer is changed.
    let plain = modern(9, "tools/call", json!({"name": "a__look", "arguments": {}}));
    let answer = mirrored(joined(), "tools/call", Some("a__look")).post(&plain).await;
    assert_eq!(answer.bytes().await, theirs("of a").body.replace("$ID", "9"));
    assert!(!a.calls()[1]["params"]["_meta"].to_string().contains(TASKS));
    assert!(a.calls()[0]["params"]["_meta"].to_string().contains(TASKS), "it may make one");
}

#[tokio::test]
async fn a_call_that_waited_and_goes_on_as_its_servers_task_keeps_its_name() {
    let (a, b, house) = two_modern().await;
    for method in ["tools/call", "tasks/get"] {
        b.answers(method, theirs("of b"));
    }
    let task = called(&house, "b__cancel", json!({})).await;
    house.approve(&house.pending().await).await;
    house.until(|call| call.state.name() == StateName::Completed).await;
    let told = about(house.agent().joined(), "tasks/get", task_id(&task)).await["result"].clone();
    assert_eq!((task_id(&told), &told["x"]), (task_id(&task), &json!("of b")));
    assert_eq!(b.messages().pop().unwrap()["params"]["taskId"], "t-1");
    assert_eq!(a.asked("tasks/get"), 0);
}

#[tokio::test]
async fn a_subscription_to_tasks_is_told_of_each_by_the_name_it_has_here() {
    let (a, b, house) = two_modern().await;
    for server in [&a, &b] {
        server.answers("tools/call", theirs("x"));
    }
    let (of_a, of_b) =
        (called(&house, "a__look", json!({})).await, called(&house, "b__look", json!({})).await);
    for server in [&a, &b] {
        server.answers("subscriptions/listen", Script::events(&[
            json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {"notifications": {"taskIds": ["t-1"]}}}),
            json!({"jsonrpc": "2.0", "method": "notifications/tasks", "params": {"taskId": "t-1", "status": "completed"}}),
        ]));
    }
    let wanted = json!({"notifications": {"taskIds": [task_id(&of_b), "t-1"]}});
    let agent = mirrored(house.agent().joined(), "subscriptions/listen", None);
    let mut stream = agent.post(&declaring(modern(5, "subscriptions/listen", wanted))).await;
    assert_eq!(stream.message().await["params"]["notifications"], json!({"taskIds": [task_id(&of_b)]}));
    let told = stream.message().await;
    assert_eq!((&told["method"], task_id(&told["params"])), (&json!("notifications/tasks"), task_id(&of_b)));
    assert_eq!(a.asked("subscriptions/listen"), 0, "nothing of it is for that one");
    assert_eq!(b.messages().pop().unwrap()["params"]["notifications"], json!({"taskIds": ["t-1"]}));

    let both =
        json!({"notifications": {"toolsListChanged": true, "taskIds": [task_id(&of_a), task_id(&of_b)]}});
    let mut stream = agent.post(&declaring(modern(6, "subscriptions/listen", both))).await;
    let mut agreed = stream.message().await["params"]["notifications"]["taskIds"].clone();
    agreed.as_array_mut().unwrap().sort_by_key(|id| id != task_id(&of_a));
    assert_eq!(agreed, json!([task_id(&of_a), task_id(&of_b)]));
}
