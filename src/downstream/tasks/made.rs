//! Allowed calls that their server may answer with a task of its own. Whose that task is, is kept before the agent
//! hears of it; nothing of the answer is changed.

use std::sync::Arc;

use axum::{
    body::{Body, BodyDataStream},
    response::Response,
};
use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http_body_util::BodyExt as _;

use crate::{
    broker::{Allowed, Broker},
    downstream::{
        answer::Asker,
        http::Visit,
        submit::let_pass,
        tools::{is_encoded, is_event_stream},
    },
    identity::Grant,
    mcp::sse::Splitter,
};

/// Bytes of an answer, and of an event, in which a task is looked for: to say that one was made takes few.
const LARGEST: usize = 64 << 10;

/// Sends an allowed call whose request asks for tasks.
pub(in crate::downstream) async fn let_make(
    visit: Visit,
    call: (Allowed, Bytes, &str),
    asker: Asker,
) -> Response {
    let reader = Reader::of(&visit);
    let response = let_pass(visit, call, asker).await;
    if !response.status().is_success() || is_encoded(response.headers()) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = match is_event_stream(&parts.headers) {
        true => reader.stream(body),
        false => reader.whole(body).await,
    };
    Response::from_parts(parts, body)
}

/// Reads along.
struct Reader {
    broker: Broker,
    grant: Arc<Grant>,
    server: Arc<str>,
}

impl Reader {
    fn of(visit: &Visit) -> Self {
        let (broker, grant) = (visit.door.inner.broker.clone(), visit.grant.clone());
        Self { broker, grant, server: visit.server.shared_name() }
    }

    async fn read(&self, message: &[u8]) {
        self.broker.note_task(&self.grant.name, &self.server, message).await;
    }

    async fn whole(&self, mut body: Body) -> Body {
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            match frame.map(|frame| frame.into_data().unwrap_or_default()) {
                Ok(part) => whole.extend_from_slice(&part),
                Err(broken) => return Body::from_stream(stream::iter([Ok(whole.freeze()), Err(broken)])),
            }
            if whole.len() > LARGEST {
                let first = stream::once(std::future::ready(Ok(whole.freeze())));
                return Body::from_stream(first.chain(body.into_data_stream()));
            }
        }
        self.read(&whole).await;
        Body::from(whole.freeze())
    }

    fn stream(self, body: Body) -> Body {
        let along =
            Along { body: body.into_data_stream(), splitter: Some(Splitter::new(LARGEST)), reader: self };
        Body::from_stream(stream::unfold(along, |mut along| async move {
            let part = along.body.next().await?;
            if let Ok(part) = &part {
                along.read(part).await;
            }
            Some((part, along))
        }))
    }
}

/// Reads along in a stream of events.
struct Along {
    body: BodyDataStream,
    /// `None` after an event that is too large.
    splitter: Option<Splitter>,
    reader: Reader,
}

impl Along {
    async fn read(&mut self, part: &[u8]) {
        let Some(splitter) = &mut self.splitter else { return };
        let Ok(events) = splitter.push(part) else {
            self.splitter = None;
            return;
        };
        for data in events.into_iter().filter_map(|event| event.data) {
            self.reader.read(data.as_bytes()).await;
        }
    }
}
