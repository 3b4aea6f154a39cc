//! Streams that nobody waits on for an answer: a stop or a drain ends them at once; and what they carry.

use std::time::{Duration, Instant};

use countersign::ledger::StopScope;
use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::rig::{
    Agent, Answer, House, Manner, Plan, Script, Server, Told, call, call_with_token, mirrored, modern, served,
};

const EVENT: &str = "data: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/message\",\"params\":{}}\n\n";

/// Nothing is hidden, so that nothing is read.
const OPEN: &str = r#"{"version": "1", "default": "allow"}"#;

fn open(body: &str) -> Script {
    Script { open: true, ..Script::new(200, "text/event-stream", body) }
}

/// Reads on to the end, which comes soon; what was said until then.
async fn ends_soon(mut answer: Answer) -> Vec<Value> {
    let mut said = Vec::new();
    let whole = async {
        while let Some(told) = answer.told().await {
            if let Told::Message(message) = told {
                said.push(message);
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(3), whole).await.expect("the stream ends");
    said
}

#[tokio::test]
async fn a_stop_ends_the_listening_streams_of_what_is_stopped_at_once_and_no_call() {
    let server = Server::start(Manner::Json).await;
    server.answers("GET", open(EVENT));
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let mut listening = agent.send("GET", "").await;
    assert!(matches!(listening.told().await, Some(Told::Message(_))));
    let mut other = house.other_agent("other", &["*"]).await.initialized("test").await.send("GET", "").await;
    assert!(matches!(other.told().await, Some(Told::Message(_))));
    server.answers("tools/call", open(": at work\n\n"));
    let mut allowed = agent.post(&call(1, "look", json!({}))).await;
    let dispatched = agent.post(&call_with_token(2, "cancel", json!({}), "t")).await;
    house.approve(&house.pending().await).await;
    house.until(|call| call.state.name() == countersign::call::StateName::Dispatched).await;

    house.broker.stop(StopScope::Agent("bot".into()), "ann", "astray").await.unwrap();
    assert!(ends_soon(listening).await.is_empty());
    assert!(matches!(allowed.told().await, Some(Told::Comment)));
    for mut stays in [allowed, dispatched, other] {
        let told = async { while stays.told().await.is_some() {} };
        assert!(tokio::time::timeout(Duration::from_millis(300), told).await.is_err(), "it was ended");
    }
}

/// What a person does to an agent's grant.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Change {
    Revoke,
    Rotate,
    Remove,
}

impl Change {
    async fn done(self, house: &House, agent: &str, server: &str) {
        let (identity, now) = (house.broker.identity(), house.now());
        match self {
            Self::Revoke => identity.revoke_agent(agent, "ann", now).await.unwrap(),
            Self::Rotate => drop(identity.rotate_agent(agent, "ann", now).await.unwrap()),
            Self::Remove => {
                let remove = [server.to_owned()];
                identity.change_servers(agent, (&[], &remove), "ann", now).await.unwrap();
            }
        }
    }
}

/// Every kind of stream to listen on, at one server and at all, each after it has said something.
async fn listening(of: &Agent, joined: bool) -> Vec<Answer> {
    let agent = if joined { of.clone().joined() } else { of.clone().at("/mcp/a") };
    let old = if joined { of.clone().joined() } else { of.clone().at("/mcp/a/sse") };
    let subscribing = mirrored(agent.clone(), "subscriptions/listen", None);
    let params = json!({"notifications": {"toolsListChanged": true}});
    let mut streams = vec![
        agent.initialized("test").await.send("GET", "").await,
        subscribing.post(&modern("l-1", "subscriptions/listen", params)).await,
    ];
    for stream in &mut streams {
        stream.message().await;
    }
    let mut stream = old.send("GET", "").await;
    stream.endpoint().await;
    streams.push(stream);
    streams
}

/// Two servers that have something to say, in a house.
async fn two_that_talk() -> (House, Server, Server) {
    let agreed = r#"data: {"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{}}"#;
    let (a, b) = (Server::start(Manner::Json).await, Server::start(Manner::Json).await);
    for server in [&a, &b] {
        server.answers("GET", open(EVENT));
        server.answers("subscriptions/listen", open(&format!("{agreed}\n\n")));
    }
    (House::open(Plan::two(&a.url, &b.url)).await, a, b)
}

#[tokio::test]
async fn listening_streams_end_with_what_their_grant_gave_and_no_others() {
    for (change, joined) in [
        (Change::Revoke, false),
        (Change::Rotate, false),
        (Change::Remove, false),
        (Change::Revoke, true),
        (Change::Rotate, true),
    ] {
        let (house, ..) = two_that_talk().await;
        let (eve, other) = (house.other_agent("eve", &["a", "b"]).await, house.agent());
        let (ended, stay) = (listening(&eve, joined).await, listening(&other, joined).await);
        change.done(&house, "eve", "a").await;
        for (kind, stream) in ended.into_iter().enumerate() {
            let said = ends_soon(stream).await;
            let result = said.iter().find_map(|said| said.get("id").cloned());
            assert_eq!(result, (kind == 1).then(|| json!("l-1")), "{change:?} {joined}: {said:?}");
        }
        for stream in stay {
            stays(stream, Duration::from_millis(150)).await;
        }
    }
}

#[tokio::test]
async fn a_stream_of_all_servers_goes_on_without_the_one_that_was_removed() {
    let (house, a, b) = two_that_talk().await;
    let eve = house.other_agent("eve", &["a", "b"]).await;
    let streams = listening(&eve, true).await;
    let asked = || (a.headers().len(), b.headers().len());
    let before = asked();
    Change::Remove.done(&house, "eve", "a").await;
    // What ends at a server is opened again after two seconds.
    let stay = streams.into_iter().map(|stream| stays(stream, Duration::from_millis(2_500)));
    join_all(stay).await;
    assert_eq!(asked(), before);
}

/// It is told more, and not ended.
async fn stays(mut stream: Answer, long: Duration) {
    let told = async { while stream.told().await.is_some() {} };
    assert!(tokio::time::timeout(long, told).await.is_err(), "it was ended");
}

fn result(id: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "result": {"resultType": "complete",
        "_meta": {"io.modelcontextprotocol/subscriptionId": id}}})
}

