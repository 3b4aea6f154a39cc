//! Arguments that a header repeats (`x-mcp-header`): checked by what the server's list says, and said again of
//! the body that was judged.

use std::{pin::pin, sync::Arc, time::Duration};

use countersign::downstream::Patience;
use futures_util::future::join_all;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::{sync::Notify, time::timeout};

use crate::rig::{Agent, House, Manner, Plan, Script, Server, mirrored, modern, text};

/// Tools that repeat `region`, and `limit` of `where`.
fn marked(names: &[&str]) -> Value {
    let schema = json!({"type": "object", "properties": {
        "region": {"type": ["string", "null"], "x-mcp-header": "Region"},
        "where": {"type": "object", "properties": {"limit": {"type": "integer", "x-mcp-header": "LIMIT"}}},
        "note": {"type": "string"}}});
    let tool = |name: &&str| json!({"name": name, "inputSchema": schema});
    json!({"tools": names.iter().map(tool).collect::<Vec<_>>(), "resultType": "complete"})
}

fn lists(server: &Server, result: &Value) {
    let body = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{result}}}"#);
    server.answers("tools/list", Script::new(200, "application/json", &body));
}

async fn list(house: &House) -> Value {
    mirrored(house.agent(), "tools/list", None).ask(&modern(1, "tools/list", json!({}))).await
}

async fn marking() -> (Server, House) {
    let server = Server::start(Manner::Modern).await;
    lists(&server, &marked(&["look", "cancel"]));
    let house = House::open(Plan::at(&server.url)).await;
    (server, house)
}

