//! Signing the broker in at a server behind it: where the browser comes back to, and who the broker says it is.

use std::collections::BTreeMap;

use axum::{
    Json, Router,
    extract::{Query, State},
    response::{IntoResponse, Response},
    routing::get,
};
use http::{StatusCode, header};
use serde_json::{Value, json};

use crate::{
    broker::Broker,
    oauth::{Return, Stage, Standing},
};

/// `/oauth/callback` and `/oauth/client.json`.
pub(super) fn routes(broker: Broker) -> Router {
    Router::new()
        .route("/oauth/callback", get(callback))
        .route("/oauth/client.json", get(client))
        .with_state(broker)
}

/// Open to everyone, for the browser that comes may be signed in nowhere: what opens it is a state that only
/// the operator's link had, once.
async fn callback(State(broker): State<Broker>, Query(back): Query<Return>) -> Response {
    let done = match broker.upstreams().accounts() {
        Some(accounts) => accounts.finish(back).await,
        None => Err("this broker signs in nowhere".into()),
    };
    let (status, text) = match done {
        Ok(server) => {
            (StatusCode::OK, format!("The broker is signed in at {server}. You may close this page."))
        }
        Err(why) => (StatusCode::BAD_REQUEST, format!("Not signed in: {why}.")),
    };
    let headers = [
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    ];
    (status, headers, text).into_response()
}

/// The client metadata document: its address is the broker's client id where it needs no registration.
async fn client(State(broker): State<Broker>) -> Response {
    match broker.upstreams().accounts() {
        Some(accounts) => Json(accounts.us().document()).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

/// How the broker stands with each server that wants its sign-in, by name.
pub(super) fn standings(broker: &Broker) -> Value {
    let servers = broker.upstreams().servers();
    let standings: BTreeMap<&str, Standing> =
        servers.iter().filter_map(|server| Some((server.name(), server.account()?.standing()))).collect();
    json!({ "servers": standings })
}

/// A link to sign in at that server, and the name to ask after it.
///
/// # Errors
/// In words for the operator.
pub(super) async fn begin(broker: &Broker, server: &str) -> anyhow::Result<Value> {
    let Some(found) = broker.upstreams().server(server) else {
        anyhow::bail!("there is no server {server:?}; `countersign servers list` shows those there are");
    };
    let Some(account) = found.account() else {
        anyhow::bail!(
            "{server} has no sign-in: add [servers.{server}.oauth] to the configuration, it may be empty"
        );
    };
    let begun = account.begin().await.map_err(anyhow::Error::msg)?;
    Ok(json!({ "server": server, "url": begun.link, "login": begun.id, "scopes": begun.scopes }))
}

/// How far it is.
pub(super) fn stage(broker: &Broker, login: &str) -> Value {
    let stage = broker.upstreams().accounts().and_then(|accounts| accounts.stage(login));
    match stage {
        Some(Stage::Waiting) => json!({ "state": "waiting" }),
        Some(Stage::Done) => json!({ "state": "done" }),
        Some(Stage::Failed(why)) => json!({ "state": "failed", "why": why }),
        None => json!({ "state": "gone" }),
    }
}

/// Forgets the tokens for a server, which need not be configured any more.
///
/// # Errors
/// In words for the operator.
pub(super) async fn forget(broker: &Broker, server: &str) -> anyhow::Result<Value> {
    let forgotten = match broker.upstreams().accounts() {
        Some(accounts) => accounts.forget(server).await.map_err(anyhow::Error::msg)?,
        None => false,
    };
    if forgotten {
        tracing::info!(server.name = server, "the sign-in is forgotten");
    }
    Ok(json!({ "server": server, "forgotten": forgotten }))
}
