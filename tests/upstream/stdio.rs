//! Servers that are processes: routed pipes, deaths, restarts, and lines that are too long.

use std::{num::NonZeroUsize, time::Duration};

use bytes::Bytes;
use countersign::upstream::{
    ChildLimits, Link, Outbound, ReplyBody, SendError, ServerSettings, UpstreamSettings,
};
use futures_util::StreamExt as _;
use http::StatusCode;

use crate::{call, post, relay, session, session_of, shared, text, upstreams};

/// A server that does what the tool's name says.
const SERVER: &str = r#"
import json, os, sys, time
def say(message): sys.stdout.write(json.dumps(message) + "\n"); sys.stdout.flush()
held = []
print("not json"); sys.stdout.flush()
for line in sys.stdin:
    m = json.loads(line); p = m.get("params", {}); tool = p.get("name"); token = p.get("_meta", {}).get("progressToken")
    def answer(text): say({"jsonrpc": "2.0", "id": m["id"], "result": {"got": text}})
    if m.get("method") == "notifications/cancelled": open(os.environ["CANCELLED"], "a").write(line)
    elif "method" not in m: say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"echo": m}})
    elif tool == "die": os._exit(3)
    elif tool == "hold":
        held.append((m, token))
        if len(held) == p["of"]:
            for m, token in reversed(held):
                say({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
                answer(p["name"] + m["params"]["who"])
    elif tool == "long": sys.stdout.write('{"jsonrpc":"2.0","id":%s,"result":"%s"}\n' % (json.dumps(m["id"]), "x" * p["size"])); sys.stdout.flush()
    elif tool == "ask":
        say({"jsonrpc": "2.0", "id": "srv-1", "method": "roots/list"}); answer("asked")
    elif tool == "lie": say({"jsonrpc": "2.0", "id": 999, "result": {}}); answer("lied")
    elif tool == "garble": say({"jsonrpc": "2.0", "id": m["id"], "result": {}, "error": {}})
    elif tool == "pid": answer(os.getpid())
    elif tool == "env": answer(sorted(os.environ))
    elif tool == "shout":
        for _ in range(64): sys.stderr.write("x" * (1 << 20))
        sys.stderr.flush(); answer("heard")
    elif tool == "never": pass
    elif tool == "grow": held.append(bytearray(b"x") * (64 << 20))
    elif "id" in m: answer(m.get("method"))
"#;

fn settings() -> ServerSettings {
    let command = ["python3", "-u", "-c", SERVER].map(String::from).to_vec();
    ServerSettings { command: Some(command), ..ServerSettings::default() }
}

fn tool(id: &str, name: &str, more: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call","params":{{"name":"{name}"{more}}}}}"#)
}

async fn pid(upstreams: &countersign::upstream::Upstreams, link: &Link) -> String {
    text(call(upstreams, link, &tool("\"pid\"", "pid", "")).await.unwrap()).await
}

#[tokio::test]
async fn a_session_talks_to_its_own_child_and_odd_ids_come_back_as_written() {
    let it = upstreams(settings(), UpstreamSettings::default());
    let (one, two) = (session(&it), session(&it));
    for id in ["1", "\"x\\u0041\"", "12345678901234567890123", "1e2", "-0.0", "9007199254740993.0"] {
        let reply = relay(&it, &one, post(&format!("{{\"id\":{id},\n\"method\":\"ping\"}}"))).await.unwrap();
        assert_eq!(reply.status, StatusCode::OK);
        assert_eq!(
            text(reply).await,
            format!(r#"{{"jsonrpc": "2.0", "id": {id}, "result": {{"got": "ping"}}}}"#)
        );
    }
    let told = relay(&it, &one, post(r#"{"method":"notifications/initialized"}"#)).await.unwrap();
    assert_eq!(told.status, StatusCode::ACCEPTED);
    assert_ne!(pid(&it, &one).await, pid(&it, &two).await);
    it.drain().await;
    assert!(one.is_over());
}

#[tokio::test]
async fn a_child_has_its_own_environment_and_not_the_brokers() {
    let mut with = settings();
    with.env.insert("OWN".into(), "yes".into());
    let it = upstreams(with, UpstreamSettings::default());
    let said = text(call(&it, &session(&it), &tool("1", "env", "")).await.unwrap()).await;
    assert!(said.contains("\"OWN\"") && said.contains("\"PATH\""), "{said}");
    // Cargo sets these for whatever it runs, so the test's own process has them.
    assert!(std::env::vars_os().any(|(name, _)| name == "CARGO_MANIFEST_DIR"));
    assert!(!said.contains("CARGO_"), "{said}");
    it.drain().await;
}

#[tokio::test]
async fn a_child_that_shouts_without_end_of_line_is_read_on() {
    let it = upstreams(settings(), UpstreamSettings::default());
    let said = text(call(&it, &session(&it), &tool("1", "shout", "")).await.unwrap()).await;
    assert!(said.contains("heard"), "{said}");
    it.drain().await;
}

#[tokio::test]
async fn two_callers_with_the_same_id_and_token_share_a_child_and_each_gets_its_own() {
    let it = upstreams(settings(), UpstreamSettings::default());
    let body =
        |who: &str| tool("1", "hold", &format!(r#","of":2,"who":"{who}","_meta":{{"progressToken":"t"}}"#));
    let (link, again) = (shared(&it), shared(&it));
    let first = call(&it, &link, &body("A")).await.unwrap();
    let second = call(&it, &again, &body("B")).await.unwrap();
    for (reply, who) in [(first, "A"), (second, "B")] {
        let expected = format!(
            "{}\n{}",
            r#"{"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": "t", "progress": 1}}"#,
            format_args!(r#"{{"jsonrpc": "2.0", "id": 1, "result": {{"got": "hold{who}"}}}}"#)
        );
        assert_eq!(text(reply).await, expected);
    }
    it.drain().await;
}

#[tokio::test]
async fn a_child_that_dies_makes_what_was_written_unknown_and_what_was_not_not_sent() {
    let it = upstreams(settings(), UpstreamSettings::default());
    let link = session(&it);
    pid(&it, &link).await;
    let proof = link.prove().await.unwrap();
    let waiting = call(&it, &link, &tool("1", "never", "")).await.unwrap();
    let dying = call(&it, &link, &tool("2", "die", "")).await.unwrap();
    let told = text(dying).await;
    assert!(told.starts_with("!the server's answer broke off: the server's process ended ("), "{told}");
    let told = text(waiting).await;
    assert!(told.starts_with("!the server's answer broke off: the server's process ended ("), "{told}");
    assert!(link.is_over());
    drop(proof);
    assert!(matches!(link.prove().await, Err(SendError::NotSent(_))));
    let late = relay(&it, &link, post(r#"{"id":3,"method":"ping"}"#)).await.unwrap();
    assert_eq!(late.status, StatusCode::NOT_FOUND);
    assert!(text(late).await.contains("Session not found"));
    let next = session(&it);
    assert!(pid(&it, &next).await.contains("result"));
    it.drain().await;
}

#[tokio::test]
async fn a_line_over_the_cap_fails_its_own_call_only() {
    let it = upstreams(settings(), UpstreamSettings { max_line: 100_000, ..UpstreamSettings::default() });
    let link = shared(&it);
    let other = call(&it, &link, &tool("1", "hold", r#","of":2,"who":"A","_meta":{"progressToken":1}"#))
        .await
        .unwrap();
    let long = call(&it, &link, &tool("1", "long", r#","size":200000"#)).await.unwrap();
    assert_eq!(text(long).await, "!the server's answer is larger than 100000 bytes");
    call(&it, &link, &tool("1", "hold", r#","of":2,"who":"B","_meta":{"progressToken":1}"#)).await.unwrap();
    assert!(text(other).await.ends_with(r#"{"jsonrpc": "2.0", "id": 1, "result": {"got": "holdA"}}"#));
    it.drain().await;
}

#[tokio::test]
async fn what_the_server_asks_goes_to_the_listener_and_the_answer_goes_back() {
    let it = upstreams(settings(), UpstreamSettings::default());
    let link = session(&it);
    let newest = call(&it, &link, &tool("1", "ask", "")).await.unwrap();
    assert!(text(newest).await.starts_with(r#"{"jsonrpc": "2.0", "id": "srv-1", "method": "roots/list"}"#));
    let ReplyBody::Messages(mut heard) = relay(&it, &link, Outbound::get()).await.unwrap().body else {
        unreachable!()
    };
    let asked = call(&it, &link, &tool("2", "ask", "")).await.unwrap();
    assert_eq!(text(asked).await, r#"{"jsonrpc": "2.0", "id": 2, "result": {"got": "asked"}}"#);
    let next = heard.next().await.unwrap().unwrap();
    assert_eq!(next, Bytes::from_static(br#"{"jsonrpc": "2.0", "id": "srv-1", "method": "roots/list"}"#));
    relay(&it, &link, post(r#"{"id":"srv-1","result":{"roots":[]}}"#)).await.unwrap();
    let echo = heard.next().await.unwrap().unwrap();
    assert!(echo.ends_with(br#"{"echo": {"id": "srv-1", "result": {"roots": []}}}}"#));
    it.drain().await;
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_dropped_and_counted() {
    let it = upstreams(settings(), UpstreamSettings::default());
    let link = session(&it);
    let reply = call(&it, &link, &tool("1", "lie", "")).await.unwrap();
    assert_eq!(text(reply).await, r#"{"jsonrpc": "2.0", "id": 1, "result": {"got": "lied"}}"#);
    assert_eq!(link.server().strays(), 1);
    it.drain().await;
}

#[tokio::test]
async fn a_modern_caller_that_leaves_cancels_under_the_pipes_id() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cancelled");
    let mut with_file = settings();
    with_file.env.insert("CANCELLED".into(), file.to_str().unwrap().into());
    let it = upstreams(with_file, UpstreamSettings::default());
    let link = shared(&it);
    let left = call(&it, &link, &tool("\"mine\"", "never", "")).await.unwrap();
    drop(left);
    pid(&it, &link).await;
    let seen = std::fs::read_to_string(&file).unwrap();
    assert!(seen.contains(r#""requestId":1,"#), "{seen}");
    let explicit = call(&it, &link, &tool("7", "never", "")).await.unwrap();
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
    relay(&it, &link, post(cancel)).await.unwrap();
    pid(&it, &link).await;
    let seen = std::fs::read_to_string(&file).unwrap();
    assert!(seen.ends_with("\"params\":{\"requestId\":3}}\n"), "{seen}");
    drop(explicit);
    it.drain().await;
}

#[tokio::test]
async fn a_command_that_cannot_start_or_keeps_crashing_is_not_sent_and_says_so() {
    let absent =
        ServerSettings { command: Some(vec!["/does/not/exist".into()]), ..ServerSettings::default() };
    let it = upstreams(absent, UpstreamSettings::default());
    let error = call(&it, &session(&it), &tool("1", "x", "")).await.err().unwrap();
    assert!(matches!(&error, SendError::NotSent(why) if why.contains("cannot start")), "{error}");

    let nowhere = ServerSettings { cwd: Some("/does/not/exist".into()), ..settings() };
    let it = upstreams(nowhere, UpstreamSettings::default());
    let error = call(&it, &session(&it), &tool("1", "x", "")).await.err().unwrap();
    assert!(
        matches!(&error, SendError::NotSent(why) if why.contains("`cwd` /does/not/exist is no folder")),
        "{error}"
    );

    let crashing = ["python3", "-c", "import sys; sys.exit(1)"].map(String::from).to_vec();
    let it = upstreams(
        ServerSettings { command: Some(crashing), ..ServerSettings::default() },
        UpstreamSettings::default(),
    );
    for _ in 0..10 {
        match call(&it, &session(&it), &tool("1", "x", "")).await {
            Ok(reply) => assert!(text(reply).await.starts_with('!')),
            Err(SendError::NotSent(why)) if why.contains("keeps crashing") => return,
            Err(_) => {}
        }
    }
    unreachable!("a crashing server must be told as such");
}

#[tokio::test]
async fn an_answer_that_is_no_message_breaks_its_call() {
    let it = upstreams(settings(), UpstreamSettings::default());
    let link = session(&it);
    let broken = call(&it, &link, &tool("1", "garble", "")).await.unwrap();
    assert!(text(broken).await.starts_with("!the server's answer broke off: not a JSON-RPC message"));
    assert!(pid(&it, &link).await.contains("result"));
    it.drain().await;
}

#[tokio::test]
async fn an_idle_child_is_ended_unless_a_call_of_it_still_waits() {
    let it = upstreams(settings(), UpstreamSettings { idle_end_s: 0, ..UpstreamSettings::default() });
    let (link, other) = (session(&it), session(&it));
    let hold = link.hold();
    let first = pid(&it, &link).await;
    pid(&it, &other).await;
    while !other.is_over() {
        tokio::task::yield_now().await;
    }
    assert_eq!(pid(&it, &link).await, first);
    drop(hold);
    while !link.is_over() {
        tokio::task::yield_now().await;
    }
    it.drain().await;
}

#[tokio::test]
async fn one_grant_has_at_most_half_of_the_children() {
    let it = upstreams(settings(), UpstreamSettings { max_children: 2, ..UpstreamSettings::default() });
    let (one, two, other) = (session(&it), session(&it), session_of(&it, "other"));
    pid(&it, &one).await;
    let full = call(&it, &two, &tool("1", "pid", "")).await.err().unwrap();
    assert!(matches!(&full, SendError::NotSent(why) if why.contains("this agent's 1 processes")), "{full}");
    assert!(pid(&it, &other).await.contains("result"));
    one.close().await;
    assert!(pid(&it, &two).await.contains("result"));
    it.drain().await;
}

#[tokio::test]
async fn no_more_children_than_allowed_are_started() {
    let it = upstreams(settings(), UpstreamSettings { max_children: 1, ..UpstreamSettings::default() });
    let (one, two) = (session(&it), session(&it));
    pid(&it, &one).await;
    let full = call(&it, &two, &tool("1", "pid", "")).await.err().unwrap();
    assert!(matches!(&full, SendError::NotSent(why) if why.contains("in use")), "{full}");
    one.close().await;
    assert!(pid(&it, &two).await.contains("result"));
    it.drain().await;
}

fn limited(limits: ChildLimits) -> ServerSettings {
    ServerSettings { limits, ..settings() }
}

#[tokio::test]
async fn a_server_has_as_many_children_as_its_own_limit_says() {
    let limits = ChildLimits { children: NonZeroUsize::new(1), ..ChildLimits::default() };
    let it = upstreams(limited(limits), UpstreamSettings::default());
    let (one, two) = (session(&it), session(&it));
    pid(&it, &one).await;
    let full = call(&it, &two, &tool("1", "pid", "")).await.err().unwrap();
    assert!(matches!(&full, SendError::NotSent(why) if why.contains("in use")), "{full}");
    it.drain().await;
}

#[tokio::test]
async fn a_child_past_its_age_is_replaced_when_nothing_of_it_is_in_flight() {
    let limits = ChildLimits { age: Some(Duration::from_millis(300)), ..ChildLimits::default() };
    let it = upstreams(limited(limits), UpstreamSettings::default());
    let link = shared(&it);
    let begun = std::time::Instant::now();
    let first = pid(&it, &link).await;
    let listen = r#"{"jsonrpc":"2.0","id":"l","method":"subscriptions/listen","params":{"name":"never"}}"#;
    let _listens = relay(&it, &link, post(listen)).await.unwrap();
    let hold = |who: &str| tool("7", "hold", &format!(r#","of":2,"who":"{who}""#));
    let waits = call(&it, &link, &hold("a")).await.unwrap();
    while begun.elapsed() < Duration::from_secs(1) {
        assert_eq!(pid(&it, &link).await, first, "a call is in flight");
    }
    let held = link.hold();
    let last = call(&it, &link, &hold("b")).await.unwrap();
    assert!(text(waits).await.contains("holda") && text(last).await.contains("holdb"), "both are answered");
    while begun.elapsed() < Duration::from_millis(1_500) {
        assert_eq!(pid(&it, &link).await, first, "a call of it waits for a person");
    }
    drop(held);
    let replaced = async {
        // It is asked now and then only: a request in flight keeps it.
        let mut looks = tokio::time::interval(Duration::from_millis(200));
        while pid(&it, &link).await == first {
            looks.tick().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), replaced).await.expect("though someone listens");
    it.drain().await;
}

#[tokio::test]
async fn a_child_past_its_memory_is_ended_and_touches_no_other() {
    let limits = ChildLimits { memory: Some(48 << 20), ..ChildLimits::default() };
    let it = upstreams(limited(limits), UpstreamSettings::default());
    let (large, small) = (session(&it), session(&it));
    let other = pid(&it, &small).await;
    let waits = call(&it, &large, &tool("1", "never", "")).await.unwrap();
    let grows = call(&it, &large, &tool("2", "grow", "")).await.unwrap();
    for reply in [waits, grows] {
        let broken = tokio::time::timeout(Duration::from_secs(20), text(reply)).await.expect("it is ended");
        assert!(broken.contains("more memory than `limits.memory`"), "{broken}");
    }
    assert!(large.is_over());
    assert_eq!(pid(&it, &small).await, other);
    it.drain().await;
}
