//! Allowed calls that their server may answer with a task of its own. Whose that task is, is kept before the agent
//! hears of it; nothing of the answer is changed.

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
        held::{Keeper, Room, SMALL},
        http::Visit,
        submit::let_pass,
        tools::{is_encoded, is_event_stream},
    },
    mcp::sse::Splitter,
};

/// Bytes of an answer, and of an event, in which a task is looked for. What a server says of one may be long.
const LARGEST: usize = 1 << 20;

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
    keeper: Keeper,
    /// What is held of a large answer, or event.
    room: Option<Room>,
}

impl Reader {
    fn of(visit: &Visit) -> Self {
        Self { broker: visit.door.inner.broker.clone(), keeper: Keeper::of(visit), room: None }
    }

    async fn read(&self, message: &[u8]) {
        self.broker.note_task(self.keeper.grant(), self.keeper.server(), message).await;
    }

    /// False: so much cannot be held, or would be too much for a task.
    fn holds(&mut self, bytes: usize) -> bool {
        if bytes <= SMALL {
            self.room = None;
            return true;
        }
        let room = self.room.get_or_insert_with(|| self.keeper.room(LARGEST));
        bytes <= room.most() && room.hold(bytes).is_ok()
    }

    async fn whole(mut self, mut body: Body) -> Body {
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            match frame.map(|frame| frame.into_data().unwrap_or_default()) {
                Ok(part) => whole.extend_from_slice(&part),
                Err(broken) => return Body::from_stream(stream::iter([Ok(whole.freeze()), Err(broken)])),
            }
            if !self.holds(whole.len()) {
                let first = stream::once(std::future::ready(Ok(whole.freeze())));
                return Body::from_stream(first.chain(body.into_data_stream()));
            }
        }
        self.read(&whole).await;
        let whole = whole.freeze();
        Body::from(match self.room {
            Some(room) => room.keep(whole),
            None => whole,
        })
    }

    fn stream(self, body: Body) -> Body {
        let along =
            Along { body: body.into_data_stream(), splitter: Splitter::reading_along(LARGEST), reader: self };
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
    /// Leaves out what is too large, and what there is no room for.
    splitter: Splitter,
    reader: Reader,
}

impl Along {
    async fn read(&mut self, part: &[u8]) {
        let events = self.splitter.push(part).unwrap_or_default();
        for data in events.into_iter().filter_map(|event| event.data) {
            self.reader.read(data.as_bytes()).await;
        }
        if !self.reader.holds(self.splitter.rest().len()) {
            self.splitter.leave_out();
        }
    }
}
