//! JSON-RPC batches (2025-03-26): each element is judged and answered by itself, on one stream.
//!
//! So that one call which waits for a person does not hold the others.

use axum::{
    body::Body,
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, StatusCode, header};

use super::{
    answer::{self, Asker},
    gate::{self, Errand, Refusal},
    held::Room,
    http::{Visit, text},
    modern, reply,
};
use crate::{
    broker::HttpError,
    mcp::{
        Malformed, Message, Meta,
        header::PROTOCOL_VERSION,
        sse::{Event, Splitter},
    },
};

/// Who judges and answers the messages of a batch, one by one: the door of a server, or of all that are joined.
pub(super) trait Desk: Clone + Send + Sync + 'static {
    type Errand: Send + 'static;

    fn headers(&self) -> &HeaderMap;

    /// Room for the answer to it, or for the refusal of what is none.
    fn room(&self, errand: Option<&Self::Errand>) -> Room;

    fn sort(&self, message: &Message<'_>, body: &Bytes) -> Result<Self::Errand, Refusal>;

    fn run(self, errand: Self::Errand, body: Bytes) -> impl Future<Output = Response> + Send;
}

impl Desk for Visit {
    type Errand = Errand;

    fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    fn room(&self, _: Option<&Errand>) -> Room {
        let most = self.server.largest_answer();
        self.door.inner.held.room(Some(self.server.name()), &self.grant.name, most)
    }

    fn sort(&self, message: &Message<'_>, body: &Bytes) -> Result<Errand, Refusal> {
        gate::sort(self, message, body)
    }

    fn run(self, errand: Errand, body: Bytes) -> impl Future<Output = Response> + Send {
        gate::run(self, errand, body)
    }
}

/// One element: what it asks for and its bytes, or its answer already.
pub(super) struct Element<E> {
    errand: Result<E, Refusal>,
    body: Bytes,
    /// Who is answered, if anyone.
    asker: Option<Asker>,
}

/// Most elements of one batch: each may hold a place.
const MOST: usize = 100;

/// # Errors
/// The version has no batches, or there are too many elements.
pub(super) fn split<D: Desk>(
    desk: &D,
    messages: &[Message<'_>],
    body: &Bytes,
) -> Result<Vec<Element<D::Errand>>, Refusal> {
    let refuse = |why| Err(answer::malformed(&Malformed::Envelope { why, id: None }).into());
    let said = text(desk.headers(), &PROTOCOL_VERSION);
    let knows = |message: &Message<'_>| modern::version(said, &Meta::of(message.params())).has_batches();
    if !messages.iter().all(knows) {
        return refuse("this protocol version has no batches");
    }
    if messages.len() > MOST {
        return refuse("a batch of more than 100 messages");
    }
    let element = |message: &Message<'_>| {
        let own = message.raw().span_in(body).map(|span| body.slice(span)).unwrap_or_default();
        let asker = match message {
            Message::Request(request) => {
                Some(Asker { id: Bytes::copy_from_slice(request.id.as_str().as_bytes()), modern: false })
            }
            Message::Notification(_) | Message::Response(_) => None,
        };
        Element { errand: desk.sort(message, &own), body: own, asker }
    };
    Ok(messages.iter().map(element).collect())
}

/// All answers as events, each as soon as it is there; 202 when nothing asks for one.
pub(super) async fn answer<D: Desk>(desk: D, elements: Vec<Element<D::Errand>>) -> Response {
    let (asking, telling): (Vec<_>, Vec<_>) =
        elements.into_iter().partition(|element| element.asker.is_some());
    for element in telling {
        if let Ok(errand) = element.errand {
            desk.clone().run(errand, element.body).await;
        }
    }
    if asking.is_empty() {
        return StatusCode::ACCEPTED.into_response();
    }
    let answers = asking
        .into_iter()
        .map(move |element| stream::once(as_events(desk.clone(), element)).flatten().boxed());
    reply::events(HeaderMap::new(), Body::from_stream(stream::select_all(answers)))
}

/// One element's whole answer, as events; ids of its stream mean nothing in the one it becomes part of.
async fn as_events<D: Desk>(
    desk: D,
    element: Element<D::Errand>,
) -> stream::BoxStream<'static, Result<Bytes, axum::Error>> {
    let mut room = desk.room(element.errand.as_ref().ok());
    let most = room.most();
    let response = match element.errand {
        Ok(errand) => desk.run(errand, element.body).await,
        Err(refusal) => *refusal,
    };
    let kind = response.headers().get(header::CONTENT_TYPE);
    if kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
        let mut splitter = Splitter::new(most);
        let parts = response.into_body().into_data_stream();
        return parts
            .map(move |part| {
                let events = splitter.push(&part?).map_err(axum::Error::new)?;
                room.hold(splitter.rest().len()).map_err(axum::Error::new)?;
                Ok(events.into_iter().flat_map(Event::without_id).collect::<Vec<_>>().into())
            })
            .boxed();
    }
    let (status, headers) = (response.status(), response.headers().clone());
    let event = match (room.collect(response.into_body()).await, element.asker) {
        // Its status cannot be shown here.
        (Ok(body), Some(asker)) if !status.is_success() && !reply::is_response(&body) => {
            reply::event(&answer::http_error(&HttpError { status, headers, body }, None, None, &asker))
        }
        (Ok(body), _) => reply::event(&body),
        // The other elements have the same stream: it goes on.
        (Err(why), Some(asker)) => reply::event(&reply::broken(&asker, &why)),
        (Err(_), None) => Bytes::new(),
    };
    stream::once(std::future::ready(Ok(room.keep(event)))).boxed()
}
