//! HTTP servers that answer, close, reset, redirect and vanish.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use countersign::upstream::{
    Outbound, ReplyBody, SendError, ServerSettings, UpstreamSettings, cannot_have_run,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::{call, post, relay, session, text, upstreams};

/// What the server does with the n-th request that it reads.
#[derive(Clone, Copy)]
enum Does {
    Answers(&'static str),
    AnswersAndCloses(&'static str),
    Resets,
    CutsTheBody,
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>, Arc<Mutex<usize>>);

impl Seen {
    fn requests(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
    fn connections(&self) -> usize {
        *self.1.lock().unwrap()
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nset-cookie: a=b\r\nmcp-session-id: s1\r\ncontent-length: 2\r\n\r\n{}";

async fn server(script: Vec<Does>) -> (SocketAddr, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Seen::default();
    let (recorder, script) = (seen.clone(), Arc::new(script));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            *recorder.1.lock().unwrap() += 1;
            tokio::spawn(serve(stream, recorder.clone(), script.clone()));
        }
    });
    (address, seen)
}

async fn serve(mut stream: TcpStream, seen: Seen, script: Arc<Vec<Does>>) {
    while let Some(request) = read_request(&mut stream).await {
        let number = {
            let mut requests = seen.0.lock().unwrap();
            requests.push(request);
            requests.len() - 1
        };
        match script.get(number).copied().unwrap_or(Does::Answers(OK)) {
            Does::Answers(bytes) => stream.write_all(bytes.as_bytes()).await.unwrap(),
            Does::AnswersAndCloses(bytes) => {
                stream.write_all(bytes.as_bytes()).await.unwrap();
                return;
            }
            Does::Resets => {
                stream.set_zero_linger().unwrap();
                return;
            }
            Does::CutsTheBody => {
                let begun =
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
                stream.write_all(begun.as_bytes()).await.unwrap();
                return;
            }
        }
    }
}

pub async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: ")).unwrap_or("0");
            if body.len() == length.parse::<usize>().unwrap() {
                return Some(text);
            }
        }
        let mut chunk = [0; 4096];
        match stream.read(&mut chunk).await {
            Ok(n) if n > 0 => bytes.extend_from_slice(&chunk[..n]),
            _ => return None,
        }
    }
}

fn settings(address: SocketAddr) -> ServerSettings {
    ServerSettings { url: Some(format!("http://{address}/mcp?x=1")), ..ServerSettings::default() }
}

