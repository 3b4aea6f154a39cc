//! Streams without an end of their own: GET, and `subscriptions/listen` of 2026-07-28.
//!
//! Nobody waits on them for an answer, so a drain ends them, a stop ends those of what is stopped, and so does
//! a change of the grant that opened them, at once and not with the next message.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use axum::{
    body::{Body, BodyDataStream},
    response::Response,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, StatusCode, header};

use super::{
    answer::{self, Asker, code},
    beating::{Beating, Tail},
    held::Keeper,
    http::Visit,
    listeners::{Listening, TOO_MANY},
    relay::{relay, send, unreachable},
    reply,
    tasks::News,
    tools,
    wait::{Mark, resume},
};
use crate::{
    mcp::{
        Passthrough,
        answer::end_of_subscription,
        sse::{self, BadEvent, Splitter},
    },
    upstream::{Outbound, Reply, ReplyBody},
};

/// Bytes of one event of a stream that tells of tasks of ours too.
const LARGEST: usize = 16 << 20;

/// GET: the server's own messages, as they come. A stream that its agent came on (HTTP+SSE) counts already.
pub(super) async fn listen(visit: Visit) -> Response {
    let counts = !visit.on_stream;
    open(visit, counts).await
}

/// The same, for a stream that is counted already.
pub(super) async fn hear(visit: Visit) -> Response {
    open(visit, false).await
}

async fn open(visit: Visit, counts: bool) -> Response {
    if let Some(reason) = visit.stopped() {
        return answer::refuse(StatusCode::FORBIDDEN, &answer::stopped(&reason));
    }
    if let (Some(mark), Some(session)) = (Mark::of(&visit), visit.session.clone()) {
        return resume(visit, session, mark).await;
    }
    let place = if counts { visit.door.inner.listeners.take(&visit.grant.name) } else { None };
    if counts && place.is_none() {
        return answer::refuse(StatusCode::SERVICE_UNAVAILABLE, TOO_MANY);
    }
    let (end, beat) = (end(&visit), visit.door.inner.settings.heartbeat());
    let response = open_stream(visit).await;
    // One that does not count is part of another, which has its own.
    let beats = counts && is_stream(&response) && !tools::is_encoded(response.headers());
    let (parts, body) = response.into_parts();
    let stream = body.into_data_stream().take_until(Box::pin(end)).inspect(move |_| {
        // It is open for as long as it may have more to say.
        let _ = &place;
    });
    let body = match beats {
        true => Body::from_stream(Beating::of(stream, beat)),
        false => Body::from_stream(stream),
    };
    Response::from_parts(parts, body)
}

/// A modern client's listening stream. One that is ended here ends as a server's own would: with its result.
pub(super) async fn subscribe(visit: Visit, pass: Passthrough, body: Bytes, asker: Asker) -> Response {
    let Some(place) = visit.door.inner.listeners.take(&visit.grant.name) else {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        return answer::error(status, &asker.id, code::INTERNAL, TOO_MANY, None);
    };
    let (end, beat) = (end(&visit), visit.door.inner.settings.heartbeat());
    let (ours, body) = match News::of(&visit, &body, &asker).await {
        Ok(Some((news, left))) => {
            (Some(Ours { news, agreed: false, splitter: Splitter::new(LARGEST) }), left)
        }
        Ok(None) => (None, Some(body)),
        Err(refusal) => return *refusal,
    };
    let response = match body {
        Some(body) => match send(&visit, pass, &visit.link(), body).await {
            Ok(reply) => reply::pass_on(&visit, reply, Some(&asker), None).await,
            Err(why) => return unreachable(&visit, Some(&asker), &why),
        },
        // The server knows nothing of our tasks, and need not be there.
        None => alone(News::acknowledged(&asker)),
    };
    if !is_stream(&response) {
        return response;
    }
    let beats = !tools::is_encoded(response.headers());
    let (parts, body) = response.into_parts();
    let (body, tail) = (body.into_data_stream(), Tail::default());
    let told = Told { body, ours, end: Box::pin(end), tail, over: false, asker, _place: place };
    let body = match beats {
        true => Body::from_stream(Beating::of(told, beat)),
        false => Body::from_stream(told),
    };
    Response::from_parts(parts, body)
}

