//! A task whose server asks for more (2026-07-28): its agent answers, and a call that follows goes on with it.

use std::time::Duration;

use countersign::call::{AttachKind, HowDelivered, StateName};
use serde_json::{Value, json};

use crate::{
    rig::{House, Manner, Plan, Script, Server},
    tasks::{about, about_with, caller, given, stands},
};

const ALLOWED: &str = r#"{"version": "1", "default": "allow"}"#;
const TWO: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"input_required","requestState":"s 1.50",
  "inputRequests":{"a":{"method":"elicitation/create","params":{"n":1.50}},"b":{"method":"roots/list"}}}}"#;
const AGAIN: &str =
    r#"{"jsonrpc":"2.0","id":$ID,"result":{"resultType":"input_required","requestState":"again"}}"#;

fn accepted(name: &str) -> Value {
    json!({"action": "accept", "content": {"name": name}})
}

async fn answers(house: &House, task: &Value, responses: Value) {
    let params = json!({"inputResponses": responses});
    let (status, told) = about_with(house.agent(), "tasks/update", task, params).await;
    assert_eq!((status, &told["result"]), (200, &json!({"resultType": "complete"})), "{told}");
}

/// A task whose server has asked.
async fn asked(house: &House, arguments: &Value) -> Value {
    let agent = caller(house);
    let agent = match arguments["region"].as_str() {
        Some(region) => agent.with("mcp-param-region", region),
        None => agent,
    };
    let task = given(&agent, arguments).await;
    house.approve(&house.pending().await).await;
    house.until(|call| call.state.name() == StateName::Completed).await;
    task
}

fn asks(told: &Value) -> Vec<&str> {
    assert_eq!(told["status"], "input_required", "{told}");
    told["inputRequests"].as_object().unwrap().keys().map(String::as_str).collect()
}

async fn completed(house: &House, number: usize) {
    let mut head = house.broker.head();
    while house.calls(&[StateName::Completed]).await.len() < number {
        head.changed().await.unwrap();
    }
}

#[tokio::test]
async fn a_task_asks_for_its_server_and_each_next_leg_is_asked_about_again() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let task = asked(&house, &json!({"asks": 2, "region": "eu"})).await;
    let told = stands(&house, &task).await;
    assert_eq!(asks(&told), ["1/who"]);
    assert_eq!(told["inputRequests"]["1/who"]["params"]["message"], "who?");
    assert!(told.get("result").is_none() && !told.to_string().contains("requestState"), "{told}");
    assert_eq!(asks(&stands(&house, &task).await), ["1/who"], "as often as it likes");

    answers(&house, &task, json!({"1/who": accepted("ann")})).await;
    let next = house.pending().await;
    let first = house.calls(&[StateName::Completed]).await.remove(0);
    assert_eq!(next.request.follows, Some(first.id));
    assert_eq!(next.waiter.as_ref().unwrap().kind, AttachKind::Task);
    assert_eq!(first.delivered, Some(HowDelivered::Task), "who answers has read the question");
    let waits = stands(&house, &task).await;
    assert_eq!(
        (&waits["status"], &waits["taskId"], &waits["createdAt"]),
        (&json!("working"), &task["taskId"], &task["createdAt"])
    );
    assert!(waits["statusMessage"].as_str().unwrap().contains(&next.digest.short_code()));
    assert_eq!(server.calls().len(), 1, "nothing is sent before people have seen the answers");
    house.approve(&next).await;
    completed(&house, 2).await;

    assert_eq!(asks(&stands(&house, &task).await), ["2/who"], "no name means two things");
    answers(&house, &task, json!({"1/who": accepted("late"), "2/who": accepted("bob")})).await;
    house.approve(&house.pending().await).await;
    completed(&house, 3).await;
    let done = stands(&house, &task).await;
    assert_eq!(done["status"], "completed");
    assert_eq!(done["result"]["content"][0]["text"], r#"cancel ran with {"asks":2,"region":"eu"}"#);

    let calls = server.calls();
    for (call, (state, who)) in
        calls.iter().zip([(None, None), (Some("1"), Some("ann")), (Some("2"), Some("bob"))])
    {
        assert_eq!(call["params"].get("requestState").and_then(Value::as_str), state);
        let responses = who.map(|who| json!({"who": accepted(who)}));
        assert_eq!(call["params"].get("inputResponses"), responses.as_ref());
        assert_eq!(call["params"]["arguments"], json!({"asks": 2, "region": "eu"}));
    }
    assert_eq!((calls.len(), house.calls(&[]).await.len()), (3, 3));
    let sent = server.headers().into_iter().filter(|headers| headers.contains_key("mcp-name"));
    for headers in sent {
        assert_eq!(headers["mcp-name"], "cancel");
        assert_eq!(headers["mcp-param-region"], "eu");
    }
}

