//! Servers over TLS whose certificate this machine does not accept: nothing is sent, and it is said what to do.

use std::sync::Arc;

use countersign::upstream::{SendError, ServerSettings, UpstreamSettings};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::{call, session, upstreams};

/// A server with the certificate of the tests, which no authority has signed; gives its port.
async fn server() -> u16 {
    let data = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/tls");
    let chain = CertificateDer::pem_file_iter(format!("{data}/cert.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(format!("{data}/key.pem")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.map(Result::unwrap).collect(), key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let _ = acceptor.accept(stream).await;
        }
    });
    port
}

#[tokio::test]
async fn a_certificate_that_is_not_accepted_says_how_to_name_its_authority() {
    let url = format!("https://127.0.0.1:{}/mcp", server().await);
    let it = upstreams(ServerSettings { url: Some(url), ..Default::default() }, UpstreamSettings::default());
    let refused = call(&it, &session(&it), r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#).await;
    let Err(SendError::NotSent(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("certificate") && why.contains("SSL_CERT_FILE naming a PEM file"), "{why}");
}
