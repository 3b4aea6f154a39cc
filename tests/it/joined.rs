//! One endpoint for all servers of a grant: whom a call reaches, who sees it, and what each is told.

use countersign::{call::StateName, ledger::StopScope};
use serde_json::{Value, json};

use crate::rig::{
    Agent, House, Manner, Plan, Script, Server, call, call_with_token, child, mirrored, modern, request, text,
};

/// A house with two servers that have the same tools; an agent at the joined endpoint.
async fn two(manner: Manner) -> (Server, Server, House) {
    let (a, b) = (Server::start(manner).await, Server::start(manner).await);
    let house = House::open(Plan::two(&a.url, &b.url)).await;
    (a, b, house)
}

fn names(list: &Value, key: &str, member: &str) -> Vec<String> {
    let elements = list["result"][key].as_array().unwrap_or_else(|| panic!("{list}"));
    elements.iter().map(|element| element[member].as_str().unwrap().to_owned()).collect()
}

async fn tools(agent: &Agent) -> Vec<String> {
    names(&agent.ask(&request(9, "tools/list", json!({}))).await, "tools", "name")
}

#[tokio::test]
async fn a_call_reaches_the_server_that_its_name_says_and_no_other() {
    let (a, b, house) = two(Manner::Json).await;
    let agent = house.agent().joined().initialized("test").await;
    let visible = ["a__look", "a__cancel", "a__forbidden", "b__look", "b__cancel", "b__forbidden"];
    assert_eq!(tools(&agent).await, visible);

    let mut asked = call(1, "b__look", json!({"n": 1}));
    asked["params"]["_meta"] = json!({"x": 1.50});
    let answer = agent.post(&asked).await;
    assert_eq!(text(&answer.response().await), "look ran with {\"n\":1}");
    asked["params"]["name"] = json!("look");
    assert_eq!((a.calls().len(), b.calls()), (0, vec![asked]));

    for (name, said) in [
        ("b__secret", "Unknown tool: secret"),
        ("c__look", "Unknown tool: c__look"),
        ("look", "Unknown tool: look"),
        ("__look", "Unknown tool: __look"),
    ] {
        let refused = agent.ask(&call(2, name, json!({}))).await;
        assert_eq!((&refused["error"]["code"], &refused["error"]["message"]), (&json!(-32602), &json!(said)));
    }
    assert_eq!(text(&agent.ask(&call(3, "a__forbidden", json!({}))).await), "[POLICY DENIED] not here");
    assert_eq!((a.calls().len(), b.calls().len()), (0, 1));
}

#[tokio::test]
async fn what_people_see_and_what_is_sent_has_the_servers_own_name() {
    let (a, b, house) = two(Manner::Json).await;
    let agent = house.agent().joined().initialized("test").await;
    let answer = agent.post(&call_with_token(1, "b__cancel", json!({"run": 7}), "t")).await;
    let pending = house.pending().await;
    assert_eq!((&*pending.request.server, &*pending.request.tool), ("b", "cancel"));
    // Whoever comes by the other endpoint makes the same call.
    drop(answer);
    let plain = house.agent_of("b").initialized("test").await;
    let answer = plain.post(&call_with_token(2, "cancel", json!({"run": 7}), "t")).await;
    let joined = house.until(|call| call.waiter.is_some() && call.state.name() == StateName::Pending).await;
    assert_eq!((joined.id, house.calls(&[]).await.len()), (pending.id, 1));
    house.approve(&joined).await;
    assert_eq!(text(&answer.response().await), "cancel ran with {\"run\":7}");
    assert_eq!(b.calls()[0]["params"]["name"], "cancel");
    assert!(a.calls().is_empty());
}

#[tokio::test]
async fn a_cancel_is_heard_by_the_call_it_names() {
    let (a, b, house) = two(Manner::Json).await;
    let agent = house.agent().joined().initialized("test").await;
    let _waits = agent.post(&call(1, "a__cancel", json!({}))).await;
    let _other = agent.post(&call(2, "b__cancel", json!({}))).await;
    house.until(|call| &*call.request.server == "b").await;
    let cancel = json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}});
    assert_eq!(agent.post(&cancel).await.status, 202);
    let left = house.until(|call| call.state.name() == StateName::Cancelled || call.waiter.is_none()).await;
    assert_eq!(&*left.request.server, "b");
    let heard = |server: &Server| {
        server.messages().iter().filter(|message| message["method"] == "notifications/cancelled").count()
    };
    assert_eq!((heard(&a), heard(&b)), (0, 0), "it waited here");
}