#[tokio::test]
async fn a_next_leg_that_the_policy_allows_is_sent_at_once_and_one_that_it_denies_ends_the_task() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let task = asked(&house, &json!({"asks": 1})).await;
    house.rule(ALLOWED).await.unwrap();
    answers(&house, &task, json!({"1/who": accepted("ann")})).await;
    completed(&house, 2).await;
    let done = stands(&house, &task).await;
    assert_eq!((&done["status"], &done["result"]["isError"]), (&json!("completed"), &json!(false)));
    assert!(house.calls(&[]).await.iter().any(|call| call.terms.is_none()), "nobody was asked");

    house.rule(r#"{"version": "1", "default": "require_approval"}"#).await.unwrap();
    let task = asked(&house, &json!({"asks": 1, "n": 2})).await;
    house.until(|call| call.request.argument_names.len() == 2 && call.state.is_settled()).await;
    house.rule(r#"{"version": "1", "default": "deny"}"#).await.unwrap();
    answers(&house, &task, json!({"1/who": accepted("ann")})).await;
    let done = stands(&house, &task).await;
    assert_eq!((&done["status"], &done["result"]["isError"]), (&json!("completed"), &json!(true)));
    assert!(done["result"]["content"][0]["text"].as_str().unwrap().starts_with("[POLICY DENIED]"), "{done}");
    assert_eq!(server.calls().len(), 3);
}

#[tokio::test]
async fn answers_may_come_one_by_one_and_are_kept_over_a_restart() {
    let server = Server::start(Manner::Modern).await;
    server.answers("tools/call", Script::new(200, "application/json", TWO));
    let first = House::open(Plan::at(&server.url)).await;
    let task = asked(&first, &json!({"region": "eu"})).await;
    let told = stands(&first, &task).await;
    assert_eq!(asks(&told), ["1/a", "1/b"]);
    assert_eq!(told["inputRequests"]["1/b"], json!({"method": "roots/list"}));
    answers(&first, &task, json!({"1/b": {"roots": []}, "b": accepted("no"), "2/a": accepted("no")})).await;
    assert_eq!(asks(&stands(&first, &task).await), ["1/a"]);

    let house = House::open_in(first.copied(), Plan::at(&server.url)).await;
    assert_eq!(asks(&stands(&house, &task).await), ["1/a"]);
    answers(&house, &task, json!({"1/b": {"roots": [1]}})).await;
    assert_eq!(house.calls(&[]).await.len(), 1, "it has its answer");
    answers(&house, &task, json!({"1/a": accepted("ann")})).await;
    house.approve(&house.pending().await).await;
    completed(&house, 2).await;
    let sent = server.calls().pop().unwrap();
    assert_eq!(sent["params"]["inputResponses"], json!({"a": accepted("ann"), "b": {"roots": []}}));
    assert_eq!(sent["params"]["requestState"], "s 1.50");
    assert_eq!(server.headers().last().unwrap()["mcp-param-region"], "eu", "as the first leg was sent");
    assert_eq!(asks(&stands(&house, &task).await), ["2/a", "2/b"]);
}

#[tokio::test]
async fn a_leg_that_waits_outlives_its_broker() {
    let server = Server::start(Manner::Modern).await;
    let first = House::open(Plan::at(&server.url)).await;
    let task = asked(&first, &json!({"asks": 1, "region": "eu"})).await;
    answers(&first, &task, json!({"1/who": accepted("ann")})).await;
    first.pending().await;
    let house = House::open_in(first.copied(), Plan::at(&server.url)).await;
    assert_eq!(stands(&house, &task).await["status"], "working");
    house.approve(&house.pending().await).await;
    completed(&house, 2).await;
    assert_eq!(stands(&house, &task).await["status"], "completed");
    assert_eq!(server.headers().last().unwrap()["mcp-param-region"], "eu");
}

#[tokio::test]
async fn the_same_answers_twice_at_once_make_one_call() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let task = asked(&house, &json!({"asks": 1})).await;
    let responses = || json!({"1/who": accepted("ann")});
    let all = (0..4).map(|_| answers(&house, &task, responses()));
    futures_util::future::join_all(all).await;
    assert_eq!(house.calls(&[]).await.len(), 2);
    house.deny(&house.pending().await, "no").await;
    let told = stands(&house, &task).await;
    assert_eq!(told["result"]["content"][0]["text"], "[DENIED by ann] no");
    answers(&house, &task, responses()).await;
    assert_eq!((server.calls().len(), house.calls(&[]).await.len()), (1, 2));
}

