//! The wiring, from a configuration file to open doors: TLS, links, and the reload of a policy.
//!
//! The key in `tests/data/tls` is made for this test and opens nothing else.

use std::{fs, path::Path, time::Duration};

use countersign::{
    config::{Config, Policies},
    serve,
};
use serde_json::Value;

fn config(folder: &Path, more: &str) -> Config {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");
    let text = format!(
        "listen = \"127.0.0.1:0\"\nstore = \"sqlite:store.db\"\n{more}\n\
         [tls]\ncert = \"{data}/cert.pem\"\nkey = \"{data}/key.pem\"\n"
    );
    let path = folder.join("countersign.toml");
    fs::write(&path, text).expect("the configuration is written");
    Config::load(&path).expect("the configuration is right")
}

fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let pem = include_bytes!("data/tls/cert.pem");
    let root = reqwest::Certificate::from_pem(pem).expect("a certificate");
    reqwest::Client::builder().tls_certs_only([root]).no_proxy().build().expect("a client")
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_certificate_the_doors_speak_tls_and_links_are_https() {
    let folder = tempfile::tempdir().expect("a folder");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let running = serve::start(&config(folder.path(), "")).await.expect("starts");
    assert!(running.public_url.starts_with("https://127.0.0.1:"), "{}", running.public_url);
    let healthy = client().get(format!("{}/healthz", running.public_url)).send().await.expect("an answer");
    assert_eq!(healthy.status(), 200);
    let plain = running.public_url.replace("https", "http");
    let refused = client().get(format!("{plain}/healthz")).send().await;
    assert!(refused.is_err() || refused.is_ok_and(|answer| !answer.status().is_success()));
    running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_policy_keeps_the_old_one_and_says_where_it_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let policy = folder.path().join("policy.json");
    fs::write(&policy, r#"{"version":"1","default":"deny"}"#).expect("written");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let more = "[servers.none]\nurl = \"http://127.0.0.1:9/mcp\"\npolicy = \"policy.json\"";
    let config = config(folder.path(), "");
    let text = fs::read_to_string(config.path.as_ref().expect("a path")).expect("readable");
    fs::write(config.path.as_ref().expect("a path"), format!("{text}{more}\n")).expect("written");
    let config = Config::load(config.path.as_ref().expect("a path")).expect("right");
    let running = serve::start(&config).await.expect("starts");
    let before = running.broker.rules().digest("anyone", "none");

    fs::write(&policy, "{\"version\":\"1\",\n \"defautl\":\"allow\"}").expect("written");
    let ready = format!("{}/readyz", running.public_url);
    let people = client();
    let trouble = until(|| async {
        let body: Value = people.get(&ready).send().await.ok()?.json().await.ok()?;
        body.to_string().contains("defautl").then(|| body.to_string())
    });
    let trouble = trouble.await;
    assert!(trouble.contains("policy.json:2"), "{trouble}");
    assert_eq!(running.broker.rules().digest("anyone", "none"), before, "the old policy stays");

    fs::write(&policy, r#"{"version":"1","default":"allow"}"#).expect("written");
    until(|| async { (running.broker.rules().digest("anyone", "none") != before).then_some(()) }).await;
    running.drain().await;
}

#[test]
fn a_shared_grant_takes_no_policy_by_which_one_agent_takes_anothers_place() {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(
        folder.path().join("policy.json"),
        r#"{"version":"1","default":"deny","tools":{"t":{"action":"require_approval","approval":{"join":"grant"}}}}"#,
    )
    .expect("written");
    let text = |shared: bool| {
        format!(
            "store = \"sqlite:store.db\"\n[servers.none]\nurl = \"http://127.0.0.1:9/mcp\"\npolicy = \"policy.json\"\n\
             [grants.many]\nservers = [\"*\"]\nshared = {shared}\n"
        )
    };
    let path = folder.path().join("countersign.toml");
    fs::write(&path, text(false)).expect("written");
    Policies::load(&Config::load(&path).expect("right")).expect("one agent, so it may");
    fs::write(&path, text(true)).expect("written");
    let refused = Policies::load(&Config::load(&path).expect("right")).expect_err("refused").to_string();
    assert!(refused.contains("grants.many is shared") && refused.contains("join: grant"), "{refused}");
}

/// Awaits a condition; the deadline only bounds a failure.
async fn until<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    let found = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.expect("it came true")
}

/// A socket's name has 107 bytes on Linux; a project may lie deeper.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_whose_store_lies_deep_starts_and_takes_orders() {
    let folder = tempfile::tempdir().expect("a folder");
    let deep = folder.path().join("a".repeat(80)).join("b".repeat(80));
    fs::create_dir_all(&deep).expect("folders");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let running = serve::start(&config(&deep, "")).await.expect("starts");
    let order = serve::Order::Agents;
    let socket = serve::path_beside(&deep.join("store.db"));
    let answered = serve::send(&socket, &order).await;
    assert!(!matches!(answered, Ok(None)), "no broker answers there: {answered:?}");
    running.drain().await;
    assert!(!socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_whose_own_name_is_too_long_for_a_socket_is_served_without() {
    let folder = tempfile::tempdir().expect("a folder");
    let _ = rustls::crypto::ring::default_provider().install_default();
    let config = config(folder.path(), "");
    let name = format!("{}.db", "s".repeat(120));
    let path = config.path.as_ref().expect("a path");
    let text = fs::read_to_string(path).expect("readable").replace("store.db", &name);
    fs::write(path, text).expect("written");
    let running = serve::start(&Config::load(path).expect("right")).await.expect("starts");
    assert!(!serve::path_beside(&folder.path().join(&name)).exists());
    running.drain().await;
}
