//! The stream of a server that speaks HTTP+SSE, event by event, and the endpoint that it names first.

use std::collections::VecDeque;

use http::Uri;
use http_body_util::BodyExt as _;
use reqwest::Url;

use super::BytesBody;
use crate::mcp::sse::{Event, Splitter};

#[derive(Debug)]
pub(super) struct Events {
    body: BytesBody,
    splitter: Splitter,
    ready: VecDeque<Event>,
}

impl Events {
    pub(super) fn new(body: BytesBody, cap: usize) -> Self {
        // A stream that has nothing to say for long is no broken one.
        Self { body: body.without_idle_end(), splitter: Splitter::new(cap), ready: VecDeque::new() }
    }

    /// The next event.
    ///
    /// # Errors
    /// In words, why there is none.
    pub(super) async fn next(&mut self) -> Result<Event, String> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Ok(event);
            }
            let frame = match self.body.frame().await {
                Some(frame) => frame.map_err(|error| error.to_string())?,
                None => return Err("the server's stream ended".into()),
            };
            let Some(chunk) = frame.data_ref() else { continue };
            self.ready.extend(self.splitter.push(chunk).map_err(|error| format!("the server sent {error}"))?);
        }
    }

    /// What the first event says, which must be an `endpoint`.
    ///
    /// # Errors
    /// As `next`, and when the first event is another.
    pub(super) async fn endpoint(&mut self) -> Result<String, String> {
        loop {
            let event = self.next().await?;
            match (event.event.as_deref(), event.data) {
                (Some("endpoint"), Some(endpoint)) => return Ok(endpoint),
                // A comment.
                (None, None) => {}
                _ => return Err("the server's stream does not begin with an endpoint".into()),
            }
        }
    }
}

/// Path and query of the endpoint that a server at `base` named.
///
/// # Errors
/// In words: it is no URL, or of another origin, where our headers and calls must not go.
pub(super) fn resolve(base: &str, said: &str) -> Result<Uri, String> {
    let wrong = |why: &str| format!("the server's endpoint {said:?} cannot be used: {why}");
    let base = Url::parse(base).map_err(|error| wrong(&error.to_string()))?;
    let url = base.join(said.trim()).map_err(|error| wrong(&error.to_string()))?;
    if url.origin() != base.origin() {
        return Err(wrong("it is at another origin"));
    }
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", url.path()).parse().map_err(|error: http::uri::InvalidUri| wrong(&error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn an_endpoint_is_resolved_and_stays_at_its_origin() {
        let base = "http://files.example:8080/a/sse?x=1";
        for (said, path) in [
            ("/messages?id=1", "/messages?id=1"),
            ("messages/", "/a/messages/"),
            ("?id=1", "/a/sse?id=1"),
            ("http://files.example:8080/m#f", "/m"),
            (" /m ", "/m"),
        ] {
            assert_eq!(resolve(base, said).unwrap().to_string(), path, "{said}");
        }
        for said in [
            "http://files.example/m",
            "https://files.example:8080/m",
            "//evil.example/m",
            "http://files.example:8080@evil.example/m",
            "file:///m",
            "\\\\evil.example\\m",
        ] {
            assert!(resolve(base, said).unwrap_err().contains("another origin"), "{said}");
        }
    }
}
