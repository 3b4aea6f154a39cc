//! The joined endpoint beside calls: resources, prompts, lists in pages, streams, and what servers ask.

use serde_json::{Value, json};

use crate::rig::{
    Agent, House, Manner, Plan, Script, Server, call_with_token, mirrored, modern, request, text,
};

const HELLO: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"protocolVersion":"2025-06-18","instructions":"Be kind.",
"capabilities":{"tools":{"listChanged":true},"resources":{"subscribe":$SUB},"prompts":{},"logging":{},"tasks":{}},
"serverInfo":{"name":"rig","version":"1"}}}"#;

/// Two servers with everything, and an agent that has not knocked yet.
async fn two(manner: Manner) -> (Server, Server, House) {
    let (a, b) = (Server::start(manner).await, Server::start(manner).await);
    if manner != Manner::Modern {
        for (server, session, sub) in [(&a, "s-a", "true"), (&b, "s-b", "false")] {
            let mut hello = Script::json(HELLO.replace("$SUB", sub));
            hello.headers.push(("mcp-session-id", session));
            server.answers("initialize", hello);
        }
    }
    let house = House::open(Plan::two(&a.url, &b.url)).await;
    (a, b, house)
}

/// The params of each message of this method that reached the server.
fn heard(server: &Server, method: &str) -> Vec<Value> {
    let all = server.messages().into_iter().filter(|message| message["method"] == method);
    all.map(|message| message["params"].clone()).collect()
}

#[tokio::test]
async fn the_endpoint_says_what_all_of_them_can_do() {
    let (_, _, house) = two(Manner::Json).await;
    let hello = request(
        0,
        "initialize",
        json!({"protocolVersion": "2025-11-25", "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"}}),
    );
    let said = house.agent().joined().ask(&hello).await["result"].clone();
    assert_eq!(said["protocolVersion"], "2025-06-18");
    let can = json!({"tools": {"listChanged": true}, "resources": {"subscribe": true}, "prompts": {}, "logging": {}});
    assert_eq!(said["capabilities"], can);
    let words = said["instructions"].as_str().unwrap();
    assert!(
        words.contains("SERVER__NAME") && words.ends_with("# a\n\nBe kind.\n\n# b\n\nBe kind."),
        "{words}"
    );
}