#[tokio::test]
async fn a_connection_is_used_again_and_a_session_is_carried() {
    let (address, seen) = server(vec![]).await;
    let it = upstreams(settings(address), UpstreamSettings::default());
    let link = session(&it);
    for _ in 0..3 {
        let reply = call(&it, &link, r#"{"id":1,"method":"tools/call"}"#).await.unwrap();
        assert_eq!(reply.headers.get("content-type").unwrap(), "application/json");
        assert!(reply.headers.get("set-cookie").is_none());
        assert_eq!(text(reply).await, "{}");
    }
    assert_eq!(seen.connections(), 1);
    let requests = seen.requests();
    assert!(requests[0].starts_with("POST /mcp?x=1 HTTP/1.1\r\n"));
    assert!(!requests[0].contains("mcp-session-id"));
    assert!(requests[2].contains("mcp-session-id: s1\r\n"));
    assert_eq!(link.session_id(), Some("s1"));
    link.close().await;
    assert!(seen.requests()[3].starts_with("DELETE /mcp"));
}

#[tokio::test]
async fn a_body_read_to_its_length_gives_its_connection_back() {
    let (address, seen) = server(vec![]).await;
    let it = upstreams(settings(address), UpstreamSettings::default());
    let link = session(&it);
    for _ in 0..2 {
        let reply = call(&it, &link, r#"{"id":1,"method":"tools/call"}"#).await.unwrap();
        let ReplyBody::Bytes(mut body) = reply.body else { unreachable!() };
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "{}");
    }
    assert_eq!(seen.connections(), 1);
}

#[tokio::test]
async fn a_pooled_connection_that_went_stale_is_no_error_and_nothing_is_sent_twice() {
    let (address, seen) = server(vec![Does::AnswersAndCloses(OK), Does::AnswersAndCloses(OK)]).await;
    let it = upstreams(settings(address), UpstreamSettings::default());
    let link = session(&it);
    for number in 1..=8 {
        let reply = call(&it, &link, &format!(r#"{{"id":{number},"method":"tools/call"}}"#)).await.unwrap();
        assert_eq!(text(reply).await, "{}");
    }
    let bodies: Vec<_> =
        seen.requests().iter().map(|r| r.split_once("\r\n\r\n").unwrap().1.to_owned()).collect();
    let expected: Vec<_> = (1..=8).map(|n| format!(r#"{{"id":{n},"method":"tools/call"}}"#)).collect();
    assert_eq!(bodies, expected);
}

#[tokio::test]
async fn a_reset_after_the_request_is_unknown_and_is_not_tried_again() {
    let (address, seen) = server(vec![Does::Answers(OK), Does::Resets]).await;
    let it = upstreams(settings(address), UpstreamSettings::default());
    let link = session(&it);
    let reply = call(&it, &link, r#"{"id":1,"method":"tools/call"}"#).await.unwrap();
    text(reply).await;
    let lost = call(&it, &link, r#"{"id":2,"method":"tools/call"}"#).await.unwrap_err();
    assert!(matches!(lost, SendError::Unknown(_)), "{lost}");
    assert_eq!(seen.requests().len(), 2);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_told_as_broken() {
    let (address, seen) = server(vec![Does::CutsTheBody]).await;
    let it = upstreams(settings(address), UpstreamSettings::default());
    let reply = call(&it, &session(&it), r#"{"id":1,"method":"tools/call"}"#).await.unwrap();
    assert!(text(reply).await.starts_with("!the server's answer broke off"));
    assert_eq!(seen.requests().len(), 1);
}

#[tokio::test]
async fn a_refused_connection_is_not_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let it = upstreams(settings(address), UpstreamSettings::default());
    let link = session(&it);
    let refused = call(&it, &link, r#"{"id":1,"method":"tools/call"}"#).await.unwrap_err();
    assert!(matches!(&refused, SendError::NotSent(why) if why.contains("cannot connect")), "{refused}");
    assert!(matches!(link.prove().await, Err(SendError::NotSent(_))));
}

#[tokio::test]
async fn a_redirect_is_passed_on_and_not_followed() {
    let moved =
        "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n";
    let (address, seen) = server(vec![Does::Answers(moved)]).await;
    let it = upstreams(settings(address), UpstreamSettings::default());
    let reply = call(&it, &session(&it), r#"{"id":1,"method":"tools/call"}"#).await.unwrap();
    assert_eq!(reply.status, StatusCode::TEMPORARY_REDIRECT);
    assert!(reply.headers.get("location").is_none());
    assert!(!cannot_have_run(reply.status));
    assert_eq!(seen.requests().len(), 1);
}

#[tokio::test]
async fn the_clients_credentials_never_go_up_and_the_configured_ones_do() {
    let (address, seen) = server(vec![]).await;
    let mut with_key = settings(address);
    with_key.headers.insert("Authorization".into(), "Bearer ours".into());
    let it = upstreams(with_key, UpstreamSettings::default());
    let mut client = HeaderMap::new();
    for (name, value) in [
        ("authorization", "Bearer theirs"),
        ("cookie", "c=1"),
        ("host", "evil"),
        ("proxy-authorization", "x"),
        ("mcp-session-id", "theirs"),
        ("mcp-protocol-version", "2025-06-18"),
        ("mcp-param-region", "eu"),
        ("accept", "application/json"),
    ] {
        client.insert(name, HeaderValue::from_static(value));
    }
    let outbound = post(r#"{"id":1,"method":"ping"}"#)
        .with_headers_of(&client)
        .header(http::header::COOKIE, HeaderValue::from_static("c=2"));
    text(relay(&it, &session(&it), outbound).await.unwrap()).await;
    let request = &seen.requests()[0];
    for absent in ["theirs", "cookie", "evil", "proxy-"] {
        assert!(!request.contains(absent), "{absent} in {request}");
    }
    for present in ["authorization: Bearer ours", "mcp-protocol-version: 2025-06-18", "mcp-param-region: eu"]
    {
        assert!(request.contains(present), "{present} not in {request}");
    }
}

#[tokio::test]
async fn an_answer_over_the_cap_is_refused() {
    let (address, _seen) = server(vec![]).await;
    let it = upstreams(settings(address), UpstreamSettings { max_body: 1, ..UpstreamSettings::default() });
    let reply = call(&it, &session(&it), r#"{"id":1,"method":"tools/call"}"#).await.unwrap();
    assert_eq!(text(reply).await, "!the server's answer is larger than 1 bytes");
}

#[tokio::test]
async fn a_stream_of_events_arrives_byte_for_byte() {
    let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n: hi\n\ndata: {\"id\": 1 }\n\n";
    let (address, _seen) = server(vec![Does::AnswersAndCloses(stream)]).await;
    let it = upstreams(settings(address), UpstreamSettings::default());
    let reply = relay(&it, &session(&it), Outbound::get()).await.unwrap();
    assert!(reply.is_event_stream());
    assert_eq!(text(reply).await, ": hi\n\ndata: {\"id\": 1 }\n\n");
}
