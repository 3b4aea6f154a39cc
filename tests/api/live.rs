//! The websocket: every entry once, in order, from any cursor, for as long as one may look.

use std::time::Duration;

use countersign::{
    ledger::{Fact, PolicyEvent, Stream},
    store::{Batch, Write},
};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream, connect_async,
    tungstenite::{Error, Message, client::IntoClientRequest as _},
};

use crate::rig::{World, until, world};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

async fn open_with(w: &World, query: &str, header: (&'static str, &str)) -> Result<Socket, Error> {
    let url = format!("ws://{}/api/v1/live{query}", w.address);
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert(header.0, header.1.parse().unwrap());
    connect_async(request).await.map(|(socket, _)| socket)
}

async fn open(w: &World, query: &str) -> Socket {
    open_with(w, query, ("authorization", &format!("Bearer {}", w.ann))).await.unwrap()
}

enum Heard {
    Frame(Value),
    Closed(u16),
}

async fn hear(socket: &mut Socket) -> Heard {
    loop {
        let message = tokio::time::timeout(Duration::from_secs(10), socket.next()).await.expect("silence");
        match message {
            Some(Ok(Message::Text(text))) => return Heard::Frame(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(frame))) => {
                return Heard::Closed(frame.map_or(0, |frame| frame.code.into()));
            }
            Some(Ok(_)) => {}
            Some(Err(_)) | None => return Heard::Closed(0),
        }
    }
}

async fn frame(socket: &mut Socket) -> Value {
    match hear(socket).await {
        Heard::Frame(frame) => frame,
        Heard::Closed(code) => panic!("closed with {code}"),
    }
}

async fn closed(socket: &mut Socket) -> u16 {
    loop {
        if let Heard::Closed(code) = hear(socket).await {
            return code;
        }
    }
}