#[tokio::test]
async fn one_stream_of_an_old_agent_is_one_and_so_is_one_of_the_joined_endpoint() {
    let (a, b) = (Server::start(Manner::Json).await, Server::start(Manner::Json).await);
    for server in [&a, &b] {
        server.answers("GET", open(EVENT));
    }
    let mut plan = Plan::two(&a.url, &b.url);
    plan.door.max_streams = 2;
    let house = House::open(plan).await;
    let joined = house.agent().joined().initialized("test").await;
    let mut listening = joined.send("GET", "").await;
    for _ in [&a, &b] {
        assert_eq!(listening.message().await["method"], "notifications/message", "each server's own");
    }
    assert_eq!(joined.send("GET", "").await.status, 503);
    drop(listening);

    let eve = house.other_agent("eve", &["*"]).await.at("/mcp/a/sse");
    let mut stream = eve.send("GET", "").await;
    let eve = eve.at(&stream.endpoint().await);
    // The greeting, and what the server says unasked on the stream behind.
    for message in [
        json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2024-11-05",
            "capabilities": {}, "clientInfo": {"name": "eve", "version": "1"}}}),
        json!({"jsonrpc": "2.0", "method": "notifications/initialized"}),
    ] {
        assert_eq!(eve.post(&message).await.status, 202);
        let said = async { while !matches!(stream.told().await.expect("more"), Told::Message(_)) {} };
        tokio::time::timeout(Duration::from_secs(10), said).await.expect("a message");
    }
}

#[tokio::test]
async fn a_modern_listening_stream_that_is_ended_ends_with_its_result() {
    for stopped in [false, true] {
        let server = Server::start(Manner::Modern).await;
        server.answers("subscriptions/listen", open(EVENT));
        let house = House::open(Plan::at(&server.url)).await;
        let agent = mirrored(house.agent(), "subscriptions/listen", None);
        let mut listening = agent.post(&modern("l-1", "subscriptions/listen", json!({}))).await;
        assert!(matches!(listening.told().await, Some(Told::Message(_))));
        if stopped {
            house.broker.stop(StopScope::All, "ann", "drill").await.unwrap();
        } else {
            house.door.drain().await;
        }
        assert_eq!(ends_soon(listening).await, [result(&json!("l-1"))]);
    }
}

#[tokio::test]
async fn a_listening_stream_that_is_ended_within_an_event_gets_nothing_put_into_it() {
    let server = Server::start(Manner::Modern).await;
    server.answers("subscriptions/listen", open("data: {\"half\":"));
    let house = House::open(Plan::at(&server.url)).await;
    let agent = mirrored(house.agent(), "subscriptions/listen", None);
    let listening = agent.post(&modern(1, "subscriptions/listen", json!({}))).await;
    house.door.drain().await;
    let read = tokio::time::timeout(Duration::from_secs(3), listening.bytes()).await.expect("it ends");
    assert_eq!(read, "data: {\"half\":");
}

