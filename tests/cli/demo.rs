//! `countersign demo`, by itself and with a person.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::rig::Home;

#[test]
fn the_demo_by_itself_checks_the_effects_and_leaves_nothing_behind() {
    let home = Home::new();
    let done = home.run(&["demo", "--yes"]).ends(0);
    for words in ["was cancelled, exactly once", "runs on", "[DENIED by ann]", "verifies"] {
        assert!(done.out().contains(words), "{}", done.out());
    }
    assert_eq!(done.err(), "");
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}

/// What a browser does: opens the link, presses the button, denies the card.
async fn deny_in_the_inbox(link: &str) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
    let http = http.build().unwrap();
    let (site, _) = link.split_once("/login/").unwrap();
    assert_eq!(http.get(link).send().await.unwrap().status(), 200);
    let spent = http.post(link).header("origin", site).send().await.unwrap();
    let cookie = spent.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let (_, key) = spent.headers()["location"].to_str().unwrap().split_once("#x=").unwrap();
    let calls = http.get(format!("{site}/api/v1/calls?state=pending")).header("cookie", &cookie);
    let calls: Value = calls.send().await.unwrap().json().await.unwrap();
    let call = &calls["calls"][0];
    let vote = json!({"vote": "deny", "digest": call["digest"], "reason": "not today"});
    let url = format!("{site}/api/v1/calls/{}/reviews", call["id"].as_str().unwrap());
    let voted = http.post(url).header("cookie", cookie).header("origin", site).header("x-countersign", key);
    assert_eq!(voted.json(&vote).send().await.unwrap().status(), 200);
}

#[test]
fn a_person_denies_in_the_inbox_and_the_batch_runs_on() {
    let home = Home::new();
    let demo = home.start(&["demo"]);
    let link = demo.lines.until(|line| line.contains("/login/"));
    demo.lines.until(|line| line.contains("waits at the broker"));
    tokio::runtime::Runtime::new().unwrap().block_on(deny_in_the_inbox(link.trim()));
    demo.lines.until(|line| line.contains("[DENIED by ann] not today"));
    assert!(demo.lines.next().ends_with("is RUNNING."));
    demo.signal(Signal::INT);
    assert!(demo.wait().success());
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0);
}
