//! Too much of what is each in order: streams to listen on, large answers, large lists. One agent and one server
//! have half of the room there is, and who gets none is told so.

use std::{io, time::Duration};

use futures_util::future::join_all;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    http::Target,
    rig::{
        beside,
        broker::{Agent, Broker, text, tools_call},
        evil::{Evil, initialize, ran},
        server::{self, Answers, Asked},
        wire,
    },
};

const LARGE: usize = 7 << 20;
/// Bytes of a list, which is read member by member: that takes its time in a build for tests.
const LIST: usize = 2 << 20;

/// Its lists and some of its answers are large, and its streams stay open.
struct Wide;

impl Answers for Wide {
    async fn answer(&self, stream: &mut TcpStream, asked: Asked) -> io::Result<bool> {
        let message = asked.message();
        let (id, params) = (&message["id"], &message["params"]);
        let answer = |result: Value| json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string();
        match message["method"].as_str().unwrap_or(&asked.verb) {
            "GET" | "subscriptions/listen" => stay(stream).await,
            "initialize" => initialize(stream, id).await,
            "tools/list" if params["cursor"] == "stall" => {
                server::open(stream, "application/json").await?;
                stream.write_all(&b" ".repeat(LIST)).await?;
                left(stream).await
            }
            "tools/list" => {
                let tools = json!([{"name": "say_x", "description": "x".repeat(LIST), "inputSchema": {}}]);
                server::json(stream, answer(json!({ "tools": tools })).as_bytes(), "").await
            }
            "tools/call" if params["name"] == "say_large" => {
                let content = json!([{"type": "text", "text": "x".repeat(LARGE)}]);
                server::json(stream, answer(json!({ "content": content })).as_bytes(), "").await
            }
            "tools/call" => {
                let marker = params["arguments"]["marker"].as_str().unwrap_or_default();
                server::json(stream, ran(id, marker).as_bytes(), "").await
            }
            _ => server::json(stream, b"", "").await,
        }
    }
}

/// A stream that says nothing, until its reader leaves.
async fn stay(stream: &mut TcpStream) -> io::Result<bool> {
    server::open(stream, "text/event-stream").await?;
    stream.write_all(b": here\n\n").await?;
    left(stream).await
}

async fn left(stream: &mut TcpStream) -> io::Result<bool> {
    while stream.read_u8().await.is_ok() {}
    Ok(false)
}

async fn broker(policy: &str, limits: &str) -> Broker {
    let url = |url: String| format!("url = \"{url}\"");
    let servers = [("wide", url(server::serve(Wide).await)), ("good", url(server::serve(Evil).await))];
    Broker::governed(policy, &servers, &["bot", "ann-bot"], limits).await
}

const ALLOWS: &str = r#"{"version": "1", "default": "deny", "tools": {"say_*": {"action": "allow"}}}"#;
const HIDES: &str =
    r#"{"version": "1", "default": "deny", "hide": ["do_*"], "tools": {"say_*": {"action": "allow"}}}"#;

/// The three ways to listen, as requests.
async fn ways(agent: &Agent) -> [Vec<u8>; 3] {
    let ask = |method: &str| {
        let mut ask = tools_call(json!("l-1"), "", "");
        ask["method"] = json!(method);
        ask.to_string()
    };
    let session = agent.session().await.unwrap();
    let listening = agent.modern("subscriptions/listen", None);
    [
        wire::bytes(&session, "GET", b""),
        wire::bytes(&listening, "POST", ask("subscriptions/listen").as_bytes()),
        wire::bytes(&agent.0.at("/mcp/wide/sse"), "GET", b""),
    ]
}

