//! Who asks: a reviewer's bearer token, or the session cookie of the pages. Nothing else, and never
//! anything in the query string.

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};

use super::{ApiParts, Problem};
use crate::{
    call::{Person, Role},
    identity::Access,
};

/// How somebody proved who they are, to be asked again later.
#[derive(Clone)]
pub(super) struct Credential {
    pub access: Access,
    pub secret: String,
}

impl Credential {
    /// A bearer token goes before a cookie: whoever sends one means it.
    pub(super) fn of(headers: &HeaderMap) -> Option<Self> {
        if let Some(value) = headers.get(header::AUTHORIZATION) {
            let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
            let token = scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())?;
            return Some(Self { access: Access::Token, secret: token.to_owned() });
        }
        let secret = cookie(headers)?;
        Some(Self { access: Access::Session, secret })
    }
}

/// Names of the session cookie, with TLS and on plain loopback.
pub(super) const SECURE_COOKIE: &str = "__Host-countersign";
pub(super) const PLAIN_COOKIE: &str = "countersign";

/// The session cookie's value; none where two contradict each other.
pub(super) fn cookie(headers: &HeaderMap) -> Option<String> {
    let all = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let pairs = all.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut found = None;
    for (name, value) in pairs {
        if name == SECURE_COOKIE || name == PLAIN_COOKIE {
            match found {
                Some(other) if other != value => return None,
                Some(_) | None => found = Some(value),
            }
        }
    }
    found.map(str::to_owned)
}

/// Somebody who is signed in: may look at everything.
pub(super) struct Viewer {
    pub person: Person,
    pub credential: Credential,
}

impl FromRequestParts<ApiParts> for Viewer {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &ApiParts) -> Result<Self, Self::Rejection> {
        let credential = Credential::of(&parts.headers).ok_or_else(Problem::unauthorized)?;
        let now = api.broker.clock().now();
        let person = api.broker.identity().person(credential.access, &credential.secret, now).await;
        Ok(Self { person: person.ok_or_else(Problem::unauthorized)?, credential })
    }
}

/// Somebody who may decide.
pub(super) struct Decider(pub Person);

impl FromRequestParts<ApiParts> for Decider {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &ApiParts) -> Result<Self, Self::Rejection> {
        let Viewer { person, .. } = Viewer::from_request_parts(parts, api).await?;
        match person.role {
            Role::Reviewer => Ok(Self(person)),
            Role::Auditor => Err(Problem::forbidden(
                "An auditor may look at everything and decide nothing. Ask a reviewer.",
            )),
        }
    }
}
