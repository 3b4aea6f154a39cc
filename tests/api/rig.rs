//! A world to test in: a broker with one server and one agent, its door, and people who knock.

use std::{collections::HashMap, net::SocketAddr, sync::Arc, time::Duration};

use countersign::{
    api::{self, ApiParts, Catalog, Origins, PolicyFile},
    broker::{Ask, Broker, GrantRules, Parts, Rules, Settings, Submission, TestClock, Waiter},
    call::{AttachKind, CallId, ClientInfo, Era, Event, Person, Replica, Role, Timestamp, evolve},
    downstream,
    identity::{GrantSettings, Identity},
    ledger::{Fact, Stream},
    mcp::{Limits, Version, strict},
    policy::check,
    store::{
        Batch, Store, Write,
        sqlite::{OpenOptions, Sqlite},
    },
    telemetry::Metrics,
    upstream::{ServerSettings, UpstreamSettings, Upstreams},
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub const NOW: Timestamp = Timestamp(1_800_000_000_000);

const POLICY: &str = r#"{
  "version": "1", "default": "deny",
  "tools": {
    "read": {},
    "counted": { "limits": [{ "counter": "c", "window": "day", "max": 100, "scope": "grant" }] },
    "cancel": {
      "action": "require_approval", "reason": "Cancels the batch",
      "risk": { "class": "destructive", "severity": "critical" }
    },
    "both": {
      "action": "require_approval", "reason": "Two must agree",
      "approval": { "quorums": [{ "approvals": 2 }] }
    },
    "plain": { "action": "require_approval" },
    "alone": { "action": "require_approval", "approval": { "join": "never" } }
  }
}"#;

pub struct World {
    pub broker: Broker,
    pub clock: Arc<TestClock>,
    pub address: SocketAddr,
    pub ann: String,
    pub bob: String,
    pub auditor: String,
    pub agent: String,
    pub http: reqwest::Client,
    ending: CancellationToken,
    _folder: TempDir,
}

struct Files(Arc<Sqlite>);

impl Catalog for Files {
    fn policies(&self) -> Vec<PolicyFile> {
        let digest = check("p.json", POLICY).unwrap().digest;
        vec![PolicyFile {
            name: "p.json".into(),
            digest: digest.to_string(),
            error: None,
            text: POLICY.into(),
        }]
    }
    fn checkpoint(&self) -> Option<String> {
        self.0.signed_head().map(|head| head.to_string())
    }
    fn troubles(&self) -> Vec<String> {
        Vec::new()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.ending.cancel();
    }
}

fn person(name: &str, role: Role) -> Person {
    Person { name: name.into(), groups: vec!["ops".into()], role, token: String::new() }
}

/// Who dispatches here.
pub fn replica() -> Replica {
    Replica { name: "test".into(), epoch: 1 }
}

pub async fn world() -> World {
    world_at(None).await
}

/// A world whose pages are reached under `public_url`.
pub async fn world_at(public_url: Option<&str>) -> World {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    let sqlite =
        Arc::new(Sqlite::open(&folder.path().join("countersign.db"), OpenOptions::default()).unwrap());
    let store: Arc<dyn Store> = Arc::<Sqlite>::clone(&sqlite);
    let identity = Identity::open(store.clone()).await.unwrap();
    let clock = Arc::new(TestClock::at(NOW));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let public_url = public_url.map_or_else(|| format!("http://{address}"), str::to_owned);
    let parts = Parts {
        store,
        identity: identity.clone(),
        upstreams: Upstreams::new(UpstreamSettings::default()),
        clock: clock.clone(),
        settings: Settings { public_url: public_url.clone(), ..Settings::default() },
        fingerprint_key: *sqlite.fingerprint_key(),
        metrics: Metrics::new(),
    };
    let broker = Broker::start(parts).await.unwrap();
    let server = ServerSettings { url: Some("http://127.0.0.1:9/mcp".into()), ..ServerSettings::default() };
    broker.upstreams().replace([("ops".to_owned(), server)].into()).unwrap();
    let policy = Arc::new(check("p.json", POLICY).unwrap());
    let rules = GrantRules { everywhere: vec![policy], by_server: HashMap::new() };
    let rules = Rules { by_grant: [("bot".to_owned(), rules)].into(), ..Rules::default() };
    broker.set_rules(rules, Vec::new()).await.unwrap();
    let servers = GrantSettings { servers: vec!["ops".into()], ..GrantSettings::default() };
    let agent = identity.add_agent("bot", servers, "(test)", NOW).await.unwrap().token;
    let mut tokens = Vec::new();
    for (name, role) in [("ann", Role::Reviewer), ("bob", Role::Reviewer), ("aud", Role::Auditor)] {
        tokens.push(identity.add_reviewer(person(name, role), "(test)", NOW).await.unwrap().token);
    }
    let ending = CancellationToken::new();
    let origins = Origins::new(&public_url, address);
    let mut parts = ApiParts::new(
        broker.clone(),
        Arc::new(Files(sqlite)),
        broker.metrics().clone(),
        origins,
        ending.clone(),
        downstream::told,
    );
    parts.patience = Duration::from_millis(300);
    let (router, stop) = (api::router(parts), ending.clone());
    tokio::spawn(async move {
        axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await.unwrap();
    });
    let http = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let [ann, bob, auditor] = tokens.try_into().unwrap();
    World { broker, clock, address, ann, bob, auditor, agent, http, ending, _folder: folder }
}

