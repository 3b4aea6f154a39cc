//! Who the broker says it is: registered beforehand, known by a document's address, registered now, or by hand.

use reqwest::Url;
use serde_json::{Value, json};

use crate::{
    rig::{House, Issuer, Place, Server, call},
    signing_in::{link, sign_in},
};

fn tls() -> String {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");
    format!("[tls]\ncert = \"{data}/cert.pem\"\nkey = \"{data}/key.pem\"\n")
}

/// An issuer that takes documents, a server that trusts it, and a broker with `more` in its configuration.
async fn world(more: &str) -> (House, Issuer, Server) {
    let issuer = Issuer::start().await;
    issuer.says("client_id_metadata_document_supported", json!(true));
    let server = Server::start(Some(issuer.clone())).await;
    let house = House::open(&format!("url = \"{}\"\n[servers.it.oauth]", server.url), more).await;
    (house, issuer, server)
}

async fn client_id(house: &House) -> Result<String, String> {
    let link = link(house).await.map_err(|error| error.to_string())?;
    let link = Url::parse(&link).unwrap();
    let id = link.query_pairs().find(|(name, _)| name == "client_id").unwrap().1.into_owned();
    Ok(id)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_with_https_is_known_by_its_documents_address() {
    let (house, issuer, server) = world(&tls()).await;
    let id = house.url("/oauth/client.json");
    assert!(id.starts_with("https://127.0.0.1:"), "{id}");
    issuer.lifetime(0);
    assert_eq!(client_id(&house).await.unwrap(), id);
    assert_eq!(sign_in(&house).await.status(), 200);
    let read = issuer.documents();
    assert_eq!(read.len(), 1, "the authorization server read it over TLS");
    assert_eq!(read[0]["client_id"], id);
    assert_eq!(read[0]["redirect_uris"], json!([house.url("/oauth/callback")]));
    // The token had ended: the renewal goes by the same name.
    let (_, answer) = house.ask(&call("look")).await;
    assert!(answer.contains("it ran"), "{answer}");
    assert!(issuer.access().len() >= 2 && server.calls() == 1);
    assert_eq!(issuer.asked("/register"), 0);
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_https_is_known_by_a_document_that_is_published_elsewhere() {
    let place = Place::start().await;
    let (house, issuer, server) = world(&format!("client_metadata_url = \"{}\"\n", place.url)).await;
    // Not published yet: nobody is sent back.
    let refused = house.get(&link(&house).await.unwrap()).await;
    assert_eq!(refused.status(), 400);
    let document: Value = house.get(&house.url("/oauth/client.json")).await.json().await.unwrap();
    assert_eq!(document["client_id"], place.url);
    place.publish(document);
    assert_eq!(sign_in(&house).await.status(), 200);
    assert_eq!((issuer.documents().len(), issuer.asked("/register")), (1, 0));
    let (_, answer) = house.ask(&call("look")).await;
    assert!(answer.contains("it ran"), "{answer}");
    assert_eq!(server.calls(), 1);
    house.running.drain().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_broker_introduces_itself_in_the_order_that_mcp_asks_for() {
    // Known beforehand, documents are taken, https, registrations are taken; and what is said then.
    let cases = [
        (true, true, true, true, "known"),
        (false, true, true, true, "/oauth/client.json"),
        (false, true, true, false, "/oauth/client.json"),
        (false, true, false, true, "client-1"),
        (false, false, true, true, "client-1"),
        (
            false,
            false,
            true,
            false,
            "takes no registrations; register the redirect address https://127.0.0.1",
        ),
        (false, true, false, false, "in [servers.it.oauth]; or set client_metadata_url"),
    ];
    for (beforehand, documents, https, registers, expected) in cases {
        let (issuer, more) = (Issuer::start().await, if https { tls() } else { String::new() });
        issuer.says("client_id_metadata_document_supported", json!(documents));
        if !registers {
            issuer.says("registration_endpoint", Value::Null);
        }
        let server = Server::start(Some(issuer.clone())).await;
        let id = if beforehand { "client_id = \"known\"" } else { "" };
        let house = House::open(&format!("url = \"{}\"\n[servers.it.oauth]\n{id}", server.url), &more).await;
        let said = client_id(&house).await.unwrap_or_else(|why| why);
        assert!(said.contains(expected), "{beforehand} {documents} {https} {registers}: {said}");
        let registered = usize::from(expected == "client-1");
        assert_eq!(issuer.asked("/register"), registered, "{said}");
        house.running.drain().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_registered_at_one_authorization_server_is_told_to_no_other() {
    let (issuer, other) = (Issuer::start().await, Issuer::start().await);
    let server = Server::start(Some(issuer.clone())).await;
    let keys = format!(
        "url = \"{}\"\n[servers.it.oauth]\nclient_id = \"known\"\nclient_secret = \"s\"\n",
        server.url
    );
    let house = House::open(&keys, "").await;
    assert_eq!(sign_in(&house).await.status(), 200);
    server.names(&other.url);
    let refused = client_id(&house).await.unwrap_err();
    assert!(refused.contains("was taken to") && refused.contains("servers logout it"), "{refused}");
    // The sign-in that there is goes on.
    let (_, answer) = house.ask(&call("look")).await;
    assert!(answer.contains("it ran"), "{answer}");
    let House { running, folder, .. } = house;
    running.drain().await;

    let house = House::open_in(folder, &format!("{keys}issuer = \"{}\"\n", issuer.url), "").await;
    let refused = client_id(&house).await.unwrap_err();
    assert!(refused.contains("client_id is for") && refused.contains("[servers.it.oauth]"), "{refused}");
    let House { running, folder, .. } = house;
    running.drain().await;

    let house = House::open_in(folder, &format!("{keys}issuer = \"{}/\"\n", other.url), "").await;
    assert_eq!(client_id(&house).await.unwrap(), "known", "the operator says so");
    assert_eq!(other.asked("/token"), 0);
    house.running.drain().await;
}

#[test]
fn an_address_that_can_be_no_client_id_is_refused_with_its_line() {
    for bad in ["http://a.example/c.json", "https://a.example", "https://a.example/./c.json"] {
        let text = format!("\nclient_metadata_url = \"{bad}\"\n");
        let path = Some("countersign.toml".into());
        let parsed = countersign::config::Config::parse(&text, path, "".into(), std::iter::empty());
        let why = parsed.unwrap_err().to_string();
        assert!(why.contains("countersign.toml:2") && why.contains("cannot be a client id"), "{why}");
    }
}
