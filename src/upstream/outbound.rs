//! What goes upstream: a body and the headers of an allow-list, nothing else of the client's request.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header::ACCEPT};

use crate::mcp::header;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Post,
    /// Opens the listening stream.
    Get,
    /// Ends the session.
    Delete,
}

impl From<Verb> for Method {
    fn from(verb: Verb) -> Self {
        match verb {
            Verb::Post => Self::POST,
            Verb::Get => Self::GET,
            Verb::Delete => Self::DELETE,
        }
    }
}

/// One message on its way up. The session id is added by the link, configured headers by the server.
#[derive(Debug)]
pub struct Outbound {
    pub(super) verb: Verb,
    pub(super) headers: HeaderMap,
    /// One JSON-RPC message (or a batch), already checked by `mcp::strict`.
    pub(super) body: Bytes,
}

impl Outbound {
    #[must_use]
    pub fn post(body: Bytes) -> Self {
        Self { verb: Verb::Post, headers: HeaderMap::new(), body }
    }

    #[must_use]
    pub fn get() -> Self {
        Self { verb: Verb::Get, headers: HeaderMap::new(), body: Bytes::new() }
    }

    #[must_use]
    pub fn delete() -> Self {
        Self { verb: Verb::Delete, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// The same once more: for what is no call, and was not taken.
    pub(super) fn again(&self) -> Self {
        Self { verb: self.verb, headers: self.headers.clone(), body: self.body.clone() }
    }

    /// Copies the allow-listed headers of a client's request (accept, mcp-*, last-event-id, trace
    /// context). Authorization, cookies, Host and hop-by-hop headers are not on the list.
    #[must_use]
    pub fn with_headers_of(mut self, client: &HeaderMap) -> Self {
        for (name, value) in client {
            if passes_up(name) {
                self.headers.append(name.clone(), value.clone());
            }
        }
        self
    }

    /// The same of headers that were picked for this request: a map that is all on the list is not copied.
    #[must_use]
    pub fn with_headers(self, picked: HeaderMap) -> Self {
        if self.headers.is_empty() && picked.keys().all(passes_up) {
            return Self { headers: picked, ..self };
        }
        self.with_headers_of(&picked)
    }

    /// Sets one header, if it is on the list.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        if passes_up(&name) {
            self.headers.insert(name, value);
        }
        self
    }
}

fn passes_up(name: &HeaderName) -> bool {
    let listed = [
        &ACCEPT,
        &header::PROTOCOL_VERSION,
        &header::METHOD,
        &header::NAME,
        &header::LAST_EVENT_ID,
        &header::TRACEPARENT,
        &header::TRACESTATE,
        &header::BAGGAGE,
    ];
    listed.contains(&name) || name.as_str().starts_with(header::PARAM)
}
