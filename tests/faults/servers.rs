//! Servers that are unreachable, slow, dying or lying, behind calls that were approved and calls that pass.

use std::time::{Duration, Instant};

use countersign::call::StateName;

use super::rig::{
    house::{House, text},
    liar::Liar,
};

const UNKNOWN: &str = "[OUTCOME UNKNOWN]";
const NOT_SENT: &str = "[NOT SENT]";

async fn house() -> (House, Liar) {
    let liar = Liar::start().await;
    (House::open(&[("liar", &liar.url), ("gone", "http://127.0.0.1:9/mcp")]).await, liar)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_approved_call_ends_as_documented_whatever_the_server_does() {
    let (house, liar) = house().await;
    for (manner, start, state) in [
        ("hang", UNKNOWN, StateName::Lost),
        ("slam", UNKNOWN, StateName::Lost),
        ("half", UNKNOWN, StateName::Lost),
        ("foreign", UNKNOWN, StateName::Lost),
        ("garbage", UNKNOWN, StateName::Lost),
        ("huge", UNKNOWN, StateName::Lost),
        ("http302", "HTTP 302", StateName::Lost),
        ("http307", "HTTP 307", StateName::Lost),
        ("http500", "HTTP 500", StateName::Lost),
        ("http502", "HTTP 502", StateName::Lost),
        ("http503", "HTTP 503", StateName::Lost),
        ("http504", "HTTP 504", StateName::Lost),
        ("http400", "HTTP 400", StateName::Failed),
        ("http401", "HTTP 401", StateName::Failed),
        ("http403", "HTTP 403", StateName::Failed),
        ("http404", "HTTP 404", StateName::Failed),
        ("http429", "HTTP 429", StateName::Failed),
        ("flood", "done", StateName::Completed),
        ("fine", "done", StateName::Completed),
    ] {
        let tool = format!("do_{manner}");
        let said = house.approved("liar", &tool, manner).await;
        assert!(said.starts_with(start), "{manner}: {said}");
        assert_eq!(liar.times(manner), 1, "{manner} is sent once");
        let call = house.calls().await.into_iter().find(|call| call.request.tool == tool).unwrap();
        assert_eq!(call.state.name(), state, "{manner}");
    }
    house.verify();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allowed_call_ends_as_documented_whatever_the_server_does() {
    let (house, liar) = house().await;
    for (manner, start) in [("hang", UNKNOWN), ("slam", UNKNOWN), ("flood", "done"), ("fine", "done")] {
        let reply = house.call("liar", &format!("say_{manner}"), manner).await.unwrap();
        assert!(text(&reply).starts_with(start), "{manner}: {reply:?}");
        assert_eq!(liar.times(manner), 1, "{manner} is sent once");
    }
    for (manner, status) in [("http302", 302), ("http500", 500), ("http429", 429)] {
        let reply = house.call("liar", &format!("say_{manner}"), manner).await.unwrap();
        assert_eq!(reply.status.as_u16(), status, "the server's own words: {reply:?}");
        assert_eq!(liar.times(manner), 1, "{manner} is sent once");
    }
    // An answer that breaks off breaks off for the agent too: never a whole answer made of a half.
    for manner in ["half", "huge"] {
        let reply = house.call("liar", &format!("say_{manner}"), manner).await;
        assert!(reply.is_err(), "{manner}: {reply:?}");
    }
    house.verify();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_nobody_reaches_got_nothing() {
    let (house, _) = house().await;
    let allowed = house.call("gone", "say_fine", "a").await.unwrap();
    assert!(text(&allowed).starts_with(NOT_SENT), "{allowed:?}");
    let approved = house.approved("gone", "do_fine", "b").await;
    assert!(approved.starts_with(NOT_SENT), "{approved}");
    house.verify();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_calls_do_not_notice_a_server_that_hangs_or_never_ends() {
    let (house, liar) = house().await;
    let others = async {
        let begun = Instant::now();
        while liar.times("never") == 0 || begun.elapsed() < Duration::from_millis(600) {
            let asked = Instant::now();
            let reply = house.call("liar", "say_fine", "other").await.unwrap();
            assert_eq!(text(&reply), "done");
            assert!(asked.elapsed() < Duration::from_secs(2), "it waited for another: {:?}", asked.elapsed());
        }
    };
    let endless = house.approved("liar", "do_endless", "never");
    let hangs = house.call("liar", "say_hang", "hangs");
    let (endless, hangs, ()) = tokio::join!(endless, hangs, others);
    assert!(endless.starts_with("[STILL RUNNING"), "{endless}");
    assert!(text(&hangs.unwrap()).starts_with(UNKNOWN));
    // The same again waits for the one that runs, and is not sent.
    let again = house.call("liar", "do_endless", "never").await.unwrap();
    assert!(text(&again).starts_with("[STILL RUNNING"), "{again:?}");
    assert_eq!(liar.times("never"), 1);
}
