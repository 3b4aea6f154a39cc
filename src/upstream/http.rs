//! One HTTP server: the requests we make of it, and the replies we make of its responses.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{TryFutureExt as _, future::Either};
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri,
    header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST},
};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};

use super::{
    BytesBody, Outbound, Reply, ReplyBody, SendError, ServerSettings, UpstreamSettings, Verb,
    pool::{Connection, Pool},
    reply::{is_event_stream, passes_down},
};
use crate::{
    mcp::header,
    oauth::{Account, Bearer},
};

/// A streamable HTTP server.
#[derive(Debug)]
pub(super) struct Http {
    pool: Arc<Pool>,
    /// Path and query, as each request line has it.
    path: Uri,
    host: HeaderValue,
    /// From the configuration; they win over what the client sent.
    configured: HeaderMap,
    /// The server wants access tokens that the broker obtains.
    account: Option<Account>,
    limits: Arc<UpstreamSettings>,
}

/// What is wrong: the URL, or the header of that name.
pub(super) enum Wrong {
    Url(String),
    Header(String),
    /// A sign-in and an Authorization header, of which only one can be sent.
    Both,
}

impl Http {
    pub(super) fn new(
        url: &str,
        settings: &ServerSettings,
        limits: Arc<UpstreamSettings>,
        account: Option<Account>,
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
        if settings.oauth.is_some() && configured.contains_key(AUTHORIZATION) {
            return Err(Wrong::Both);
        }
        Ok(Self { pool: Arc::new(pool), path, host, configured, account, limits })
    }

    pub(super) fn account(&self) -> Option<&Account> {
        self.account.as_ref()
    }

    /// A token that is about to end is renewed here, before anything is claimed.
    pub(super) async fn prove(&self) -> Result<Connection, SendError> {
        if let Some(account) = &self.account {
            Box::pin(account.bearer()).await.map_err(SendError::NotSent)?;
        }
        self.pool.connect().await
    }

    /// Without an access token to ask for, the request is on its way when this returns.
    pub(super) fn send<'a>(
        &'a self,
        outbound: Outbound,
        session: Option<&'a HeaderValue>,
        proven: Option<Connection>,
    ) -> impl Future<Output = Result<Reply, SendError>> + Send + 'a {
        self.send_at(self.path.clone(), outbound, session, proven)
    }

    /// The same to another path (with its query) of this server, in no session of streamable HTTP.
    pub(super) fn send_to(
        &self,
        path: Uri,
        outbound: Outbound,
        proven: Option<Connection>,
    ) -> impl Future<Output = Result<Reply, SendError>> + Send {
        self.send_at(path, outbound, None, proven)
    }

    fn send_at<'a>(
        &'a self,
        path: Uri,
        outbound: Outbound,
        session: Option<&'a HeaderValue>,
        proven: Option<Connection>,
    ) -> impl Future<Output = Result<Reply, SendError>> + Send + 'a {
        let Some(account) = &self.account else {
            let sending = self.pool.send(self.request(path, outbound, session, None), proven);
            return Either::Left(sending.map_ok(|(response, connection)| self.reply(response, connection)));
        };
        Either::Right(Box::pin(async move {
            let bearer = account.bearer().await.map_err(SendError::NotSent)?;
            let request = self.request(path, outbound, session, Some(&bearer));
            self.exchange_as(account, &bearer, request, proven).await
        }))
    }

    async fn exchange_as(
        &self,
        account: &Account,
        bearer: &Bearer,
        request: Request<Full<Bytes>>,
        proven: Option<Connection>,
    ) -> Result<Reply, SendError> {
        let (response, connection) = self.pool.send(request, proven).await?;
        if matches!(response.status(), StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN)
            && let Some(why) = Box::pin(account.refused(bearer, response.status(), response.headers())).await
        {
            // It cannot have run. The agent must not take this for a word about its own token.
            return Err(SendError::NotSent(why));
        }
        Ok(self.reply(response, connection))
    }

    fn request(
        &self,
        path: Uri,
        outbound: Outbound,
        session: Option<&HeaderValue>,
        bearer: Option<&Bearer>,
    ) -> Request<Full<Bytes>> {
        let mut headers = outbound.headers;
        headers.insert(HOST, self.host.clone());
        if let Some(session) = session {
            headers.insert(&header::SESSION_ID, session.clone());
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
        if let Some(bearer) = bearer {
            headers.insert(AUTHORIZATION, bearer.header.clone());
        }
        let mut request = Request::new(Full::new(outbound.body));
        *request.method_mut() = outbound.verb.into();
        *request.uri_mut() = path;
        *request.headers_mut() = headers;
        request
    }

    fn reply(&self, response: Response<Incoming>, connection: Connection) -> Reply {
        let (parts, incoming) = response.into_parts();
        if parts.status == StatusCode::UNAUTHORIZED {
            // It passes as it is, like every refusal; an agent will look for the fault in its own token.
            tracing::warn!(
                server.address = ?self.host,
                "the server refuses the broker's credentials (401): give it `headers`, or `[servers.NAME.oauth]` \
                 and `countersign servers login NAME`"
            );
        }
        // Few do not pass: the map itself goes on.
        let mut headers = parts.headers;
        while let Some(name) = headers.keys().find(|name| !passes_down(name)).cloned() {
            headers.remove(name);
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
