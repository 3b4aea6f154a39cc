//! Servers that speak HTTP+SSE (2024-11-05): one stream brings every answer.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use countersign::upstream::{
    Outbound, ReplyBody, SendError, ServerSettings, Transport, UpstreamSettings, Upstreams,
};
use futures_util::StreamExt as _;
use http::StatusCode;
use serde_json::json;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::{Notify, mpsc},
};

use crate::{call, post, relay, session, shared, text, upstreams};

/// What the server does with what is POSTed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Does {
    /// 202, then the answer on the stream.
    Answers,
    /// The answer on the stream, and 202 when it is let go.
    AnswersFirst,
    /// 202, then the stream ends.
    TakesAndBreaks,
    /// 202, then nothing.
    Takes,
    Refuses,
}

#[derive(Clone)]
struct Old {
    address: SocketAddr,
    does: Arc<Mutex<Does>>,
    /// What the GET's stream begins with.
    hello: &'static str,
    /// What a POST to the URL itself is answered.
    to_post: &'static str,
    requests: Arc<Mutex<Vec<String>>>,
    stream: Arc<Mutex<Option<mpsc::UnboundedSender<String>>>>,
    released: Arc<Notify>,
}

const ENDPOINT: &str = "event: endpoint\ndata: /messages?s=7\n\n";
const NO_POST: &str = "405 Method Not Allowed";

impl Old {
    async fn start(hello: &'static str, to_post: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let old = Self {
            address: listener.local_addr().unwrap(),
            does: Arc::new(Mutex::new(Does::Answers)),
            hello,
            to_post,
            requests: Arc::default(),
            stream: Arc::default(),
            released: Arc::default(),
        };
        let server = old.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(server.clone().serve(stream));
            }
        });
        old
    }

    fn does(&self, what: Does) {
        *self.does.lock().unwrap() = what;
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    fn posts(&self) -> usize {
        self.requests().iter().filter(|request| request.starts_with("POST /messages?s=7 ")).count()
    }

    fn says(&self, message: &str) {
        let stream = self.stream.lock().unwrap();
        stream.as_ref().unwrap().send(format!("event: message\ndata: {message}\n\n")).unwrap();
    }

    async fn serve(self, mut stream: TcpStream) {
        while let Some(request) = crate::http::read_request(&mut stream).await {
            self.requests.lock().unwrap().push(request.clone());
            if request.starts_with("GET") {
                return self.stream(stream).await;
            }
            if !request.starts_with("POST /messages?s=7 ") {
                let refusal = format!("HTTP/1.1 {}\r\ncontent-length: 2\r\n\r\nno", self.to_post);
                stream.write_all(refusal.as_bytes()).await.unwrap();
                continue;
            }
            let body = request.split_once("\r\n\r\n").unwrap().1;
            let id = serde_json::from_str::<serde_json::Value>(body).unwrap()["id"].clone();
            let answer = json!({"jsonrpc": "2.0", "id": id, "result": {}}).to_string();
            let does = *self.does.lock().unwrap();
            if does == Does::AnswersFirst {
                self.says(&answer);
                self.released.notified().await;
            }
            let (status, body) = if does == Does::Refuses {
                ("400 Bad Request", "{\"no\":1}")
            } else {
                ("202 Accepted", "Accepted")
            };
            let reply = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            stream.write_all(reply.as_bytes()).await.unwrap();
            match does {
                Does::Answers if !id.is_null() => self.says(&answer),
                Does::TakesAndBreaks => *self.stream.lock().unwrap() = None,
                Does::Answers | Does::AnswersFirst | Does::Takes | Does::Refuses => {}
            }
        }
    }

    async fn stream(self, mut stream: TcpStream) {
        let (says, mut said) = mpsc::unbounded_channel();
        *self.stream.lock().unwrap() = Some(says);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
        stream.write_all(format!("{head}{}", self.hello).as_bytes()).await.unwrap();
        while let Some(event) = said.recv().await {
            stream.write_all(event.as_bytes()).await.unwrap();
        }
    }

    fn behind(&self, transport: Option<Transport>) -> Upstreams {
        let url = Some(format!("http://{}/sse", self.address));
        upstreams(ServerSettings { url, transport, ..ServerSettings::default() }, UpstreamSettings::default())
    }
}

const HELLO: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#;
const CALL: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"t"}}"#;