#[tokio::test]
async fn each_server_is_told_of_the_conversation_and_of_its_end() {
    let (a, b, house) = two(Manner::Json).await;
    let agent = house.agent().joined().initialized("test").await;
    for server in [&a, &b] {
        let methods: Vec<_> = server.messages().iter().map(|m| m["method"].clone()).collect();
        assert_eq!(methods, ["initialize", "notifications/initialized"]);
    }
    assert_eq!(agent.ask(&request(1, "ping", json!({}))).await["result"], json!({}));
    let other = house.other_agent("other", &["a"]).await.joined().initialized("test").await;
    assert_eq!(tools(&other).await.len(), 3);
    // A session is of one grant, and of this endpoint.
    let session = agent.headers["mcp-session-id"].to_str().unwrap().to_owned();
    let stolen = other.clone().with("mcp-session-id", &session);
    assert_eq!(stolen.post(&request(1, "ping", json!({}))).await.status, 404);
    let plain = house.agent_of("a").with("mcp-session-id", &session);
    assert_eq!(plain.post(&request(1, "ping", json!({}))).await.status, 404);

    assert_eq!(agent.send("DELETE", "").await.status, 200);
    assert_eq!(agent.post(&request(2, "ping", json!({}))).await.status, 404);
    let without = agent.without("mcp-session-id");
    assert_eq!(without.post(&request(3, "tools/list", json!({}))).await.status, 400);
}

#[tokio::test]
async fn a_modern_agent_is_joined_without_a_session() {
    let (a, b, house) = two(Manner::Modern).await;
    let list = mirrored(house.agent().joined(), "tools/list", None);
    let listed = list.ask(&modern(1, "tools/list", json!({}))).await;
    assert_eq!(names(&listed, "tools", "name").len(), 6);
    assert_eq!(
        (&listed["result"]["cacheScope"], &listed["result"]["ttlMs"]),
        (&json!("private"), &json!(30_000))
    );

    let agent = mirrored(house.agent().joined(), "tools/call", Some("b__cancel"));
    let answer =
        agent.post(&modern(2, "tools/call", json!({"name": "b__cancel", "arguments": {"n": 1}}))).await;
    house.approve(&house.pending().await).await;
    let said = answer.response().await;
    assert_eq!(
        (text(&said), &said["result"]["resultType"]),
        ("cancel ran with {\"n\":1}", &json!("complete"))
    );
    assert_eq!(b.headers().last().unwrap()["mcp-name"], "cancel");
    assert!(a.calls().is_empty());

    for header in ["a__cancel", "cancel"] {
        let agent = mirrored(house.agent().joined(), "tools/call", Some(header));
        let answer =
            agent.post(&modern(3, "tools/call", json!({"name": "b__cancel", "arguments": {}}))).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.response().await["error"]["code"], -32020);
    }
    assert_eq!(b.calls().len(), 1);
}

#[tokio::test]
async fn a_call_that_asks_for_input_goes_on_at_the_same_server() {
    let (_, b, house) = two(Manner::Modern).await;
    let agent = mirrored(house.agent().joined(), "tools/call", Some("b__look"));
    let mut asked = modern(1, "tools/call", json!({"name": "b__look", "arguments": {"asks": 1}}));
    let first = agent.ask(&asked).await;
    assert_eq!(first["result"]["resultType"], "input_required");
    asked["params"]["requestState"] = first["result"]["requestState"].clone();
    asked["params"]["inputResponses"] = json!({"who": {"action": "accept", "content": {}}});
    assert_eq!(agent.ask(&asked).await["result"]["resultType"], "complete");
    assert_eq!(b.calls().len(), 2);
    assert!(b.calls().iter().all(|call| call["params"]["name"] == "look"));
}

