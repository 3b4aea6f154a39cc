//! An upstream's reply on its way down: bytes as they arrive, or, from a child's pipe, as a streamable
//! HTTP server would have sent its messages.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::{
    Stream, StreamExt as _,
    future::{BoxFuture, Either, Ready, ready},
    stream,
};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::timeout;

use super::{
    answer::{self, Asker, code},
    held::Keeper,
    http::Visit,
};
use crate::{
    broker::Recording,
    mcp::{self, Answer, Limits, Message, sse, strict},
    upstream::{BrokenReply, BytesBody, Reply, ReplyBody},
};

/// The answer to a POST; `asker` is the request it answers, if it was one; an allowed call's `recording`
/// ends with the body. Boxed where more than the reply's head is waited for.
pub(super) fn pass_on(
    visit: &Visit,
    reply: Reply,
    asker: Option<&Asker>,
    mut recording: Option<Recording>,
) -> Either<Ready<Response>, BoxFuture<'static, Response>> {
    note_gone(visit, reply.status);
    let body = match reply.body {
        ReplyBody::Empty => Body::empty(),
        ReplyBody::Bytes(body) => match recording {
            Some(recording) => Body::new(Recorded { body, recording }),
            None => Body::new(body),
        },
        ReplyBody::Messages(messages) => {
            // A call may run long, and clients give up on silence; anything else is quick once the child
            // has started, and its HTTP status says more than an event could.
            let settings = &visit.door.inner.settings;
            let grace = if recording.is_some() { settings.grace() } else { settings.start_grace() };
            let messages = messages.inspect(move |message| {
                if let (Some(recording), Ok(message)) = (&mut recording, message) {
                    recording.sent(message.len());
                }
            });
            let head = (reply.status, reply.headers);
            return Either::Right(Box::pin(spell(messages, head, asker.cloned(), grace, Keeper::of(visit))));
        }
    };
    Either::Left(ready(respond(reply.status, reply.headers, body)))
}

/// A server that answers 404 no longer knows the session; its client must initialize again.
pub(super) fn note_gone(visit: &Visit, status: StatusCode) {
    if status == StatusCode::NOT_FOUND
        && let Some(session) = &visit.session
    {
        visit.door.inner.sessions.forget(session);
    }
}

pub(super) fn respond(status: StatusCode, headers: HeaderMap, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The answer of an allowed call, counted on its way down; its record ends with it.
struct Recorded {
    body: BytesBody,
    recording: Recording,
}

impl HttpBody for Recorded {
    type Data = Bytes;
    type Error = BrokenReply;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokenReply>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled
            && let Some(part) = frame.data_ref()
        {
            self.recording.sent(part.len());
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response of server-sent events.
pub(super) fn events(mut headers: HeaderMap, body: Body) -> Response {
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    respond(StatusCode::OK, headers, body)
}

/// One message as one event.
pub(super) fn event(message: &[u8]) -> Bytes {
    match std::str::from_utf8(message) {
        Ok(text) => sse::write(None, text).into(),
        Err(_) => sse::comment("a message that is not UTF-8 was left out").into(),
    }
}

/// Each message as an event, for as long as they come.
pub(super) fn each_as_event(
    messages: impl Stream<Item = Result<Bytes, BrokenReply>> + Send + 'static,
    asker: Option<Asker>,
    keeper: Keeper,
) -> Body {
    let broke = move |why| asker.as_ref().map_or_else(Bytes::new, |asker| event(&broken(asker, &why)));
    let told = messages.map(move |message| {
        let told = match message {
            Ok(message) => match keeper.keep(event(&message)) {
                Ok(told) => told,
                Err(why) if is_response(&message) => broke(why),
                // For what nobody waits on there is no room now.
                Err(_) => Bytes::new(),
            },
            Err(why) => broke(why),
        };
        Ok::<_, std::convert::Infallible>(told)
    });
    Body::from_stream(told.filter(|part| std::future::ready(part.as_ref().is_ok_and(|p| !p.is_empty()))))
}

/// JSON when the response comes first and soon, events otherwise.
pub(super) async fn spell(
    mut messages: impl Stream<Item = Result<Bytes, BrokenReply>> + Send + Unpin + 'static,
    (status, headers): (StatusCode, HeaderMap),
    asker: Option<Asker>,
    grace: Duration,
    keeper: Keeper,
) -> Response {
    match timeout(grace, messages.next()).await {
        Ok(Some(Ok(first))) if is_response(&first) => {
            let status = if status == StatusCode::OK { status_of(&first, asker.as_ref()) } else { status };
            let told = keeper.keep(first).unwrap_or_else(|why| {
                asker.as_ref().map_or_else(Bytes::new, |asker| broken(asker, &why).into())
            });
            let mut response = answer::json_with(status, told);
            response.headers_mut().extend(headers);
            response
        }
        Ok(Some(first)) => {
            let all = stream::once(std::future::ready(first)).chain(messages);
            events(headers, each_as_event(all, asker, keeper))
        }
        Ok(None) => respond(StatusCode::ACCEPTED, headers, Body::empty()),
        Err(_) => events(headers, each_as_event(messages, asker, keeper)),
    }
}

/// A modern server says some errors in the HTTP status too; clients tell the era from it.
fn status_of(response: &[u8], asker: Option<&Asker>) -> StatusCode {
    if !asker.is_some_and(|asker| asker.modern) {
        return StatusCode::OK;
    }
    match error_code(response).as_deref() {
        Some("-32601") => StatusCode::NOT_FOUND,
        Some("-32020" | "-32021" | "-32022") => StatusCode::BAD_REQUEST,
        _ => StatusCode::OK,
    }
}

fn error_code(response: &[u8]) -> Option<String> {
    match read(response)? {
        Message::Response(response) => match response.answer {
            Answer::Error(error) => Some(error.get("code")?.as_str().to_owned()),
            Answer::Result(_) => None,
        },
        Message::Request(_) | Message::Notification(_) => None,
    }
}

pub(super) fn is_response(message: &[u8]) -> bool {
    matches!(read(message), Some(Message::Response(_)))
}

pub(super) fn is_error(message: &[u8]) -> bool {
    let answer = |message| match message {
        Message::Response(response) => Some(response.answer),
        Message::Request(_) | Message::Notification(_) => None,
    };
    matches!(read(message).and_then(answer), Some(Answer::Error(_)))
}

/// What a server sent is read leniently: nothing is decided by it.
pub(super) fn read(message: &[u8]) -> Option<Message<'_>> {
    let limits = Limits::of_servers(usize::MAX);
    Message::of(strict::check(message, &limits).ok()?).ok()
}

/// The server's answer broke off: what is left to say to a request that was not a call.
pub(super) fn broken(asker: &Asker, why: &BrokenReply) -> Vec<u8> {
    let id = std::str::from_utf8(&asker.id).unwrap_or("null");
    mcp::answer::error(id, code::INTERNAL, &why.to_string(), None)
}
