//! The broker as a process: configured, started, killed without warning, and its ledger read when it is dead.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::process::Child;

use super::http::Target;

pub const AGENTS: usize = 10;
pub const REVIEWERS: [&str; 3] = ["ann", "bob", "cleo"];

const POLICY: &str = r#"{
  "version": "1", "default": "deny",
  "tools": {
    "look":   { "action": "allow" },
    "wipe":   { "action": "require_approval", "reason": "there is no undo",
                "approval": { "expires_after": "20s", "use_within": "5s" } },
    "brief":  { "action": "require_approval", "reason": "decide now",
                "approval": { "expires_after": "1s", "use_within": "1s" } },
    "both":   { "action": "require_approval", "reason": "two people",
                "approval": { "expires_after": "6s", "quorums": [{ "approvals": 2 }] } }
  }
}"#;

pub struct Broker {
    pub address: SocketAddr,
    folder: PathBuf,
    child: Option<Child>,
}

impl Broker {
    /// Writes the configuration. Nothing runs yet.
    pub fn new(folder: &Path, upstream: SocketAddr) -> Self {
        let address = free_address();
        let mut config = format!(
            "listen = \"{address}\"\nstore = \"sqlite:store.db\"\n\
             [servers.rec]\nurl = \"http://{upstream}/mcp\"\npolicy = \"policy.json\"\n\
             [mcp]\ngrace_ms = 30\nheartbeat_ms = 100\ndefault_patience_s = 2\n\
             [approval]\ndetach_grace = \"1s\"\n"
        );
        for agent in 0..AGENTS {
            config += &format!("[grants.bot{agent}]\ntoken = \"env:BOT{agent}\"\nservers = [\"rec\"]\n");
        }
        std::fs::write(folder.join("countersign.toml"), config).unwrap();
        std::fs::write(folder.join("policy.json"), POLICY).unwrap();
        Self { address, folder: folder.into(), child: None }
    }

    pub fn agent_token(agent: usize) -> String {
        format!("token-of-agent-{agent}-0123456789abcdef")
    }

    /// Adds a reviewer from the command line; their token.
    pub fn add_reviewer(&self, name: &str) -> String {
        let added = self.command(&["reviewers", "add", name, "--json"]).output().unwrap();
        let answer: Value = serde_json::from_slice(&added.stdout).unwrap_or_default();
        let token = answer["token"].as_str();
        token.unwrap_or_else(|| panic!("{}", String::from_utf8_lossy(&added.stderr))).to_owned()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let ours = env!("CARGO_BIN_EXE_countersign");
        let mut command = Command::new(std::env::var("COUNTERSIGN_CRASH_BROKER").unwrap_or(ours.into()));
        command.args(arguments).current_dir(&self.folder).stdin(Stdio::null());
        command.env("COUNTERSIGN_CONFIG", self.folder.join("countersign.toml"));
        command.envs((0..AGENTS).map(|agent| (format!("BOT{agent}"), Self::agent_token(agent))));
        command
    }

    /// Starts it and waits until it is ready; how long that took.
    pub async fn start(&mut self) -> Duration {
        let begun = Instant::now();
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = tokio::process::Command::from(self.command(&["serve"]));
        self.child = Some(command.stderr(log).kill_on_drop(true).spawn().unwrap());
        let ready = Target::new(self.address, "/readyz", "nobody");
        loop {
            if ready.get().await.is_ok_and(|reply| reply.status == 200) {
                return begun.elapsed();
            }
            let ended = self.child.as_mut().unwrap().try_wait().unwrap();
            assert!(ended.is_none(), "the broker ended at its start: {}", self.log());
            assert!(begun.elapsed() < Duration::from_secs(20), "not ready in time: {}", self.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// SIGKILL.
    pub async fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        assert!(child.try_wait().unwrap().is_none(), "the broker ended by itself: {}", self.log());
        child.kill().await.unwrap();
    }

    /// `audit verify` on the store, with what was signed before; the words when it is not intact.
    pub fn verify(&self) -> Result<(), String> {
        let head = self.folder.join("head");
        let mut arguments = vec!["audit", "verify"];
        if head.is_file() {
            arguments.extend(["--since", "head"]);
        }
        let verified = self.command(&arguments).output().unwrap();
        if verified.status.code() != Some(0) {
            let (out, err) = (verified.stdout, verified.stderr);
            return Err(format!("{}{}", String::from_utf8_lossy(&out), String::from_utf8_lossy(&err)));
        }
        let signed = self.command(&["audit", "checkpoint"]).output().unwrap();
        if signed.status.success() {
            std::fs::write(head, signed.stdout).unwrap();
        }
        Ok(())
    }

    pub fn store(&self) -> PathBuf {
        self.folder.join("store.db")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

/// A port that was free a moment ago and stays this broker's over its deaths.
fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}
