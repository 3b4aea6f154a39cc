//! The broker as a client of a server that wants access tokens: signing in, renewing, and every refusal.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use countersign::{
    call::{StateName, Timestamp},
    ledger::Pass,
    mcp::Passthrough,
    oauth::{Account, Accounts, ClientSettings, Introduction, Return},
    serve::{Order, path_beside, send},
    upstream::{
        Conversation, Link, Outbound, Reply, Right, SendError, ServerSettings, UpstreamSettings, Upstreams,
    },
};
use reqwest::{Response, Url};
use serde_json::{Value, json};

use crate::rig::{House, Issuer, Server, call, fetch, logged};

/// A broker in front of a server that wants this issuer's tokens.
pub async fn world() -> (House, Issuer, Server) {
    let issuer = Issuer::start().await;
    let server = Server::start(Some(issuer.clone())).await;
    let house = House::open(&format!("url = \"{}\"\n[servers.it.oauth]", server.url), "").await;
    (house, issuer, server)
}

/// The link that `countersign servers login it` shows, or why there is none.
pub async fn link(house: &House) -> anyhow::Result<String> {
    let socket = path_beside(&house.folder.path().join("store.db"));
    let begun = send(&socket, &Order::ServerLogin { server: "it".into() }).await?.unwrap();
    Ok(begun["url"].as_str().unwrap().to_owned())
}

/// A person opens the link and agrees; where their browser is sent.
async fn agree(house: &House, link: &str) -> String {
    let answer = house.get(link).await;
    assert!(answer.status().is_redirection(), "{}", answer.text().await.unwrap());
    answer.headers()["location"].to_str().unwrap().to_owned()
}

pub async fn sign_in(house: &House) -> Response {
    let back = agree(house, &link(house).await.unwrap()).await;
    house.get(&back).await
}

