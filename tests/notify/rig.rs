//! A broker whose calls wait, and a receiver that answers as it is told to.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use countersign::{
    broker::{Ask, Broker, Parts, Rules, Settings, Submission, SystemClock},
    call::{AttachKind, Call, CallId, Era, Event, Person, Role, Vote, evolve},
    identity::{GrantSettings, Identity},
    ledger::{Fact, Stream},
    notify::{Destination, Endpoint, Notify, NotifySettings, Pace, Secret, Target},
    policy::Policy,
    store::{
        Batch, Store, Write,
        sqlite::{OpenOptions, Sqlite},
    },
    telemetry::Metrics,
    upstream::{UpstreamSettings, Upstreams},
};
use http::HeaderMap;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

pub const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const PATIENCE: Duration = Duration::from_secs(20);

/// How one request is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Status, header lines, body.
    Says(u16, &'static str, &'static str),
    /// The connection is reset after the request was read.
    Resets,
    /// Nothing comes.
    Hangs,
    /// 200, a while after the request.
    Late(Duration),
}

#[derive(Clone, Debug)]
pub struct Received {
    pub headers: HeaderMap,
    pub body: Bytes,
    pub at: std::time::Instant,
}

impl Received {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub fn id(&self) -> String {
        self.headers["webhook-id"].to_str().unwrap().to_owned()
    }
}

/// A real HTTP server: says 200 unless told otherwise for the next requests.
#[derive(Clone)]
pub struct Receiver {
    pub url: String,
    script: Arc<Mutex<VecDeque<Answer>>>,
    always: Arc<Mutex<Option<Answer>>>,
    seen: watch::Sender<Vec<Received>>,
}

impl Receiver {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/services/T0/B0/urlsecret", listener.local_addr().unwrap());
        let receiver = Self {
            url,
            script: Arc::default(),
            always: Arc::default(),
            seen: watch::Sender::new(Vec::new()),
        };
        let served = receiver.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(served.clone().serve(stream));
            }
        });
        receiver
    }

    /// The next requests are answered so, in order.
    pub fn next(&self, answers: impl IntoIterator<Item = Answer>) {
        self.script.lock().unwrap().extend(answers);
    }

    /// Every request without an answer of its own is answered so.
    pub fn always(&self, answer: Option<Answer>) {
        *self.always.lock().unwrap() = answer;
    }

    pub fn seen(&self) -> Vec<Received> {
        self.seen.borrow().clone()
    }

    /// Everything received, as soon as it is `count` requests.
    pub async fn received(&self, count: usize) -> Vec<Received> {
        let mut seen = self.seen.subscribe();
        let enough = seen.wait_for(|seen| seen.len() >= count);
        let seen = tokio::time::timeout(PATIENCE, enough).await.map(|seen| seen.unwrap().clone());
        seen.unwrap_or_else(|_| panic!("{count} requests within 20 s; there were {}", self.seen().len()))
    }

    async fn serve(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        let mut headers = HeaderMap::new();
        let mut line = String::new();
        loop {
            line.clear();
            if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            match line.trim_end().split_once(": ") {
                Some((name, value)) => {
                    headers.insert(name.parse::<http::HeaderName>().unwrap(), value.parse().unwrap());
                }
                None if line.trim_end().is_empty() => break,
                None => {}
            }
        }
        let length = headers["content-length"].to_str().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await.unwrap();
        let answer = self.script.lock().unwrap().pop_front();
        let answer = answer.or_else(|| self.always.lock().unwrap().clone());
        let received = Received { headers, body: body.into(), at: std::time::Instant::now() };
        self.seen.send_modify(|seen| seen.push(received));
        match answer.unwrap_or(Answer::Says(200, "", "ok")) {
            Answer::Says(status, lines, body) => {
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} X\r\nContent-Length: {length}\r\nConnection: close\r\n{lines}\r\n"
                );
                let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
                let _ = stream.shutdown().await;
            }
            Answer::Resets => {
                #[expect(deprecated, reason = "a zero linger does not block; it makes the close a reset")]
                stream.get_ref().set_linger(Some(Duration::ZERO)).unwrap();
            }
            Answer::Hangs => std::future::pending().await,
            Answer::Late(after) => {
                tokio::time::sleep(after).await;
                let _ = stream.write_all(b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n\r\n").await;
            }
        }
    }
}

const POLICY: &str = r#"{
  "version": "1", "default": "allow",
  "tools": {
    "cancel*": { "action": "require_approval", "reason": "there is no undo",
                "risk": { "class": "destructive", "severity": "high" } },
    "forbidden": { "action": "deny", "reason": "not here" }
  }
}"#;

pub struct House {
    pub broker: Broker,
    pub metrics: Arc<Metrics>,
    _folder: TempDir,
}

