//! One HTTP server: the requests we make of it, and the replies we make of its responses.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, Uri,
    header::{ACCEPT, CONTENT_TYPE, HOST},
};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};

use super::{
    BytesBody, Outbound, Reply, ReplyBody, SendError, ServerSettings, UpstreamSettings, Verb,
    pool::{Connection, Pool},
    reply::{is_event_stream, passes_down},
};
use crate::mcp::header;

/// A streamable HTTP server.
#[derive(Debug)]
pub(super) struct Http {
    pool: Arc<Pool>,
    /// Path and query, as each request line has it.
    path: Uri,
    host: HeaderValue,
    /// From the configuration; they win over what the client sent.
    configured: HeaderMap,
    limits: Arc<UpstreamSettings>,
}

/// What is wrong: the URL, or the header of that name.
pub(super) enum Wrong {
    Url(String),
    Header(String),
}

impl Http {
    pub(super) fn new(
        url: &str,
        settings: &ServerSettings,
        limits: Arc<UpstreamSettings>,
    ) -> Result<Self, Wrong> {
        let uri: Uri = url.parse().map_err(|e| Wrong::Url(format!("{e}")))?;
        let pool = Pool::new(&uri, limits.clone()).map_err(|why| Wrong::Url(why.into()))?;
        let host = uri.authority().map_or("", |a| a.as_str());
        let host = HeaderValue::from_str(host).map_err(|e| Wrong::Url(e.to_string()))?;
        let path = uri.path_and_query().cloned().map_or_else(Uri::default, Uri::from);
        let mut configured = HeaderMap::new();
        for (name, value) in &settings.headers {
            let wrong = || Wrong::Header(name.clone());
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
            let mut value = HeaderValue::from_str(value).map_err(|_| wrong())?;
            value.set_sensitive(true);
            configured.insert(header, value);
        }
        Ok(Self { pool: Arc::new(pool), path, host, configured, limits })
    }

    pub(super) async fn prove(&self) -> Result<Connection, SendError> {
        self.pool.connect().await
    }

    pub(super) async fn send(
        &self,
        outbound: Outbound,
        session: Option<&HeaderValue>,
        proven: Option<Connection>,
    ) -> Result<Reply, SendError> {
        let (response, connection) = self.pool.send(self.request(outbound, session), proven).await?;
        Ok(self.reply(response, connection))
    }

    /// The same to another path (with its query) of this server, in no session of streamable HTTP.
    pub(super) async fn send_to(
        &self,
        path: Uri,
        outbound: Outbound,
        proven: Option<Connection>,
    ) -> Result<Reply, SendError> {
        let mut request = self.request(outbound, None);
        *request.uri_mut() = path;
        let (response, connection) = self.pool.send(request, proven).await?;
        Ok(self.reply(response, connection))
    }

    fn request(&self, outbound: Outbound, session: Option<&HeaderValue>) -> Request<Full<Bytes>> {
        let mut headers = outbound.headers;
        headers.insert(HOST, self.host.clone());
        if let Some(session) = session {
            headers.insert(HeaderName::from_static(header::SESSION_ID), session.clone());
        }
        if outbound.verb == Verb::Post {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        if !headers.contains_key(ACCEPT) {
            headers.insert(ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        }
        for (name, value) in &self.configured {
            headers.insert(name.clone(), value.clone());
        }
        let mut request = Request::new(Full::new(outbound.body));
        *request.method_mut() = outbound.verb.into();
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = headers;
        request
    }

    fn reply(&self, response: Response<Incoming>, connection: Connection) -> Reply {
        let (parts, incoming) = response.into_parts();
        let mut headers = HeaderMap::new();
        for (name, value) in &parts.headers {
            if passes_down(name) {
                headers.append(name.clone(), value.clone());
            }
        }
        if incoming.is_end_stream() {
            self.pool.put(connection);
            return Reply { status: parts.status, headers, body: ReplyBody::Empty };
        }
        let streams = headers.get(CONTENT_TYPE).is_some_and(is_event_stream);
        let idle = self.limits.body_idle_timeout_ms.map(Duration::from_millis);
        let body =
            BytesBody::new(incoming, connection, self.pool.clone(), (self.limits.max_body, streams), idle);
        Reply { status: parts.status, headers, body: ReplyBody::Bytes(body) }
    }
}
