//! Small documents from authorization servers: no redirects, no retries, bounded in bytes and time.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use reqwest::{RequestBuilder, Url, redirect, retry};
use serde_json::Value;

/// An authorization server that takes longer is as good as gone.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Metadata, key sets and tokens are small.
const LARGEST: usize = 256 << 10;

/// The HTTP client for everything of OAuth. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Fetch(reqwest::Client);

/// Status, headers, and the body if it is a JSON document.
pub(super) struct Fetched {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Option<Value>,
}

impl Fetch {
    /// # Errors
    /// In words, when no client can be made with this TLS configuration.
    pub fn new(tls: &Arc<rustls::ClientConfig>) -> Result<Self, String> {
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured((**tls).clone())
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .no_proxy()
            .timeout(TIMEOUT)
            .user_agent(concat!("countersign/", env!("CARGO_PKG_VERSION")))
            .build();
        client.map(Self).map_err(|error| error.to_string())
    }

    pub(super) async fn get(&self, url: &Url) -> Result<Fetched, String> {
        read(url, self.0.get(url.clone()).header("accept", "application/json")).await
    }

    pub(super) async fn post_json(&self, url: &Url, body: &Value) -> Result<Fetched, String> {
        read(url, self.0.post(url.clone()).json(body)).await
    }

    /// A form, with `basic` as client id and secret in the header if given.
    pub(super) async fn post_form(
        &self,
        url: &Url,
        form: &[(&str, &str)],
        basic: Option<(&str, &str)>,
    ) -> Result<Fetched, String> {
        let request = self.0.post(url.clone()).header("content-type", "application/x-www-form-urlencoded");
        let request = request.header("accept", "application/json").body(encode(form));
        let request = match basic {
            // RFC 6749, section 2.3.1: both are form-encoded first.
            Some((id, secret)) => request.basic_auth(escape(id), Some(escape(secret))),
            None => request,
        };
        read(url, request).await
    }

    /// A JSON document that must be there.
    pub(super) async fn document(&self, url: &Url) -> Result<Value, String> {
        let fetched = self.get(url).await?;
        match fetched.body {
            Some(body) if fetched.status == StatusCode::OK => Ok(body),
            _ => Err(format!("{url} answered {} and no JSON document", fetched.status)),
        }
    }
}