#[tokio::test]
async fn a_server_that_only_wants_to_be_asked_again_is_when_its_agent_asks() {
    let server = Server::start(Manner::Modern).await;
    server.answers("tools/call", Script::new(200, "application/json", AGAIN));
    let house = House::open(Plan::at(&server.url)).await;
    let task = asked(&house, &json!({})).await;
    assert_eq!(house.calls(&[]).await.len(), 1, "nobody asked");
    let told = stands(&house, &task).await;
    assert!(told["status"] == "working" && told.get("inputRequests").is_none(), "{told}");
    let next = house.pending().await;
    assert_eq!(stands(&house, &task).await["status"], "working");
    assert_eq!(house.calls(&[]).await.len(), 2);
    house.approve(&next).await;
    completed(&house, 2).await;
    assert_eq!(server.calls()[1]["params"]["requestState"], "again");
    assert!(server.calls()[1]["params"].get("inputResponses").is_none());

    house.rule(ALLOWED).await.unwrap();
    let last = async {
        loop {
            let told = stands(&house, &task).await;
            if told["status"] != "working" {
                return told;
            }
        }
    };
    let told = tokio::time::timeout(Duration::from_secs(10), last).await.expect("it ends");
    assert_eq!((&told["status"], &told["error"]["code"]), (&json!("failed"), &json!(-32603)), "{told}");
    assert_eq!(server.calls().len(), 32, "not for ever");
}

