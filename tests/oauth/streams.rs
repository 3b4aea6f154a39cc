//! HTTP+SSE (2024-11-05): tokens and secrets go with the stream and with each message of it.

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};

use crate::{
    arriving,
    rig::{House, Issuer, Server, TOKEN, call},
    signing_in::sign_in,
};

fn hello() -> Value {
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"protocolVersion": "2025-06-18",
        "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}})
}

/// What the agent of one session is answered.
async fn ask(house: &House, session: &str, message: &Value) -> String {
    let request = house.request(Method::POST, "/mcp/it", TOKEN).header("mcp-session-id", session);
    request.json(message).send().await.unwrap().text().await.unwrap()
}

async fn initialize(house: &House) -> String {
    let answer = house.post(TOKEN, &hello()).await;
    assert_eq!(answer.status(), 200);
    answer.headers()["mcp-session-id"].to_str().unwrap().to_owned()
}

/// The next event of a stream, whole, that says something.
async fn event(stream: &mut Response) -> String {
    let mut said = String::new();
    while !said.contains("data: ") || !said.ends_with("\n\n") {
        let part = stream.chunk().await.unwrap().expect("more of the stream");
        said.push_str(std::str::from_utf8(&part).unwrap());
    }
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_wants_tokens_gets_a_living_one_with_each_message() {
    for transport in ["", "transport = \"sse\"\n"] {
        let issuer = Issuer::start().await;
        let server = Server::old(Some(issuer.clone())).await;
        let keys = format!("url = \"{}\"\n{transport}[servers.it.oauth]", server.url);
        let house = House::open(&keys, "").await;
        let before = house.post(TOKEN, &hello()).await.text().await.unwrap();
        assert!(before.contains("countersign servers login it"), "{before}");
        // Over as soon as it is there, so each look at it must renew it.
        issuer.lifetime(0);
        assert_eq!(sign_in(&house).await.status(), 200);
        let session = initialize(&house).await;
        let with_the_stream = issuer.access().len();
        assert!(ask(&house, &session, &call("look")).await.contains("it ran"));
        let waited = call("cancel");
        let (reviewed, ()) = tokio::join!(ask(&house, &session, &waited), house.approve());
        assert!(reviewed.contains("it ran"), "{reviewed}");
        assert_eq!(server.calls(), 2);
        assert!(issuer.access().len() >= with_the_stream + 3, "for the call, for the proof and for the send");

        // A word of the server about our token is none about the agent's.
        let known = issuer.access();
        issuer.lifetime(3600);
        assert!(ask(&house, &session, &call("look")).await.contains("it ran"));
        issuer.access()[known.len()..].iter().for_each(|token| server.refuse(token));
        let refused = ask(&house, &session, &call("look")).await;
        assert!(refused.contains("[NOT SENT]") && refused.contains("servers login it"), "{refused}");
        house.running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_static_header_goes_with_the_stream_and_each_message() {
    let server = Server::old(None).await;
    let keys = format!("url = \"{}\"\nheaders = {{ Authorization = \"Bearer s\" }}", server.url);
    let house = House::open(&keys, "").await;
    let session = initialize(&house).await;
    assert!(ask(&house, &session, &call("look")).await.contains("it ran"));
    // The POST that was refused, the stream, `initialize` and the call.
    assert_eq!(server.header("authorization"), ["Bearer s"; 4]);
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_opens_the_stream_of_an_old_agent_and_goes_nowhere_else() {
    let (house, issuer, server) = arriving::world().await;
    let stranger = house.request(Method::GET, "/mcp/it/sse", "nobody").send().await.unwrap();
    assert_eq!(stranger.status(), StatusCode::UNAUTHORIZED);
    let challenge = stranger.headers()["www-authenticate"].to_str().unwrap();
    assert!(challenge.contains("/.well-known/oauth-protected-resource/mcp/it\""), "{challenge}");

    let token = || arriving::signed(&issuer, &arriving::claims(&house, &issuer));
    let mut stream = house.request(Method::GET, "/mcp/it/sse", &token()).send().await.unwrap();
    let endpoint = event(&mut stream).await;
    let endpoint = endpoint.split_once("data: ").unwrap().1.trim();
    for (message, said) in [(hello(), "protocolVersion"), (call("look"), "it ran")] {
        let posted = house.request(Method::POST, endpoint, "nobody").json(&message).send().await.unwrap();
        assert_eq!(posted.status(), StatusCode::UNAUTHORIZED);
        // Each time another token of the same client.
        let posted = house.request(Method::POST, endpoint, &token()).json(&message).send().await.unwrap();
        assert_eq!(posted.status(), StatusCode::ACCEPTED);
        let answer = event(&mut stream).await;
        assert!(answer.contains(said), "{answer}");
    }
    assert_eq!(server.calls(), 1);
    assert!(server.header("authorization").is_empty());
    drop(stream);
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scope_that_is_missing_is_told_to_the_agent_and_asked_for() {
    let issuer = Issuer::start().await;
    let server = Server::old(Some(issuer.clone())).await;
    let house = House::open(&format!("url = \"{}\"\n[servers.it.oauth]", server.url), "").await;
    assert_eq!(sign_in(&house).await.status(), 200);
    let session = initialize(&house).await;
    server.needs("look", Some("files:read"));
    let refused = ask(&house, &session, &call("look")).await;
    assert!(refused.contains("[NOT SENT]") && refused.contains("the scope files:read missing"), "{refused}");
    assert_eq!(sign_in(&house).await.status(), 200);
    assert!(ask(&house, &session, &call("look")).await.contains("it ran"));
    assert_eq!((server.sent(), server.calls()), (2, 1));
    house.running.drain().await;
}