async fn read(url: &Url, request: RequestBuilder) -> Result<Fetched, String> {
    // The inner error alone: the outer one repeats the URL with its query.
    let place = format!("{}{}", url.origin().ascii_serialization(), url.path());
    let broken = |error: reqwest::Error| format!("{place} cannot be reached: {}", innermost(&error));
    let mut response = request.send().await.map_err(broken)?;
    let (status, headers) = (response.status(), response.headers().clone());
    let mut bytes = Vec::new();
    // An endless stream (an MCP server's own answer to GET) is not waited for.
    let is_json = headers.get("content-type").is_some_and(|kind| {
        let kind = kind.as_bytes();
        kind.starts_with(b"application/json") || kind.windows(5).any(|end| end == b"+json")
    });
    while is_json && let Some(chunk) = response.chunk().await.map_err(broken)? {
        if bytes.len() + chunk.len() > LARGEST {
            return Err(format!("{place} answered with more than {LARGEST} bytes"));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Fetched { status, headers, body: serde_json::from_slice(&bytes).ok() })
}

/// `application/x-www-form-urlencoded`.
pub(super) fn encode(form: &[(&str, &str)]) -> String {
    let Ok(mut url) = Url::parse("http://form/") else { return String::new() };
    url.query_pairs_mut().extend_pairs(form);
    url.query().unwrap_or_default().to_owned()
}

fn escape(text: &str) -> String {
    encode(&[("", text)]).trim_start_matches('=').to_owned()
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// An address that `from` (a configured URL) led to: https, or plain HTTP on this machine if `from` itself is
/// on this machine. A server elsewhere cannot send us to our own loopback.
pub(super) fn address(written: &str, from: &Url) -> Result<Url, String> {
    let url = Url::parse(written).map_err(|error| format!("{written:?} is no URL: {error}"))?;
    let fits = match url.scheme() {
        "https" => !may_be_here(&url) || is_here(from),
        "http" => is_here(&url) && is_here(from),
        _ => false,
    };
    if fits && url.username().is_empty() && url.password().is_none() {
        return Ok(url);
    }
    Err(format!("{written:?} is not an https address that may be used here"))
}

/// What is sent there leaves this machine on no network. The unspecified address leads to loopback, and so does
/// an IPv4 address of either kind that is written as IPv6.
pub(super) fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let is_local = |address: IpAddr| {
        let address = address.to_canonical();
        address.is_loopback() || address.is_unspecified()
    };
    host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(is_local)
}

/// The names that files of hosts give this machine; whether they do on this one is not known.
const OWN_NAMES: [&str; 5] =
    ["localhost.localdomain", "localhost6", "localhost6.localdomain6", "ip6-localhost", "ip6-loopback"];

/// It is here, or it may be: too little to send anything in clear, and enough to send nobody there.
fn may_be_here(url: &Url) -> bool {
    // A name that ends in a dot is whole; whom a resolver asks about it is another question.
    let host = url.host_str().unwrap_or_default().trim_end_matches('.');
    is_here(url) || host == "localhost" || host.ends_with(".localhost") || OWN_NAMES.contains(&host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_elsewhere_cannot_send_us_to_this_machine_or_in_clear() {
        let away = Url::parse("https://mcp.example/x").unwrap();
        let here = Url::parse("http://127.0.0.1:9/mcp").unwrap();
        for bad in ["http://127.0.0.1/", "https://127.0.0.1/", "https://[::1]/", "https://localhost/"] {
            assert!(address(bad, &away).is_err(), "{bad}");
        }
        // However this machine is called: a number, either family in the other, no address at all, a whole name.
        for bad in [
            "0.0.0.0",
            "[::]",
            "0",
            "2130706433",
            "127.1",
            "[::ffff:127.0.0.1]",
            "[::ffff:0.0.0.0]",
            "localhost.",
            "a.localhost",
            "a.localhost.",
            "ip6-localhost",
            "localhost.localdomain",
        ] {
            assert!(address(&format!("https://{bad}/"), &away).is_err(), "{bad}");
            assert!(address(&format!("http://{bad}/"), &away).is_err(), "{bad}");
        }
        assert!(address("http://other.example/", &away).is_err());
        assert!(address("http://other.example/", &here).is_err());
        assert!(address("https://user@other.example/", &away).is_err());
        assert!(address("file:///etc/passwd", &here).is_err());
        assert!(address("https://other.example/", &away).is_ok());
        assert!(address("http://[::1]:8/", &here).is_ok());
    }

    #[test]
    fn what_stays_on_this_machine_may_be_in_clear_and_no_more() {
        let address = |written: &str, from: &str| {
            super::address(
                &format!("http://{written}:9/"),
                &Url::parse(&format!("http://{from}:8/")).unwrap(),
            )
        };
        let here = ["127.0.0.1", "127.8.8.8", "[::1]", "0.0.0.0", "[::]", "[::ffff:127.0.0.1]", "localhost"];
        for (to, from) in here.iter().flat_map(|to| here.map(|from| (to, from))) {
            assert!(address(to, from).is_ok(), "{from} leads to {to}");
        }
        // A resolver may ask others about these.
        for not_sure in
            ["localhost.", "ip6-localhost", "localhost.localdomain", "localhost.example", "128.0.0.1"]
        {
            assert!(address(not_sure, "127.0.0.1").is_err(), "{not_sure}");
        }
    }

    #[test]
    fn a_form_is_encoded() {
        assert_eq!(encode(&[("a", "x y&z"), ("b", "é")]), "a=x+y%26z&b=%C3%A9");
        assert_eq!(escape("a:b"), "a%3Ab");
    }
}
