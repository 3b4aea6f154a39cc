//! How the bridge reaches the door: over HTTP, or in this process.

use std::future::ready;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Request, StatusCode};
use reqwest::Client;
use tokio::time::timeout;

use super::joint::{Joint, NOTICE};
use crate::downstream::{Door, Peer, answer};

pub(super) type Response = http::Response<Body>;

pub(super) enum Way {
    Far(Client),
    Near(Near),
}

/// The door of one server, or of all that are joined, in this process.
pub(in crate::downstream) struct Near {
    pub door: Door,
    /// `None`: all.
    pub server: Option<String>,
    /// By name: tokens of it may come and go.
    pub grant: String,
    /// Who reads the answers.
    pub peer: Option<Peer>,
}

impl Joint {
    /// One request to the door; `quick`: its whole answer comes within `NOTICE`.
    pub(super) async fn send(
        &self,
        method: Method,
        headers: HeaderMap,
        body: Bytes,
        quick: bool,
    ) -> reqwest::Result<Response> {
        match &self.way {
            Way::Far(client) => {
                let request = client.request(method, self.settings.place()).bearer_auth(&self.settings.token);
                let request = request.headers(headers).body(body);
                let request = if quick { request.timeout(NOTICE) } else { request };
                Ok(http::Response::from(request.send().await?).map(Body::new))
            }
            Way::Near(near) => {
                let answer = near.answer(method, headers, body);
                if !quick {
                    return Ok(answer.await);
                }
                let late =
                    |_| answer::refuse(StatusCode::GATEWAY_TIMEOUT, "the server did not take it in time");
                Ok(timeout(NOTICE, answer).await.unwrap_or_else(late))
            }
        }
    }
}

impl Near {
    /// Boxed, and with its type named: the door comes here, and this comes back to the door.
    fn answer(&self, method: Method, headers: HeaderMap, body: Bytes) -> BoxFuture<'_, Response> {
        let agents = &self.door.inner.broker.identity().directory().agents;
        let Some(grant) = agents.get(&self.grant).cloned() else {
            return Box::pin(ready(answer::refuse(StatusCode::UNAUTHORIZED, "the agent is no more")));
        };
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.headers_mut() = headers;
        match &self.server {
            Some(server) => Box::pin(self.door.answer_on_stream(server, grant, request, self.peer.clone())),
            None => Box::pin(self.door.answer_joined_on_stream(grant, request, self.peer.clone())),
        }
    }
}
