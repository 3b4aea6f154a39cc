//! `countersign servers login NAME`, as an operator types it.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::rig::{House, Issuer, Server, call};

fn login(house: &House, more: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.arg("--config").arg(house.folder.path().join("countersign.toml"));
    command.args(["servers", "login", "it"]).args(more).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_shows_a_link_and_ends_when_somebody_followed_it() {
    let issuer = Issuer::start().await;
    let server = Server::start(Some(issuer.clone())).await;
    let house = House::open(&format!("url = \"{}\"\n[servers.it.oauth]", server.url), "").await;
    for (iss, good) in [(Some("https://evil.example"), false), (Some(issuer.url.as_str()), true)] {
        issuer.answers_as(iss);
        let mut command = login(&house, &[]);
        let mut lines = BufReader::new(command.stdout.take().unwrap()).lines();
        let link = lines.next_line().await.unwrap().unwrap();
        assert!(link.starts_with(&issuer.url), "{link}");
        let back = house.get(&link).await.headers()["location"].to_str().unwrap().to_owned();
        assert_eq!(house.get(&back).await.status().is_success(), good);
        let ended = command.wait_with_output().await.unwrap();
        let words = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.success(), good, "{words}");
        assert!(
            words.contains(if good { "is signed in at it" } else { "another authorization server" }),
            "{words}"
        );
    }
    let (_, answer) = house.ask(&call("look")).await;
    assert!(answer.contains("it ran"), "{answer}");
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_says_what_is_missing() {
    let server = Server::start(None).await;
    let house = House::open(&format!("url = \"{}\"", server.url), "").await;
    let ended = login(&house, &["--no-wait"]).wait_with_output().await.unwrap();
    let words = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(words.contains("add [servers.it.oauth]"), "{words}");
    let House { running, folder, .. } = house;
    running.drain().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.args(["servers", "login", "it"]).current_dir(folder.path());
    let words = String::from_utf8(command.output().await.unwrap().stderr).unwrap();
    assert!(words.contains("no broker runs here"), "{words}");
}