impl World {
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn identity(&self) -> &Arc<Identity> {
        self.broker.identity()
    }

    /// A call of the agent's that waits for people.
    pub async fn park(&self, tool: &str, arguments: &str) -> Box<Waiter> {
        match self.submit(tool, arguments).await {
            Submission::Waiting(waiter) => waiter,
            other => panic!("expected a call that waits: {other:?}"),
        }
    }

    pub async fn submit(&self, tool: &str, arguments: &str) -> Submission {
        self.submit_with(tool, arguments, "").await
    }

    /// `beside`: further members of `params`, each with a comma before it.
    pub async fn submit_with(&self, tool: &str, arguments: &str, beside: &str) -> Submission {
        let body = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"{tool}","arguments":{arguments}{beside}}}}}"#
        );
        strict::check(body.as_bytes(), &Limits::default()).unwrap();
        let start = body.find(arguments).unwrap();
        let ask = Ask {
            grant: self.identity().grant(&self.agent).unwrap(),
            server: "ops".into(),
            server_identity: "http://127.0.0.1:9/mcp".into(),
            session: Some("s1".into()),
            era: Era::Legacy,
            protocol: Some(Version::V2025_06_18),
            client: ClientInfo { name: "test".into(), version: "1".into() }.into(),
            tool: tool.into(),
            arguments: Some(start..start + arguments.len()),
            input_responses: None,
            unseen: false,
            body: body.into(),
            kind: AttachKind::Line,
            as_task: false,
        };
        self.broker.submit(ask).await
    }

    pub async fn get(&self, token: &str, path: &str) -> (u16, Value) {
        self.send(self.http.get(self.url(path)).bearer_auth(token)).await
    }

    pub async fn post(&self, token: &str, path: &str, body: &Value) -> (u16, Value) {
        self.send(self.http.post(self.url(path)).bearer_auth(token).json(body)).await
    }

    pub async fn call(&self, id: CallId) -> Value {
        let (status, call) = self.get(&self.ann, &format!("/api/v1/calls/{id}")).await;
        assert_eq!(status, 200, "{call}");
        call
    }

    /// Writes an event that only a dispatcher writes.
    pub async fn happened(&self, id: CallId, event: Event) {
        let store = self.broker.store();
        let call = store.call(id).await.unwrap().unwrap();
        let (expected, stream) = (Some(call.version), Stream::Call(id));
        let call = evolve(id, Some(call), &event, NOW).unwrap();
        let facts = vec![Fact::Call(event)];
        let write = Write { stream, expected, facts, call: Some(Box::new(call)), deadline: None };
        store.append(Batch { at: NOW, writes: vec![write], ..Batch::default() }).await.unwrap();
    }

    /// `token` votes on what it sees now.
    pub async fn vote(&self, token: &str, id: CallId, vote: &str) -> (u16, Value) {
        let digest = self.call(id).await["digest"].clone();
        let path = format!("/api/v1/calls/{id}/reviews");
        self.post(token, &path, &json!({ "vote": vote, "digest": digest, "reason": "because" })).await
    }

    pub async fn send(&self, request: reqwest::RequestBuilder) -> (u16, Value) {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    }

    /// Signs `token` in and gives its cookie as a `Cookie` header's value.
    pub async fn cookie(&self, token: &str) -> String {
        let session = self.identity().sign_in(token, NOW).await.unwrap().unwrap().1;
        format!("countersign={session}")
    }

    /// What a page of ours sends beside this cookie with a change.
    pub fn page_key(&self, cookie: &str) -> String {
        self.broker.page_key(cookie.split_once('=').unwrap().1)
    }

    /// How many entries the ledger has.
    pub fn head(&self) -> u64 {
        *self.broker.head().borrow()
    }
}

/// Waits for a condition, for at most ten seconds.
pub async fn until<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
