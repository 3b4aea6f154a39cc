//! 10,000 calls that wait for people: what each costs, how fast one is let go, and how fast all are.
//!
//! `cargo bench --bench parked [-- CALLS]` starts this build's broker; the agents and the MCP server are in
//! the bench. Needs a limit of open files a little above the number of calls.

mod rig;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};

use rig::{Echo, Line, Process, at, rest, tools_call};

const POLICY: &str = r#"{"version":"1","default":"deny","tools":{"wipe":{"action":"require_approval",
  "reason":"there is no undo","approval":{"expires_after":"1h","use_within":"1h"}}}}"#;
/// Waiting agents stay; signs of life come often enough to be measured.
const MORE: &str = "[limits]\npending_per_agent = 100000\n\
                    [mcp]\ngrace_ms = 100\nheartbeat_ms = 8000\ndefault_patience_s = 3600\n";
const DECIDED_ALONE: usize = 300;

fn main() {
    let calls = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(10_000);
    tokio::runtime::Runtime::new().expect("a runtime").block_on(run(calls));
}

async fn run(calls: usize) {
    let echo = Echo::start().await;
    let broker = Process::start(echo.address, POLICY, MORE).await;
    let before = broker.resident();
    let (parked, mut parkings) = mpsc::unbounded_channel();
    let (done, mut answers) = mpsc::unbounded_channel();
    let begun = Instant::now();
    let knocking = Arc::new(Semaphore::new(128));
    for n in 0..calls {
        let (parked, done, knocking) = (parked.clone(), done.clone(), Arc::clone(&knocking));
        let address = broker.address;
        tokio::spawn(async move {
            let mut line = {
                let _one_of_few = knocking.acquire().await;
                let mut line = Line::open(address).await;
                line.write(&tools_call(address, "wipe", &format!("m{n}"))).await;
                line
            };
            line.read_until(b"waiting").await;
            let _ = parked.send(());
            line.read_until(b"data: ").await;
            let _ = done.send(());
        });
    }
    for _ in 0..calls {
        parkings.recv().await;
    }
    println!("{calls} parked in {:?}", begun.elapsed());
    each_costs(&broker, before, calls).await;
    decided_alone(&broker, &echo, &mut answers).await;
    all_at_once(&broker, calls - DECIDED_ALONE, &mut answers).await;
}

async fn each_costs(broker: &Process, before: u64, calls: usize) {
    // One whole round of signs of life, with all its jitter, for each call.
    let (cpu, begun) = (broker.cpu(), Instant::now());
    tokio::time::sleep(Duration::from_secs(8)).await;
    let used = broker.cpu() - cpu;
    let each = (broker.resident() - before) as f64 / calls as f64;
    println!("{each:.1} KiB each ({before} KiB before); bar 30");
    let round = used.as_secs_f64() * 1e6 / calls as f64;
    println!("{round:.1} µs of CPU for each sign of life (over {:?}); bar 10", begun.elapsed());
}

/// From a reviewer's request to the first byte at the server, while all the others wait.
async fn decided_alone(broker: &Process, echo: &Echo, answers: &mut mpsc::UnboundedReceiver<()>) {
    let mut desk = Line::open(broker.address).await;
    let mut took = Vec::new();
    let mut after = String::new();
    while took.len() < DECIDED_ALONE {
        let path = format!("/api/v1/calls?state=pending&limit=100{after}");
        let page = desk.ask(&rest(broker.address, &broker.reviewer, "GET", &path, "")).await;
        let page = body(&page);
        for call in page["calls"].as_array().expect("calls").iter().take(DECIDED_ALONE - took.len()) {
            let (id, digest) = (call["id"].as_str().expect("id"), call["digest"].as_str().expect("digest"));
            let marker = call["arguments"]["marker"].as_str().expect("a marker");
            let vote = format!(r#"{{"vote":"approve","digest":"{digest}"}}"#);
            let path = format!("/api/v1/calls/{id}/reviews");
            let begun = Instant::now();
            let answer = desk.ask(&rest(broker.address, &broker.reviewer, "POST", &path, &vote)).await;
            assert!(answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
            answers.recv().await;
            took.push(echo.arrival(marker).expect("it ran") - begun);
        }
        after = format!("&after={}", page["next"].as_str().expect("more"));
    }
    took.sort_unstable();
    println!("decision → server: p50 {:?}, p99 {:?}; bar p99 5 ms", at(&took, 0.5), at(&took, 0.99));
}

/// One stop lets them all go.
async fn all_at_once(broker: &Process, calls: usize, answers: &mut mpsc::UnboundedReceiver<()>) {
    let mut desk = Line::open(broker.address).await;
    let stop =
        rest(broker.address, &broker.reviewer, "POST", "/api/v1/stop", r#"{"all":true,"reason":"end"}"#);
    let begun = Instant::now();
    desk.write(&stop).await;
    let mut first = None;
    for _ in 0..calls {
        answers.recv().await;
        first.get_or_insert_with(|| begun.elapsed());
    }
    println!("{calls} released and answered in {:?}, the first after {first:?}; bar 1 s", begun.elapsed());
}

fn body(answer: &[u8]) -> Value {
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    serde_json::from_slice(&answer[head..]).expect("JSON")
}