/// A stream that nobody but the door says anything on.
fn alone(first: Bytes) -> Response {
    let parts = stream::once(std::future::ready(Ok::<_, Infallible>(first))).chain(stream::pending());
    reply::events(HeaderMap::new(), Body::from_stream(parts))
}

/// A drain, a stop of this agent or server, or the end of what the agent's token gave it here.
fn end(visit: &Visit) -> impl Future<Output = ()> + Send + 'static {
    let closing = visit.door.inner.closing.clone();
    let (broker, grant, server) =
        (visit.door.inner.broker.clone(), visit.grant.clone(), visit.server.clone());
    async move {
        tokio::select! {
            () = closing.cancelled() => {}
            () = broker.until_stopped(&grant, server.name()) => {}
            () = broker.identity().until_void(&grant, Some(server.name())) => {}
        }
    }
}

async fn open_stream(visit: Visit) -> Response {
    if visit.session.is_none() && visit.is_piped() {
        return answer::refuse(StatusCode::METHOD_NOT_ALLOWED, "a stream to listen on belongs to a session");
    }
    let out = Outbound::get().with_headers_of(&visit.headers);
    let sent = relay(&visit, Passthrough::without_body(), &visit.link(), out).await;
    let sieve = tools::Sieve::of(&visit, false);
    match (sent, sieve) {
        (Ok(Reply { headers, body: ReplyBody::Messages(messages), .. }), None) => {
            let session = visit.session.clone();
            let messages = messages.inspect(move |_| {
                // A session that is listened to is not idle.
                let _ = &session;
            });
            reply::events(headers, reply::each_as_event(messages, None, Keeper::of(&visit)))
        }
        (Ok(reply), Some(sieve)) if reply.status.is_success() => sieve.listen(&visit, reply),
        (Ok(reply), Some(sieve)) => sieve.pass_on(&visit, reply, None).await,
        (Ok(reply), None) => reply::pass_on(&visit, reply, None, None).await,
        (Err(why), _) => unreachable(&visit, None, &why),
    }
}

fn is_stream(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.as_bytes().get(..17));
    response.status().is_success() && kind.is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
}

/// What is told of tasks of ours, between the events of the server's stream.
struct Ours {
    news: News,
    /// The stream was acknowledged, which comes first.
    agreed: bool,
    splitter: Splitter,
}

impl Ours {
    /// The whole events of what came, the acknowledgement with our tasks in it.
    fn among(&mut self, part: &[u8]) -> Result<Bytes, BadEvent> {
        let mut out = Vec::new();
        for event in self.splitter.push(part)? {
            let data = event.data.as_deref().filter(|_| !self.agreed);
            match data.and_then(|data| self.news.added_to(data)) {
                Some(agreed) => {
                    self.agreed = true;
                    out.extend(sse::write(event.id.as_deref(), &agreed));
                }
                None => out.extend(event.raw),
            }
        }
        Ok(out.into())
    }
}

/// The stream until it ends, or is ended with the result of the request that opened it.
struct Told {
    body: BodyDataStream,
    ours: Option<Ours>,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
    tail: Tail,
    over: bool,
    asker: Asker,
    _place: Listening,
}

impl Stream for Told {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.over {
            return Poll::Ready(None);
        }
        if self.end.as_mut().poll(context).is_ready() {
            self.over = true;
            // In the middle of an event, the result would become a part of it.
            let result = self.tail.is_between().then(|| {
                let id = std::str::from_utf8(&self.asker.id).unwrap_or("null");
                Ok(reply::event(&end_of_subscription(id)))
            });
            return Poll::Ready(result);
        }
        loop {
            if let Some(ours) = self.ours.as_mut().filter(|ours| ours.agreed)
                && let Poll::Ready(told) = ours.news.poll(context)
            {
                return Poll::Ready(Some(Ok(told)));
            }
            let mut polled = self.body.poll_next_unpin(context);
            if let (Poll::Ready(Some(Ok(part))), Some(ours)) = (&mut polled, &mut self.ours) {
                *part = ours.among(part).map_err(axum::Error::new)?;
            }
            if let Poll::Ready(Some(Ok(part))) = &polled {
                if part.is_empty() {
                    continue;
                }
                self.tail.add(part);
            }
            return polled;
        }
    }
}