/// The stream, or the words of the refusal.
async fn opened(broker: &Broker, request: &[u8]) -> Result<TcpStream, String> {
    let mut stream = wire::unread(broker.address, request).await.unwrap();
    let head = wire::until(&mut stream, "\r\n\r\n").await;
    if head.starts_with("HTTP/1.1 200") {
        return Ok(stream);
    }
    assert!(head.starts_with("HTTP/1.1 503"), "{head}");
    Err(head + &wire::drained(stream).await.0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_to_listen_on_are_so_many_and_one_agent_has_half_of_them() {
    let broker = broker(ALLOWS, "[mcp]\nmax_streams = 40\n").await;
    let (ways, theirs) =
        (ways(&broker.agent("bot", "wide")).await, ways(&broker.agent("ann-bot", "wide")).await);
    let story = async {
        let (mut open, mut refused) = (Vec::new(), Vec::new());
        for n in 0..100 {
            match opened(&broker, &ways[n % 3]).await {
                Ok(stream) => open.push(stream),
                Err(words) => refused.push(words),
            }
        }
        (open, refused)
    };
    let (mut open, refused) = beside(&broker, 24, story).await;
    assert_eq!(open.len(), 20, "half of the 40");
    assert!(refused.iter().all(|words| words.contains("too many streams are open")), "{}", refused[0]);
    assert!(
        refused.iter().any(|words| words.contains(r#""id":"l-1""#)),
        "who asked with an id is told by it"
    );
    for way in &theirs {
        opened(&broker, way).await.expect("another agent has its own half");
    }
    // What is closed is given back.
    for way in &ways {
        open.pop();
        let again = async {
            loop {
                if let Ok(stream) = opened(&broker, way).await {
                    return stream;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        open.push(tokio::time::timeout(Duration::from_secs(5), again).await.expect("there is room again"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_for_all_that_is_not_read_holds_one_huge_answer() {
    let broker = broker(ALLOWS, "").await;
    let bot = broker.agent("bot", "wide");
    let story = async {
        let listening = wire::bytes(&bot.0.at("/mcp/wide/sse"), "GET", b"");
        let mut stream = wire::unread(broker.address, &listening).await.unwrap();
        let said =
            wire::until(&mut stream, "event: endpoint").await + &wire::until(&mut stream, "\n\n").await;
        let target =
            bot.0.at(said.lines().find_map(|line| line.strip_prefix("data: ")).expect("an endpoint"));
        for n in 0..30 {
            assert_eq!(target.post(&tools_call(json!(n), "say_large", "m")).await.unwrap().status, 202);
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        stream
    };
    // One in the queue, one on its way into it, and of the others no more than has come before they wait.
    let stream = beside(&broker, 96, story).await;
    // Read after all, every answer is there.
    let read = async {
        let (mut count, mut part, mut stream) = (0, vec![0; 1 << 16], stream);
        while count < 30 * LARGE {
            count += stream.read(&mut part).await.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(60), read).await.expect("they come");
}

fn list(target: &Target, cursor: &str) -> Vec<u8> {
    let mut list = tools_call(json!(5), "", "");
    list["method"] = json!("tools/list");
    list["params"].as_object_mut().unwrap().retain(|name, _| name == "_meta");
    if !cursor.is_empty() {
        list["params"]["cursor"] = json!(cursor);
    }
    wire::bytes(target, "POST", list.to_string().as_bytes())
}

async fn asked(broker: &Broker, request: &[u8], number: usize) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..number {
        open.push(wire::unread(broker.address, request).await.unwrap());
    }
    open
}

/// So many requests for a list whose answers are not read; the answers, read after all.
async fn unread_lists(broker: &Broker, target: &Target, number: usize) -> Vec<String> {
    let story = async {
        let open = asked(broker, &list(target, ""), number).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        open
    };
    let open = beside(broker, 64, story).await;
    join_all(open.into_iter().map(async |stream| wire::drained(stream).await.0)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_are_taken_in_are_held_up_to_a_limit_of_all() {
    let broker = broker(HIDES, "[mcp]\nmax_held = 9437184\n").await;
    let bot = broker.agent("bot", "wide").modern("tools/list", None);
    // Of none the rest comes; who has no room for what there is hears it at once.
    let story = async {
        let open = asked(&broker, &list(&bot, "stall"), 60).await;
        join_all(open.into_iter().map(async |stream| {
            let read = wire::drained(stream);
            tokio::time::timeout(Duration::from_secs(5), read).await.map_or(String::new(), |said| said.0)
        }))
        .await
    };
    let said = beside(&broker, 48, story).await;
    let (waiting, refused): (Vec<_>, Vec<_>) = said.iter().partition(|said| said.is_empty());
    assert!((1..=2).contains(&waiting.len()), "{} of 2 MiB are held, in half of 9 MiB", waiting.len());
    for words in refused {
        let told = words.contains("max_held") && words.contains("ask again") && words.contains(r#""id":5"#);
        assert!(told, "{words}");
    }
    // When they have left, there is room again.
    assert!(unread_lists(&broker, &bot, 1).await[0].contains(r#""tools":["#));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_are_joined_and_not_read_are_held_up_to_a_limit_of_all() {
    let broker = broker(ALLOWS, "[mcp]\nmax_held = 33554432\n").await;
    let bot = Agent(broker.agent("bot", "").0.at("/mcp")).modern("tools/list", None);
    // The list of `good` has no end.
    for said in unread_lists(&broker, &bot, 12).await {
        assert!(said.contains("max_list") || said.contains("max_held"), "{said}");
    }
    // What those held is given back when their last byte has left, which is a moment after it was read.
    let mut alone = unread_lists(&broker, &bot, 1).await.remove(0);
    for _ in 0..5 {
        if !alone.contains("max_held") {
            break;
        }
        alone = unread_lists(&broker, &bot, 1).await.remove(0);
    }
    assert!(alone.contains("wide__say_x") && alone.contains("a list of more than 8388608 bytes"), "{alone}");
    let call = broker.agent("ann-bot", "wide").call("say_fine", "theirs").await.unwrap();
    assert_eq!(text(&call), "ran theirs");
}
