//! `tools/list` without the tools that do not exist for a grant; every other byte stays as it was.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode, header};

use super::{
    answer::{self, Asker},
    http::Visit,
    reply,
};
use crate::{
    broker::Rules,
    mcp::{
        Answer, Json, Message,
        patch::Edits,
        sse::{self, Splitter},
    },
    upstream::{BrokenReply, Reply, ReplyBody},
};

/// How long a client may keep a list that was changed for it, ms.
const FRESH_MS: u64 = 30_000;

/// What is taken out, for whom.
pub(super) struct Sieve {
    rules: Arc<Rules>,
    grant: String,
    server: String,
    modern: bool,
}

impl Sieve {
    pub(super) fn new(rules: Arc<Rules>, visit: &Visit, modern: bool) -> Self {
        Self { rules, grant: visit.grant.name.clone(), server: visit.server.name().to_owned(), modern }
    }

    /// The reply on its way down, sieved.
    pub(super) async fn pass_on(self, visit: &Visit, reply: Reply, asker: Asker) -> Response {
        let Reply { status, mut headers, body } = reply;
        if !status.is_success() {
            return reply::pass_on(visit, Reply { status, headers, body }, Some(&asker), None).await;
        }
        headers.remove(header::CONTENT_LENGTH);
        match body {
            ReplyBody::Empty => reply::respond(status, headers, Body::empty()),
            ReplyBody::Messages(messages) => {
                let grace = visit.door.inner.settings.start_grace();
                let sieved = messages.map(move |message| message.map(|message| self.message(&message)));
                reply::spell(sieved, (status, headers), Some(asker), grace).await
            }
            ReplyBody::Bytes(body) => {
                match body.collect().await.and_then(|whole| self.whole(&headers, &whole)) {
                    Ok(sieved) => reply::respond(status, headers, Body::from(sieved)),
                    Err(why) => {
                        answer::json_with(StatusCode::BAD_GATEWAY, reply::broken(&asker, &why).into())
                    }
                }
            }
        }
    }

    fn whole(&self, headers: &HeaderMap, body: &Bytes) -> Result<Bytes, BrokenReply> {
        let kind = headers.get(header::CONTENT_TYPE);
        if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
            return self.events(body);
        }
        Ok(self.message(body))
    }

    fn events(&self, whole: &[u8]) -> Result<Bytes, BrokenReply> {
        let mut splitter = Splitter::new(whole.len() + 1);
        let events = splitter.push(whole).map_err(|why| BrokenReply::Broken(why.to_string()))?;
        let mut out = Vec::with_capacity(whole.len());
        for event in events {
            let sieved = event.data.as_ref().and_then(|data| self.sieved(data.as_bytes()));
            match sieved.as_deref().map(str::from_utf8) {
                Some(Ok(data)) => out.extend(sse::write(event.id.as_deref(), data)),
                Some(Err(_)) | None => out.extend(event.raw),
            }
        }
        Ok(out.into())
    }

    fn message(&self, message: &Bytes) -> Bytes {
        self.sieved(message).map_or_else(|| message.clone(), Bytes::from)
    }

    /// `None`: nothing to change.
    fn sieved(&self, message: &[u8]) -> Option<Vec<u8>> {
        let Some(Message::Response(response)) = reply::read(message) else { return None };
        let Answer::Result(result) = response.answer else { return None };
        let policies = self.rules.of(&self.grant, &self.server);
        let is_hidden = |tool: Json<'_>| {
            let Some(name) = tool.get("name").and_then(Json::string) else { return true };
            policies.iter().any(|policy| policy.hides(&self.server, &name))
        };
        let mut edits = Edits::of(response.raw);
        edits.retain(&["result", "tools"], |tool| !is_hidden(tool));
        if self.modern {
            edits.set(&["result", "cacheScope"], "\"private\"");
            let fresh = result.get("ttlMs").and_then(|ttl| ttl.as_str().parse::<f64>().ok());
            if fresh.is_none_or(|ms| ms > FRESH_MS as f64) {
                edits.set(&["result", "ttlMs"], &FRESH_MS.to_string());
            }
        }
        (!edits.is_empty()).then(|| edits.apply())
    }
}