fn agent(house: &House, tool: &str, said: &[(&'static str, &str)]) -> Agent {
    let agent = mirrored(house.agent(), "tools/call", Some(tool));
    said.iter().fold(agent, |agent, (name, value)| agent.with(name, value))
}

const REGION: &str = "mcp-param-region";
const LIMIT: &str = "mcp-param-limit";

/// The status of a call, and the code of its error.
async fn told(agent: &Agent, tool: &str, arguments: Value) -> (StatusCode, Value) {
    let answer = agent.post(&modern(2, "tools/call", json!({"name": tool, "arguments": arguments}))).await;
    (answer.status, answer.response().await["error"]["code"].clone())
}

#[tokio::test]
async fn a_header_says_its_own_argument_once_the_list_was_seen() {
    let (server, house) = marking().await;
    let swapped = json!({"region": "us", "note": "eu"});
    let wrong = (StatusCode::BAD_REQUEST, json!(-32020));
    let fine = (StatusCode::OK, json!(null));
    let eu = agent(&house, "look", &[(REGION, "eu"), ("mcp-param-new", "x")]);
    assert_eq!(told(&agent(&house, "look", &[]), "look", swapped.clone()).await, fine, "nothing is known");

    assert_eq!(list(&house).await["result"]["tools"], marked(&["look", "cancel"])["tools"]);
    for (said, arguments, expected) in [
        (&[(REGION, "eu")][..], swapped.clone(), &wrong),
        (&[], swapped.clone(), &wrong),
        (&[(REGION, "eu")], json!({"note": "eu"}), &wrong),
        (&[(REGION, "eu")], json!({"region": null, "note": "eu"}), &wrong),
        (&[], json!({"region": null, "note": "eu"}), &fine),
        (&[(LIMIT, "7")], json!({"where": {"limit": 8}, "limit": 7}), &wrong),
        (
            &[(REGION, "=?base64?ZXU=?="), (LIMIT, "7.0")],
            json!({"region": "eu", "where": {"limit": 7}}),
            &fine,
        ),
    ] {
        for tool in ["look", "cancel"] {
            if expected == &fine && tool == "cancel" {
                continue;
            }
            let told = told(&agent(&house, tool, said), tool, arguments.clone()).await;
            assert_eq!(&told, expected, "{tool} {said:?} {arguments}");
        }
    }
    let up = server.headers().pop().unwrap();
    assert_eq!(
        (&up[REGION], &up[LIMIT]),
        (&"eu".parse().unwrap(), &"7".parse().unwrap()),
        "as the body has it"
    );
    assert_eq!(told(&eu, "look", json!({"region": "eu"})).await, fine);
    assert_eq!(server.headers().pop().unwrap()["mcp-param-new"], "x", "nobody knows it, so it passes");
    assert!(house.calls(&[countersign::call::StateName::Pending]).await.is_empty());
}

#[tokio::test]
async fn a_list_is_heard_however_it_comes() {
    let long = "x".repeat(300_000);
    let mut result = marked(&["look"]);
    result["tools"][0]["description"] = json!(long);
    for (kind, before, after) in
        [("application/json", "", ""), ("text/event-stream", "event: message\ndata: ", "\n\n")]
    {
        let (server, house) = marking().await;
        let body = format!(r#"{before}{{"jsonrpc":"2.0","id":$ID,"result":{result}}}{after}"#);
        server.answers("tools/list", Script::new(200, kind, &body));
        house.rule(r#"{"version": "1", "default": "allow"}"#).await.unwrap();
        assert_eq!(list(&house).await["result"], result);
        let asked = server.asked("tools/list");
        let arguments = json!({"region": "eu"});
        assert_eq!(
            told(&agent(&house, "look", &[]), "look", arguments.clone()).await.1,
            json!(-32020),
            "{kind}"
        );
        assert_eq!(server.asked("tools/list"), asked + 1, "asked again before it is refused");
        assert_eq!(told(&agent(&house, "look", &[(REGION, "eu")]), "look", arguments).await.1, json!(null));
        assert_eq!(server.asked("tools/list"), asked + 1);
    }
}

#[tokio::test]
async fn what_the_server_says_by_now_is_heard_before_a_call_is_refused() {
    let (server, house) = marking().await;
    list(&house).await;
    // The agent has heard so elsewhere: from another broker, or from a cache.
    let mut other = marked(&["look"]);
    other["tools"][0]["inputSchema"]["properties"]["note"]["x-mcp-header"] = json!("Note");
    lists(&server, &other);
    let arguments = json!({"region": "eu", "note": "n"});
    let newer = agent(&house, "look", &[(REGION, "eu"), ("mcp-param-note", "n")]);
    assert_eq!(
        told(&newer, "look", arguments.clone()).await.1,
        json!(null),
        "not contrary to what was known"
    );
    assert_eq!(server.asked("tools/list"), 1);
    lists(&server, &json!({"tools": [{"name": "look", "inputSchema": {"type": "object"}}]}));
    let answer = agent(&house, "look", &[]);
    assert_eq!(told(&answer, "look", arguments.clone()).await.1, json!(null), "it marks nothing any more");
    assert_eq!((server.asked("tools/list"), server.calls().len()), (2, 2));
    assert_eq!(told(&answer, "look", arguments.clone()).await.1, json!(null));
    assert_eq!(server.asked("tools/list"), 2, "that is known now");
    lists(&server, &marked(&["look"]));
    list(&house).await;
    lists(&server, &json!({"tools": [{"name": "look", "inputSchema": {"type": "object"}}]}));
    assert_eq!(told(&answer, "look", arguments).await.1, json!(-32020));
    assert_eq!(server.asked("tools/list"), 3, "it was asked a moment ago");
}

#[tokio::test]
async fn a_list_without_an_end_is_not_followed_to_it() {
    let (server, house) = marking().await;
    let mut endless = marked(&["look"]);
    endless["nextCursor"] = json!("on");
    lists(&server, &endless);
    list(&house).await;
    let answer = agent(&house, "look", &[]);
    assert_eq!(told(&answer, "look", json!({"region": "eu"})).await.1, json!(-32020));
    assert_eq!(server.asked("tools/list"), 1 + 8);
}

#[tokio::test]
async fn what_is_known_holds_where_the_server_does_not_answer() {
    let (server, house) = marking().await;
    list(&house).await;
    server.answers("tools/list", Script::new(503, "text/plain", "busy"));
    assert_eq!(told(&agent(&house, "look", &[]), "look", json!({"region": "eu"})).await.1, json!(-32020));
    assert_eq!((server.asked("tools/list"), server.calls().len()), (2, 0));
}

#[tokio::test]
async fn a_server_is_asked_once_for_all_who_are_doubted() {
    let server = Server::start(Manner::Modern).await;
    lists(&server, &marked(&["look"]));
    let mut plan = Plan::at(&server.url);
    // Less than one list may have.
    plan.door.max_held = 1 << 20;
    let house = House::open(plan).await;
    list(&house).await;
    let moved = json!({"tools": [{"name": "look", "inputSchema": {"type": "object"}}]});
    let body = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{moved}}}"#);
    let go = Arc::new(Notify::new());
    let mut late = Script::new(200, "application/json", &body);
    late.after = Some(go.clone());
    server.answers("tools/list", late);
    let answer = agent(&house, "look", &[]);
    let impatient = told(&answer, "look", json!({"region": "eu"}));
    assert!(timeout(Duration::from_millis(300), impatient).await.is_err(), "it hangs up");
    let mut calls = pin!(join_all((0..8).map(|_| told(&answer, "look", json!({"region": "eu"})))));
    assert!(timeout(Duration::from_millis(300), &mut calls).await.is_err(), "they wait for the same answer");
    go.notify_one();
    let told = calls.await;
    assert!(told.iter().all(|told| told.1 == json!(null)), "{told:?}");
    assert_eq!((server.asked("tools/list"), server.calls().len()), (2, 8));
}

#[tokio::test]
async fn a_hidden_tool_has_no_headers() {
    let (server, house) = marking().await;
    house.rule(r#"{"version": "1", "default": "allow", "hide": ["secret"]}"#).await.unwrap();
    lists(&server, &marked(&["look", "secret"]));
    list(&house).await;
    let arguments = json!({"region": "eu"});
    // Now the broker has read the whole list.
    assert_eq!(told(&agent(&house, "look", &[]), "look", arguments.clone()).await.1, json!(-32020));
    for said in [&[][..], &[(REGION, "eu")], &[("mcp-param-zone", "x")]] {
        let call = modern(2, "tools/call", json!({"name": "secret", "arguments": arguments}));
        let answer = agent(&house, "secret", said).post(&call).await;
        assert_eq!(answer.status, StatusCode::OK, "{said:?}");
        assert_eq!(answer.response().await["error"]["message"], "Unknown tool: secret", "{said:?}");
    }
}

#[tokio::test]
async fn nobody_is_asked_about_a_call_whose_headers_say_something_else() {
    let (_server, house) = marking().await;
    let swapped = json!({"region": "us", "note": "eu"});
    let wrong = (StatusCode::BAD_REQUEST, json!(-32020));
    let eu = agent(&house, "cancel", &[(REGION, "eu")]);
    assert_eq!(told(&eu, "cancel", swapped.clone()).await, wrong, "another argument's");
    list(&house).await;
    let zone = agent(&house, "cancel", &[(REGION, "us"), ("mcp-param-zone", "eu")]);
    assert_eq!(told(&zone, "cancel", swapped).await, wrong, "not in the schema");
    assert!(house.calls(&[countersign::call::StateName::Pending]).await.is_empty());
}

#[tokio::test]
async fn arguments_that_are_too_large_are_not_looked_into() {
    let server = Server::start(Manner::Modern).await;
    let mut plan = Plan::at(&server.url);
    plan.door.max_arguments = 100;
    let house = House::open(plan).await;
    let said = agent(&house, "look", &[(REGION, "eu")]);
    let large = json!({"region": "us", "note": "x".repeat(100)});
    assert_eq!(told(&said, "look", large).await, (StatusCode::BAD_REQUEST, json!(-32602)));
    assert_eq!(told(&said, "look", json!({"region": "us"})).await.1, json!(-32020));
}

#[tokio::test]
async fn a_call_that_waited_goes_up_with_what_its_own_body_says() {
    let server = Server::start(Manner::Modern).await;
    lists(&server, &marked(&["look", "cancel"]));
    let mut plan = Plan::at(&server.url);
    plan.door.wait_tool = true;
    plan.door.no_laps = vec!["hasty".into()];
    plan.door.patience.insert("hasty".into(), Patience::Seconds(0));
    let house = House::open(plan).await;
    list(&house).await;
    let arguments = json!({"region": "eu", "where": {"limit": 7.0}});
    let mut asked = modern(1, "tools/call", json!({"name": "cancel", "arguments": arguments}));
    asked["params"]["_meta"]["io.modelcontextprotocol/clientInfo"] = json!({"name": "hasty", "version": "1"});
    let ticket = agent(&house, "cancel", &[(REGION, "eu"), (LIMIT, "7")]).ask(&asked).await;
    assert!(text(&ticket).starts_with("[NOT EXECUTED: waiting for approval"), "{ticket}");
    let code = house.pending().await.digest.short_code();
    let wanted = modern(2, "tools/call", json!({"name": "countersign_wait", "arguments": {"code": code}}));
    let odd = agent(&house, "countersign_wait", &[(REGION, "us"), ("mcp-param-code", &code)]);
    let answer = odd.post(&wanted).await;
    house.approve(&house.until(|call| call.waiter.is_some()).await).await;
    answer.response().await;
    let sent = server.headers().pop().unwrap();
    assert_eq!(server.calls()[0]["params"]["name"], "cancel");
    assert_eq!((&sent[REGION], &sent[LIMIT]), (&"eu".parse().unwrap(), &"7".parse().unwrap()), "{sent:?}");
    assert!(!sent.contains_key("mcp-param-code"), "{sent:?}");
}

#[tokio::test]
async fn where_servers_are_joined_each_has_its_own() {
    let (a, b) = (Server::start(Manner::Modern).await, Server::start(Manner::Modern).await);
    lists(&a, &marked(&["look"]));
    let house = House::open(Plan::two(&a.url, &b.url)).await;
    let tools = mirrored(house.agent().joined(), "tools/list", None);
    let tools = tools.ask(&modern(1, "tools/list", json!({}))).await;
    assert_eq!(tools["result"]["tools"][0]["name"], "a__look", "{tools}");
    let swapped = json!({"region": "us", "note": "eu"});
    for (tool, region, expected) in [
        ("a__look", Some("eu"), json!(-32020)),
        ("a__look", None, json!(-32020)),
        ("a__look", Some("us"), json!(null)),
        ("b__look", None, json!(null)),
    ] {
        let said: Vec<_> = region.map(|region| (REGION, region)).into_iter().collect();
        let agent = agent(&house, tool, &said).joined();
        assert_eq!(told(&agent, tool, swapped.clone()).await.1, expected, "{tool} {region:?}");
    }
    assert_eq!((a.calls().len(), b.calls().len()), (1, 1));
    assert_eq!(a.headers().pop().unwrap()[REGION], "us");
    // The plain endpoint of the same server knows it too.
    assert_eq!(told(&agent(&house, "look", &[]).to("a"), "look", swapped).await.1, json!(-32020));
}