#[tokio::test]
async fn the_same_uri_of_two_servers_is_two_resources() {
    let (a, b, house) = two(Manner::Json).await;
    let agent = house.agent().joined().initialized("test").await;
    for (server, more) in [(&a, r#","nextCursor":"p2""#), (&b, "")] {
        let list =
            r#"{"jsonrpc":"2.0","id":$ID,"result":{"resources":[{"uri":"file:///same","x":1.50}]$MORE}}"#;
        server.answers("resources/list", Script::json(list.replace("$MORE", more)));
        server.answers(
            "resources/templates/list",
            Script::json(
                r#"{"id":$ID,"jsonrpc":"2.0","result":{"resourceTemplates":[{"uriTemplate":"db://{t}"}]}}"#,
            ),
        );
        server.answers(
            "resources/read",
            Script::json(
                r#"{"jsonrpc":"2.0","id":$ID,"result":{"contents":[{"uri":"file:///same","text":"x"}]}}"#,
            ),
        );
        server.answers("resources/subscribe", Script::json(r#"{"jsonrpc":"2.0","id":$ID,"result":{}}"#));
    }
    let list = agent.ask(&request(1, "resources/list", json!({}))).await;
    let listed =
        json!([{"uri": "joined:a:file:///same", "x": 1.50}, {"uri": "joined:b:file:///same", "x": 1.50}]);
    assert_eq!(list["result"]["resources"], listed);
    let next = request(2, "resources/list", json!({"cursor": list["result"]["nextCursor"], "k": 1}));
    let page = agent.ask(&next).await;
    assert_eq!(page["result"]["resources"].as_array().unwrap().len(), 1);
    assert_eq!(heard(&a, "resources/list")[1], json!({"cursor": "p2", "k": 1}));
    assert_eq!(heard(&b, "resources/list").len(), 1, "it has no more");
    let odd = agent.ask(&request(3, "resources/list", json!({"cursor": "p2"}))).await;
    assert_eq!(odd["error"]["code"], -32602);
    let templates = agent.ask(&request(4, "resources/templates/list", json!({}))).await;
    assert_eq!(templates["result"]["resourceTemplates"][1]["uriTemplate"], "joined:b:db://{t}");

    let read = agent.ask(&request(5, "resources/read", json!({"uri": "joined:b:file:///same"}))).await;
    assert_eq!(read["result"]["contents"], json!([{"uri": "joined:b:file:///same", "text": "x"}]));
    assert_eq!(heard(&b, "resources/read"), [json!({"uri": "file:///same"})]);
    let bare = agent.ask(&request(6, "resources/read", json!({"uri": "file:///same"}))).await;
    assert!(bare["error"]["message"].as_str().unwrap().contains("SERVER is one of: a, b"), "{bare}");
    let subscribe = request(7, "resources/subscribe", json!({"uri": "joined:a:file:///same"}));
    assert_eq!(agent.ask(&subscribe).await["result"], json!({}));
    assert_eq!(heard(&a, "resources/subscribe"), [json!({"uri": "file:///same"})]);
    assert!(heard(&a, "resources/read").is_empty());
}

#[tokio::test]
async fn a_uri_as_a_server_wrote_it_is_that_of_the_only_server() {
    let (a, _, house) = two(Manner::Json).await;
    a.answers("resources/read", Script::json(r#"{"jsonrpc":"2.0","id":$ID,"result":{"contents":[]}}"#));
    let agent = house.other_agent("one", &["a"]).await.joined().initialized("test").await;
    agent.ask(&request(1, "resources/read", json!({"uri": "file:///x"}))).await;
    assert_eq!(heard(&a, "resources/read"), [json!({"uri": "file:///x"})]);
}

#[tokio::test]
async fn prompts_and_completions_find_their_server_and_levels_reach_all() {
    let (a, b, house) = two(Manner::Json).await;
    let agent = house.agent().joined().initialized("test").await;
    for server in [&a, &b] {
        server.answers(
            "prompts/list",
            Script::json(r#"{"jsonrpc":"2.0","id":$ID,"result":{"prompts":[{"name":"hi"}]}}"#),
        );
        for method in ["prompts/get", "completion/complete", "logging/setLevel"] {
            server.answers(method, Script::json(r#"{"jsonrpc":"2.0","id":$ID,"result":{"ok":true}}"#));
        }
    }
    let list = agent.ask(&request(1, "prompts/list", json!({}))).await;
    assert_eq!(list["result"]["prompts"], json!([{"name": "a__hi"}, {"name": "b__hi"}]));
    let get = agent.ask(&request(2, "prompts/get", json!({"name": "b__hi", "arguments": {}}))).await;
    assert_eq!(get["result"], json!({"ok": true}));
    assert_eq!(heard(&b, "prompts/get"), [json!({"name": "hi", "arguments": {}})]);
    for (name, at, own) in [("name", "a__hi", "hi"), ("uri", "joined:a:db://{t}", "db://{t}")] {
        let kind = if name == "uri" { "ref/resource" } else { "ref/prompt" };
        let params =
            |at: &str| json!({"ref": {"type": kind, name: at}, "argument": {"name": "n", "value": "v"}});
        agent.ask(&request(3, "completion/complete", params(at))).await;
        assert_eq!(heard(&a, "completion/complete").last(), Some(&params(own)));
    }
    assert!(heard(&a, "prompts/get").is_empty() && heard(&b, "completion/complete").is_empty());
    let level = agent.ask(&request(4, "logging/setLevel", json!({"level": "debug"}))).await;
    assert_eq!(level["result"], json!({}));
    for server in [&a, &b] {
        assert_eq!(heard(server, "logging/setLevel"), [json!({"level": "debug"})]);
    }
    let unknown = agent.ask(&request(5, "prompts/get", json!({"name": "hi"}))).await;
    assert_eq!(unknown["error"]["message"], "Unknown prompt: hi");
}

fn events(messages: &[Value]) -> Script {
    let text: String = messages.iter().map(|message| format!("id: e1\ndata: {message}\n\n")).collect();
    Script { open: true, ..Script::new(200, "text/event-stream", &text) }
}

#[tokio::test]
async fn one_stream_carries_what_all_servers_say_and_answers_find_back() {
    let (a, b, house) = two(Manner::Json).await;
    let changed = json!({"jsonrpc": "2.0", "method": "notifications/tools/list_changed"});
    let ask = json!({"jsonrpc": "2.0", "id": 1, "method": "roots/list",
        "params": {"_meta": {"progressToken": "p"}}});
    let updated =
        json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "db://x"}});
    a.answers("GET", events(&[changed.clone(), ask.clone()]));
    b.answers("GET", events(&[updated, ask]));
    let agent = house.agent().joined().initialized("test").await;
    let mut stream = agent.send("GET", "").await;
    let mut told = Vec::new();
    for _ in 0..4 {
        told.push(stream.message().await);
    }
    let has = |expected: Value| assert!(told.contains(&expected), "{expected} in {told:?}");
    has(changed);
    has(
        json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"uri": "joined:b:db://x"}}),
    );
    for server in ["a", "b"] {
        has(json!({"jsonrpc": "2.0", "id": format!("{server}:1"), "method": "roots/list",
            "params": {"_meta": {"progressToken": format!("{server}:\"p\"")}}}));
    }
    let answer = json!({"jsonrpc": "2.0", "id": "b:1", "result": {"roots": []}});
    assert_eq!(agent.post(&answer).await.status, 202);
    let progress = json!({"jsonrpc": "2.0", "method": "notifications/progress",
        "params": {"progressToken": "b:\"p\"", "progress": 1}});
    assert_eq!(agent.post(&progress).await.status, 202);
    assert!(b.messages().contains(&json!({"jsonrpc": "2.0", "id": 1, "result": {"roots": []}})));
    assert_eq!(heard(&b, "notifications/progress"), [json!({"progressToken": "p", "progress": 1})]);
    assert!(a.messages().iter().all(|message| message["result"].is_null()));

    let last = stream.last_id.clone().unwrap();
    assert!(["a:e1", "b:e1"].contains(&&*last), "{last}");
    let before = (a.headers().len(), b.headers().len());
    let mut resumed = agent.clone().with("last-event-id", "b:e1").send("GET", "").await;
    resumed.message().await;
    assert_eq!((a.headers().len(), b.headers().len()), (before.0, before.1 + 1));
    assert_eq!(b.headers().last().unwrap()["last-event-id"], "e1");
    // The end of the session is the end of its stream.
    assert_eq!(agent.send("DELETE", "").await.status, 200);
    assert!(stream.told().await.is_none());
}

#[tokio::test]
async fn a_calls_stream_keeps_its_progress_and_names_its_events() {
    let (_, _, house) = two(Manner::Stream).await;
    let agent = house.agent().joined().initialized("test").await;
    let mut allowed = agent.post(&call_with_token(1, "b__look", json!({}), "t")).await;
    let progress = allowed.message().await;
    assert_eq!(progress["params"]["progressToken"], "t");
    allowed.message().await;
    assert_eq!(text(&allowed.message().await), "look ran with {}");
    assert_eq!(allowed.last_id.as_deref(), Some("b:7"));

    // A call that waits is taken up again where it was.
    let mut waits = agent.post(&call_with_token(2, "b__cancel", json!({}), "t")).await;
    assert!(waits.message().await["params"]["message"].as_str().unwrap().starts_with("waiting for approval"));
    let last = waits.last_id.clone();
    assert!(last.as_deref().unwrap().starts_with("b:countersign-"), "{last:?}");
    drop(waits);
    house.away(1).await;
    let resumed = agent.resume(last.as_deref()).await;
    house.approve(&house.pending().await).await;
    assert_eq!(text(&resumed.response().await), "cancel ran with {}");
}

fn discovered(versions: &str) -> Script {
    Script::json(format!(
        r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"resultType":"complete","supportedVersions":{versions},
        "capabilities":{{"tools":{{}},"extensions":{{"io.modelcontextprotocol/tasks":{{}},"x":{{}}}}}},"ttlMs":5000,
        "cacheScope":"public","serverInfo":{{"name":"r","version":"1"}}}}}}"#
    ))
}

