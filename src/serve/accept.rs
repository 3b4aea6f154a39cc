//! The accept loop: TCP or TLS, HTTP/1.1 with upgrades, one task per connection, a clean end.

use std::{
    future::{Future, poll_fn},
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use anyhow::Context as _;
use axum::{Router, body::Body, extract::ConnectInfo};
use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::net::sockopt;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpSocket, TcpStream},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::Service as _;

use crate::downstream::{Connected, Door, Peer, Watched};

/// A client must have sent its request's head by then.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
/// Connections that may wait to be accepted, if the system allows as many. One that finds the queue full
/// is dropped and tries again after a whole second: 10,000 agents at once took 12 s with 1,024 places.
const BACKLOG: u32 = 8192;
/// A connection on which nothing came for so long is probed, and so often, before it is over: 2 min together.
const QUIET: Duration = Duration::from_secs(60);
const PROBE: Duration = Duration::from_secs(15);
const PROBES: u32 = 4;
#[cfg(target_os = "linux")]
const GONE_MS: u32 = 120_000;

/// Who may connect, and how.
#[derive(Clone)]
pub(super) struct Entrance {
    pub door: Door,
    /// Everything but the door for agents.
    pub router: Router,
    pub tls: Option<TlsAcceptor>,
    /// Not empty: only these proxies and this machine may connect, for they end TLS for everyone else.
    pub trusted_proxies: Arc<[IpAddr]>,
}

impl Entrance {
    fn admits(&self, peer: IpAddr) -> bool {
        self.trusted_proxies.is_empty() || peer.is_loopback() || self.trusted_proxies.contains(&peer)
    }
}

/// Opens the door's socket.
///
/// # Errors
/// As `bind` and `listen` of the system say.
pub(super) fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A broker that was just ended may be started again at once.
    socket.set_reuseaddr(true)?;
    if let Err(error) = watch_over(&socket) {
        tracing::warn!(%error, "agents that vanish are noticed late: the system does not probe connections");
    }
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Each connection that this socket accepts has these too: a peer that went without a word is noticed, and gives
/// back its place among the listeners and what is held for it.
fn watch_over(socket: &TcpSocket) -> std::io::Result<()> {
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, QUIET)?;
    sockopt::set_tcp_keepintvl(socket, PROBE)?;
    sockopt::set_tcp_keepcnt(socket, PROBES)?;
    // What was sent and is not acknowledged puts off the probes: a stream with signs of life would go on for
    // a quarter of an hour. A peer that takes nothing for so long is let go too.
    #[cfg(target_os = "linux")]
    sockopt::set_tcp_user_timeout(socket, GONE_MS)?;
    Ok(())
}

/// Serves `router` on `listener` until `stop`; then open requests finish, and it returns.
pub(super) async fn accept(listener: TcpListener, entrance: Entrance, stop: CancellationToken) {
    let entrance = Arc::new(entrance);
    let closing = Closing::default();
    let connections = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: give open connections a moment to end.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        if !entrance.admits(peer.ip().to_canonical()) {
            tracing::warn!(%peer, "a connection that did not come from a trusted proxy was closed");
            continue;
        }
        // Without it, small answers wait for the peer's acknowledgement; a failure only costs speed.
        let _ = stream.set_nodelay(true);
        connections.spawn(connect(stream, peer, Arc::clone(&entrance), closing.clone()));
    }
    closing.close();
    connections.close();
    connections.wait().await;
}

async fn connect(stream: TcpStream, peer: SocketAddr, entrance: Arc<Entrance>, closing: Closing) {
    let connected = Connected::default();
    let agent = connected.peer();
    let stream = connected.watch(stream);
    let ended = match entrance.tls.clone() {
        None => serve(stream, (peer, agent), &entrance, closing).await,
        // Boxed: a connection without TLS carries no room for it.
        Some(tls) => Box::pin(serve_securely(tls, stream, (peer, agent), &entrance, closing)).await,
    };
    match ended {
        Ok(()) => connected.close(),
        Err(error) => tracing::debug!(%error, "a connection ended with an error"),
    }
}

