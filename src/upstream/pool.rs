//! The connections to one HTTP server: a short list of idle ones, and how a new one is made.
//!
//! Nothing here sends twice. A request that hyper hands back never left this process, and only such a
//! one may go on a second connection.

use std::{
    error::Error,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{
    FutureExt as _, TryFutureExt as _,
    future::{Either, ready},
};
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::{
    body::Incoming,
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::OnceCell,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use super::{SendError, UpstreamSettings, yielding::Yielding};

pub(super) type Connection = SendRequest<Full<Bytes>>;

/// How long an idle connection may take to say that it is ready.
const SETTLES: Duration = Duration::from_secs(1);

/// The connections to one HTTP server.
#[derive(Debug)]
pub(super) struct Pool {
    host: String,
    port: u16,
    /// Made at the first connection to an `https` server.
    tls: Option<OnceCell<Arc<rustls::ClientConfig>>>,
    limits: Arc<UpstreamSettings>,
    idle: Mutex<Vec<(Connection, Instant)>>,
}

impl Pool {
    /// # Errors
    /// A word on what is wrong with the URL.
    pub(super) fn new(url: &Uri, limits: Arc<UpstreamSettings>) -> Result<Self, &'static str> {
        let tls = match url.scheme_str() {
            Some("http") => None,
            Some("https") => Some(OnceCell::new()),
            _ => return Err("the scheme must be http or https"),
        };
        if url.authority().is_some_and(|a| a.as_str().contains('@')) {
            return Err("credentials belong into `headers`");
        }
        let host = url.host().filter(|h| !h.is_empty()).ok_or("no host")?;
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let port = url.port_u16().unwrap_or(if tls.is_some() { 443 } else { 80 });
        Ok(Self { host, port, tls, limits, idle: Mutex::default() })
    }

    /// Sends on `proven`, else on an idle connection; on a new one if there is none, or if the request
    /// was handed back because that one had been closed.
    ///
    /// The request leaves for an idle connection at once: the future waits for its response only, and is small,
    /// for each call carries it. What is rare is boxed.
    pub(super) fn send(
        self: &Arc<Self>,
        request: Request<Full<Bytes>>,
        proven: Option<Connection>,
    ) -> impl Future<Output = Result<(Response<Incoming>, Connection), SendError>> + Send + use<> {
        match proven.or_else(|| self.take_ready()) {
            Some(connection) => Either::Left(Arc::clone(self).send_on(connection, request)),
            None => Either::Right(Box::pin(Arc::clone(self).send_anew(request))),
        }
    }

    fn send_on(
        self: Arc<Self>,
        mut connection: Connection,
        request: Request<Full<Bytes>>,
    ) -> impl Future<Output = Result<(Response<Incoming>, Connection), SendError>> + Send {
        // Combined, for an async block keeps what it waits for twice.
        self.begin(&mut connection, request).then(move |sent| match sent {
            Ok(Sent::Answered(response)) => Either::Left(ready(Ok((response, connection)))),
            Ok(Sent::HandedBack(unsent)) => Either::Right(Box::pin(self.send_anew(*unsent))),
            Err(error) => Either::Left(ready(Err(error))),
        })
    }

    /// On an idle connection that has yet to settle, or on a new one.
    async fn send_anew(
        self: Arc<Self>,
        mut request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Connection), SendError> {
        for open in [self.take().await, None] {
            let mut connection = match open {
                Some(connection) => connection,
                None => self.connect().await?,
            };
            match self.begin(&mut connection, request).await? {
                Sent::Answered(response) => return Ok((response, connection)),
                Sent::HandedBack(unsent) => request = *unsent,
            }
        }
        Err(SendError::NotSent("the server closes each connection at once".into()))
    }

    /// The request is on its way when this returns.
    fn begin(
        &self,
        connection: &mut Connection,
        request: Request<Full<Bytes>>,
    ) -> impl Future<Output = Result<Sent, SendError>> + Send + use<> {
        let sending = connection.try_send_request(request);
        let sending = match self.limits.header_timeout_ms {
            None => Either::Left(sending.map(Ok)),
            Some(ms) => {
                let late =
                    move |_| SendError::Unknown(format!("the server did not begin to answer within {ms} ms"));
                Either::Right(Box::pin(timeout(Duration::from_millis(ms), sending).map_err(late)))
            }
        };
        sending.map(|sent| match sent? {
            Ok(response) => Ok(Sent::Answered(response)),
            Err(mut error) => match error.take_message() {
                Some(request) => Ok(Sent::HandedBack(Box::new(request))),
                None => Err(SendError::Unknown(said(&error.into_error()))),
            },
        })
    }

    /// The newest idle connection, if it can take a request at once.
    fn take_ready(&self) -> Option<Connection> {
        let mut idle = self.lock();
        let fresh = |(connection, since): &mut (Connection, Instant)| {
            connection.is_ready() && since.elapsed() <= Duration::from_millis(self.limits.idle_connection_ms)
        };
        Some(idle.pop_if(fresh)?.0)
    }

    /// An idle connection that is still open.
    async fn take(&self) -> Option<Connection> {
        loop {
            let (mut connection, since) = self.lock().pop()?;
            if since.elapsed() > Duration::from_millis(self.limits.idle_connection_ms) {
                self.lock().clear();
                return None;
            }
            // Its driver may not have seen yet that the last response has ended.
            if connection.is_ready() || matches!(timeout(SETTLES, connection.ready()).await, Ok(Ok(()))) {
                return Some(connection);
            }
        }
    }

    /// Keeps a connection whose response has ended.
    pub(super) fn put(&self, connection: Connection) {
        let mut idle = self.lock();
        if !connection.is_closed() && idle.len() < self.limits.max_idle_connections {
            idle.push((connection, Instant::now()));
        }
    }

    /// A fresh connection.
    pub(super) async fn connect(&self) -> Result<Connection, SendError> {
        let within = Duration::from_millis(self.limits.connect_timeout_ms);
        let unreachable =
            |why: String| SendError::NotSent(format!("cannot connect to {}:{}: {why}", self.host, self.port));
        let connecting = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await.map_err(|e| said(&e))?;
            prepare(&stream).map_err(|e| said(&e))?;
            let Some(tls) = &self.tls else { return handshake(stream).await };
            let name = ServerName::try_from(self.host.clone()).map_err(|e| said(&e))?;
            let tls = TlsConnector::from(tls.get_or_try_init(async || tls_config()).await?.clone());
            let stream = tls.connect(name, stream).await.map_err(|e| said(&e))?;
            handshake(stream).await
        };
        match timeout(within, connecting).await {
            Ok(connected) => connected.map_err(unreachable),
            Err(_) => Err(unreachable(format!("no connection within {} ms", within.as_millis()))),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<(Connection, Instant)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum Sent {
    Answered(Response<Incoming>),
    HandedBack(Box<Request<Full<Bytes>>>),
}

async fn handshake<S>(stream: S) -> Result<Connection, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, driver) = http1::Builder::new()
        .max_headers(100)
        .max_header_size(64 << 10)
        .max_buf_size(64 << 10)
        .handshake(TokioIo::new(Yielding::of(stream)))
        .await
        .map_err(|e| said(&e))?;
    // Ends with the connection, which closes when its `SendRequest` is dropped.
    #[expect(clippy::disallowed_methods, reason = "owned by the connection that it drives")]
    tokio::spawn(async move {
        if let Err(error) = driver.await {
            tracing::debug!(error = %said(&error), "upstream connection ended");
        }
    });
    Ok(sender)
}

/// No delay for small messages; keep-alive probes notice a peer that vanished while a tool runs.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    Ok(())
}

/// Certificates are checked as the operating system would.
pub(crate) fn tls_config() -> Result<Arc<rustls::ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(|b| b.with_platform_verifier())
        .map_err(|e| said(&e))?
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// An error with its causes, in one line.
pub(super) fn said(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
