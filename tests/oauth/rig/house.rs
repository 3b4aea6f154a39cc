//! The broker as `serve` runs it, with a log that can be searched.

use std::{
    io::Write,
    path::Path,
    sync::{Mutex, OnceLock},
    time::Duration,
};

use countersign::{
    call::{Call, Person, Role, StateName, Vote},
    config::Config,
    serve,
    store::Filter,
};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

/// The token of the grant `bot`.
pub const TOKEN: &str = "a-grant-token-of-the-configuration";

static LOG: OnceLock<&'static Mutex<Vec<u8>>> = OnceLock::new();

/// A place for log lines.
#[derive(Clone, Copy)]
struct Log(&'static Mutex<Vec<u8>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Everything that was logged in this process, at any level.
pub fn logged() -> String {
    String::from_utf8_lossy(&LOG.get().unwrap().lock().unwrap()).into_owned()
}

/// A `tools/call`.
pub fn call(tool: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": {}}})
}

fn ann() -> Person {
    Person { name: "ann".into(), groups: Vec::new(), role: Role::Reviewer, token: String::new() }
}

pub struct House {
    pub running: serve::Running,
    pub folder: tempfile::TempDir,
    client: reqwest::Client,
}

impl House {
    /// One server `it` with the keys `server`, one grant `bot`, and `more` of the configuration.
    pub async fn open(server: &str, more: &str) -> Self {
        Self::open_in(tempfile::tempdir().unwrap(), server, more).await
    }

    pub async fn open_in(folder: tempfile::TempDir, server: &str, more: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        LOG.get_or_init(|| {
            let log: &'static Mutex<Vec<u8>> = Box::leak(Box::default());
            let lines = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE);
            lines.with_writer(move || Log(log)).init();
            log
        });
        let policy = r#"{"version":"1","default":"allow","tools":{"cancel":{"action":"require_approval"}}}"#;
        std::fs::write(folder.path().join("policy.json"), policy).unwrap();
        let path = folder.path().join("countersign.toml");
        let text = format!(
            "listen = \"127.0.0.1:0\"\nstore = \"sqlite:store.db\"\n{more}\n\
             [mcp]\ngrace_ms = 20\nheartbeat_ms = 20\ndelivery_ms = 20\n\
             [grants.bot]\ntoken = \"{TOKEN}\"\nservers = [\"it\"]\n\
             [servers.it]\npolicy = \"policy.json\"\n{server}\n"
        );
        std::fs::write(&path, text).unwrap();
        let running = serve::start(&Config::load(&path).unwrap()).await.unwrap();
        // Before the first call: one that nobody could approve is answered at once.
        let broker = &running.broker;
        let _ = broker.identity().add_reviewer(ann(), "test", broker.clock().now()).await;
        let client = super::trusting().redirect(reqwest::redirect::Policy::none());
        Self { running, folder, client: client.build().unwrap() }
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.running.public_url)
    }

    pub async fn get(&self, url: &str) -> Response {
        self.client.get(url).send().await.unwrap()
    }

    /// A request with this bearer token, for any kind of answer.
    pub fn request(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        let request = self.client.request(method, self.url(path)).bearer_auth(token);
        request.header("accept", "application/json, text/event-stream")
    }

    /// Posts with this bearer token to `/mcp/it`.
    pub async fn post(&self, token: &str, message: &Value) -> Response {
        self.request(Method::POST, "/mcp/it", token).json(message).send().await.unwrap()
    }

    /// What a reviewer reads of the API at `path`.
    pub async fn reads(&self, path: &str) -> Value {
        let broker = &self.running.broker;
        let name = format!("reader-{:x}", rand::random::<u32>());
        let reader = broker.identity().add_reviewer(Person { name, ..ann() }, "test", broker.clock().now());
        let token = reader.await.unwrap().token;
        self.request(Method::GET, path, &token).send().await.unwrap().json().await.unwrap()
    }

    /// As the agent of the grant: status and body.
    pub async fn ask(&self, message: &Value) -> (StatusCode, String) {
        let answer = self.post(TOKEN, message).await;
        (answer.status(), answer.text().await.unwrap())
    }

    /// Approves what waits, once something does.
    pub async fn approve(&self) {
        let broker = &self.running.broker;
        let call = self.until(StateName::Pending).await;
        broker.review(call.id, ann(), Vote::Approve, call.digest, None).await.unwrap();
    }

    /// The first call in that state.
    pub async fn until(&self, state: StateName) -> Call {
        let broker = &self.running.broker;
        let mut head = broker.head();
        let found = async {
            loop {
                head.borrow_and_update();
                let filter = Filter { states: vec![state], limit: 10, ..Filter::default() };
                if let Some(call) = broker.calls(filter).await.unwrap().calls.into_iter().next() {
                    return call;
                }
                head.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(20), found).await.expect("it came to be")
    }

    /// Where any of these bytes lie in the broker's folder.
    pub fn find(&self, secrets: &[String]) -> Vec<String> {
        let mut found = Vec::new();
        for file in files(self.folder.path()) {
            let bytes = std::fs::read(&file).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            let held = secrets.iter().filter(|secret| !secret.is_empty() && text.contains(secret.as_str()));
            found.extend(held.map(|secret| format!("{}: {secret}", file.display())));
        }
        found
    }
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).collect()
}
