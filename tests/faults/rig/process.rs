//! A broker as a process, whose files may be limited as on a full disk; an agent and a reviewer of it.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::json;

use super::house::{text, tools_call};
use crate::http::{Reply, Target};

pub struct Broker {
    child: Child,
    address: SocketAddr,
    pub reviewer: Target,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(arguments).args(["--config", "countersign.toml"]).current_dir(folder).stdin(Stdio::null());
    command
}

/// `blocks`: the largest file that it may write.
pub async fn start(folder: &Path, blocks: Option<u32>, reviewer: &str) -> Broker {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let limit = blocks.map_or("unlimited".to_owned(), |blocks| blocks.to_string());
    // Ignored, the signal for a file that is too large becomes an error of the write, as on a full disk.
    let script = format!(
        "trap '' XFSZ; ulimit -f {limit}; exec \"$0\" serve --config countersign.toml --listen {address}"
    );
    let mut shell = Command::new("sh");
    shell.args(["-c", &script, env!("CARGO_BIN_EXE_countersign")]).current_dir(folder);
    let child = shell.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let reviewer = Target::new(address, "/readyz", reviewer);
    let begun = Instant::now();
    while !reviewer.get().await.is_ok_and(|reply| reply.status == 200) {
        assert!(begun.elapsed() < Duration::from_secs(10), "it is ready within 10 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Broker { child, address, reviewer }
}

impl Broker {
    pub async fn call(&self, tool: &str, marker: &str) -> Reply {
        let target = Target::new(self.address, "/mcp/liar", "token-of-the-agent-0123456789");
        let target = target.with("mcp-protocol-version", "2026-07-28").with("mcp-method", "tools/call");
        target.with("mcp-name", tool).post(&tools_call(tool, marker)).await.unwrap()
    }

    /// Parks a call and denies it: its id if both were acknowledged, or what the agent was told instead.
    pub async fn park_and_deny(&self, n: usize) -> Result<Option<String>, String> {
        let marker = format!("m{n}");
        let call = async { text(&self.call("do_fine", &marker).await) };
        let deny = self.deny_what_waits();
        tokio::pin!(call, deny);
        tokio::select! {
            voted = &mut deny => Ok(voted),
            said = &mut call => match said.starts_with("[DENIED by ann]") {
                true => Ok(deny.await),
                false => Err(said),
            },
        }
    }

    /// The call that was denied, when the broker said so.
    async fn deny_what_waits(&self) -> Option<String> {
        loop {
            let page = self.reviewer.at("/api/v1/calls?state=pending&limit=1").get().await.unwrap().json();
            let Some(call) = page["calls"].as_array().and_then(|calls| calls.first()) else {
                tokio::time::sleep(Duration::from_millis(2)).await;
                continue;
            };
            let id = call["id"].as_str().unwrap();
            // Long reasons fill the disk sooner.
            let vote = json!({"vote": "deny", "digest": call["digest"], "reason": "no ".repeat(1_000)});
            let reply = self.reviewer.at(&format!("/api/v1/calls/{id}/reviews")).post(&vote).await.unwrap();
            return reply.status.is_success().then(|| id.to_owned());
        }
    }
}
