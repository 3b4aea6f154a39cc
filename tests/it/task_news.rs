//! `notifications/tasks` (2026-07-28): how tasks stand, on the listening streams of their agent.

use countersign::call::{HowDelivered, StateName};
use serde_json::{Value, json};

use crate::{
    rig::{Agent, Answer, House, Manner, Plan, Script, Server, mirrored, modern},
    tasks::{about_with, caller, declaring, given, stands},
};

const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
const ACKNOWLEDGED: &str = "notifications/subscriptions/acknowledged";
const THEIRS: &str = concat!(
    ": hello\n\n",
    r#"data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true},"x":1.50}}"#,
    "\n\n",
    r#"data: {"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}"#,
    "\n\n"
);

async fn listens(agent: Agent, wanted: Value) -> Answer {
    let request = declaring(modern("l-1", "subscriptions/listen", json!({"notifications": wanted})));
    mirrored(agent, "subscriptions/listen", None).post(&request).await
}

/// The next that is told of a task, once it stands so.
async fn becomes(answer: &mut Answer, task: &Value, status: &str) -> Value {
    loop {
        let told = answer.message().await;
        assert_eq!(told["method"], "notifications/tasks", "{told}");
        let params = told["params"].clone();
        assert_eq!((&params["taskId"], &params["_meta"][SUBSCRIPTION]), (&task["taskId"], &json!("l-1")));
        assert!(params.get("resultType").is_none());
        if params["status"] == status {
            return params;
        }
    }
}

#[tokio::test]
async fn a_task_is_told_from_its_first_word_to_its_last() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let task = given(&caller(&house), &json!({"n": 1})).await;
    let mut listening = listens(house.agent(), json!({"taskIds": [task["taskId"]]})).await;
    let first = listening.message().await;
    assert_eq!(first["method"], ACKNOWLEDGED);
    assert_eq!(first["params"]["notifications"], json!({"taskIds": [task["taskId"]]}));
    assert_eq!(first["params"]["_meta"][SUBSCRIPTION], "l-1");
    let waits = becomes(&mut listening, &task, "working").await;
    assert!(waits["statusMessage"].as_str().unwrap().contains("0 of 1 approvals"), "{waits}");
    house.approve(&house.pending().await).await;
    let done = becomes(&mut listening, &task, "completed").await;
    house.delivered(HowDelivered::Task).await;
    let (mut as_told, mut as_asked) = (done, stands(&house, &task).await);
    for told in [&mut as_told, &mut as_asked] {
        told["_meta"] = Value::Null;
        told.as_object_mut().unwrap().remove("resultType");
    }
    assert_eq!(as_told, as_asked, "what tasks/get says");
    assert!(server.messages().iter().all(|message| message["method"] == "tools/call"), "it need not listen");

    house.door.drain().await;
    let last = listening.message().await;
    assert_eq!((&last["id"], &last["result"]["_meta"][SUBSCRIPTION]), (&json!("l-1"), &json!("l-1")));
    assert!(listening.told().await.is_none());
}

#[tokio::test]
async fn a_task_that_asks_is_told_leg_by_leg() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let task = given(&caller(&house), &json!({"asks": 1})).await;
    let mut listening = listens(house.agent(), json!({"taskIds": [task["taskId"]]})).await;
    listening.message().await;
    house.approve(&house.pending().await).await;
    let asks = becomes(&mut listening, &task, "input_required").await;
    assert_eq!(asks["inputRequests"]["1/who"]["method"], "elicitation/create");
    let responses = json!({"inputResponses": {"1/who": {"action": "decline"}}});
    about_with(house.agent(), "tasks/update", &task, responses).await;
    becomes(&mut listening, &task, "working").await;
    house.approve(&house.pending().await).await;
    let done = becomes(&mut listening, &task, "completed").await;
    assert_eq!(done["result"]["content"][0]["text"], r#"cancel ran with {"asks":1}"#);
}

#[tokio::test]
async fn what_the_server_tells_stays_and_our_tasks_are_told_beside_it() {
    let server = Server::start(Manner::Modern).await;
    let stream = Script { open: true, ..Script::new(200, "text/event-stream", THEIRS) };
    server.answers("subscriptions/listen", stream);
    let house = House::open(Plan::at(&server.url)).await;
    let task = given(&caller(&house), &json!({})).await;
    let wanted = json!({"toolsListChanged": true, "taskIds": [task["taskId"], "their-own"]});
    let mut listening = listens(house.agent(), wanted).await;
    let first = listening.message().await;
    assert_eq!(first["method"], ACKNOWLEDGED, "first of all");
    let agreed = json!({"toolsListChanged": true, "taskIds": [task["taskId"]]});
    assert_eq!((&first["params"]["notifications"], &first["params"]["x"]), (&agreed, &json!(1.5)));
    let mut said = [listening.message().await, listening.message().await];
    said.sort_by_key(|message| message["method"].as_str().unwrap().len());
    assert_eq!(said[0]["method"], "notifications/tasks");
    assert_eq!(said[1]["method"], "notifications/tools/list_changed");
    let asked = server.messages().pop().unwrap();
    let left = json!({"toolsListChanged": true, "taskIds": ["their-own"]});
    assert_eq!(asked["params"]["notifications"], left, "the server knows none of ours");
    house.deny(&house.pending().await, "no").await;
    let done = becomes(&mut listening, &task, "completed").await;
    assert_eq!(done["result"]["content"][0]["text"], "[DENIED by ann] no");
}

#[tokio::test]
async fn only_its_agent_hears_of_a_task_and_only_if_it_declares_the_extension() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let task = given(&caller(&house), &json!({})).await;
    let other = house.other_agent("other", &["rig"]).await;
    let mut listening = listens(other, json!({"taskIds": [task["taskId"]]})).await;
    let first = listening.message().await;
    assert_eq!(first["params"]["notifications"], json!({"taskIds": []}));
    house.approve(&house.pending().await).await;
    house.until(|call| call.state.name() == StateName::Completed).await;
    house.door.drain().await;
    let last = listening.message().await;
    assert_eq!(last["id"], "l-1", "nothing was told: {last}");

    let house = House::open_in(house.copied(), Plan::at(&server.url)).await;
    let silent = modern(1, "subscriptions/listen", json!({"notifications": {"taskIds": [task["taskId"]]}}));
    let refused = mirrored(house.agent(), "subscriptions/listen", None).post(&silent).await;
    assert_eq!(refused.status, 400);
    assert_eq!(refused.response().await["error"]["code"], -32021);
    assert!(server.messages().iter().all(|message| message["method"] == "tools/call"));
}

#[tokio::test]
async fn one_stream_tells_of_so_many_tasks() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = caller(&house);
    let numbers: Vec<Value> = (0..65).map(|n| json!({ "n": n })).collect();
    let tasks = futures_util::future::join_all(numbers.iter().map(|n| given(&agent, n))).await;
    let names: Vec<&Value> = tasks.iter().map(|task| &task["taskId"]).collect();
    let mut listening = listens(house.agent(), json!({ "taskIds": names })).await;
    let agreed = listening.message().await;
    assert_eq!(agreed["params"]["notifications"]["taskIds"].as_array().unwrap().len(), 64);
}
