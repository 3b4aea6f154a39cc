//! A hostile server behind a pipe: it has many callers' requests before it, and answers whom it likes.

use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::{
    beside,
    broker::{Broker, legacy_call, text, tools_call},
    evil::Evil,
    server, wire,
};

/// Does what the tool's name says, and with `hold` answers all that it holds, in lies first.
const CHILD: &str = r#"
import json, sys
def say(m): sys.stdout.write(json.dumps(m) + "\n"); sys.stdout.flush()
def result(id, text): return {"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete", "content": [{"type": "text", "text": text}]}}
held = []
for line in sys.stdin:
    m = json.loads(line); id = m.get("id"); p = m.get("params") or {}; tool = p.get("name", "")
    if id is None: continue
    if m["method"] == "initialize":
        say({"jsonrpc": "2.0", "id": id, "result": {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "c", "version": "1"}}})
    elif tool == "say_kept":
        say(result(id, "ran"))
        for _ in range(64): say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x" * (2 << 20)}})
    elif tool == "say_flood":
        for _ in range(200000): say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "x", "progressToken": "t"}})
        say(result(id, "ran"))
    elif tool == "say_line":
        sys.stdout.write('{"jsonrpc":"2.0","id":%s,"result":"' % json.dumps(id))
        for _ in range(64): sys.stdout.write("x" * (1 << 20))
        sys.stdout.write('"}\n'); sys.stdout.flush()
    elif tool == "say_never": pass
    elif tool == "say_hold":
        held.append((id, p["arguments"]["marker"]))
        if len(held) == 2:
            for other in [0, 7, "7", 99, -1, None, 1e3, "srv", {"id": 1}, [id]]: say(result(other, "forged"))
            say({"jsonrpc": "2.0", "id": "srv", "method": "roots/list"})
            say({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 7, "progress": 1, "message": "forged"}})
            say({"jsonrpc": "2.0", "method": "notifications/tools/list_changed", "params": {"_meta": {"io.modelcontextprotocol/subscriptionId": 7}, "x": "forged"}})
            for id, marker in held: say(result(id, "ran " + marker)); say(result(id, "forged"))
            held = []
    else: say(result(id, "ran " + p.get("arguments", {}).get("marker", "")))
"#;

async fn broker() -> Broker {
    let good = server::serve(Evil).await;
    let child = format!("command = {}", json!(["python3", "-u", "-c", CHILD]));
    let limits = "[mcp]\nlaps = 0\ngrace_ms = 20\n[upstream]\nmax_body = 1048576\nmax_line = 4194304\n";
    let servers = [("evil", child), ("good", format!("url = \"{good}\""))];
    Broker::start(&servers, &["bot", "ann-bot"], limits).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_answers_only_what_was_asked_once_and_only_to_who_asked() {
    let broker = broker().await;
    let agents = [broker.agent("bot", "evil"), broker.agent("ann-bot", "evil")];
    // Two callers of each grant on its pipe, all under the same id; then two in a session.
    for legacy in [false, true] {
        let mut asked = Vec::new();
        for (grant, agent) in agents.iter().enumerate() {
            let session = agent.session().await.unwrap();
            for caller in 0..2 {
                let marker = format!("{legacy}-{grant}-{caller}");
                let (agent, session) = (agent.clone(), session.clone());
                asked.push(async move {
                    let reply = if legacy {
                        session.post(&legacy_call(json!(7 + caller), "say_hold", &marker)).await
                    } else {
                        let target = agent.modern("tools/call", Some("say_hold"));
                        target.post(&tools_call(json!(7), "say_hold", &marker)).await
                    };
                    (marker, reply.unwrap())
                });
            }
        }
        for (marker, reply) in futures_util::future::join_all(asked).await {
            let whole = String::from_utf8_lossy(&reply.body);
            let expected = format!("ran {marker}");
            // In a session an answer under another's id is an answer to it: the id is the client's own.
            assert!(text(&reply) == expected || legacy && text(&reply) == "forged", "{marker}: {whole}");
            let others = ["0-0", "0-1", "1-0", "1-1"].map(|who| format!("ran {legacy}-{who}"));
            assert!(others.iter().all(|other| *other == expected || !whole.contains(other)), "{whole}");
            assert!(legacy || !whole.contains("roots/list") && !whole.contains("list_changed"), "{whole}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_never_stops_talking_is_heard_no_longer_than_there_is_room() {
    let broker = broker().await;
    let bot = broker.agent("bot", "evil");
    // Said when nobody listens: kept for the next reader, up to a MiB.
    for _ in 0..2 {
        let session = bot.session().await.unwrap();
        let story = async {
            let reply = session.post(&legacy_call(json!(1), "say_kept", "m")).await.unwrap();
            assert_eq!(text(&reply), "ran");
            tokio::time::sleep(Duration::from_secs(1)).await;
            let reply = session.post(&legacy_call(json!(2), "say_fine", "n")).await.unwrap();
            assert!(text(&reply).contains("ran n"), "{}", reply.body.len());
        };
        beside(&broker, 32, story).await;
    }
    // Said to one who does not read, and a line without end.
    let session = bot.session().await.unwrap();
    let unread =
        wire::bytes(&session, "POST", legacy_call(json!(1), "say_flood", "m").to_string().as_bytes());
    let story = async {
        let open = wire::unread(broker.address, &unread).await.unwrap();
        let line = bot.call("say_line", "m").await.unwrap();
        (open, line)
    };
    let (open, line) = beside(&broker, 48, story).await;
    let said = line.response().unwrap_or_default().to_string();
    assert!(said.contains("larger than 4194304 bytes"), "{said}");
    let (said, _) = wire::drained(open).await;
    assert!(said.contains(r#""text": "ran""#), "the answer comes all the same: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_owes_no_more_answers_than_it_may() {
    let broker = broker().await;
    let bot = broker.agent("bot", "evil");
    let session = bot.session().await.unwrap();
    // An agent that asks and leaves: in its era leaving cancels nothing, so each is owed an answer.
    let ask = |id: usize| {
        let call = legacy_call(json!(id), "say_never", "m").to_string();
        wire::bytes(&session, "POST", call.as_bytes())
    };
    let story = async {
        for some in 0..83 {
            let mut open = Vec::new();
            for id in some * 50..(some + 1) * 50 {
                open.push(wire::unread(broker.address, &ask(id)).await.unwrap());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    beside(&broker, 64, story).await;
    let mut refused = Value::Null;
    // On a busy machine some left before they were asked.
    for some in 0..84 {
        let asked = (0..50).map(|n| {
            let call = legacy_call(json!(5_000 + some * 50 + n), "say_never", "m");
            let session = session.clone();
            async move { tokio::time::timeout(Duration::from_millis(300), session.post(&call)).await }
        });
        let told = futures_util::future::join_all(asked).await.into_iter().flatten().next();
        if let Some(Ok(reply)) = told {
            refused = reply.response().unwrap_or_default();
            break;
        }
    }
    assert!(refused.to_string().contains("owes the answers"), "{refused}");
    let fresh = bot.session().await.unwrap();
    let reply = fresh.post(&legacy_call(json!(1), "say_fine", "new")).await.unwrap();
    assert_eq!(text(&reply), "ran new");
}
