//! The rest of a stream on which the server hung up: fetched by GET with the last event's id, as any legacy
//! client does (2025-11-25 lets a server hang up on a call that it still works on, to be polled).

use std::time::Duration;

use http::{HeaderValue, StatusCode, header::ACCEPT};
use tokio::time::{Instant, sleep};

use super::{Inner, Live, answers::Place};
use crate::{
    mcp::{Passthrough, Version, header},
    upstream::{Link, Outbound, Reply},
};

/// The pause before a GET when the server named none, and its bounds when it did.
const PAUSE: Duration = Duration::from_secs(1);
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(600);
/// How often in a row the server may be out of reach.
const TRIES: u32 = 5;

impl Inner {
    /// The stream from `place` on. A server may let itself be polled until `until`.
    ///
    /// # Errors
    /// Why the rest cannot be had.
    pub(super) async fn rest(
        &self,
        link: &Link,
        live: &Live,
        place: Place,
        until: Instant,
    ) -> Result<Reply, String> {
        let Place { event, retry, why: ended } = place;
        let mut why = ended.clone();
        // A 2026-07-28 stream cannot be resumed; without a session nobody knows whose event it is.
        let (true, Ok(event)) =
            (is_legacy(live) && link.session_id().is_some(), HeaderValue::from_str(&event))
        else {
            return Err(why);
        };
        let pause = retry.unwrap_or(PAUSE).clamp(SHORTEST, LONGEST);
        for _ in 0..TRIES {
            if Instant::now() >= until {
                return Err(format!("{ended}, and it was asked for the rest for as long as a call may run"));
            }
            sleep(pause).await;
            let out = Outbound::get()
                .with_headers_of(&live.headers)
                .header(ACCEPT, HeaderValue::from_static("text/event-stream"))
                .header(header::LAST_EVENT_ID.clone(), event.clone());
            match self.upstreams.relay(Passthrough::without_body(), link, out).await {
                Ok(reply) if reply.status == StatusCode::OK && reply.is_event_stream() => return Ok(reply),
                Ok(reply) => {
                    why = format!("{ended}; asked for the rest, it answered HTTP {}", reply.status.as_u16());
                    if !reply.status.is_server_error() {
                        return Err(why);
                    }
                }
                Err(error) => why = format!("{ended}; asked for the rest: {error}"),
            }
        }
        Err(why)
    }
}

fn is_legacy(live: &Live) -> bool {
    let said = live.headers.get(&header::PROTOCOL_VERSION).and_then(|said| said.to_str().ok());
    !said.and_then(Version::parse).is_some_and(Version::is_modern)
}
