//! A disk that is full: nothing more is sent, agents and people are told so, and what was said before holds.
//!
//! The limit on the size of files that every process has stands in for the disk.

use serde_json::Value;

use super::rig::{
    house::{POLICY, folder, text},
    liar::Liar,
    process::{command, start},
};

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
    assert!(refusal.contains("cannot write its audit log"), "{refusal}");
    let allowed = limited.call("say_fine", "allowed").await;
    assert!(text(&allowed).contains("cannot write its audit log"), "{allowed:?}");
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