async fn serve_securely(
    tls: TlsAcceptor,
    stream: Watched<TcpStream>,
    peer: (SocketAddr, Peer),
    entrance: &Entrance,
    closing: Closing,
) -> anyhow::Result<()> {
    let handshake = tokio::time::timeout(TLS_TIMEOUT, tls.accept(stream)).await;
    let stream = handshake.context("the TLS handshake took too long")?.context("the TLS handshake failed")?;
    serve(stream, peer, entrance, closing).await
}

async fn serve<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
    stream: S,
    (peer, agent): (SocketAddr, Peer),
    entrance: &Entrance,
    closing: Closing,
) -> anyhow::Result<()> {
    let answer = service_fn(|request: Request<Incoming>| {
        let (door, mut router) = (entrance.door.clone(), entrance.router.clone());
        let agent = agent.clone();
        // Boxed: hyper keeps the room of this future for as long as its connection lives, and a call that
        // waits for days would pay for what it needed in its first millisecond.
        Box::pin(async move {
            // An allowed call pays for nothing that only pages need: no routing table, no boxed body.
            if let Some(server) = request.uri().path().strip_prefix("/mcp/").map(str::to_owned) {
                return Ok(door.answer(&server, request, Some(agent)).await);
            }
            if request.uri().path() == "/mcp" {
                return Ok(Box::pin(door.answer_joined(request, Some(agent))).await);
            }
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            router.call(request).await
        })
    });
    let mut builder = http1::Builder::new();
    // Nobody on this machine needs slow heads; for everyone else a timer per request is worth its cost.
    let patience = (!peer.ip().is_loopback()).then_some(HEAD_TIMEOUT);
    builder.timer(TokioTimer::new()).header_read_timeout(patience);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), answer).with_upgrades());
    let mut closed = pin!(closing.token.cancelled());
    let (mut registered, mut told) = (false, false);
    let ended = poll_fn(|context| {
        // Polled once: this task's waker stays the same, and each poll would take a lock that all
        // connections share.
        if !registered {
            registered = true;
            let _ = closed.as_mut().poll(context);
        }
        if !told && closing.flag.load(Ordering::Acquire) {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        connection.as_mut().poll(context)
    });
    Ok(ended.await?)
}

/// How the accept loop tells its connections to end: the flag says so, the token wakes them.
#[derive(Clone, Default)]
struct Closing {
    flag: Arc<AtomicBool>,
    token: CancellationToken,
}

impl Closing {
    fn close(&self) {
        self.flag.store(true, Ordering::Release);
        self.token.cancel();
    }
}

/// TLS from PEM files.
///
/// # Errors
/// A file that cannot be read, or a key that does not fit its certificate.
pub(super) fn tls(settings: &crate::config::Tls) -> anyhow::Result<TlsAcceptor> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};

    let shown = settings.cert.display();
    let certificates = CertificateDer::pem_file_iter(&settings.cert)
        .and_then(Iterator::collect)
        .with_context(|| format!("tls.cert {shown} cannot be read"))?;
    let key = PrivateKeyDer::from_pem_file(&settings.key)
        .with_context(|| format!("tls.key {} cannot be read", settings.key.display()))?;
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .context("tls.key does not fit tls.cert")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<F: Future>(_: impl Fn(TcpStream, SocketAddr, Arc<Entrance>, Closing) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_connections_task_is_small() {
        // Ten thousand of them wait for people.
        assert!(size(connect) <= 1536, "{} bytes", size(connect));
    }

    #[tokio::test]
    async fn who_goes_without_a_word_is_noticed_on_each_connection() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let listener = match listen(address.parse().unwrap()) {
                Ok(listener) => listener,
                // A machine without IPv6.
                Err(_) if address.starts_with('[') => continue,
                Err(error) => panic!("{address}: {error}"),
            };
            let connecting = TcpStream::connect(listener.local_addr().unwrap());
            let (client, accepted) = tokio::join!(connecting, listener.accept());
            let (stream, _client) = (accepted.unwrap().0, client.unwrap());
            assert!(sockopt::socket_keepalive(&stream).unwrap());
            let probes = sockopt::tcp_keepidle(&stream).unwrap()
                + sockopt::tcp_keepintvl(&stream).unwrap() * sockopt::tcp_keepcnt(&stream).unwrap();
            assert_eq!(probes, Duration::from_secs(120));
            // With something unacknowledged there are no probes.
            #[cfg(target_os = "linux")]
            assert_eq!(sockopt::tcp_user_timeout(&stream).unwrap(), 120_000);
        }
    }
}
