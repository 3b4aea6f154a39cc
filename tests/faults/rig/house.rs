//! A whole broker in this process, from a configuration file to its doors on a free port.

use std::{path::Path, time::Duration};

use countersign::{
    call::{Call, Person, Role, StateName, Vote},
    config::Config,
    serve::{self, Running},
    store::Filter,
};
use serde_json::{Value, json};

use crate::http::{Reply, Target};

pub const POLICY: &str = r#"{
  "version": "1", "default": "deny",
  "tools": { "say_*": { "action": "allow" }, "do_*": { "action": "require_approval" } }
}"#;

/// Short times, so that no story waits long.
const TIMES: &str = "[mcp]\nlaps = 0\ngrace_ms = 20\nheartbeat_ms = 50\ndefault_patience_s = 1\n\
    [upstream]\nheader_timeout_ms = 400\nbody_idle_timeout_ms = 400\nconnect_timeout_ms = 400\n\
    max_body = 1048576\n";

pub struct House {
    pub running: Running,
    pub folder: tempfile::TempDir,
}

impl House {
    /// With the servers `(name, url)`.
    pub async fn open(servers: &[(&str, &str)]) -> Self {
        let folder = folder(servers, POLICY);
        let running = start(folder.path()).await.unwrap();
        let now = running.broker.clock().now();
        running.broker.identity().add_reviewer(ann(), "test", now).await.unwrap();
        Self { running, folder }
    }

    pub fn target(&self, server: &str) -> Target {
        Target::new(self.running.address, &format!("/mcp/{server}"), "token-of-the-agent-0123456789")
    }

    /// A modern `tools/call`.
    pub async fn call(&self, server: &str, tool: &str, marker: &str) -> std::io::Result<Reply> {
        let target = self.target(server).with("mcp-protocol-version", "2026-07-28");
        let target = target.with("mcp-method", "tools/call").with("mcp-name", tool);
        target.post(&tools_call(tool, marker)).await
    }

    /// The same, approved as soon as it waits; the text of its answer.
    pub async fn approved(&self, server: &str, tool: &str, marker: &str) -> String {
        let approve = async {
            let call = self.pending(tool).await;
            self.running.broker.review(call.id, ann(), Vote::Approve, call.digest, None).await.unwrap();
        };
        let (reply, ()) = tokio::join!(self.call(server, tool, marker), approve);
        text(&reply.unwrap())
    }

    /// The call of this tool that waits, as soon as one does.
    pub async fn pending(&self, tool: &str) -> Call {
        let filter = Filter {
            states: vec![StateName::Pending],
            tool: Some(tool.into()),
            limit: 1,
            ..Filter::default()
        };
        let mut head = self.running.broker.head();
        let found = async {
            loop {
                head.borrow_and_update();
                let page = self.running.broker.calls(filter.clone()).await.unwrap();
                if let Some(call) = page.calls.into_iter().next() {
                    return call;
                }
                head.changed().await.unwrap();
            }
        };
        tokio::time::timeout(Duration::from_secs(10), found).await.expect("it waits within 10 s")
    }

    pub async fn calls(&self) -> Vec<Call> {
        let filter = Filter { limit: 200, ..Filter::default() };
        self.running.broker.calls(filter).await.unwrap().calls
    }

    /// The troubles that `/readyz` names, as soon as they are as they should be.
    pub async fn told(&self, holds: impl Fn(&str) -> bool) -> String {
        let ready = self.target("none").at("/readyz");
        let said = async {
            loop {
                let troubles = ready.get().await.unwrap().json()["troubles"].to_string();
                if holds(&troubles) {
                    return troubles;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), said).await.expect("it is told within 10 s")
    }

    /// The ledger proves itself, as it stands.
    pub fn verify(&self) {
        let store = &self.running.store;
        let report = store.read_only().verify(Some(store.verifying_key()), None).unwrap();
        assert!(report.bad.is_none(), "{:?}", report.bad);
    }
}

/// A folder with a configuration, its policy, and the agent's token.
pub fn folder(servers: &[(&str, &str)], policy: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut config = format!("listen = \"127.0.0.1:0\"\nstore = \"sqlite:store.db\"\n{TIMES}");
    config += "[grants.bot]\ntoken = \"file:token\"\nservers = [\"*\"]\n";
    for (name, url) in servers {
        config += &format!("[servers.{name}]\nurl = \"{url}\"\npolicy = \"policy.json\"\n");
    }
    std::fs::write(folder.path().join("countersign.toml"), config).unwrap();
    std::fs::write(folder.path().join("policy.json"), policy).unwrap();
    std::fs::write(folder.path().join("token"), "token-of-the-agent-0123456789").unwrap();
    folder
}

pub async fn start(folder: &Path) -> anyhow::Result<Running> {
    serve::start(&Config::load(&folder.join("countersign.toml"))?).await
}

pub fn tools_call(tool: &str, marker: &str) -> Value {
    let version = "io.modelcontextprotocol/protocolVersion";
    let capabilities = "io.modelcontextprotocol/clientCapabilities";
    json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": tool, "arguments": {"marker": marker}, "_meta": {version: "2026-07-28", capabilities: {}}}})
}

/// What the agent's model reads, or the HTTP error that its client does.
pub fn text(reply: &Reply) -> String {
    if !reply.status.is_success() {
        return format!("HTTP {}", reply.status.as_u16());
    }
    let response = reply.response().unwrap_or_default();
    if let Some(status) = response["error"]["data"]["status"].as_u64() {
        return format!("HTTP {status}, late");
    }
    response["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}

fn ann() -> Person {
    Person { name: "ann".into(), groups: Vec::new(), role: Role::Reviewer, token: String::new() }
}
