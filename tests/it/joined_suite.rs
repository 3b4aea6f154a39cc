//! What the official suite found at the joined endpoint (`tests/conformance/run --joined`): where it answers itself
//! it is a server like any other, and what a server says of a resource names it as here.

use serde_json::{Value, json};

use crate::rig::{Agent, House, Manner, Plan, Script, Server, mirrored, modern, request};

async fn two(manner: Manner) -> (Server, Server, House) {
    let (a, b) = (Server::start(manner).await, Server::start(manner).await);
    let house = House::open(Plan::two(&a.url, &b.url)).await;
    (a, b, house)
}

fn discovered(versions: &str) -> Script {
    Script::json(format!(
        r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"resultType":"complete","supportedVersions":{versions},
        "capabilities":{{"tools":{{}}}},"ttlMs":5000,"cacheScope":"public"}}}}"#
    ))
}

/// Status, code and data of a refusal.
async fn refused(agent: Agent, request: &Value) -> (u16, Value, Value) {
    let answer = agent.post(request).await;
    let status = answer.status.as_u16();
    let mut error = answer.response().await["error"].take();
    (status, error["code"].take(), error["data"].take())
}

#[tokio::test]
async fn what_is_answered_here_is_checked_here() {
    let (a, b, house) = two(Manner::Modern).await;
    a.answers("server/discover", discovered(r#"["2026-07-28","2027-01-01","2025-11-25"]"#));
    b.answers("server/discover", discovered(r#"["2026-07-28"]"#));
    let agent = |method: &str| mirrored(house.agent().joined(), method, None);
    for method in ["server/discover", "tools/list", "subscriptions/listen"] {
        let good = modern(1, method, json!({}));
        for lost in ["protocolVersion", "clientCapabilities"] {
            let mut bad = good.clone();
            bad["params"]["_meta"]
                .as_object_mut()
                .unwrap()
                .remove(&format!("io.modelcontextprotocol/{lost}"));
            assert_eq!(
                refused(agent(method), &bad).await,
                (400, json!(-32602), Value::Null),
                "{method} {lost}"
            );
        }
        for wrong in ["prompts/list", "TOOLS/LIST", ""] {
            let agent = if wrong.is_empty() { agent(method).without("mcp-method") } else { agent(wrong) };
            assert_eq!(refused(agent, &good).await, (400, json!(-32020), Value::Null), "{method} {wrong}");
        }
        let mut other = good.clone();
        other["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("v999.0.0");
        assert_eq!(refused(agent(method), &other).await.1, -32020);
        assert_eq!((a.asked(method), b.asked(method)), (0, 0));

        let unknown = agent(method).with("mcp-protocol-version", "v999.0.0");
        let data = json!({"supported": ["2026-07-28"], "requested": "v999.0.0"});
        assert_eq!(refused(unknown, &other).await, (400, json!(-32022), data), "{method}");
    }
    let good = modern(1, "tools/list", json!({}));
    assert!(agent("tools/list").ask(&good).await["result"]["tools"].is_array());
}

#[tokio::test]
async fn a_result_of_all_says_who_answers() {
    let (a, b, house) = two(Manner::Modern).await;
    for server in [&a, &b] {
        server.answers("server/discover", discovered(r#"["2026-07-28"]"#));
    }
    for method in ["server/discover", "tools/list"] {
        let result = mirrored(house.agent().joined(), method, None).ask(&modern(1, method, json!({}))).await;
        let result = &result["result"];
        assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "countersign", "{result}");
        assert!(result.get("serverInfo").is_none(), "{result}");
    }
}

#[tokio::test]
async fn a_resource_that_a_server_does_not_have_is_named_as_here() {
    let (a, b, house) = two(Manner::Json).await;
    for server in [&a, &b] {
        let error = r#"{"code":-32002,"message":"no","data":{"uri":"db://x","n":1.50}}"#;
        server.answers(
            "resources/read",
            Script::json(format!(r#"{{"jsonrpc":"2.0","id":$ID,"error":{error}}}"#)),
        );
    }
    let agent = house.agent().joined().initialized("test").await;
    let asked = request(1, "resources/read", json!({"uri": "joined:b:db://x"}));
    assert_eq!(agent.ask(&asked).await["error"]["data"], json!({"uri": "joined:b:db://x", "n": 1.50}));
    assert_eq!((a.asked("resources/read"), b.asked("resources/read")), (0, 1));
}

fn skill(name: &str, uri: impl Fn(&str) -> String) -> Value {
    let files = [json!({"uri": uri("SKILL.md"), "size": 1.50}), json!({"uri": uri("a.md"), "size": 2})];
    json!({"uri": uri("SKILL.md"), "frontmatter": {"name": name}, "resources": files})
}

#[tokio::test]
async fn the_skills_of_all_servers_are_one_list_and_each_is_read_at_its_own() {
    let (a, b, house) = two(Manner::Modern).await;
    for server in [&a, &b] {
        let own = skill("s", |file| format!("skill://s/{file}"));
        let answer = |member: &str, value: Value| {
            Script::json(format!(
                r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"resultType":"complete","{member}":{value}}}}}"#
            ))
        };
        server.answers("skills/list", answer("skills", json!([own])));
        server.answers("skills/get", answer("skill", own.clone()));
        server.answers("resources/directory/read", answer("resources", own["resources"].clone()));
    }
    let here = |server: &str| skill("s", |file| format!("joined:{server}:skill://s/{file}"));
    let agent = |method: &str| mirrored(house.agent().joined(), method, None);
    let list = agent("skills/list").ask(&modern(1, "skills/list", json!({}))).await;
    assert_eq!(list["result"]["skills"], json!([here("a"), here("b")]));
    assert_eq!(list["result"]["cacheScope"], "private");

    let of_b = json!({"uri": "joined:b:skill://s/SKILL.md"});
    let got = agent("skills/get").ask(&modern(2, "skills/get", of_b)).await;
    assert_eq!(got["result"]["skill"], here("b"));
    let folder = modern(3, "resources/directory/read", json!({"uri": "joined:b:skill://s"}));
    let read = agent("resources/directory/read").ask(&folder).await;
    assert_eq!(read["result"]["resources"], here("b")["resources"]);
    let heard = &b.messages()[1..];
    assert_eq!(
        (&heard[0]["params"]["uri"], &heard[1]["params"]["uri"]),
        (&json!("skill://s/SKILL.md"), &json!("skill://s"))
    );
    assert_eq!((a.asked("skills/get"), a.asked("resources/directory/read")), (0, 0));
}

#[tokio::test]
async fn what_a_policy_lets_nobody_ask_a_server_is_not_asked_here_either() {
    let (a, b) = (Server::start(Manner::Modern).await, Server::start(Manner::Modern).await);
    let plan =
        Plan { policy: r#"{"version": "1", "default": "require_approval"}"#, ..Plan::two(&a.url, &b.url) };
    let house = House::open(plan).await;
    for (method, params) in [("skills/list", json!({})), ("skills/get", json!({"uri": "joined:b:x"}))] {
        let agent = mirrored(house.agent().joined(), method, None);
        assert_eq!(refused(agent, &modern(1, method, params)).await.1, -32601);
        assert_eq!((a.asked(method), b.asked(method)), (0, 0));
    }
}

#[tokio::test]
async fn who_asks_about_a_task_without_knowing_tasks_is_told_so_whatever_its_name() {
    let (a, b, house) = two(Manner::Modern).await;
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let agent = mirrored(house.agent().joined(), method, Some("t"));
        let asked = modern(1, method, json!({"taskId": "t", "inputResponses": {}}));
        let needed = json!({"requiredCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}});
        assert_eq!(refused(agent, &asked).await, (400, json!(-32021), needed));
    }
    assert_eq!((a.messages().len(), b.messages().len()), (0, 0));
}
