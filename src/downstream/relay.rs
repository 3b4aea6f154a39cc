//! What passes without a person: every message that is no `tools/call`, and the beginning and end of
//! sessions.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use tokio::time::timeout;

use super::{
    answer::{self, Asker},
    elicit,
    http::{Visit, text},
    reply,
    session::{NotOpened, Session},
    tasks::Offered,
    tools::Sieve,
};
use crate::{
    call::ClientInfo,
    mcp::{Passthrough, header},
    upstream::{Conversation, FAREWELL, Link, Outbound, Reply, SendError},
};

/// Sends a message up and its answer down, untouched.
pub(super) async fn message(visit: Visit, pass: Passthrough, body: Bytes, asker: Option<Asker>) -> Response {
    match send(&visit, pass, &visit.link(), body).await {
        Ok(reply) => reply::pass_on(&visit, reply, asker.as_ref(), None).await,
        Err(why) => unreachable(&visit, asker.as_ref(), &why),
    }
}

/// `initialize`: a new conversation, and, when it is answered with a session, a session here.
pub(super) async fn initialize(
    visit: Visit,
    pass: Passthrough,
    body: Bytes,
    id: Bytes,
    client: ClientInfo,
) -> Response {
    let asker = Asker { id, modern: false };
    let conversation = Conversation::Session { grant: &visit.grant.name };
    let link = visit.door.inner.broker.upstreams().link(&visit.server, conversation);
    let links = elicit::announced_in(&body);
    let out = Outbound::post(body).with_headers_of(&visit.headers);
    let reply = match visit.door.inner.broker.relay(pass, &link, out).await {
        Ok(reply) => reply,
        Err(why) => return unreachable(&visit, Some(&asker), &why),
    };
    let given = text(&reply.headers, &header::SESSION_ID).map(str::to_owned);
    let tasks = Offered::default();
    // A task needs a session to be sent in.
    let sieve = Sieve::of_greeting(&visit, &tasks).filter(|_| given.is_some() || visit.is_piped());
    let mut response = match sieve {
        Some(sieve) => sieve.pass_on(&visit, reply, Some(asker.clone())).await,
        None => reply::pass_on(&visit, reply, Some(&asker), None).await,
    };
    if !response.status().is_success() {
        return response;
    }
    let minted = given.is_none();
    // A server without sessions has none here either; a conversation on one pipe or stream is always one.
    let id = match given {
        Some(id) => id,
        None if visit.is_piped() || visit.on_stream => session_id(),
        None => return response,
    };
    if !minted || visit.is_piped() {
        visit.door.inner.sessions.needs_them(visit.server.name());
    }
    if let Err(why) = open(&visit, &id, link, client, (tasks, links)) {
        return not_opened(why, visit.server.name(), &asker);
    }
    if let Some(value) = HeaderValue::from_str(&id).ok().filter(|_| minted) {
        response.headers_mut().insert(&header::SESSION_ID, value);
    }
    response
}

#[expect(clippy::disallowed_methods, reason = "the id of a session, which no history repeats")]
fn session_id() -> String {
    uuid::Uuid::new_v4().to_string()
}

fn open(
    visit: &Visit,
    id: &str,
    link: Link,
    client: ClientInfo,
    can: (Offered, bool),
) -> Result<(), NotOpened> {
    let now = visit.door.inner.broker.clock().now();
    let mut session = Session::new(id, &visit.grant, link, client, now);
    (session.tasks, session.shows_links) = can;
    visit.door.inner.sessions.open(visit.server.name(), session, now)
}

fn not_opened(why: NotOpened, server: &str, asker: &Asker) -> Response {
    let (status, text) = match why {
        NotOpened::TooMany => {
            let text =
                "too many sessions are open (one agent may have half of all); end one, or try again later";
            (StatusCode::SERVICE_UNAVAILABLE, text.to_owned())
        }
        NotOpened::Taken => {
            tracing::warn!(
                server.name = server,
                "the server gave two agents the same session id; the second is refused"
            );
            let text = format!(
                "the server {server} gave this session the id of another agent's, so neither could be told from \
                 the other; its sessions need ids of their own. Try again later"
            );
            (StatusCode::BAD_GATEWAY, text)
        }
    };
    answer::error(status, &asker.id, answer::code::INTERNAL, &text, None)
}

/// `tools/list` without the tools that do not exist for this grant, or `server/discover` with what the door
/// itself can do for it.
pub(super) async fn sieved(
    visit: Visit,
    pass: Passthrough,
    body: Bytes,
    asker: Asker,
    sieve: Option<Sieve>,
) -> Response {
    let Some(sieve) = sieve else {
        return message(visit, pass, body, Some(asker)).await;
    };
    let reply = match send(&visit, pass, &visit.link(), body).await {
        Ok(reply) => reply,
        Err(why) => return unreachable(&visit, Some(&asker), &why),
    };
    sieve.pass_on(&visit, reply, Some(asker)).await
}

/// DELETE: the session ends here and at the server.
pub(super) async fn end(visit: Visit) -> Response {
    let Some(session) = visit.session.clone() else {
        if visit.is_piped() {
            return answer::refuse(StatusCode::METHOD_NOT_ALLOWED, "there is no session to end");
        }
        let out = Outbound::delete().with_headers_of(&visit.headers);
        return match relay(&visit, Passthrough::without_body(), &visit.link(), out).await {
            Ok(reply) => reply::pass_on(&visit, reply, None, None).await,
            Err(why) => unreachable(&visit, None, &why),
        };
    };
    visit.door.inner.sessions.forget(&session);
    if visit.is_piped() || session.link.session_id().is_none() {
        session.link.close().await;
        return StatusCode::OK.into_response();
    }
    let out = Outbound::delete().with_headers_of(&visit.headers);
    let said = relay(&visit, Passthrough::without_body(), &session.link, out);
    match timeout(FAREWELL, said).await {
        Ok(Ok(Reply { status, headers, .. })) => reply::respond(status, headers, Body::empty()),
        // It is over here, whatever the server says, and whether it says anything.
        Ok(Err(_)) | Err(_) => StatusCode::OK.into_response(),
    }
}

pub(super) async fn send(
    visit: &Visit,
    pass: Passthrough,
    link: &Link,
    body: Bytes,
) -> Result<Reply, SendError> {
    relay(visit, pass, link, Outbound::post(body).with_headers_of(&visit.headers)).await
}

pub(super) async fn relay(
    visit: &Visit,
    pass: Passthrough,
    link: &Link,
    out: Outbound,
) -> Result<Reply, SendError> {
    visit.door.inner.broker.relay(pass, link, out).await.map(Reply::without_session)
}

pub(super) fn unreachable(visit: &Visit, asker: Option<&Asker>, why: &SendError) -> Response {
    answer::unreachable(asker.map(|asker| &*asker.id), visit.server.name(), why)
}
