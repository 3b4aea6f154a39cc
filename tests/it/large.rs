//! What is large takes its time, and nobody else's.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;

use crate::rig::{House, Manner, Plan, Script, Server};

/// The longest time, in ms, in which the runtime's one thread did nothing else.
fn longest_pause() -> Arc<AtomicU64> {
    let longest = Arc::<AtomicU64>::default();
    let pauses = longest.clone();
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(1));
        loop {
            let since = Instant::now();
            ticks.tick().await;
            pauses.fetch_max(u64::try_from(since.elapsed().as_millis()).unwrap(), Ordering::Relaxed);
        }
    });
    longest
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_large_list_is_sieved_beside_everything_else() {
    let server = Server::start(Manner::Json).await;
    let house = House::open(Plan::at(&server.url)).await;
    let agent = house.agent().initialized("test").await;
    let tools =
        vec![r#"{"name":"look","inputSchema":{"type":"object"}},{"name":"secret"}"#; 50_000].join(",");
    let list = format!(r#"{{"jsonrpc":"2.0","id":$ID,"result":{{"tools":[{tools}]}}}}"#);
    server.answers("tools/list", Script::new(200, "application/json", &list));
    let asking = tokio::spawn(async move {
        let since = Instant::now();
        let list = agent.post(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"})).await;
        (since.elapsed(), list.bytes().await.len())
    });
    let longest = longest_pause();
    let (took, size) = asking.await.unwrap();
    assert_eq!(size, list.len() - "$ID".len() + 1 - 50_000 * r#",{"name":"secret"}"#.len());
    let (longest, took) = (longest.load(Ordering::Relaxed), took.as_millis());
    assert!(u128::from(longest) < took / 3, "for {longest} of {took} ms nothing else was done");
}