/// Nothing between takes it for dead, and an agent that went without a word is noticed.
#[tokio::test]
async fn a_stream_that_is_listened_to_and_silent_shows_signs_of_life() {
    let server = Server::start(Manner::Json).await;
    server.answers("GET", open(EVENT));
    server.answers("subscriptions/listen", open(EVENT));
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let joined = house.agent().joined().initialized("test").await;
    let listens = mirrored(house.agent(), "subscriptions/listen", None);
    for mut listening in [
        agent.send("GET", "").await,
        joined.send("GET", "").await,
        listens.post(&modern("l-1", "subscriptions/listen", json!({}))).await,
    ] {
        assert_eq!(listening.message().await["method"], "notifications/message");
        for _ in 0..3 {
            assert!(matches!(listening.told().await, Some(Told::Comment)));
        }
    }
}

#[tokio::test]
async fn no_sign_of_life_is_put_into_an_event_or_into_what_is_compressed() {
    for (half, coding) in [("data: {\"half\":", "identity"), ("packed", "gzip")] {
        let server = Server::start(Manner::Json).await;
        let mut script = open(half);
        script.headers.push(("content-encoding", coding));
        server.answers("GET", script);
        let house = House::open(Plan { policy: OPEN, ..Plan::at(&server.url) }).await;
        let listening = house.agent().initialized("test").await.send("GET", "").await;
        server.answers("GET", open(EVENT));
        let mut beating = house.agent().initialized("test").await.send("GET", "").await;
        beating.message().await;
        for _ in 0..5 {
            assert!(matches!(beating.told().await, Some(Told::Comment)));
        }
        house.door.drain().await;
        let read = tokio::time::timeout(Duration::from_secs(3), listening.bytes()).await.expect("it ends");
        assert_eq!(read, half);
    }
}

#[tokio::test]
async fn a_drain_is_not_held_up_by_a_modern_listening_stream() {
    let server = Server::start(Manner::Modern).await;
    server.answers("subscriptions/listen", open(EVENT));
    let (running, agent, _folder) = served(&server).await;
    let agent = mirrored(agent, "subscriptions/listen", None);
    let mut listening = agent.post(&modern(1, "subscriptions/listen", json!({}))).await;
    assert!(matches!(listening.told().await, Some(Told::Message(_))));
    let since = Instant::now();
    running.drain().await;
    assert!(since.elapsed() < Duration::from_secs(8), "{:?}", since.elapsed());
    assert_eq!(ends_soon(listening).await, [result(&json!(1))]);
}

const LIST: &str = r#"{"jsonrpc":"2.0","id":$ID,"result":{"tools":[{"name":"look"},{"name":"secret"}]}}"#;

#[tokio::test]
async fn a_list_is_sieved_whatever_status_and_form_it_comes_in() {
    let event = format!("event: message\ndata: {LIST}\n\n");
    for (status, kind, body) in [
        (200, "text/event-stream", &*event),
        (201, "application/json", LIST),
        (400, "application/json", LIST),
        (404, "text/plain", LIST),
        (500, "text/event-stream", &event),
    ] {
        let server = Server::start(Manner::Json).await;
        let house = House::open(Plan::at(&server.url)).await;
        // A 404 ends a session.
        let agent = house.agent().initialized("test").await;
        let other = house.agent().initialized("test").await;
        server.answers("tools/list", Script::new(status, kind, body));
        server.answers("GET", Script::new(status, kind, body));
        let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
        for answer in [agent.send("GET", "").await, other.post(&list).await] {
            let said = answer.status;
            let text = String::from_utf8(answer.bytes().await.into()).unwrap();
            assert!(!text.contains("secret"), "{status} {kind}: {text}");
            // What a listening stream cannot be is refused; everything else passes with its status.
            assert!(
                said == 502 || (said == status && text.contains("look")),
                "{status} {kind}: {said} {text}"
            );
        }
    }
}

#[tokio::test]
async fn an_error_that_holds_no_list_passes_as_it_is() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let list = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"});
    let modern_only = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":"no","data":{"supported":["2026-07-28"]}}}"#;
    for body in [modern_only, "<h1>Bad gateway</h1>"] {
        server.answers("tools/list", Script::new(502, "text/html", body));
        let answer = agent.post(&list).await;
        assert_eq!((answer.status.as_u16(), &*answer.bytes().await), (502, body.as_bytes()));
    }
    for odd in [r#"{"tools":["secret"],"result":1"#, r#"{"\u0074ools":[{"name":"secret"}]}"#] {
        server.answers("tools/list", Script::new(502, "text/html", odd));
        let answer = agent.post(&list).await;
        assert_eq!(answer.status, 502);
        let said = answer.response().await;
        assert!(said["error"]["message"].as_str().unwrap().contains("cannot be read"), "{said}");
    }
}
