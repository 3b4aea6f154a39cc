//! A server that never answers the end of a session holds up nobody: not the sweep, and not the broker's own end.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::rig::{House, Manner, Plan, Script, Server, request, served};

/// Accepts DELETE and never answers.
async fn silent() -> Server {
    let server = Server::start(Manner::Json).await;
    let never = Script { after: Some(std::sync::Arc::default()), ..Script::new(200, "text/plain", "") };
    server.answers("DELETE", never);
    server
}

#[tokio::test]
async fn a_sweep_ends_the_sessions_of_others_at_once_and_itself_soon() {
    let (deaf, good) = (silent().await, Server::start(Manner::Json).await);
    let mut plan = Plan::two(&deaf.url, &good.url);
    plan.door.session_idle_s = 0;
    let house = House::open(plan).await;
    // More than are ended at once: a silent server costs one patience, not one for each of them.
    for _ in 0..20 {
        house.agent_of("a").initialized("test").await;
    }
    house.agent_of("b").initialized("test").await;
    let since = Instant::now();
    let sweep = async {
        house.door.sweep().await;
        since.elapsed()
    };
    let other = async {
        good.ended().await;
        since.elapsed()
    };
    let both = async { tokio::join!(sweep, other) };
    let (whole, other) = tokio::time::timeout(Duration::from_secs(15), both).await.expect("the sweep ends");
    assert!(other < Duration::from_secs(3), "the other server heard after {other:?}");
    assert!(whole < Duration::from_secs(9), "the sweep took {whole:?}");
    deaf.ended().await;
}

#[tokio::test]
async fn a_broker_ends_soon_and_signs_its_last_head() {
    let deaf = silent().await;
    let (running, agent, folder) = served(&deaf).await;
    let agent = agent.initialized("test").await;
    agent.ask(&request(1, "ping", json!({}))).await;
    tokio::time::timeout(Duration::from_secs(15), running.drain()).await.expect("the broker ends");
    deaf.ended().await;
    let place = rusqlite::Connection::open(folder.path().join("store.db")).unwrap();
    let of = |question| place.query_row(question, [], |row| row.get::<_, u64>(0)).unwrap();
    let (entries, signed) = (of("SELECT max(number) FROM entries"), of("SELECT max(size) FROM heads"));
    assert_eq!(entries, signed);
}

#[tokio::test]
async fn an_agent_that_ends_its_session_is_answered_soon() {
    let deaf = silent().await;
    let house = House::open(Plan::at(&deaf.url)).await;
    let agent = house.agent().initialized("test").await;
    let ended = tokio::time::timeout(Duration::from_secs(8), agent.send("DELETE", "")).await;
    assert_eq!(ended.expect("an answer").status, 200, "it is over here");
    assert_eq!(agent.post(&request(1, "ping", json!({}))).await.status, 404);
    deaf.ended().await;
}