impl House {
    pub async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Sqlite::open(&folder.path().join("countersign.db"), OpenOptions::default()).unwrap();
        let fingerprint_key = *store.fingerprint_key();
        let store: Arc<dyn Store> = Arc::new(store);
        let identity = Identity::open(store.clone()).await.unwrap();
        let metrics = Metrics::new();
        let parts = Parts {
            store,
            identity,
            upstreams: Upstreams::new(UpstreamSettings::default()),
            clock: Arc::new(SystemClock),
            settings: Settings { public_url: "https://approvals.example".into(), ..Settings::default() },
            fingerprint_key,
            metrics: metrics.clone(),
        };
        let broker = Broker::start(parts).await.unwrap();
        let policy = Arc::new(Policy::parse("rig.json", POLICY).unwrap());
        let by_server = [("rig".to_owned(), vec![policy])].into_iter().collect();
        broker.set_rules(Rules { by_server, ..Rules::default() }, Vec::new()).await.unwrap();
        let now = broker.clock().now();
        broker.identity().add_reviewer(ann(), "test", now).await.unwrap();
        let house = Self { broker, metrics, _folder: folder };
        house.grant("bot", Some("zoe")).await;
        house
    }

    pub async fn grant(&self, agent: &str, owner: Option<&str>) {
        let servers = vec!["*".into()];
        let grant = GrantSettings { servers, owner: owner.map(str::to_owned), ..GrantSettings::default() };
        let now = self.broker.clock().now();
        self.broker.identity().add_agent(agent, grant, "test", now).await.unwrap();
    }

    /// A call that waits; the agent has gone.
    pub async fn park(&self, arguments: &Value) -> CallId {
        self.park_as("bot", "cancel", arguments).await
    }

    pub async fn park_as(&self, agent: &str, tool: &str, arguments: &Value) -> CallId {
        self.park_with(agent, tool, arguments, "").await
    }

    /// `beside`: further members of `params`, each with a comma before it.
    pub async fn park_with(&self, agent: &str, tool: &str, arguments: &Value, beside: &str) -> CallId {
        match self.submit(agent, tool, arguments, beside).await {
            Submission::Waiting(waiter) => {
                let id = waiter.call();
                self.broker.ticket(*waiter).await;
                id
            }
            other => panic!("it should wait: {other:?}"),
        }
    }

    async fn submit(&self, agent: &str, tool: &str, arguments: &Value, beside: &str) -> Submission {
        let arguments = arguments.to_string();
        let head = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":{},"arguments":"#,
            Value::from(tool)
        );
        let range = head.len()..head.len() + arguments.len();
        let grant = self.broker.identity().directory().agents.values().find(|g| g.name == agent).cloned();
        let ask = Ask {
            grant: grant.unwrap(),
            server: "rig".into(),
            server_identity: "https://rig.example/mcp".into(),
            session: None,
            era: Era::Modern,
            protocol: None,
            client: Arc::default(),
            tool: tool.into(),
            body: Bytes::from(format!("{head}{arguments}{beside}}}}}")),
            arguments: Some(range),
            input_responses: None,
            unseen: false,
            kind: AttachKind::Line,
            as_task: false,
        };
        self.broker.submit(ask).await
    }

    /// A call that the policy denies.
    pub async fn refuse(&self, tool: &str) {
        assert!(matches!(self.submit("bot", tool, &Value::Null, "").await, Submission::Settled(_)));
    }

    /// What happened to the call behind its agent's and its reviewers' backs.
    pub async fn append(&self, id: CallId, event: Event) {
        let call = self.call(id).await;
        let (at, stream, expected) = (self.broker.clock().now(), Stream::Call(id), Some(call.version));
        let call = evolve(id, Some(call), &event, at).unwrap();
        let facts = vec![Fact::Call(event)];
        let write = Write { stream, expected, facts, call: Some(Box::new(call)), deadline: None };
        self.broker.store().append(Batch { at, writes: vec![write], ..Batch::default() }).await.unwrap();
    }

    pub async fn call(&self, id: CallId) -> Call {
        self.broker.store().call(id).await.unwrap().unwrap()
    }

    pub async fn deny(&self, id: CallId, reason: &str) {
        let call = self.call(id).await;
        self.broker.review(id, ann(), Vote::Deny, call.digest, Some(reason.to_owned())).await.unwrap();
    }

    pub async fn notify(&self, destinations: Vec<Destination>) -> Notify {
        let settings = NotifySettings { destinations, pace: QUICK };
        Notify::start(self.broker.clone(), settings, CancellationToken::new()).await.unwrap()
    }
}

/// Little waits, so that no story waits long.
pub const QUICK: Pace = Pace {
    timeout: Duration::from_millis(500),
    first_wait: Duration::from_millis(2),
    longest_wait: Duration::from_millis(20),
    refused_tries: 3,
    slack_interval: Duration::ZERO,
};

pub fn slack(receiver: &Receiver) -> Destination {
    let target = Target::Slack(Endpoint::parse(&receiver.url).unwrap());
    Destination { name: "slack.room".into(), target, values: false, retry_for: Destination::RETRY_FOR }
}

pub fn webhook(receiver: &Receiver) -> Destination {
    let target = Target::Webhook(Endpoint::parse(&receiver.url).unwrap(), Secret::parse(SECRET).unwrap());
    Destination { name: "webhook.siem".into(), target, values: false, retry_for: Destination::RETRY_FOR }
}

pub fn ann() -> Person {
    Person { name: "ann".into(), groups: Vec::new(), role: Role::Reviewer, token: String::new() }
}

pub fn with_values(destination: Destination) -> Destination {
    Destination { values: true, ..destination }
}
