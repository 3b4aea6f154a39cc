//! A place on the web, with TLS: one document, at one address. Its certificate is made for tests.

use std::sync::{Arc, Mutex};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::TlsAcceptor;

const CERT: &[u8] = include_bytes!("../../data/tls/cert.pem");
const KEY: &[u8] = include_bytes!("../../data/tls/key.pem");

/// A client that believes the certificate of tests, and no other.
pub fn trusting() -> reqwest::ClientBuilder {
    let root = reqwest::Certificate::from_pem(CERT).unwrap();
    reqwest::Client::builder().tls_certs_only([root]).no_proxy()
}

pub struct Place {
    pub url: String,
    document: Arc<Mutex<Value>>,
}

impl Place {
    pub async fn start() -> Self {
        let certs = CertificateDer::pem_slice_iter(CERT).collect::<Result<Vec<_>, _>>().unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider);
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(certs, PrivateKeyDer::from_pem_slice(KEY).unwrap()).unwrap();
        let (acceptor, document) = (TlsAcceptor::from(Arc::new(config)), Arc::new(Mutex::new(Value::Null)));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}/published.json", listener.local_addr().unwrap().port());
        let shown = Arc::clone(&document);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let mut asked = vec![0; 4096];
                let length = stream.read(&mut asked).await.unwrap_or_default();
                let is_it = asked[..length].starts_with(b"GET /published.json ");
                let body = shown.lock().unwrap().to_string();
                let status = if is_it { "200 OK" } else { "404 Not Found" };
                let head =
                    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n");
                let answer = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
                let _ = stream.write_all(answer.as_bytes()).await;
                let _ = stream.shutdown().await;
            }
        });
        Self { url, document }
    }

    pub fn publish(&self, document: Value) {
        *self.document.lock().unwrap() = document;
    }
}