#[tokio::test]
async fn what_is_stopped_is_left_out_and_the_rest_goes_on() {
    let (_, b, house) = two(Manner::Json).await;
    let agent = house.agent().joined().initialized("test").await;
    house.broker.stop(StopScope::Server("a".into()), "ann", "drill").await.unwrap();
    let list = agent.ask(&request(1, "tools/list", json!({}))).await;
    assert_eq!(names(&list, "tools", "name").len(), 3);
    assert_eq!(list["result"]["_meta"]["countersign/unavailable"]["a"], "[STOPPED] drill");
    assert_eq!(text(&agent.ask(&call(2, "a__look", json!({}))).await), "[STOPPED] drill");
    assert_eq!(text(&agent.ask(&call(3, "b__look", json!({}))).await), "look ran with {}");
    assert_eq!(b.calls().len(), 1);
}

#[tokio::test]
async fn a_call_of_what_was_stopped_before_the_session_began_is_denied_as_at_the_plain_endpoint() {
    let (a, _, house) = two(Manner::Json).await;
    house.agent().joined().initialized("before").await;
    house.broker.stop(StopScope::Server("a".into()), "ann", "drill").await.unwrap();
    let agent = house.agent().joined().initialized("test").await;
    let seen = a.messages().len();
    assert_eq!(text(&agent.ask(&call(1, "a__look", json!({}))).await), "[STOPPED] drill");
    house.until(|call| &*call.request.server == "a" && call.state.name() == StateName::Denied).await;
    let listed = agent.ask(&request(2, "resources/read", json!({"uri": "joined:a:x:y"}))).await;
    assert_eq!(listed["error"]["message"], "[STOPPED] drill", "{listed}");
    assert_eq!(a.messages().len(), seen);
    assert_eq!(text(&agent.ask(&call(3, "b__look", json!({}))).await), "look ran with {}");
}

#[tokio::test]
async fn a_server_that_is_down_leaves_only_its_own_part_out() {
    let b = Server::start(Manner::Json).await;
    let mut plan = Plan::at("http://127.0.0.1:9/mcp");
    let up = Plan::at(&b.url).servers.remove(0).1;
    plan.servers.push(("up_", up.clone()));
    plan.servers.push(("up", up));
    plan.servers.push(("pipe", child()));
    let house = House::open(plan).await;
    let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}});
    let said = house.agent().joined().ask(&hello).await;
    let missing = &said["result"]["_meta"]["countersign/unavailable"];
    assert!(missing["rig"].as_str().unwrap().contains("cannot connect"), "{said}");
    assert!(missing["up_"].as_str().unwrap().contains("cannot be told"), "{said}");
    assert_eq!(missing.as_object().unwrap().len(), 2);
    assert_eq!(said["result"]["serverInfo"]["name"], "countersign");

    let agent = house.agent().joined().initialized("test").await;
    let list = agent.ask(&request(1, "tools/list", json!({}))).await;
    assert_eq!(names(&list, "tools", "name"), ["up__look", "up__cancel", "up__forbidden"]);
    assert_eq!(list["result"]["_meta"]["countersign/unavailable"].as_object().unwrap().len(), 1);
    assert_eq!(text(&agent.ask(&call(2, "up__look", json!({}))).await), "look ran with {}");
    assert_eq!(text(&agent.ask(&call(3, "pipe__look", json!({}))).await), "look ran, call 1");
    let down = agent.ask(&call(4, "rig__look", json!({}))).await;
    assert!(
        down["error"]["message"]
            .as_str()
            .unwrap()
            .starts_with("the server rig cannot be reached: cannot connect"),
        "{down}"
    );
}

#[tokio::test]
async fn a_session_that_one_server_forgot_is_opened_again_and_the_others_stay() {
    let (a, b, house) = two(Manner::Json).await;
    let agent = house.agent().joined().initialized("test").await;
    a.answers("tools/call", Script::new(404, "text/plain", "no such session"));
    let lost = agent.post(&call(1, "a__look", json!({}))).await;
    assert_eq!(lost.status, 200, "a 404 would end the whole session");
    assert_eq!(lost.response().await["error"]["data"]["status"], 404);
    assert_eq!(text(&agent.ask(&call(2, "b__look", json!({}))).await), "look ran with {}");
    assert_eq!(tools(&agent).await.len(), 6);
    let hellos = |server: &Server| server.messages().iter().filter(|m| m["method"] == "initialize").count();
    assert_eq!((hellos(&a), hellos(&b)), (2, 1));
    let greeted = a.messages().iter().filter(|m| m["method"] == "notifications/initialized").count();
    assert_eq!(greeted, 2);
}

