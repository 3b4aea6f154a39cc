//! Agents that bring an access token: who is let in, and who is not.

use std::time::Duration;

use countersign::{
    call::Timestamp,
    oauth::{Algorithm, Refused, Resource, ResourceSettings},
};
use reqwest::Method;
use serde_json::{Value, json};

use crate::rig::{House, Issuer, Server, Signer, call, fetch, logged, now};

/// A broker that takes this issuer's tokens of the client `agent-7` for the grant `bot`.
pub async fn world() -> (House, Issuer, Server) {
    let (issuer, server) = (Issuer::start().await, Server::start(None).await);
    let more = format!("[oauth]\nissuer = \"{}\"\n[oauth.grants]\n\"agent-7\" = \"bot\"\n", issuer.url);
    let house = House::open(&format!("url = \"{}\"", server.url), &more).await;
    (house, issuer, server)
}

pub fn claims(house: &House, issuer: &Issuer) -> Value {
    json!({"iss": issuer.url, "aud": house.url("/mcp/it"), "client_id": "agent-7", "exp": now() + 600})
}

fn with(mut claims: Value, name: &str, value: impl Into<Value>) -> Value {
    claims[name] = value.into();
    claims
}

pub fn signed(issuer: &Issuer, claims: &Value) -> String {
    issuer.key().token(&json!({"alg": "ES256", "kid": "k1"}), claims)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_stands_for_its_grant_and_goes_nowhere_else() {
    let (house, issuer, server) = world().await;
    let token = signed(&issuer, &claims(&house, &issuer));
    let answer = house.post(&token, &call("look")).await;
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().contains("it ran"));
    assert_eq!(server.calls(), 1);
    assert!(server.header("authorization").is_empty() && !server.everything().contains(&token));
    assert!(!logged().contains(&token));
    assert_eq!(house.find(&[token]), Vec::<String>::new());
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_grants_own_token_is_as_good_as_before_and_asks_no_issuer() {
    let (house, issuer, server) = world().await;
    assert_eq!(house.ask(&call("look")).await.0, 200);
    assert_eq!((server.calls(), issuer.asked("/metadata"), issuer.asked("/jwks")), (1, 0, 0));
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_token_is_told_where_to_get_one() {
    let (house, issuer, _) = world().await;
    let answer = house.post("nobody", &call("look")).await;
    assert_eq!(answer.status(), 401);
    let challenge = answer.headers()["www-authenticate"].to_str().unwrap().to_owned();
    let place = house.url("/.well-known/oauth-protected-resource/mcp/it");
    assert!(challenge.starts_with(&format!("Bearer resource_metadata=\"{place}\"")), "{challenge}");
    let document: Value = house.get(&place).await.json().await.unwrap();
    assert_eq!(document["resource"], house.url("/mcp/it"));
    assert_eq!(document["authorization_servers"], json!([issuer.url]));
    let root: Value =
        house.get(&house.url("/.well-known/oauth-protected-resource")).await.json().await.unwrap();
    assert_eq!(root["resource"], house.running.public_url);
    // Which servers there are is not told to strangers.
    let other = house.get(&house.url("/.well-known/oauth-protected-resource/mcp/other")).await;
    assert_eq!(other.status(), 200);
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_issuer_nothing_is_promised() {
    let server = Server::start(None).await;
    let house = House::open(&format!("url = \"{}\"", server.url), "").await;
    let answer = house.post("a.b.c", &call("look")).await;
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["www-authenticate"]),
        (401, &"Bearer".parse().unwrap())
    );
    assert_eq!(house.get(&house.url("/.well-known/oauth-protected-resource/mcp/it")).await.status(), 404);
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_wrong_in_one_thing_opens_nothing() {
    let (house, issuer, server) = world().await;
    let good = claims(&house, &issuer);
    let stranger = Signer::es256();
    let header = json!({"alg": "ES256", "kid": "k1"});
    let mut without_exp = good.clone();
    without_exp.as_object_mut().unwrap().remove("exp");
    let unsigned = {
        let token = issuer.key().token(&json!({"alg": "none", "kid": "k1"}), &good);
        token.rsplit_once('.').unwrap().0.to_owned() + "."
    };
    let cases = [
        (
            "audience",
            signed(&issuer, &with(good.clone(), "aud", "https://other.example/mcp")),
            "another audience",
        ),
        (
            "another server",
            signed(&issuer, &with(good.clone(), "aud", house.url("/mcp/other"))),
            "another audience",
        ),
        ("no audience", signed(&issuer, &with(good.clone(), "aud", Value::Null)), "another audience"),
        ("issuer", signed(&issuer, &with(good.clone(), "iss", "https://other.example")), "another issuer"),
        ("expired", signed(&issuer, &with(good.clone(), "exp", now() - 61)), "has expired"),
        ("not yet", signed(&issuer, &with(good.clone(), "nbf", now() + 90)), "not valid yet"),
        ("no end", signed(&issuer, &without_exp), "never expires"),
        (
            "nobody, expired",
            signed(&issuer, &with(with(good.clone(), "client_id", "agent-8"), "exp", now() - 61)),
            "has expired",
        ),
        ("alg none", unsigned, "algorithm"),
        ("alg HS256", issuer.key().token(&json!({"alg": "HS256", "kid": "k1"}), &good), "algorithm"),
        ("another key's alg", issuer.key().token(&json!({"alg": "RS256", "kid": "k1"}), &good), "signature"),
        ("unknown kid", issuer.key().token(&json!({"alg": "ES256", "kid": "k9"}), &good), "unknown key"),
        (
            "crit",
            issuer.key().token(&json!({"alg": "ES256", "kid": "k1", "crit": ["x"]}), &good),
            "extensions",
        ),
        ("a stranger's signature", stranger.token(&header, &good), "signature"),
    ];
    let mut wrong = Vec::new();
    for (case, token, why) in cases {
        let answer = house.post(&token, &call("look")).await;
        let challenge = format!("{:?}", answer.headers().get("www-authenticate"));
        let (status, text) = (answer.status().as_u16(), answer.text().await.unwrap());
        if status != 401 || !challenge.contains("invalid_token") || !text.contains(why) {
            wrong.push(format!("{case}: {status} {text}"));
        }
    }
    assert_eq!((wrong, server.calls()), (Vec::new(), 0));
    // Nothing but the one thing was wrong.
    assert_eq!(house.post(&signed(&issuer, &good), &call("look")).await.status(), 200);
    house.running.drain().await;
}

/// Status, challenge and text of what `token` is answered at `path`.
async fn refusal(house: &House, path: &str, token: &str) -> (u16, String, String) {
    let request = house.request(Method::POST, path, token).json(&call("look"));
    let answer = request.send().await.unwrap();
    let challenge = answer.headers().get("www-authenticate").map_or("", |value| value.to_str().unwrap());
    let (status, challenge) = (answer.status().as_u16(), challenge.to_owned());
    (status, challenge, answer.text().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_valid_and_has_no_grant_is_forbidden() {
    let (issuer, server) = (Issuer::start().await, Server::start(None).await);
    let more =
        format!("[oauth]\nissuer = \"{}\"\n[oauth.grants]\n\"agent-7\" = \"not-there-yet\"\n", issuer.url);
    let house = House::open(&format!("url = \"{}\"", server.url), &more).await;
    let good = claims(&house, &issuer);
    let place = house.url("/.well-known/oauth-protected-resource/mcp/it");
    for (client, why) in [("agent-8", "no agent belongs to it"), ("agent-7", "its agent does not exist")] {
        let token = signed(&issuer, &with(good.clone(), "client_id", client));
        // The second time it is known already.
        for _ in 0..2 {
            let (status, challenge, text) = refusal(&house, "/mcp/it", &token).await;
            assert_eq!(status, 403, "{text}");
            assert!(text.contains("the access token is valid, but") && text.contains(why), "{text}");
            let expected = format!("Bearer resource_metadata=\"{place}\", error=\"insufficient_scope\"");
            assert_eq!(challenge, expected);
        }
    }
    assert_eq!(server.calls(), 0);
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_the_scope_that_is_needed_is_told_which() {
    let (issuer, server) = (Issuer::start().await, Server::start(None).await);
    let more = format!(
        "[oauth]\nissuer = \"{}\"\nscopes = [\"mcp\", \"mcp:call\"]\n[oauth.grants]\n\"agent-7\" = \"bot\"\n",
        issuer.url
    );
    let house = House::open(&format!("url = \"{}\"", server.url), &more).await;
    let good = claims(&house, &issuer);
    let root = house.url("");
    // For all of this broker's addresses.
    let of = |name: &str, scope: Value| {
        signed(&issuer, &with(with(good.clone(), name, scope), "aud", root.as_str()))
    };
    let metadata = format!("{root}/.well-known/oauth-protected-resource");
    for (path, place) in [("/mcp/it", format!("{metadata}/mcp/it")), ("/mcp", metadata.clone())] {
        let asked = format!("Bearer resource_metadata=\"{place}\", scope=\"mcp mcp:call\"");
        for (name, scope) in [("other", "mcp mcp:call"), ("scope", "mcp"), ("scope", "mcp:cal mcp")] {
            let (status, challenge, text) = refusal(&house, path, &of(name, json!(scope))).await;
            assert_eq!(
                (status, challenge),
                (403, format!("{asked}, error=\"insufficient_scope\"")),
                "{text}"
            );
            assert!(text.contains("does not have the scope"), "{text}");
        }
        assert_eq!(refusal(&house, path, "nobody").await.1, format!("{asked}, error=\"invalid_token\""));
        let document: Value = house.get(&place).await.json().await.unwrap();
        assert_eq!(document["scopes_supported"], json!(["mcp", "mcp:call"]));
    }
    // What is not valid at all is 401, whatever it lacks beside.
    let old = signed(&issuer, &with(good.clone(), "exp", now() - 61));
    assert_eq!(refusal(&house, "/mcp/it", &old).await.0, 401);
    assert_eq!(server.calls(), 0);
    for (name, scope) in [
        ("scope", json!("x mcp:call mcp")),
        ("scp", json!("mcp mcp:call")),
        ("scp", json!(["mcp", "mcp:call"])),
    ] {
        let (status, _, text) = refusal(&house, "/mcp/it", &of(name, scope)).await;
        assert_eq!(status, 200, "{text}");
    }
    assert_eq!(server.calls(), 3);
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_allowed_algorithm_is_proven_by_its_own_key() {
    let (house, issuer, _) = world().await;
    let keys = [("k2", Signer::rs256()), ("k3", Signer::eddsa())];
    let keys = keys.map(|(kid, signer)| (kid, issuer.add_key(kid, signer)));
    for (kid, key) in &keys {
        let token = key.token(&json!({"alg": key.alg(), "kid": kid}), &claims(&house, &issuer));
        assert_eq!(house.post(&token, &call("look")).await.status(), 200, "{kid}");
    }
    // The same claims under the other's key id.
    let token = keys[0].1.token(&json!({"alg": "RS256", "kid": "k3"}), &claims(&house, &issuer));
    assert_eq!(house.post(&token, &call("look")).await.status(), 401);
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_cannot_make_the_broker_ask_its_issuer_again_and_again() {
    let (house, issuer, _) = world().await;
    let good = signed(&issuer, &claims(&house, &issuer));
    for _ in 0..3 {
        assert_eq!(house.post(&good, &call("look")).await.status(), 200);
    }
    assert_eq!(issuer.asked("/jwks"), 1);
    for n in 0..20 {
        let header = json!({"alg": "ES256", "kid": format!("unknown-{n}")});
        let token = issuer.key().token(&header, &claims(&house, &issuer));
        assert_eq!(house.post(&token, &call("look")).await.status(), 401);
    }
    assert_eq!(issuer.asked("/jwks"), 1, "asked a moment ago, so not again");
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reviewed_call_of_a_grant_that_only_access_tokens_open_is_sent() {
    let (issuer, server) = (Issuer::start().await, Server::start(None).await);
    let more = format!(
        "[oauth]\nissuer = \"{}\"\n[oauth.grants]\n\"agent-7\" = \"tokenless\"\n[grants.tokenless]\nservers = [\"it\"]\n",
        issuer.url
    );
    let house = House::open(&format!("url = \"{}\"", server.url), &more).await;
    let token = signed(&issuer, &claims(&house, &issuer));
    let message = call("cancel");
    let (answer, ()) = tokio::join!(house.post(&token, &message), house.approve());
    let text = answer.text().await.unwrap();
    assert!(text.contains("it ran"), "{text}");
    assert_eq!(server.calls(), 1);
    house.running.drain().await;
}

/// The check alone, at moments that the story chooses.
fn resource(issuer: &Issuer, jwks: Option<String>) -> Resource {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let settings = ResourceSettings {
        issuer: issuer.url.clone(),
        audience: vec!["us".into()],
        jwks,
        algorithms: Algorithm::ALL.to_vec(),
        claim: "sub".into(),
        scopes: Vec::new(),
        grants: [("a".to_owned(), "bot".to_owned())].into(),
        skew: Duration::ZERO,
    };
    Resource::new(settings, fetch().unwrap())
}

#[tokio::test]
async fn keys_come_and_go_as_the_issuer_says() {
    let issuer = Issuer::start().await;
    let resource = resource(&issuer, None);
    let claims = json!({"iss": issuer.url, "aud": ["x", "us"], "sub": "a", "exp": 100_000});
    let first = signed(&issuer, &claims);
    let second = issuer.add_key("k2", Signer::eddsa());
    let at = |token: String, seconds: i64| {
        let resource = &resource;
        async move { resource.grant(&token, &[], Timestamp(seconds * 1000)).await }
    };
    assert_eq!(at(first.clone(), 1000).await.unwrap(), "bot");
    issuer.add_key("k3", Signer::es256());
    let third = second.token(&json!({"alg": "EdDSA", "kid": "k4"}), &claims);
    let unknown = Err(Refused::Invalid("it is signed with an unknown key"));
    assert_eq!(at(third.clone(), 1010).await, unknown);
    assert_eq!(issuer.asked("/jwks"), 1);
    assert_eq!(at(third, 1031).await, unknown);
    assert_eq!(issuer.asked("/jwks"), 2, "a moment has passed, so the unknown key is asked for");

    issuer.forget_key("k1");
    assert_eq!(at(first.clone(), 1600).await.unwrap(), "bot");
    assert_eq!(at(first, 1632).await, unknown, "a key that was taken back proves nothing any more");
    assert_eq!(issuer.asked("/jwks"), 3);
}

#[tokio::test]
async fn while_the_keys_cannot_be_had_nobody_is_called_a_liar() {
    let issuer = Issuer::start().await;
    let resource = resource(&issuer, Some("http://127.0.0.1:1/jwks".into()));
    let claims = json!({"iss": issuer.url, "aud": "us", "sub": "a", "exp": 100_000});
    let refused = resource.grant(&signed(&issuer, &claims), &[], Timestamp(0)).await;
    assert!(matches!(refused, Err(Refused::Unavailable(_))), "{refused:?}");
}
