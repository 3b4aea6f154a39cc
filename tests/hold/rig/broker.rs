//! The broker as a process, and what its memory is; its agents and its reviewer.

use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::http::{Reply, Target};

const POLICY: &str = r#"{
  "version": "1", "default": "deny", "resources": "allow", "prompts": "allow",
  "tools": { "say_*": { "action": "allow" }, "do_*": { "action": "require_approval" } }
}"#;

pub struct Broker {
    child: Child,
    pub address: SocketAddr,
    pub reviewer: Target,
    pub folder: tempfile::TempDir,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The token of a grant.
pub fn token(grant: &str) -> String {
    format!("token-of-{grant}-0123456789abcdef")
}

impl Broker {
    /// `servers`: the tables of the configuration, each with its own settings; `more`: other tables.
    pub async fn start(servers: &[(&str, String)], grants: &[&str], more: &str) -> Self {
        Self::governed(POLICY, servers, grants, more).await
    }

    /// The same, with a policy of its own. What it frees it gives back at once: what it has is then what it
    /// holds. Otherwise its allocator keeps some tens of MiB that were freed, the more the busier the machine is.
    pub async fn governed(policy: &str, servers: &[(&str, String)], grants: &[&str], more: &str) -> Self {
        Self::launch(policy, servers, grants, more, &[("MIMALLOC_PURGE_DELAY", "0")]).await
    }

    /// The same as `start`, with its memory managed as everywhere.
    pub async fn unchanged(servers: &[(&str, String)], grants: &[&str], more: &str) -> Self {
        Self::launch(POLICY, servers, grants, more, &[]).await
    }

    async fn launch(
        policy: &str,
        servers: &[(&str, String)],
        grants: &[&str],
        more: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let mut config = format!("listen = \"{address}\"\nstore = \"sqlite:store.db\"\n{more}\n");
        for grant in grants {
            config += &format!("[grants.{grant}]\ntoken = \"file:{grant}\"\nservers = [\"*\"]\n");
            std::fs::write(folder.path().join(grant), token(grant)).unwrap();
        }
        for (name, settings) in servers {
            config += &format!("[servers.{name}]\npolicy = \"policy.json\"\n{settings}\n");
        }
        std::fs::write(folder.path().join("countersign.toml"), config).unwrap();
        std::fs::write(folder.path().join("policy.json"), policy).unwrap();
        let ours = env!("CARGO_BIN_EXE_countersign");
        let program = std::env::var("COUNTERSIGN_HOLD_BROKER").unwrap_or(ours.into());
        let command = |arguments: &[&str]| {
            let mut command = Command::new(&program);
            command.args(arguments).args(["--config", "countersign.toml"]);
            command.current_dir(folder.path()).stdin(Stdio::null()).envs(variables.iter().copied());
            command
        };
        let added = command(&["reviewers", "add", "ann", "--json"]).output().unwrap();
        let ann: Value = serde_json::from_slice(&added.stdout).unwrap_or_default();
        let log = std::fs::File::create(folder.path().join("log")).unwrap();
        let child = command(&["serve"]).stderr(log).spawn().unwrap();
        let reviewer = Target::new(address, "/readyz", ann["token"].as_str().unwrap());
        let broker = Self { child, address, reviewer, folder };
        let begun = Instant::now();
        while !broker.reviewer.get().await.is_ok_and(|reply| reply.status == 200) {
            assert!(begun.elapsed() < Duration::from_secs(20), "it is ready within 20 s: {}", broker.log());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        broker
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// MiB that it has, and from here on its peak counts anew.
    pub fn rest_memory(&self) -> usize {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
        self.status("VmRSS:") >> 10
    }

    /// KiB.
    pub fn resident(&self) -> usize {
        self.status("VmRSS:")
    }

    /// The most MiB that it had since.
    pub fn peak_memory(&self) -> usize {
        self.status("VmHWM:") >> 10
    }

    fn status(&self, line: &str) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let kib = status.lines().find_map(|said| said.strip_prefix(line)).unwrap();
        kib.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub fn agent(&self, grant: &str, server: &str) -> Agent {
        Agent(Target::new(self.address, &format!("/mcp/{server}"), &token(grant)))
    }

    /// Approves what waits for this tool, as soon as it does.
    pub async fn approve(&self, tool: &str) {
        let begun = Instant::now();
        loop {
            let path = format!("/api/v1/calls?state=pending&limit=1&tool={tool}");
            let page = self.reviewer.at(&path).get().await.unwrap();
            let cards = serde_json::from_slice::<Page>(&page.body).map_or(Vec::new(), |page| page.calls);
            if let Some(card) = cards.first() {
                let vote = json!({"vote": "approve", "digest": card.digest});
                let path = format!("/api/v1/calls/{}/reviews", card.id);
                let voted = self.reviewer.at(&path).post(&vote).await.unwrap();
                assert!(voted.status.is_success(), "{voted:?}");
                return;
            }
            assert!(begun.elapsed() < Duration::from_secs(10), "{tool} waits within 10 s: {page:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// What of the inbox is needed; arguments may have numbers that no machine type holds.
#[derive(Deserialize)]
struct Page {
    calls: Vec<Card>,
}

#[derive(Deserialize)]
struct Card {
    id: String,
    digest: String,
}

/// A grant at a server.
#[derive(Clone)]
pub struct Agent(pub Target);

impl Agent {
    /// With the headers of 2026-07-28.
    pub fn modern(&self, method: &str, name: Option<&str>) -> Target {
        let target = self.0.clone().with("mcp-protocol-version", "2026-07-28").with("mcp-method", method);
        match name {
            Some(name) => target.with("mcp-name", name),
            None => target,
        }
    }

    pub async fn call(&self, tool: &str, marker: &str) -> std::io::Result<Reply> {
        self.modern("tools/call", Some(tool)).post(&tools_call(json!(1), tool, marker)).await
    }

    /// A session of 2025-06-18.
    pub async fn session(&self) -> Result<Target, Reply> {
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "hold", "version": "1"}}});
        let reply = self.0.post(&hello).await.unwrap();
        let Some(session) = &reply.session else { return Err(reply) };
        Ok(self.0.clone().with("mcp-protocol-version", "2025-06-18").with("mcp-session-id", session))
    }
}

/// A call of 2026-07-28.
pub fn tools_call(id: Value, tool: &str, marker: &str) -> Value {
    let mut call = legacy_call(id, tool, marker);
    call["params"]["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {}});
    call
}

pub fn legacy_call(id: Value, tool: &str, marker: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
           "params": {"name": tool, "arguments": {"marker": marker}}})
}

/// What the agent's model reads.
pub fn text(reply: &Reply) -> String {
    let response = reply.response().unwrap_or_default();
    response["result"]["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}