const FRAGILE: &str = r#"
import json, sys
def say(message): sys.stdout.write(json.dumps(message) + "\n"); sys.stdout.flush()
for line in sys.stdin:
    m = json.loads(line); method = m.get("method")
    if method == "initialize":
        say({"jsonrpc": "2.0", "id": m["id"], "result": {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}},
             "serverInfo": {"name": "fragile", "version": "1"}}})
    elif method == "tools/call" and m["params"]["name"] == "die": sys.exit(1)
    elif method == "tools/call":
        say({"jsonrpc": "2.0", "id": m["id"], "result": {"content": [{"type": "text", "text": "still here"}]}})
"#;

#[tokio::test]
async fn a_command_that_crashes_takes_nothing_else_with_it() {
    let mut plan = Plan::of(child());
    let mut fragile = child();
    fragile.command = Some(["python3", "-u", "-c", FRAGILE].map(String::from).to_vec());
    plan.servers.push(("fragile", fragile));
    let house = House::open(plan).await;
    let agent = house.agent().joined().initialized("test").await;
    let plain = house.agent_of("fragile").initialized("test").await;
    assert_eq!(text(&agent.ask(&call(1, "rig__look", json!({}))).await), "look ran, call 1");
    let lost = agent.ask(&call(2, "fragile__die", json!({}))).await;
    assert!(lost.to_string().contains("ended"), "{lost}");
    // Nobody else notices: not the other server, not the other conversation with the same one.
    assert_eq!(text(&agent.ask(&call(3, "rig__look", json!({}))).await), "look ran, call 2");
    assert_eq!(text(&plain.ask(&call(4, "look", json!({}))).await), "still here");
    assert_eq!(text(&agent.ask(&call(5, "fragile__look", json!({}))).await), "still here");
}

#[tokio::test]
async fn what_a_session_keeps_is_small() {
    let (a, _b, house) = two(Manner::Json).await;
    let mut hello = request(
        1,
        "initialize",
        json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}),
    );
    let room = (64 << 10) - hello.to_string().len() - r#","x":"""#.len();
    hello["params"]["x"] = json!("x".repeat(room + 1));
    let answer = house.agent().joined().post(&hello).await;
    assert!(answer.headers.get("mcp-session-id").is_none());
    let refused = answer.response().await;
    assert_eq!((&refused["id"], &refused["error"]["code"]), (&json!(1), &json!(-32602)));
    let says = refused["error"]["message"].as_str().unwrap();
    assert!(says.contains("65537 bytes") && says.contains("at most 65536"), "{says}");
    assert!(a.messages().is_empty());
    hello["params"]["x"] = json!("x".repeat(room));
    assert!(house.agent().joined().ask(&hello).await["result"].is_object());

    let agent = house.agent().joined().initialized("test").await;
    let level = json!({"level": "info", "x": "x".repeat(64 << 10)});
    let refused = agent.ask(&request(2, "logging/setLevel", level)).await;
    let says = refused["error"]["message"].as_str().unwrap();
    assert!(says.contains("this logging/setLevel has") && says.contains("65536"), "{says}");
    // The endpoint of one server keeps none of it.
    hello["params"]["x"] = json!("x".repeat(room + 1));
    assert!(house.agent_of("a").ask(&hello).await["result"].is_object());
}

#[tokio::test]
async fn below_a_server_the_agent_is_told_where_it_is() {
    let (_a, _b, house) = two(Manner::Json).await;
    let lost = house.agent_of("a").at("/mcp/a/").post(&request(1, "ping", json!({}))).await;
    assert_eq!(lost.status, 404);
    let says = String::from_utf8(lost.bytes().await.into()).unwrap();
    assert!(says.contains("use /mcp/a,"), "{says}");
}
