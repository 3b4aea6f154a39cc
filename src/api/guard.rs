//! What every request must pass before a handler sees it, and what every answer carries.
//!
//! The Host list keeps DNS rebinding out, the Origin list other sites. Whatever changes state comes
//! from our own pages, or brings a bearer token that no other site could know. Origins alone would not
//! do: another server of the same machine gets the session cookie too, so a change by cookie brings the
//! page's key as well.

use std::net::SocketAddr;

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use subtle::ConstantTimeEq as _;

use super::{ApiParts, Problem, who::cookie};

const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
     connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'self'; \
     frame-ancestors 'none'; require-trusted-types-for 'script'";

/// The header that no form of another site can set; it carries the page's key.
const OURS: &str = "x-countersign";
const SIGN_IN: &str = "/api/v1/session";

/// Under which addresses people reach this process.
#[derive(Clone, Debug)]
pub struct Origins {
    hosts: Vec<String>,
    origins: Vec<String>,
    secure: bool,
}

impl Origins {
    /// `public_url` as configured, `listen` as bound (with the real port).
    #[must_use]
    pub fn new(public_url: &str, listen: SocketAddr) -> Self {
        let (scheme, rest) = public_url.split_once("://").unwrap_or(("http", public_url));
        let scheme = scheme.to_ascii_lowercase();
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
        let default_port = if scheme == "https" { ":443" } else { ":80" };
        let authority = authority.strip_suffix(default_port).unwrap_or(&authority).to_owned();
        let port = listen.port();
        let mut hosts = vec![authority.clone(), format!("{authority}{default_port}")];
        if listen.ip().is_loopback() || listen.ip().is_unspecified() {
            hosts.extend(["127.0.0.1", "localhost", "[::1]"].map(|host| format!("{host}:{port}")));
        } else {
            hosts.push(listen.to_string());
        }
        let mut origins = vec![format!("{scheme}://{authority}")];
        origins.extend(hosts[2..].iter().map(|host| format!("http://{host}")));
        Self { hosts, origins, secure: scheme == "https" }
    }

    /// Is the site behind TLS, as far as browsers see?
    #[must_use]
    pub fn secure(&self) -> bool {
        self.secure
    }

    fn knows_host(&self, host: &str) -> bool {
        self.hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host))
    }

    fn knows_origin(&self, origin: &str) -> bool {
        self.origins.iter().any(|ours| ours.eq_ignore_ascii_case(origin))
    }
}

/// The middleware around the whole door.
pub(super) async fn guard(State(parts): State<ApiParts>, request: Request, next: Next) -> Response {
    let api = request.uri().path().starts_with("/api/");
    let mut response = match check(&parts, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    };
    harden(response.headers_mut(), api);
    response
}

fn check(parts: &ApiParts, request: &Request) -> Result<(), Problem> {
    let origins = &parts.origins;
    let (headers, path) = (request.headers(), request.uri().path());
    let probe = matches!(path, "/healthz" | "/readyz");
    if !probe && !host(headers).is_some_and(|host| origins.knows_host(host)) {
        return Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "host",
            "Not a name of this broker",
            "Use the address in `public_url`, or set `public_url` to the one you use.",
        ));
    }
    let origin = one(headers, header::ORIGIN.as_str());
    let site = one(headers, "sec-fetch-site");
    let same = site == Some("same-origin");
    // A form of ours says `Origin: null`, because our pages send no referrer.
    let ours = |origin: &str| origins.knows_origin(origin) || (origin == "null" && same);
    if headers.contains_key(header::ORIGIN) && !origin.is_some_and(ours) {
        return Err(Problem::forbidden("The request comes from another site's page."));
    }
    if matches!(*request.method(), Method::GET | Method::HEAD) || headers.contains_key(header::AUTHORIZATION)
    {
        return Ok(());
    }
    let from_us = site.map_or_else(|| origin.is_some_and(|origin| origins.knows_origin(origin)), |_| same);
    if !from_us {
        return Err(Problem::forbidden(
            "Changes come from the broker's own pages, or with `Authorization: Bearer`.",
        ));
    }
    if path.starts_with("/login/") {
        return Ok(());
    }
    let Some(shown) = one(headers, OURS) else {
        return Err(Problem::forbidden("Send the header `X-Countersign` with every change."));
    };
    // Who signs in has no key yet, and who has no session will not get far.
    let session = if path == SIGN_IN && request.method() == Method::POST { None } else { cookie(headers) };
    session.map_or(Ok(()), |session| keyed(parts, &session, shown))
}

/// Does the page have the second half of its session?
fn keyed(parts: &ApiParts, session: &str, shown: &str) -> Result<(), Problem> {
    let key = parts.broker.page_key(session);
    if bool::from(key.as_bytes().ct_eq(shown.as_bytes())) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "page-key",
        "Sign in again",
        "This browser has lost half of its sign-in, and changes nothing without it: `X-Countersign` is not \
         the key that came with this session.",
    ))
}

fn host(headers: &HeaderMap) -> Option<&str> {
    one(headers, header::HOST.as_str())
}

/// A header that is there exactly once.
fn one<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut all = headers.get_all(name).into_iter();
    let first = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(first)
}

fn harden(headers: &mut HeaderMap, api: bool) {
    let fixed = [
        ("content-security-policy", CONTENT_SECURITY_POLICY),
        ("x-content-type-options", "nosniff"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if api && !headers.contains_key(header::CACHE_CONTROL) {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_and_origins_come_from_public_url_and_the_bound_address() {
        let origins = Origins::new("https://Approvals.example/", "127.0.0.1:8787".parse().unwrap());
        for host in ["approvals.example", "approvals.example:443", "127.0.0.1:8787", "localhost:8787"] {
            assert!(origins.knows_host(host), "{host}");
        }
        for host in ["evil.example", "approvals.example.evil.example", "127.0.0.1", "127.0.0.1:80", ""] {
            assert!(!origins.knows_host(host), "{host}");
        }
        assert!(origins.knows_origin("https://approvals.example"));
        assert!(origins.knows_origin("http://localhost:8787"));
        assert!(!origins.knows_origin("http://approvals.example"));
        assert!(!origins.knows_origin("http://localhost:3000"));
        assert!(!origins.knows_origin("null"));
        assert!(origins.secure());
    }
}
