//! The OpenAPI document against reality.

use std::collections::BTreeSet;

use countersign::api::{ROUTES, document};
use serde_json::{Value, json};

use crate::{
    rig::{World, world},
    schema::{faults, properties},
};

/// Pages are for browsers; the document is for programs.
fn is_page(path: &str) -> bool {
    !path.starts_with("/api/") && !matches!(path, "/healthz" | "/readyz" | "/metrics" | "/openapi.json")
}

fn parsed() -> Value {
    serde_json::from_str(&document()).unwrap()
}

#[test]
fn every_route_is_documented_and_every_documented_route_is_there() {
    let document = parsed();
    let documented: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let routes: BTreeSet<(String, String)> = ROUTES
        .iter()
        .filter(|(_, path)| !is_page(path))
        .map(|(method, path)| ((*method).to_owned(), (*path).to_owned()))
        .collect();
    assert_eq!(documented, routes);
}

/// Asks one route and holds the reply to the schema of its status.
async fn hold(
    w: &World,
    document: &Value,
    method: &str,
    path: &str,
    asked: &str,
    body: Option<&Value>,
) -> Value {
    let request = w.http.request(method.parse().unwrap(), w.url(asked)).bearer_auth(&w.ann);
    let request = body.into_iter().fold(request, |request, body| request.json(body));
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let text = response.text().await.unwrap();
    let documented = &document["paths"][path][method.to_lowercase()]["responses"][status.to_string()];
    assert!(documented.is_object(), "{method} {path} answers {status}, which is not documented: {text}");
    let Some(content) = documented.get("content").and_then(Value::as_object) else { return Value::Null };
    let (name, content) = content.iter().next().unwrap();
    assert!(
        kind.as_deref().is_some_and(|kind| kind.starts_with(name.as_str())),
        "{path}: {kind:?}, not {name}"
    );
    if !name.ends_with("json") {
        return Value::String(text);
    }
    let value: Value = serde_json::from_str(&text).unwrap();
    let schema = &content["schema"];
    assert_eq!(faults(document, schema, &value, path), Vec::<String>::new());
    let known = properties(document, schema);
    if !known.is_empty() {
        for name in value.as_object().unwrap().keys() {
            assert!(known.contains(name), "{method} {path}: {name} is not documented");
        }
    }
    value
}

#[tokio::test]
async fn every_documented_route_answers_as_documented() {
    let w = world().await;
    let document = parsed();
    let mut asked = BTreeSet::new();
    let waiter = w.park("both", r#"{"a":[1,{"b":null}]}"#).await;
    let id = waiter.call();
    let digest = w.call(id).await["digest"].clone();
    let call = |verb: &str| (format!("/api/v1/calls/{{id}}/{verb}"), format!("/api/v1/calls/{id}/{verb}"));
    let vote = |vote: &str| json!({ "vote": vote, "digest": digest, "reason": "because" });
    let stop = json!({ "server": "ops", "reason": "x" });
    let explain = json!({ "agent": "bot", "server": "ops", "tool": "read", "arguments": { "a": 1 } });
    let same = |path: &str| (path.to_owned(), path.to_owned());
    let show = || ("/api/v1/calls/{id}".to_owned(), format!("/api/v1/calls/{id}"));
    let steps: Vec<(&str, (String, String), Option<Value>)> = vec![
        ("GET", same("/api/v1/me"), None),
        ("POST", same("/api/v1/session"), Some(json!({ "token": w.bob }))),
        ("POST", same("/api/v1/session"), Some(json!({ "token": "csr_wrong" }))),
        ("DELETE", same("/api/v1/session"), None),
        ("GET", same("/api/v1/calls"), None),
        ("GET", ("/api/v1/calls".into(), "/api/v1/calls?limit=0".into()), None),
        ("GET", show(), None),
        ("GET", ("/api/v1/calls/{id}".into(), "/api/v1/calls/0190".into()), None),
        ("POST", call("reviews"), Some(vote("approve"))),
        ("POST", call("reviews"), Some(vote("approve"))),
        ("POST", call("withdraw"), Some(json!({}))),
        ("POST", call("extend"), Some(json!({ "by": "1m" }))),
        ("POST", call("extend"), Some(json!({ "by": "soon" }))),
        ("POST", call("resolve"), Some(json!({ "outcome": "done" }))),
        ("POST", call("cancel"), Some(json!({ "reason": "no" }))),
        ("POST", call("lift"), Some(json!({}))),
        ("POST", call("reviews"), Some(vote("deny"))),
        ("GET", show(), None),
        ("GET", same("/api/v1/live"), None),
        ("GET", same("/api/v1/ledger"), None),
        ("GET", same("/api/v1/ledger/checkpoint"), None),
        ("GET", same("/api/v1/servers"), None),
        ("GET", same("/api/v1/agents"), None),
        ("GET", same("/api/v1/policies"), None),
        ("POST", same("/api/v1/policy/explain"), Some(explain)),
        ("POST", same("/api/v1/stop"), Some(stop.clone())),
        ("GET", same("/api/v1/stops"), None),
        ("POST", same("/api/v1/resume"), Some(stop)),
        ("GET", same("/healthz"), None),
        ("GET", same("/readyz"), None),
        ("GET", same("/metrics"), None),
        ("GET", same("/openapi.json"), None),
    ];
    for (method, (path, url), body) in &steps {
        hold(&w, &document, method, path, url, body.as_ref()).await;
        asked.insert((*method, path.clone()));
    }
    for (method, path) in ROUTES.iter().filter(|(_, path)| !is_page(path)) {
        assert!(asked.contains(&(*method, (*path).to_owned())), "{method} {path} was not asked");
    }
}