async fn greeted(old: &Old) -> (Upstreams, countersign::upstream::Link) {
    let it = old.behind(Some(Transport::Sse));
    let link = session(&it);
    let reply = relay(&it, &link, post(HELLO)).await.unwrap();
    assert_eq!(text(reply).await, r#"{"jsonrpc":"2.0","id":0,"result":{}}"#);
    (it, link)
}

#[tokio::test]
async fn answers_come_on_the_stream_and_messages_go_to_the_endpoint() {
    let old = Old::start(ENDPOINT, NO_POST).await;
    let (it, link) = greeted(&old).await;
    assert_eq!(it.server("it").unwrap().transport(), "sse");
    let begun = relay(&it, &link, post(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)).await;
    assert_eq!(begun.unwrap().status, StatusCode::ACCEPTED);
    let mut listener = relay(&it, &link, Outbound::get()).await.unwrap();
    let ReplyBody::Messages(own) = &mut listener.body else { panic!("messages") };
    old.says(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"big":1e400}}"#);
    let said = own.next().await.unwrap().unwrap();
    assert_eq!(said, r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"big":1e400}}"#);

    old.does(Does::Takes);
    let (first, second) = (
        call(&it, &link, CALL).await.unwrap(),
        call(&it, &link, &CALL.replace(":1,", ":\"b\",")).await.unwrap(),
    );
    old.says(r#"{"jsonrpc":"2.0","id":"b","result":{"n":2}}"#);
    old.says(r#"{"jsonrpc":"2.0","id":1.0,"result":{"n":1}}"#);
    assert_eq!(text(first).await, r#"{"jsonrpc":"2.0","id":1,"result":{"n":1}}"#);
    assert_eq!(text(second).await, r#"{"jsonrpc":"2.0","id":"b","result":{"n":2}}"#);
    let requests = old.requests();
    assert!(requests[0].starts_with("GET /sse HTTP/1.1\r\n"), "{requests:?}");
    assert_eq!(requests.iter().filter(|request| request.starts_with("GET")).count(), 1);
    assert_eq!(old.posts(), 4);
    link.close().await;
    assert!(link.is_over());
}

#[tokio::test]
async fn an_answer_may_come_before_its_post_is_taken() {
    let old = Old::start(ENDPOINT, NO_POST).await;
    let (it, link) = greeted(&old).await;
    old.does(Does::AnswersFirst);
    let reply = call(&it, &link, CALL).await.unwrap();
    assert_eq!(text(reply).await, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
    old.released.notify_one();
}

#[tokio::test]
async fn a_refused_post_keeps_its_status_and_the_session_lives() {
    let old = Old::start(ENDPOINT, NO_POST).await;
    let (it, link) = greeted(&old).await;
    old.does(Does::Refuses);
    // A message that nobody read yet does not make an answer of it.
    old.says(r#"{"jsonrpc":"2.0","method":"notifications/message"}"#);
    let reply = call(&it, &link, CALL).await.unwrap();
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(text(reply).await, r#"{"no":1}"#);
    old.does(Does::Answers);
    let again = call(&it, &link, CALL).await.unwrap();
    assert!(text(again).await.ends_with(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#));
}

#[tokio::test]
async fn a_call_whose_stream_breaks_is_unknown_and_the_session_is_over() {
    let old = Old::start(ENDPOINT, NO_POST).await;
    let (it, link) = greeted(&old).await;
    assert!(link.prove().await.is_ok());
    old.does(Does::TakesAndBreaks);
    let reply = call(&it, &link, CALL).await.unwrap();
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(text(reply).await, "!the server's answer broke off: the server's stream ended");
    assert!(link.is_over());
    let posts = old.posts();
    assert_eq!(link.prove().await.unwrap_err(), SendError::NotSent("the session's stream has ended".into()));
    assert_eq!(call(&it, &link, CALL).await.unwrap().status, StatusCode::NOT_FOUND);
    assert_eq!(old.posts(), posts, "nothing is sent in a session that is over");
}

#[tokio::test]
async fn an_endpoint_elsewhere_is_not_used() {
    for hello in ["event: endpoint\ndata: http://127.0.0.1:9/messages\n\n", "event: message\ndata: {}\n\n"] {
        let old = Old::start(hello, NO_POST).await;
        let it = old.behind(Some(Transport::Sse));
        let Err(SendError::NotSent(why)) = relay(&it, &session(&it), post(HELLO)).await else {
            panic!("sent")
        };
        assert!(why.contains("endpoint"), "{why}");
        assert_eq!(old.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_server_of_before_streamable_http_is_found_out() {
    let old = Old::start(ENDPOINT, NO_POST).await;
    let it = old.behind(None);
    assert_eq!(it.server("it").unwrap().transport(), "http");
    // Nothing but a greeting is tried again.
    assert_eq!(relay(&it, &session(&it), post(CALL)).await.unwrap().status, StatusCode::METHOD_NOT_ALLOWED);
    for _ in 0..2 {
        let link = session(&it);
        let reply = relay(&it, &link, post(HELLO)).await.unwrap();
        assert_eq!(text(reply).await, r#"{"jsonrpc":"2.0","id":0,"result":{}}"#);
        assert_eq!(it.server("it").unwrap().transport(), "sse");
    }
    let verbs: Vec<_> = old.requests().iter().map(|r| r.split(" HTTP").next().unwrap().to_owned()).collect();
    let endpoint = "POST /messages?s=7";
    assert_eq!(verbs, ["POST /sse", "POST /sse", "GET /sse", endpoint, "GET /sse", endpoint]);
    assert!(relay(&it, &shared(&it), post(CALL)).await.is_err(), "there is no session in it");
}

#[tokio::test]
async fn a_refusal_of_a_server_without_an_endpoint_stays_its_own() {
    let old = Old::start("event: message\ndata: {}\n\n", "400 Bad Request").await;
    let it = old.behind(None);
    let reply = relay(&it, &session(&it), post(HELLO)).await.unwrap();
    assert_eq!((reply.status, text(reply).await), (StatusCode::BAD_REQUEST, "no".into()));
    assert_eq!(it.server("it").unwrap().transport(), "http");
    // A server that is said to speak streamable HTTP is not asked.
    let asked = old.requests().len();
    let it = old.behind(Some(Transport::Http));
    assert_eq!(relay(&it, &session(&it), post(HELLO)).await.unwrap().status, StatusCode::BAD_REQUEST);
    assert_eq!(old.requests().len(), asked + 1);
}
