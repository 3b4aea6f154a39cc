//! A disk that is full: nothing more is sent, agents and people are told so, and what was said before holds.
//!
//! The limit on the size of files that every process has stands in for the disk.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use super::{
    house::{POLICY, folder, text, tools_call},
    http::{Reply, Target},
    liar::Liar,
};

struct Broker {
    child: Child,
    address: SocketAddr,
    reviewer: Target,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_closes_the_gate_and_loses_nothing_that_was_acknowledged() {
    let liar = Liar::start().await;
    let folder = folder(&[("liar", &liar.url)], POLICY);
    let added = command(folder.path(), &["reviewers", "add", "ann", "--json"]).output().unwrap();
    let token = serde_json::from_slice::<Value>(&added.stdout).unwrap()["token"].as_str().unwrap().to_owned();
    // The write-ahead log grows to the limit first: 4,000 blocks of 512 bytes.
    let limited = start(folder.path(), Some(4_000), &token).await;
    let mut acknowledged = Vec::new();
    let refusal = loop {
        assert!(acknowledged.len() < 500, "the disk never filled");
        match limited.park_and_deny(acknowledged.len()).await {
            Ok(call) => acknowledged.extend(call),
            Err(refusal) => break refusal,
        }
    };
    assert!(acknowledged.len() > 5, "it had room at first");
    assert!(refusal.contains("cannot write its ledger"), "{refusal}");
    let allowed = limited.call("say_fine", "allowed").await;
    assert!(text(&allowed).contains("cannot write its ledger"), "{allowed:?}");
    assert_eq!(liar.times("allowed"), 0, "nothing is sent that cannot be recorded");
    let ready = limited.reviewer.at("/readyz").get().await.unwrap();
    assert_eq!(ready.status, 503, "{ready:?}");
    drop(limited);

    let verified = command(folder.path(), &["audit", "verify"]).output().unwrap();
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    let freed = start(folder.path(), None, &token).await;
    for call in acknowledged {
        let now = freed.reviewer.at(&format!("/api/v1/calls/{call}")).get().await.unwrap().json();
        let voted = now["timeline"].as_array().unwrap().iter().any(|step| step["event"] == "voted");
        assert!(voted, "the vote was acknowledged: {now}");
    }
    assert_eq!(text(&freed.call("say_fine", "again").await), "done");
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(arguments).args(["--config", "countersign.toml"]).current_dir(folder).stdin(Stdio::null());
    command
}

/// `blocks`: the largest file that it may write.
async fn start(folder: &Path, blocks: Option<u32>, reviewer: &str) -> Broker {
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
    async fn call(&self, tool: &str, marker: &str) -> Reply {
        let target = Target::new(self.address, "/mcp/liar", "token-of-the-agent-0123456789");
        let target = target.with("mcp-protocol-version", "2026-07-28").with("mcp-method", "tools/call");
        target.with("mcp-name", tool).post(&tools_call(tool, marker)).await.unwrap()
    }

    /// Parks a call and denies it: its id if both were acknowledged, or what the agent was told instead.
    async fn park_and_deny(&self, n: usize) -> Result<Option<String>, String> {
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
