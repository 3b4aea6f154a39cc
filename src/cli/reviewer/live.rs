//! The ledger as it grows, over the websocket.

use anyhow::Context as _;
use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::{
    WebSocketStream, client_async,
    tungstenite::{Message, client::IntoClientRequest as _, protocol::frame::coding::CloseCode},
};

/// Our own close code for a cursor that the broker does not know.
const CURSOR_UNKNOWN: u16 = 4410;
/// Our own close code for a token that has ended.
const SIGNED_OUT: u16 = 4401;

/// A frame, or why there are no more.
#[derive(Debug)]
pub(in crate::cli) enum Frame {
    Entry(Value),
    /// The connection ended; follow again from the last cursor.
    Gone,
    /// The token is not valid any more.
    SignedOut,
    /// The broker does not know the cursor: it is another broker, or another ledger.
    CursorUnknown,
}

trait Stream: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send + Unpin> Stream for T {}

/// One websocket.
pub(in crate::cli) struct Live(WebSocketStream<Box<dyn Stream>>);

impl Live {
    pub(super) async fn connect(url: &str, token: &str, after: Option<&str>) -> anyhow::Result<Self> {
        let uri: http::Uri = url.parse()?;
        let is_tls = uri.scheme_str() == Some("https");
        let host = uri.host().context("the URL names no host")?;
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let tcp = TcpStream::connect((bare, port))
            .await
            .with_context(|| format!("the broker at {url} cannot be reached"))?;
        let stream: Box<dyn Stream> =
            if is_tls { Box::new(secured(tcp, bare).await?) } else { Box::new(tcp) };
        let query = after.map(|after| format!("?after={after}")).unwrap_or_default();
        let scheme = if is_tls { "wss" } else { "ws" };
        let authority = uri.authority().context("the URL names no host")?;
        let path = uri.path().trim_end_matches('/');
        let mut request = format!("{scheme}://{authority}{path}/api/v1/live{query}").into_client_request()?;
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse()?);
        let (socket, _) = tokio::time::timeout(super::ANSWER, client_async(request, stream))
            .await
            .with_context(|| format!("the broker at {url} was reached, but it does not answer"))?
            .with_context(|| format!("the broker at {url} does not let us follow its audit log"))?;
        Ok(Self(socket))
    }

    /// The next entry, as soon as there is one.
    pub(in crate::cli) async fn next(&mut self) -> Frame {
        loop {
            match self.0.next().await {
                Some(Ok(Message::Text(text))) => {
                    if let Ok(entry) = serde_json::from_str(&text) {
                        return Frame::Entry(entry);
                    }
                }
                Some(Ok(Message::Close(Some(close)))) if close.code == CloseCode::from(SIGNED_OUT) => {
                    return Frame::SignedOut;
                }
                Some(Ok(Message::Close(Some(close)))) if close.code == CloseCode::from(CURSOR_UNKNOWN) => {
                    return Frame::CursorUnknown;
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Frame::Gone,
                Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_) | Message::Frame(_))) => {}
            }
        }
    }
}

async fn secured(tcp: TcpStream, host: &str) -> anyhow::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    use rustls_platform_verifier::ConfigVerifierExt as _;
    let config = rustls::ClientConfig::with_platform_verifier()?;
    let name = rustls::pki_types::ServerName::try_from(host.to_owned())?;
    TlsConnector::from(std::sync::Arc::new(config))
        .connect(name, tcp)
        .await
        .with_context(|| format!("TLS with {host} failed"))
}
