//! A hostile server over HTTP: whatever it sends, and however much, the broker stays small, its agent hears how
//! its call ended, and others go on.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use serde_json::json;

use crate::rig::{
    self, beside,
    broker::{Broker, text, tools_call},
    evil::much,
    wire,
};

const LIMITS: &str = "[mcp]\nlaps = 0\ngrace_ms = 20\nheartbeat_ms = 100\ndefault_patience_s = 5\n\
    [upstream]\nmax_body = 1048576\nheader_timeout_ms = 3000\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_end_is_cut_off_or_passed_on_and_never_kept() {
    let broker = rig::broker(LIMITS).await;
    let bot = broker.agent("bot", "evil");
    // An approved call's answer is looked at, and is lost when it cannot be.
    for manner in ["body", "event", "error", "header", "headers", "interim"] {
        let tool = format!("do_{manner}");
        let story = async {
            let (reply, ()) = tokio::join!(bot.call(&tool, "m"), broker.approve(&tool));
            let reply = reply.unwrap();
            let said = text(&reply);
            let http = reply.response().unwrap_or_default()["error"]["data"]["status"] == 500;
            assert!(
                said.starts_with("[OUTCOME UNKNOWN]") || manner == "error" && http,
                "{manner}: {reply:?}"
            );
        };
        beside(&broker, 24, story).await;
    }
    // An allowed call's passes as it comes: it breaks off where the limit is, and a stream has none.
    for manner in ["body", "header", "headers", "interim"] {
        let reply = beside(&broker, 24, bot.call(&format!("say_{manner}"), "m")).await;
        let unknown = reply.as_ref().is_ok_and(|reply| text(reply).starts_with("[OUTCOME UNKNOWN]"));
        assert!(unknown || reply.is_err(), "{manner}: {reply:?}");
    }
    let target = bot.modern("tools/call", Some("say_event"));
    let call = wire::bytes(&target, "POST", tools_call(json!(1), "say_event", "m").to_string().as_bytes());
    let story = async { wire::drained(wire::unread(broker.address, &call).await.unwrap()).await };
    let (_, read) = beside(&broker, 24, story).await;
    assert!(read >= much() - (1 << 20), "a stream passes to its end: {read}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_without_end_is_an_error_for_who_asked_and_for_nobody_else() {
    let broker = rig::broker(LIMITS).await;
    let bot = broker.agent("bot", "evil");
    for method in ["tools/list", "prompts/list"] {
        let mut list = tools_call(json!(5), "", "");
        list["method"] = json!(method);
        list["params"].as_object_mut().unwrap().retain(|name, _| name == "_meta");
        let request = wire::bytes(&bot.modern(method, None), "POST", list.to_string().as_bytes());
        // Many at once: what one may take is the limit on a body.
        let story = async {
            let asked = (0..8).map(|_| async {
                let stream = wire::unread(broker.address, &request).await.unwrap();
                tokio::time::timeout(Duration::from_secs(60), wire::drained(stream)).await.unwrap()
            });
            futures_util::future::join_all(asked).await
        };
        for (said, read) in beside(&broker, 48, story).await {
            let told = said.contains("larger than 1048576 bytes") || method == "prompts/list";
            assert!(told || read <= 2 << 20, "{method}: {said}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_is_read_to_hide_tools_is_read_up_to_its_own_limit() {
    let hides =
        r#"{"version": "1", "default": "deny", "hide": ["do_*"], "tools": {"say_*": {"action": "allow"}}}"#;
    let limits = "[upstream]\nmax_list = 1048576";
    let broker = Broker::governed(hides, &rig::servers().await, &["bot", "ann-bot"], limits).await;
    let bot = broker.agent("bot", "evil");
    let list = json!({"jsonrpc": "2.0", "id": 5, "method": "tools/list", "params": {"_meta": {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}}});
    let target = bot.modern("tools/list", None);
    // Without it each would be held up to `max_body`, which is 64 MiB.
    let story = futures_util::future::join_all((0..8).map(|_| target.post(&list)));
    for reply in beside(&broker, 24, story).await {
        let reply = reply.unwrap();
        let said = reply.json()["error"]["message"].to_string();
        assert!(said.contains("a list of more than 1048576 bytes") && said.contains("max_list"), "{reply:?}");
        assert_eq!(reply.json()["id"], 5);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_that_its_agent_does_not_read_waits_at_the_server() {
    let broker = rig::broker(LIMITS).await;
    let bot = broker.agent("bot", "evil");
    let session = bot.session().await.unwrap();
    let listening = wire::bytes(&session, "GET", b"");
    let number = AtomicUsize::new(0);
    let request = |tool: &str| {
        let marker = number.fetch_add(1, Ordering::Relaxed).to_string();
        let target = bot.modern("tools/call", Some(tool));
        wire::bytes(&target, "POST", tools_call(json!(1), tool, &marker).to_string().as_bytes())
    };
    let story = async {
        let mut open = Vec::new();
        for _ in 0..4 {
            open.push(wire::unread(broker.address, &request("say_flood")).await.unwrap());
            open.push(wire::unread(broker.address, &listening).await.unwrap());
        }
        for tool in ["do_flood", "do_swell", "do_swell", "do_swell", "do_swell"] {
            open.push(wire::unread(broker.address, &request(tool)).await.unwrap());
            broker.approve(tool).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        open
    };
    // More than 400 MiB come in all; what is kept of them and what the allocator keeps are far below.
    let open = beside(&broker, 96, story).await;
    // Read after all, each comes to its end; a call that took its agent too long, to its ticket.
    let read = futures_util::future::join_all(open.into_iter().map(wire::drained));
    for (said, count) in beside(&broker, 96, read).await {
        assert!(said.starts_with("HTTP/1.1 200"), "{said}");
        assert!(count >= much() / 2 || said.contains("[STILL RUNNING"), "{count}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_the_servers_to_say_reaches_nobody_but_who_asked_it() {
    let broker = rig::broker(LIMITS).await;
    let (bot, other) = (broker.agent("bot", "evil"), broker.agent("ann-bot", "evil"));
    let approved = async {
        let (reply, ()) = tokio::join!(bot.call("do_forge", "mine"), broker.approve("do_forge"));
        reply.unwrap()
    };
    // In flight meanwhile, under the id that the server forges answers to.
    let beside = async {
        let target = other.modern("tools/call", Some("do_fine"));
        let call = tools_call(json!(7), "do_fine", "theirs");
        let waits = target.post(&call);
        let later = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            broker.approve("do_fine").await;
        };
        tokio::join!(waits, later).0.unwrap()
    };
    let (mine, theirs) = tokio::join!(approved, beside);
    assert_eq!(text(&theirs), "ran theirs");
    let whole = String::from_utf8_lossy(&theirs.body).into_owned();
    assert!(!whole.contains("forged") && !whole.contains("roots/list"), "{whole}");
    let said: Vec<_> = String::from_utf8_lossy(&mine.body)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line.strip_prefix("data: ")?).ok())
        .filter(|message| message["id"] == 1 && message.get("method").is_none())
        .collect();
    assert_eq!(said.len(), 1, "one answer: {said:?}");
    assert_eq!(said[0]["result"]["content"][0]["text"], "ran mine");
}
