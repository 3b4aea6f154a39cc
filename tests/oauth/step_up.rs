//! Servers that find a scope missing in the broker's token while it is used (403, `insufficient_scope`).

use countersign::{
    call::StateName,
    oauth::{Standing, StandingState},
    upstream::SendError,
};
use http::{HeaderMap, HeaderValue, StatusCode, header::WWW_AUTHENTICATE};
use reqwest::Url;
use serde_json::{Value, json};

use crate::{
    by_command::servers,
    rig::{House, Issuer, Server, call, logged},
    signing_in::{Side, link, sign_in, world},
};

/// The scopes that the next sign-in asks for.
async fn asked(house: &House) -> String {
    let link = Url::parse(&link(house).await.unwrap()).unwrap();
    link.query_pairs().find(|(name, _)| name == "scope").map_or_else(String::new, |(_, scope)| scope.into())
}

/// What people are shown of the server: by command, as JSON, and by the API.
async fn shown(house: &House) -> (String, Value, Value) {
    let folder = house.folder.path();
    let json: Value = serde_json::from_str(&servers(folder, &["list", "--json"]).await).unwrap();
    let read = house.reads("/api/v1/servers").await;
    let of = |mut list: Value| list["servers"][0]["sign_in"].take();
    (servers(folder, &["list"]).await, of(json), of(read))
}

async fn is_shown(house: &House, words: &str, standing: &Value) {
    let (table, json, read) = shown(house).await;
    assert!(table.contains(words), "{table}");
    assert_eq!((&json, &read), (standing, standing));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_lacks_a_scope_is_not_run_and_the_next_sign_in_asks_for_it_too() {
    let (house, issuer, server) = world().await;
    is_shown(&house, "login needed", &json!({"state": "needed", "missing": []})).await;
    assert_eq!(sign_in(&house).await.status(), 200);
    is_shown(&house, "signed in", &json!({"state": "done", "missing": []})).await;

    server.needs("look", Some("files:read"));
    server.needs("cancel", Some("files:write"));
    for _ in 0..3 {
        let (_, answer) = house.ask(&call("look")).await;
        assert!(answer.contains("[NOT SENT]") && answer.contains("the scope files:read missing"), "{answer}");
        assert!(answer.contains("countersign servers login it"), "{answer}");
    }
    // A call that people let go is sent, and did not run.
    let waited = call("cancel");
    let ((_, reviewed), ()) = tokio::join!(house.ask(&waited), house.approve());
    assert!(reviewed.contains("[NOT SENT]") && reviewed.contains("files:read files:write"), "{reviewed}");
    house.until(StateName::Failed).await;
    assert_eq!((server.sent(), server.calls()), (4, 0), "each was sent once");
    let missing = json!({"state": "needed", "missing": ["files:read", "files:write"]});
    is_shown(&house, "login needed: files:read files:write", &missing).await;
    assert!(logged().contains("the server finds a scope missing"));

    // It is all kept: the process may end.
    let House { running, folder, .. } = house;
    running.drain().await;
    let listed = servers(folder.path(), &["list"]).await;
    assert!(listed.contains("login needed: files:read files:write"), "{listed}");
    let house = House::open_in(folder, &format!("url = \"{}\"\n[servers.it.oauth]", server.url), "").await;
    is_shown(&house, "login needed: files:read files:write", &missing).await;

    assert_eq!(asked(&house).await, "mcp files:read files:write");
    assert_eq!(sign_in(&house).await.status(), 200);
    is_shown(&house, "signed in", &json!({"state": "done", "missing": []})).await;
    let (_, answer) = house.ask(&call("look")).await;
    assert!(answer.contains("it ran"), "{answer}");
    assert_eq!(issuer.scope(issuer.access().last().unwrap()), "mcp files:read files:write");
    // A later sign-in does not lose them.
    assert_eq!(asked(&house).await, "mcp files:read files:write");
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sign_ins_that_do_not_help_end_with_a_word_that_says_so() {
    let (house, issuer, server) = world().await;
    issuer.decline("files:write");
    server.needs("look", Some("files:write"));
    for tries in 0..5 {
        assert_eq!(sign_in(&house).await.status(), 200);
        let (_, answer) = house.ask(&call("look")).await;
        let is_over = tries >= 3;
        assert_eq!(answer.contains("another sign-in alone will not help"), is_over, "{tries}: {answer}");
        assert!(answer.contains("countersign servers login it"), "{answer}");
        let state = if is_over { "refused" } else { "needed" };
        let words = if is_over { "scopes refused: files:write" } else { "login needed: files:write" };
        is_shown(&house, words, &json!({"state": state, "missing": ["files:write"]})).await;
    }
    assert_eq!(
        (server.sent(), issuer.asked("/token")),
        (5, 5),
        "nothing is tried but what people and agents do"
    );
    // What needs no more than there is passes all the while.
    let waited = call("cancel");
    let ((_, reviewed), ()) = tokio::join!(house.ask(&waited), house.approve());
    assert!(reviewed.contains("it ran"), "{reviewed}");
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_403_is_the_servers_own_answer() {
    let (house, _, server) = world().await;
    assert_eq!(sign_in(&house).await.status(), 200);
    server.needs("look", None);
    let (status, answer) = house.ask(&call("look")).await;
    assert_eq!((status, answer.as_str()), (StatusCode::FORBIDDEN, "nobody may"));
    is_shown(&house, "signed in", &json!({"state": "done", "missing": []})).await;
    house.running.drain().await;
}

fn refused(challenge: &'static str) -> HeaderMap {
    HeaderMap::from_iter([(WWW_AUTHENTICATE, HeaderValue::from_static(challenge))])
}

#[tokio::test]
async fn what_is_no_call_is_not_sent_again_and_a_former_tokens_refusal_counts_for_nothing() {
    let issuer = Issuer::start().await;
    let server = Server::start(Some(issuer.clone())).await;
    let side = Side::signed_in(&server).await;
    let account = side.account();
    let former = account.bearer().await.unwrap();
    server.needs("initialize", Some("files:read"));
    let Err(SendError::NotSent(why)) = side.relay().await else { panic!("it cannot have run") };
    assert!(why.contains("the scope files:read missing"), "{why}");
    assert_eq!(server.everything().matches("initialize").count(), 1, "sent once");

    side.sign_in().await;
    assert_eq!(side.relay().await.unwrap().status, 200);
    let headers = refused("Bearer error=\"insufficient_scope\", scope=\"other\"");
    let said = account.refused(&former, StatusCode::FORBIDDEN, &headers).await.unwrap();
    assert!(said.contains("replaced since") && said.contains("call again"), "{said}");
    let done = Standing { state: StandingState::Done, missing: Vec::new() };
    assert_eq!(account.standing(), done);

    // A server that names no scope, and one that names what can be none.
    let held = account.bearer().await.unwrap();
    for challenge in
        ["Bearer error=insufficient_scope", "Bearer error=\"insufficient_scope\", scope=\"\\\\\""]
    {
        let said = account.refused(&held, StatusCode::FORBIDDEN, &refused(challenge)).await.unwrap();
        assert!(said.contains("a scope that it does not name"), "{said}");
        assert_eq!(account.standing().state, StandingState::Needed);
    }
    side.sign_in().await;
    assert_eq!(account.standing(), done);
    side.accounts.drain().await;
}
