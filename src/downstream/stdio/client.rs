//! The HTTP client of the bridge: no retries, no redirects, no proxy from the environment.

use std::{sync::Arc, time::Duration};

use rustls::{ClientConfig, RootCertStore, crypto::ring};
use rustls_platform_verifier::BuilderVerifierExt as _;

/// # Errors
/// In words: there is no TLS for an `https` URL here.
pub(super) fn client(url: &str) -> Result<reqwest::Client, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let tls = if url.starts_with("https://") {
        builder.with_platform_verifier().map_err(|error| error.to_string())?.with_no_client_auth()
    } else {
        // Never used: plain HTTP needs no roots, and a machine without any must do.
        builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
    };
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
        .connect_timeout(Duration::from_secs(10))
        .build()
        .map_err(|error| error.to_string())
}
