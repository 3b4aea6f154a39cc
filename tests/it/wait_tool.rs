//! `countersign_wait {code}`: a ticket's code in the place of the whole call.

use countersign::{
    call::{HowDelivered, StateName},
    downstream::{Patience, told_with_wait_tool},
};
use serde_json::{Value, json};

use crate::rig::{Agent, House, Manner, Plan, Server, call, mirrored, modern, text};

const CLIENT: &str = "io.modelcontextprotocol/clientInfo";

fn plan(server: &Server) -> Plan {
    let mut plan = Plan::at(&server.url);
    plan.door.wait_tool = true;
    plan.door.patience.insert("hasty".into(), Patience::Seconds(0));
    plan
}

async fn hasty(house: &House) -> Agent {
    house.agent().initialized("hasty").await
}

async fn collect(agent: &Agent, code: &str) -> Value {
    agent.ask(&call(5, "countersign_wait", json!({"code": code}))).await
}

#[tokio::test]
async fn a_ticket_names_the_tool_which_gives_the_answer_once() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(plan(&server)).await;
    let agent = hasty(&house).await;
    let ticket = agent.ask(&call(1, "cancel", json!({"long": "x"}))).await;
    let waits = house.pending().await;
    let code = waits.digest.short_code();
    assert!(text(&ticket).contains("countersign_wait") && text(&ticket).contains(&code), "{ticket}");
    let shown = house.broker.view(waits.id).await.unwrap().unwrap().outcome;
    assert_eq!(told_with_wait_tool(&shown).unwrap(), text(&ticket), "a reviewer reads what the agent reads");
    let again = collect(&agent, &code).await;
    assert!(text(&again).starts_with("[NOT EXECUTED: waiting for approval"), "a ticket again: {again}");
    assert_eq!(house.calls(&[]).await.len(), 1);

    house.approve(&waits).await;
    house.until(|call| call.state.name() == StateName::Permitted).await;
    assert!(server.calls().is_empty(), "nobody waits");
    let patient = house.agent().initialized("patient").await;
    let told = collect(&patient, &code.to_ascii_lowercase()).await;
    assert_eq!((&told["id"], text(&told)), (&json!(5), r#"cancel ran with {"long":"x"}"#));
    assert_eq!(server.calls()[0]["params"]["name"], "cancel");
    house.delivered(HowDelivered::Line).await;
    assert!(text(&collect(&agent, &code).await).starts_with("[NOTHING TO WAIT FOR]"));
    assert_eq!(server.calls().len(), 1);
}

#[tokio::test]
async fn a_denial_is_collected_and_anothers_code_reveals_nothing() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(plan(&server)).await;
    let agent = hasty(&house).await;
    agent.ask(&call(1, "cancel", json!({}))).await;
    let waits = house.pending().await;
    let code = waits.digest.short_code();
    let other = house.other_agent("other", &["rig"]).await.initialized("hasty").await;
    let (theirs, unknown) = (collect(&other, &code).await, collect(&other, "ZZZZZZ").await);
    assert_eq!(theirs, unknown);
    assert!(text(&theirs).starts_with("[NOTHING TO WAIT FOR]"), "{theirs}");
    let modernly = modern(5, "tools/call", json!({"name": "countersign_wait", "arguments": {"code": code}}));
    let elsewhere = mirrored(house.agent(), "tools/call", Some("countersign_wait")).ask(&modernly).await;
    assert!(text(&elsewhere).starts_with("[NOTHING TO WAIT FOR]"), "a call of another era");
    assert!(house.pending().await.waiter.is_none());

    house.deny(&waits, "no").await;
    assert_eq!(text(&collect(&agent, &code).await), "[DENIED by ann] no");
    for odd in [json!({}), json!({"code": 7}), json!({"code": "cancel"})] {
        let told = agent.ask(&call(6, "countersign_wait", odd)).await;
        assert!(text(&told).starts_with("[NOTHING TO WAIT FOR]"), "{told}");
    }
    assert!(server.calls().is_empty());
}

#[tokio::test]
async fn it_is_there_only_where_it_was_opted_in_and_a_call_can_wait() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(plan(&server)).await;
    let names = async |house: &House| {
        let list = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/list"});
        let told = hasty(house).await.ask(&list).await;
        let tools = told["result"]["tools"].as_array().unwrap().clone();
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&house).await, ["look", "cancel", "forbidden", "countersign_wait"]);
    house.rule(r#"{"version": "1", "default": "allow"}"#).await.unwrap();
    assert_eq!(names(&house).await, ["look", "secret", "cancel", "forbidden"]);

    let plain = House::open(Plan::at(&server.url)).await;
    assert_eq!(names(&plain).await, ["look", "cancel", "forbidden"]);
    let told = collect(&hasty(&plain).await, "ABCDEF").await;
    assert_eq!(text(&told), r#"countersign_wait ran with {"code":"ABCDEF"}"#, "the server's to answer");
}

#[tokio::test]
async fn who_collects_adds_no_header_to_the_call() {
    let server = Server::start(Manner::Modern).await;
    let mut plan = plan(&server);
    plan.door.no_laps = vec!["hasty".into()];
    let house = House::open(plan).await;
    let mut asked = modern(1, "tools/call", json!({"name": "cancel", "arguments": {"region": "eu"}}));
    asked["params"]["_meta"][CLIENT] = json!({"name": "hasty", "version": "1"});
    let agent = |tool| mirrored(house.agent(), "tools/call", Some(tool));
    let ticket = agent("cancel").with("mcp-param-region", "eu").ask(&asked).await;
    assert!(text(&ticket).starts_with("[NOT EXECUTED: waiting for approval"), "{ticket}");
    let code = house.pending().await.digest.short_code();
    for (id, arguments) in [(2, json!({"code": code})), (3, json!({"code": code, "anything": "us"}))] {
        let wanted = modern(id, "tools/call", json!({"name": "countersign_wait", "arguments": arguments}));
        let odd = agent("countersign_wait").with("mcp-param-region", "us").with("mcp-param-code", &code);
        let answer = odd.post(&wanted).await;
        if id == 2 {
            house.until(|call| call.waiter.is_some()).await;
            drop(answer);
            house.until(|call| call.waiter.is_none()).await;
            continue;
        }
        let waits = house.until(|call| call.waiter.is_some()).await;
        house.approve(&waits).await;
        assert_eq!(text(&answer.response().await), r#"cancel ran with {"region":"eu"}"#);
    }
    let sent = server.headers().last().unwrap().clone();
    assert!(sent["mcp-method"] == "tools/call" && sent["mcp-name"] == "cancel", "{sent:?}");
    let odd = sent.keys().find(|name| name.as_str().starts_with("mcp-param-"));
    assert_eq!(odd, None, "{sent:?}");
}