#[tokio::test]
async fn a_modern_client_discovers_all_or_falls_back() {
    let (a, b, house) = two(Manner::Modern).await;
    a.answers("server/discover", discovered(r#"["2026-07-28","2025-11-25"]"#));
    b.answers("server/discover", discovered(r#"["2026-07-28"]"#));
    let agent: Agent = mirrored(house.agent().joined(), "server/discover", None);
    let ask = modern(1, "server/discover", json!({}));
    let said = agent.ask(&ask).await["result"].clone();
    assert_eq!(said["supportedVersions"], json!(["2026-07-28"]));
    let extensions = json!({"io.modelcontextprotocol/tasks": {}, "x": {}});
    assert_eq!(said["capabilities"], json!({"tools": {}, "extensions": extensions}));
    assert_eq!((&said["ttlMs"], &said["cacheScope"]), (&json!(5000), &json!("private")));
    b.answers(
        "server/discover",
        Script::json(r#"{"jsonrpc":"2.0","id":$ID,"error":{"code":-32601,"message":"no"}}"#),
    );
    let answer = agent.post(&ask).await;
    assert_eq!(answer.status, 404);
    assert_eq!(answer.response().await["error"]["code"], -32601);
}

#[tokio::test]
async fn a_modern_subscription_is_one_stream_of_all_servers() {
    let (a, b, house) = two(Manner::Modern).await;
    let meta = json!({"io.modelcontextprotocol/subscriptionId": 5});
    for (server, uri) in [(&a, "db://a"), (&b, "db://b")] {
        server.answers("subscriptions/listen", events(&[
            json!({"jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged", "params": {"_meta": meta,
                "notifications": {"toolsListChanged": uri == "db://a", "resourceSubscriptions": [uri]}}}),
            json!({"jsonrpc": "2.0", "method": "notifications/resources/updated", "params": {"_meta": meta, "uri": uri}}),
        ]));
    }
    let agent = mirrored(house.agent().joined(), "subscriptions/listen", None);
    let wanted = json!({"notifications": {"toolsListChanged": true,
        "resourceSubscriptions": ["joined:a:db://a", "joined:b:db://b"]}});
    let mut stream = agent.post(&modern(5, "subscriptions/listen", wanted)).await;
    let agreed = stream.message().await;
    assert_eq!(agreed["method"], "notifications/subscriptions/acknowledged");
    assert_eq!(agreed["params"]["_meta"], meta);
    assert_eq!(
        agreed["params"]["notifications"],
        json!({"toolsListChanged": true, "resourceSubscriptions": ["joined:a:db://a", "joined:b:db://b"]})
    );
    let mut uris = Vec::new();
    for _ in 0..2 {
        uris.push(stream.message().await["params"]["uri"].as_str().unwrap().to_owned());
    }
    uris.sort();
    assert_eq!(uris, ["joined:a:db://a", "joined:b:db://b"]);
    assert_eq!(
        heard(&a, "subscriptions/listen")[0]["notifications"]["resourceSubscriptions"],
        json!(["db://a"])
    );
    house.door.drain().await;
    let end = stream.message().await;
    assert_eq!((&end["id"], &end["result"]["_meta"]), (&json!(5), &meta));
    assert!(stream.told().await.is_none());
}