#[tokio::test]
async fn what_no_agent_may_answer_is_not_taken() {
    let server = Server::start(Manner::Modern).await;
    let mut plan = Plan::at(&server.url);
    plan.broker.pending_per_agent = 1;
    let house = House::open(plan).await;
    let task = asked(&house, &json!({"asks": 1})).await;
    let other = house.other_agent("other", &["rig"]).await;
    let params = || json!({"inputResponses": {"1/who": accepted("ann")}});
    let (_, told) = about_with(other, "tasks/update", &task, params()).await;
    assert_eq!(told["error"]["code"], -32602);
    let odd = json!({"inputResponses": [1]});
    let (_, told) = about_with(house.agent(), "tasks/update", &task, odd).await;
    assert_eq!(told["error"]["code"], -32602, "{told}");

    // No room for one more: what was not taken is asked on.
    given(&caller(&house), &json!({"n": 2})).await;
    let (_, told) = about_with(house.agent(), "tasks/update", &task, params()).await;
    assert!(told["error"]["message"].as_str().unwrap().contains("1 calls of this agent"), "{told}");
    assert_eq!(asks(&stands(&house, &task).await), ["1/who"]);
    house.deny(&house.pending().await, "no").await;
    answers(&house, &task, json!({"1/who": accepted("ann")})).await;
    assert_eq!(house.pending().await.request.argument_names, ["asks"]);
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn a_task_that_is_cancelled_while_its_server_asks_is_not_gone_on_with() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let task = asked(&house, &json!({"asks": 1})).await;
    let (_, told) = about(house.agent(), "tasks/cancel", &task).await;
    assert_eq!(told["result"], json!({"resultType": "complete"}));
    let told = stands(&house, &task).await;
    assert!(told["status"] == "cancelled" && told.get("inputRequests").is_none(), "{told}");
    assert!(told["statusMessage"].as_str().unwrap().contains("nothing more is sent"));
    answers(&house, &task, json!({"1/who": accepted("ann")})).await;
    assert_eq!((server.calls().len(), house.calls(&[]).await.len()), (1, 1));

    let task = asked(&house, &json!({"asks": 1, "n": 2})).await;
    completed(&house, 2).await;
    answers(&house, &task, json!({"1/who": accepted("ann")})).await;
    house.pending().await;
    about(house.agent(), "tasks/cancel", &task).await;
    assert_eq!(stands(&house, &task).await["status"], "cancelled", "the leg that waits");
    assert_eq!(house.calls(&[StateName::Cancelled]).await.len(), 1);
    assert_eq!(server.calls().len(), 2);
}

/// The same call and the same answers, but another state of the server: another leg.
#[tokio::test]
async fn two_tasks_with_the_same_answers_each_go_on_from_their_own_state() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let says = |result: &str| {
        let body = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{result}}}"#);
        server.answers("tools/call", Script::new(200, "application/json", &body));
    };
    let wants = |state: &str| {
        says(&format!(
            r#"{{"resultType":"input_required","requestState":"{state}","inputRequests":{{"a":{{"method":"roots/list"}}}}}}"#
        ));
    };
    wants("one");
    let one = asked(&house, &json!({"n": 1})).await;
    asks(&stands(&house, &one).await);
    house.delivered(HowDelivered::Task).await;
    wants("two");
    let two = asked(&house, &json!({"n": 1})).await;
    completed(&house, 2).await;
    asks(&stands(&house, &two).await);

    says(r#"{"resultType":"complete","content":[]}"#);
    for (task, number) in [(&one, 3), (&two, 4)] {
        answers(&house, task, json!({"1/a": {"roots": []}})).await;
        let next = tokio::time::timeout(Duration::from_secs(10), house.pending());
        house.approve(&next.await.expect("a call of its own")).await;
        completed(&house, number).await;
    }
    let states: Vec<_> =
        server.calls()[2..].iter().map(|call| call["params"]["requestState"].clone()).collect();
    assert_eq!(states, ["one", "two"]);
}

#[tokio::test]
async fn a_server_that_asks_too_much_at_once_is_not_asked_again_and_too_many_answers_are_not_read() {
    let server = Server::start(Manner::Modern).await;
    let house = House::open(Plan::at(&server.url)).await;
    let many = |number: usize| -> Value {
        let each = (0..number).map(|n| (n.to_string(), json!({"method": "roots/list"})));
        Value::Object(each.collect())
    };
    let wants = |number: usize| {
        let result = json!({"resultType": "input_required", "inputRequests": many(number)});
        let body = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{result}}}"#);
        server.answers("tools/call", Script::new(200, "application/json", &body));
    };
    wants(256);
    let task = asked(&house, &json!({"n": 1})).await;
    assert_eq!(asks(&stands(&house, &task).await).len(), 256);
    let params = json!({"inputResponses": many(257)});
    let (_, told) = about_with(house.agent(), "tasks/update", &task, params).await;
    assert_eq!(told["error"]["code"], -32602, "{told}");
    answers(&house, &task, many(256)).await;

    wants(257);
    let task = asked(&house, &json!({"n": 2})).await;
    completed(&house, 2).await;
    let told = stands(&house, &task).await;
    assert_eq!((&told["status"], &told["error"]["code"]), (&json!("failed"), &json!(-32603)), "{told}");
}