#[tokio::test]
async fn a_follower_that_reconnects_at_every_frame_misses_and_repeats_nothing() {
    let w = world().await;
    let (_, ledger) = w.get(&w.ann, "/api/v1/ledger?limit=1000").await;
    let start = ledger["cursor"].as_str().unwrap().to_owned();
    let mut waiters = Vec::new();
    for i in 0..6 {
        let waiter = w.park("cancel", &format!(r#"{{"i":{i}}}"#)).await;
        w.vote(&w.ann, waiter.call(), "approve").await;
        waiters.push(waiter);
    }
    let (_, all) = w.get(&w.ann, &format!("/api/v1/ledger?after={start}&limit=1000")).await;
    let all: Vec<Value> = all["entries"].as_array().unwrap().clone();
    assert!(all.len() >= 24);
    let (mut cursor, mut seen) = (start, Vec::new());
    while seen.len() < all.len() {
        let mut socket = open(&w, &format!("?after={cursor}")).await;
        let frame = frame(&mut socket).await;
        cursor = frame["cursor"].as_str().unwrap().to_owned();
        seen.push(frame);
    }
    for (frame, entry) in seen.iter().zip(&all) {
        for key in ["cursor", "at", "stream", "call", "event"] {
            assert_eq!(frame[key], entry[key]);
        }
    }
}

#[tokio::test]
async fn what_happens_is_told_at_once_and_from_now_on_without_a_cursor() {
    let w = world().await;
    let before = w.park("cancel", r#"{"i":0}"#).await;
    let (mut one, mut two) = (open(&w, "").await, open(&w, "?only=reviewed").await);
    let waiter = w.park("cancel", r#"{"i":1}"#).await;
    assert_ne!(before.call(), waiter.call());
    for socket in [&mut one, &mut two] {
        let frame = frame(socket).await;
        assert_eq!(frame["call"], waiter.call().to_string());
        assert_eq!((&frame["stream"], &frame["event"]), (&"call".into(), &"submitted".into()));
    }
    let (_, page) = w.get(&w.ann, "/api/v1/calls").await;
    let mut resumed = open(&w, &format!("?after={}", page["cursor"].as_str().unwrap())).await;
    w.vote(&w.ann, waiter.call(), "deny").await;
    assert_eq!(frame(&mut resumed).await["event"], "voted");
}

#[tokio::test]
async fn calls_that_no_policy_asked_a_review_for_can_be_left_out() {
    let w = world().await;
    let mut reviewed = open(&w, "?only=reviewed").await;
    let mut everything = open(&w, "").await;
    let allowed = w.submit("counted", "{}").await;
    let id = match &allowed {
        countersign::broker::Submission::Waiting(waiter) => waiter.call(),
        other => panic!("a counted call is durable: {other:?}"),
    };
    w.submit("unknown", "{}").await;
    let waiter = w.park("cancel", "{}").await;
    assert_eq!(frame(&mut everything).await["call"], id.to_string());
    assert_eq!(frame(&mut reviewed).await["call"], waiter.call().to_string());
}

#[tokio::test]
async fn an_unknown_cursor_closes_with_4410() {
    let w = world().await;
    for cursor in ["nonsense", "c1.ffffffff", "12"] {
        assert_eq!(closed(&mut open(&w, &format!("?after={cursor}")).await).await, 4410, "{cursor}");
    }
}

#[tokio::test]
async fn whoever_is_signed_out_or_revoked_hears_no_more() {
    let w = world().await;
    let cookie = w.cookie(&w.bob).await;
    let mut by_cookie = open_with(&w, "", ("cookie", &cookie)).await.unwrap();
    let mut by_token = open_with(&w, "", ("authorization", &format!("Bearer {}", w.bob))).await.unwrap();
    let mut other = open_with(&w, "", ("cookie", &w.cookie(&w.ann).await)).await.unwrap();
    let started = std::time::Instant::now();
    w.identity().revoke_reviewer("bob", "(test)", crate::rig::NOW).await.unwrap();
    assert_eq!(closed(&mut by_cookie).await, 4401);
    assert_eq!(closed(&mut by_token).await, 4401);
    assert!(started.elapsed() < Duration::from_secs(3));
    frame(&mut other).await;
    for header in [("cookie", cookie), ("authorization", format!("Bearer {}", w.bob))] {
        assert!(open_with(&w, "", (header.0, &header.1)).await.is_err());
    }
    assert_eq!(w.get(&w.bob, "/api/v1/me").await.0, 401);
}

#[tokio::test]
async fn another_sites_page_and_an_agent_cannot_open_it() {
    let w = world().await;
    let refused = |result: Result<Socket, Error>| match result {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(open_with(&w, "", ("authorization", &format!("Bearer {}", w.agent))).await), 401);
    let mut request = format!("ws://{}/api/v1/live", w.address).into_client_request().unwrap();
    request.headers_mut().insert("cookie", w.cookie(&w.ann).await.parse().unwrap());
    request.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    assert_eq!(refused(connect_async(request).await.map(|(socket, _)| socket)), 403);
}

#[tokio::test]
async fn who_reads_too_slowly_is_let_go_and_resumes_without_loss() {
    let w = world().await;
    let text = || async { w.get(&w.ann, "/metrics").await.1.as_str().unwrap_or_default().to_owned() };
    let start = w.head();
    let mut socket = open(&w, "").await;
    until("the client is counted", || async { text().await.contains("countersign_live_clients 1") }).await;
    // 16 MiB: more than the sockets' buffers hold.
    let refused =
        |name: usize| PolicyEvent::PolicyRefused { name: name.to_string(), why: "x".repeat(64 << 10) };
    let facts = (0..256).map(|name| Fact::Policy(refused(name))).collect();
    let write = Write { stream: Stream::Policies, expected: None, facts, call: None, deadline: None };
    let batch = Batch { at: crate::rig::NOW, writes: vec![write], ..Batch::default() };
    w.broker.store().append(batch).await.unwrap();
    until("the slow reader is let go", || async { text().await.contains("countersign_live_clients 0") })
        .await;

    let mut names = Vec::new();
    let mut cursor = format!("c1.{start:x}");
    while let Heard::Frame(frame) = hear(&mut socket).await {
        cursor = frame["cursor"].as_str().unwrap().to_owned();
        names.push(frame["name"].as_str().unwrap().to_owned());
    }
    assert!(names.len() < 256, "it was let go before the end");
    let mut socket = open(&w, &format!("?after={cursor}")).await;
    while names.len() < 256 {
        names.push(frame(&mut socket).await["name"].as_str().unwrap().to_owned());
    }
    assert_eq!(names, (0..256).map(|name| name.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn it_is_read_only_and_counted() {
    let w = world().await;
    let text = || async { w.get(&w.ann, "/metrics").await.1.as_str().unwrap_or_default().to_owned() };
    let mut socket = open(&w, "").await;
    until("the client is counted", || async { text().await.contains("countersign_live_clients 1") }).await;
    let before = w.head();
    socket.send(Message::Text(r#"{"vote":"approve"}"#.into())).await.unwrap();
    socket.send(Message::Ping("x".into())).await.unwrap();
    let pong = tokio::time::timeout(Duration::from_secs(5), socket.next()).await.unwrap();
    assert!(matches!(pong, Some(Ok(Message::Pong(_)))));
    assert_eq!(w.head(), before);
    drop(socket);
    until("the client is gone", || async { text().await.contains("countersign_live_clients 0") }).await;
}
