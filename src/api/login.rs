//! Signing in and out. Opening a link shows a page with a button; only the button's POST spends it.

use std::{sync::Mutex, time::Duration};

use axum::{
    Json,
    extract::{Path, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    ApiParts, Problem, assets,
    extract::{Asked, Body},
    who::{Credential, PLAIN_COOKIE, SECURE_COOKIE, Viewer},
};
use crate::{
    call::{Person, Role, Timestamp},
    identity::{ABSOLUTE, Access, SignedIn},
};

/// Failed sign-ins in a minute, by anybody, after which further failures are told to wait. A right token
/// or link is never kept out: else anybody could keep everybody out.
const MOST_FAILURES: u32 = 20;
const MINUTE: Duration = Duration::from_secs(60);

/// Counts failed sign-ins: tokens cannot be guessed, but nobody shall try at full speed.
#[derive(Debug, Default)]
pub struct Attempts(Mutex<(Timestamp, u32)>);

impl Attempts {
    /// Counts one; a problem of its own when there were too many.
    fn failed(&self, now: Timestamp) -> Result<(), Problem> {
        let mut window = self.lock();
        if now.since(window.0) >= MINUTE {
            *window = (now, 0);
        }
        window.1 = window.1.saturating_add(1);
        if window.1 <= MOST_FAILURES {
            return Ok(());
        }
        Err(Problem::new(
            StatusCode::TOO_MANY_REQUESTS,
            "attempts",
            "Too many failed sign-ins",
            "Wait a minute, then try again.",
        ))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, (Timestamp, u32)> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Who is signed in.
#[derive(Serialize, ToSchema)]
pub(super) struct Me {
    name: String,
    groups: Vec<String>,
    /// `reviewer` or `auditor`.
    role: &'static str,
}

impl Me {
    fn of(person: Person) -> Self {
        let role = match person.role {
            Role::Reviewer => "reviewer",
            Role::Auditor => "auditor",
        };
        Self { name: person.name, groups: person.groups, role }
    }
}

/// Who has just signed in, and what only their page may know.
#[derive(Serialize, ToSchema)]
pub(super) struct SignedInModel {
    #[serde(flatten)]
    me: Me,
    /// The page's key: goes into `X-Countersign` with every change that the cookie makes.
    x: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SignInAsk {
    /// A reviewer's token, `csr_…`.
    token: String,
}

#[derive(Deserialize)]
pub(super) struct Onward {
    /// A path of this site to go on to.
    next: Option<String>,
}

/// Who the token or cookie speaks for.
#[utoipa::path(get, path = "/api/v1/me", tag = "people", responses(
    (status = 200, body = Me),
    (status = 401, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn me(viewer: Viewer) -> Json<Me> {
    Json(Me::of(viewer.person))
}

/// Signs in with a reviewer's token; the reply sets the session cookie and tells the page's key.
#[utoipa::path(post, path = "/api/v1/session", tag = "people", request_body = SignInAsk, responses(
    (status = 200, body = SignedInModel),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 429, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn sign_in(
    State(api): State<ApiParts>,
    Body(ask): Body<SignInAsk>,
) -> Result<Response, Problem> {
    let now = api.broker.clock().now();
    let Some((person, session)) = api.broker.identity().sign_in(ask.token.trim(), now).await? else {
        api.attempts.failed(now)?;
        return Err(Problem::unauthorized());
    };
    let cookie = set_cookie(&session, ABSOLUTE, api.origins.secure());
    let signed_in = SignedInModel { me: Me::of(person), x: api.broker.page_key(&session) };
    Ok(([(header::SET_COOKIE, cookie)], Json(signed_in)).into_response())
}

/// Signs out: the session is over, in every window.
#[utoipa::path(delete, path = "/api/v1/session", tag = "people", responses(
    (status = 204, description = "Signed out, or was not signed in"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn sign_out(State(api): State<ApiParts>, headers: HeaderMap) -> Result<Response, Problem> {
    // Beside a bearer token the guard has not asked for the page's key, so there the cookie is nothing.
    if let Some(Credential { access: Access::Session, secret }) = Credential::of(&headers) {
        api.broker.identity().sign_out(&secret).await?;
    }
    let cookie = set_cookie("", Duration::ZERO, api.origins.secure());
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// What a link shows. Whether it is good is not even looked up: mail scanners open links.
pub(super) async fn page(Path(_): Path<String>) -> Response {
    let mut response = assets::page("login.html");
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Spends a one-time link.
pub(super) async fn spend(
    State(api): State<ApiParts>,
    Path(token): Path<String>,
    Asked(onward): Asked<Onward>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let now = api.broker.clock().now();
    let Some((_, session)): Option<SignedIn> = api.broker.identity().spend_link(&token, now).await? else {
        let problem = api.attempts.failed(now).err().unwrap_or_else(|| {
            Problem::new(
                StatusCode::GONE,
                "link",
                "The link is used up or too old",
                "Each link works once, for 15 minutes. `countersign open` makes a new one.",
            )
        });
        return Ok(unspent(problem, &headers));
    };
    let next = onward.next.filter(|next| is_ours(next)).unwrap_or_else(|| "/".to_owned());
    // In the fragment, which browsers keep to themselves.
    let path = next.split('#').next().unwrap_or_default();
    let next = format!("{path}#x={}", api.broker.page_key(&session));
    let cookie = set_cookie(&session, ABSOLUTE, api.origins.secure());
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, next), (header::SET_COOKIE, cookie)]).into_response())
}

/// People get a page, programs the problem; the status is the same.
fn unspent(problem: Problem, asked: &HeaderMap) -> Response {
    let accept = asked.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let mut response = problem.into_response();
    if accept.contains("text/html") {
        let (status, page) = (response.status(), assets::page("login-failed.html"));
        response = (status, page).into_response();
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    response
}

/// A path of this site: browsers read `//host` and `/\host` as other sites.
fn is_ours(next: &str) -> bool {
    let plain = next.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'\\');
    next.starts_with('/') && !next.starts_with("//") && plain
}

fn set_cookie(session: &str, age: Duration, secure: bool) -> String {
    let (name, secure) = if secure { (SECURE_COOKIE, "; Secure") } else { (PLAIN_COOKIE, "") };
    let age = age.as_secs();
    format!("{name}={session}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_of_this_site_is_followed() {
        for good in ["/", "/c/0190", "/history?q=a%20b#x"] {
            assert!(is_ours(good), "{good}");
        }
        for bad in ["", "c", "//evil", "/\\evil", "https://evil", "/a\nb", "/a b", "/\u{e9}", "javascript:1"]
        {
            assert!(!is_ours(bad), "{bad:?}");
        }
    }

    #[test]
    fn after_twenty_failures_a_minute_is_over_first() {
        let attempts = Attempts::default();
        let now = Timestamp(1_800_000_000_000);
        for _ in 0..MOST_FAILURES {
            assert!(attempts.failed(now).is_ok());
        }
        assert!(attempts.failed(now).is_err());
        assert!(attempts.failed(now.plus(MINUTE)).is_ok());
    }
}
