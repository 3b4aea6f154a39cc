//! `countersign servers login NAME`, as an operator types it.

use std::process::Stdio;

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

use crate::{
    rig::{House, Issuer, Server, call},
    signing_in::sign_in,
};

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
        assert!(words.contains("it asks for the scopes mcp\n"), "{words}");
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

/// `countersign servers MORE…`: what it printed.
pub async fn servers(house: &std::path::Path, more: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_countersign"));
    command.arg("--config").arg(house.join("countersign.toml")).arg("servers").args(more);
    let ended = command.output().await.unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    String::from_utf8(ended.stdout).unwrap()
}

/// The names of the servers that tokens are kept for.
fn kept(folder: &std::path::Path) -> Vec<String> {
    let text = std::fs::read_to_string(folder.join("store.db.tokens")).unwrap();
    let file: serde_json::Value = serde_json::from_str(&text).unwrap();
    file["servers"].as_object().unwrap().keys().cloned().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_is_forgotten_by_command_and_with_its_server() {
    let issuer = Issuer::start().await;
    let server = Server::start(Some(issuer.clone())).await;
    let house = House::open(&format!("url = \"{}\"\n[servers.it.oauth]", server.url), "").await;
    assert!(sign_in(&house).await.status().is_success());
    assert_eq!(kept(house.folder.path()), ["it"]);
    assert!(servers(house.folder.path(), &["logout", "it"]).await.contains("are forgotten"));
    assert!(kept(house.folder.path()).is_empty());
    let (_, answer) = house.ask(&call("look")).await;
    assert!(answer.contains("[NOT SENT]") && answer.contains("countersign servers login it"), "{answer}");
    assert!(servers(house.folder.path(), &["logout", "it"]).await.contains("nobody was signed in"));

    assert!(sign_in(&house).await.status().is_success());
    let House { running, folder, .. } = house;
    running.drain().await;
    // A server that a grant names is not taken out.
    let file = folder.path().join("countersign.toml");
    let freed = std::fs::read_to_string(&file).unwrap().replace(r#"["it"]"#, r#"["*"]"#);
    std::fs::write(&file, freed).unwrap();
    let said = servers(folder.path(), &["remove", "it"]).await;
    assert!(said.contains("it is removed") && said.contains("are forgotten"), "{said}");
    assert!(kept(folder.path()).is_empty());
}