/// None of it is in the log, in the broker's folder, or in what was answered.
fn is_nowhere(house: &House, secrets: &[String], answers: &[String]) {
    let log = logged();
    assert!(log.contains("signed in"), "nothing is logged at all");
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        assert!(!log.contains(secret.as_str()), "in the log: {secret}");
        assert!(!answers.iter().any(|answer| answer.contains(secret.as_str())), "answered: {secret}");
    }
    assert_eq!(house.find(secrets), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_signing_in_calls_pass_with_a_token_that_nobody_sees() {
    let (house, issuer, server) = world().await;
    let (_, before) = house.ask(&call("look")).await;
    assert!(before.contains("[NOT SENT]") && before.contains("countersign servers login it"), "{before}");

    let done = sign_in(&house).await;
    let page = done.text().await.unwrap();
    assert!(page.contains("signed in at it"), "{page}");
    let (status, answer) = house.ask(&call("look")).await;
    assert!(status.is_success() && answer.contains("it ran"), "{answer}");
    let waited = call("cancel");
    let ((_, reviewed), ()) = tokio::join!(house.ask(&waited), house.approve());
    assert!(reviewed.contains("it ran"), "{reviewed}");
    assert_eq!(server.calls(), 2);

    let expected = format!("Bearer {}", issuer.access()[0]);
    assert!(server.header("authorization").iter().all(|sent| *sent == expected));
    assert!(!server.everything().contains("a-grant-token"), "the agent's token went upstream");
    let client = &issuer.clients()[0];
    assert_eq!(client["redirect_uris"], json!([house.url("/oauth/callback")]));
    assert_eq!(client["application_type"], "native");
    is_nowhere(&house, &issuer.secrets(), &[before, page, answer, reviewed]);
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_link_asks_for_this_resource_with_pkce_and_the_scope_that_the_server_named() {
    let (house, issuer, server) = world().await;
    let link = Url::parse(&link(&house).await.unwrap()).unwrap();
    let asked: BTreeMap<String, String> = link.query_pairs().into_owned().collect();
    assert!(link.as_str().starts_with(&format!("{}/authorize?", issuer.url)));
    assert_eq!((asked["resource"].as_str(), asked["scope"].as_str()), (server.url.as_str(), "mcp"));
    assert_eq!((asked["code_challenge_method"].as_str(), asked["code_challenge"].len()), ("S256", 43));
    assert_eq!(asked["redirect_uri"], house.url("/oauth/callback"));
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_is_good_once_and_only_ours_is_good() {
    let (house, issuer, _) = world().await;
    let back = agree(&house, &link(&house).await.unwrap()).await;
    let forged = house.get(&house.url("/oauth/callback?state=guessed&code=x")).await;
    assert_eq!(forged.status(), 400);
    assert_eq!(house.get(&back).await.status(), 200);
    let again = house.get(&back).await;
    assert_eq!(again.status(), 400);
    assert!(again.text().await.unwrap().contains("used up"));
    assert_eq!(issuer.asked("/token"), 1, "only the first was taken to the authorization server");
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_another_issuer_or_of_none_is_not_redeemed() {
    for iss in [Some("https://evil.example"), None] {
        let (house, issuer, _) = world().await;
        issuer.answers_as(iss);
        let refused = sign_in(&house).await;
        assert_eq!(refused.status(), 400, "{iss:?}");
        assert!(refused.text().await.unwrap().contains("another authorization server"));
        assert_eq!(issuer.asked("/token"), 0, "the code went nowhere");
        house.running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_authorization_server_that_cannot_be_trusted_gets_no_one_sent_to_it() {
    let cases = [
        ("code_challenge_methods_supported", json!(["plain"]), "PKCE"),
        ("issuer", json!("https://evil.example"), "speaks for the issuer"),
        ("token_endpoint", json!("http://evil.example/token"), "not an https address"),
        ("registration_endpoint", Value::Null, "set client_id in [servers.it.oauth]"),
    ];
    let mut wrong = Vec::new();
    for (member, value, why) in cases {
        let (house, issuer, _) = world().await;
        issuer.says(member, value);
        let refused =
            link(&house).await.map_or_else(|error| error.to_string(), |link| format!("sent to {link}"));
        if !refused.contains(why) || issuer.asked("/authorize") + issuer.asked("/token") > 0 {
            wrong.push(format!("{member}: {refused}"));
        }
        house.running.drain().await;
    }
    assert_eq!(wrong, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registered_client_brings_its_own_id_and_secret() {
    let issuer = Issuer::start().await;
    let server = Server::start(Some(issuer.clone())).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("secret"), "a-client-secret\n").unwrap();
    let keys = format!(
        "url = \"{}\"\n[servers.it.oauth]\nclient_id = \"known\"\nclient_secret = \"file:secret\"\nscopes = [\"a\", \"b\"]",
        server.url
    );
    let house = House::open_in(folder, &keys, "").await;
    assert!(link(&house).await.unwrap().contains("scope=a+b"));
    assert_eq!(sign_in(&house).await.status(), 200);
    assert_eq!((issuer.asked("/register"), issuer.clients().len()), (0, 0));
    // "known:a-client-secret"
    assert_eq!(issuer.authorizations(), ["Basic a25vd246YS1jbGllbnQtc2VjcmV0"]);
    assert!(!logged().contains("a-client-secret"));
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_ended_is_renewed_before_anything_is_claimed() {
    let (house, issuer, server) = world().await;
    // Over as soon as it is there, so each look at it must renew it.
    issuer.lifetime(0);
    assert_eq!(sign_in(&house).await.status(), 200);
    assert_eq!(issuer.access().len(), 1);
    let (_, answer) = house.ask(&call("look")).await;
    assert!(answer.contains("it ran"), "{answer}");
    let waited = call("cancel");
    let ((_, reviewed), ()) = tokio::join!(house.ask(&waited), house.approve());
    assert!(reviewed.contains("it ran"), "{reviewed}");
    assert!(issuer.access().len() >= 4, "renewed for the call, for the proof and for the send");
    let first = format!("Bearer {}", issuer.access()[0]);
    assert!(!server.header("authorization").contains(&first), "the token that had ended was sent");

    issuer.revoke();
    // Another call than before: the same one could be given the answer that it has already.
    let mut waited = call("cancel");
    waited["params"]["arguments"] = json!({"again": true});
    let ((_, reviewed), ()) = tokio::join!(house.ask(&waited), house.approve());
    assert!(
        reviewed.contains("[NOT SENT]") && reviewed.contains("countersign servers login it"),
        "{reviewed}"
    );
    house.until(StateName::Failed).await;
    assert_eq!(server.calls(), 2, "nothing was sent with a dead token");
    let (_, later) = house.ask(&call("look")).await;
    assert!(later.contains("countersign servers login it"), "{later}");
    is_nowhere(&house, &issuer.secrets(), &[answer, reviewed, later]);

    issuer.lifetime(3600);
    assert_eq!(sign_in(&house).await.status(), 200);
    let (_, answer) = house.ask(&call("look")).await;
    assert!(answer.contains("it ran"), "{answer}");
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sign_in_outlives_the_process_and_lies_encrypted() {
    use std::os::unix::fs::PermissionsExt as _;
    let (house, issuer, server) = world().await;
    assert_eq!(sign_in(&house).await.status(), 200);
    let House { running, folder, .. } = house;
    running.drain().await;
    for name in ["store.db.tokens", "store.db.tokens-key"] {
        let mode = std::fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let keys = format!("url = \"{}\"\n[servers.it.oauth]", server.url);
    let house = House::open_in(folder, &keys, "").await;
    let (_, answer) = house.ask(&call("look")).await;
    assert!(answer.contains("it ran"), "{answer}");
    let House { running, folder, .. } = house;
    running.drain().await;

    // Another address under the same name gets nothing of it.
    let other = Server::start(Some(issuer.clone())).await;
    let house = House::open_in(folder, &format!("url = \"{}\"\n[servers.it.oauth]", other.url), "").await;
    let (_, answer) = house.ask(&call("look")).await;
    assert!(answer.contains("nobody has signed in") && other.header("authorization").is_empty(), "{answer}");
    let House { running, folder, .. } = house;
    running.drain().await;

    // Without its key the file is worth nothing, and the broker starts all the same.
    std::fs::write(folder.path().join("store.db.tokens-key"), "A".repeat(43) + "=").unwrap();
    let house = House::open_in(folder, &keys, "").await;
    let (_, answer) = house.ask(&call("look")).await;
    assert!(answer.contains("nobody has signed in"), "{answer}");
    house.running.drain().await;
}

/// The upstream side alone, with a clock that is moved by hand.
pub struct Side {
    pub upstreams: Upstreams,
    pub accounts: Accounts,
    clock: Arc<AtomicI64>,
    _folder: tempfile::TempDir,
}

impl Side {
    pub async fn signed_in(server: &Server) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(AtomicI64::new(1_800_000_000_000)));
        let now = Arc::clone(&clock);
        let now = Arc::new(move || Timestamp(now.load(Ordering::SeqCst)));
        let us = Introduction::of("http://127.0.0.1:9", None);
        let accounts = Accounts::open(&folder.path().join("s.db"), us, now, fetch).unwrap();
        let upstreams = Upstreams::with_accounts(UpstreamSettings::default(), accounts.clone());
        let (url, oauth) = (Some(server.url.clone()), Some(ClientSettings::default()));
        let settings = ServerSettings { url, oauth, ..ServerSettings::default() };
        upstreams.replace(BTreeMap::from([("it".into(), settings)])).unwrap();
        let side = Self { upstreams, accounts, clock, _folder: folder };
        side.sign_in().await;
        side
    }

    pub fn account(&self) -> Account {
        self.upstreams.server("it").unwrap().account().unwrap().clone()
    }

    /// Signs in, or in again.
    pub async fn sign_in(&self) {
        let begun = self.account().begin().await.unwrap();
        let client = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none());
        let answer = client.build().unwrap().get(begun.link).send().await.unwrap();
        let back = Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap();
        let of = |name: &str| back.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into());
        let back = Return { state: of("state").unwrap(), code: of("code"), iss: of("iss"), error: None };
        assert_eq!(self.accounts.finish(back).await.unwrap(), "it");
    }

    fn later(&self, seconds: i64) {
        self.clock.fetch_add(seconds * 1000, Ordering::SeqCst);
    }

    fn link(&self) -> Link {
        let conversation = Conversation::Shared { grant: "g" };
        self.upstreams.link(&self.upstreams.server("it").unwrap(), conversation)
    }

    pub async fn call(&self) -> Result<Reply, SendError> {
        let message = Outbound::post(call("look").to_string().into());
        self.upstreams.forward(Right::Pass(Pass::reserved()), &self.link(), message).await
    }

    pub async fn relay(&self) -> Result<Reply, SendError> {
        let message = json!({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {}}).to_string();
        let message = Outbound::post(message.into());
        self.upstreams.relay(Passthrough::without_body(), &self.link(), message).await
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_its_end_and_each_refresh_token_is_used_once() {
    let issuer = Issuer::start().await;
    let server = Server::start(Some(issuer.clone())).await;
    let side = Side::signed_in(&server).await;
    side.later(3_539);
    side.call().await.unwrap();
    assert_eq!(issuer.access().len(), 1);
    for round in 2..5 {
        side.later(3_590);
        // Many at once renew it once.
        let calls = (0..8).map(|_| side.call());
        for reply in futures_util::future::join_all(calls).await {
            assert_eq!(reply.unwrap().status, 200);
        }
        assert_eq!(issuer.access().len(), round);
    }
}

#[tokio::test]
async fn a_call_that_is_refused_for_its_token_is_not_sent_again_and_the_next_one_passes() {
    let issuer = Issuer::start().await;
    let server = Server::start(Some(issuer.clone())).await;
    let side = Side::signed_in(&server).await;
    side.later(60);
    server.refuse(&issuer.access()[0]);
    let Err(SendError::NotSent(why)) = side.call().await else { panic!("a refused call cannot have run") };
    assert!(why.contains("has been renewed: call again"), "{why}");
    assert_eq!(server.everything().matches("tools/call").count(), 1, "sent once");
    assert_eq!(side.call().await.unwrap().status, 200);

    // What is no call is sent again, once, by itself.
    side.later(60);
    server.refuse(&issuer.access()[1]);
    assert_eq!(side.relay().await.unwrap().status, 200);

    // A server that refuses even a fresh token is not asked again and again.
    server.refuse(&issuer.access()[2]);
    let Err(SendError::NotSent(why)) = side.relay().await else { panic!("refused") };
    assert!(why.contains("countersign servers login it"), "{why}");
    assert_eq!(issuer.access().len(), 3);
    side.accounts.drain().await;
}

#[tokio::test]
async fn a_link_that_nobody_followed_in_time_is_void() {
    let issuer = Issuer::start().await;
    let server = Server::start(Some(issuer.clone())).await;
    let side = Side::signed_in(&server).await;
    let begun = side.upstreams.server("it").unwrap().account().unwrap().begin().await.unwrap();
    let link = Url::parse(&begun.link).unwrap();
    let state = link.query_pairs().find(|(key, _)| key == "state").unwrap().1.into_owned();
    side.later(601);
    assert_eq!(side.accounts.stage(&begun.id), None);
    let back = Return { state, code: Some("c".into()), iss: Some(issuer.url.clone()), error: None };
    assert!(side.accounts.finish(back).await.unwrap_err().contains("too old"));
    assert_eq!(issuer.asked("/token"), 1);
}
