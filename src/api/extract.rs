//! Path, query and body as our types, with problems instead of axum's own refusals.

use std::time::Duration;

use axum::{
    Json,
    extract::{FromRequest, FromRequestParts, Path, Query, Request},
    http::request::Parts,
};
use http::StatusCode;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::Problem;
use crate::call::CallId;

/// The call that the path names.
pub(super) struct Named(pub CallId);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let unknown = || Problem::not_found("A call's id is a UUID; there is no call of this name.");
        let Path(id) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| unknown())?;
        id.parse().map(Self).map_err(|_| unknown())
    }
}

/// The query string.
pub(super) struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(query)| Self(query)).map_err(|error| Problem::bad_request(error.body_text()))
    }
}

/// A body that takes longer is a connection held for nothing.
const SLOWEST: Duration = Duration::from_secs(30);

/// A JSON body.
pub(super) struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Self::Rejection> {
        let Ok(body) = timeout(SLOWEST, Json::<T>::from_request(request, state)).await else {
            let mut problem = Problem::bad_request(format!("the body did not come within {SLOWEST:?}"));
            problem.status = StatusCode::REQUEST_TIMEOUT.as_u16();
            return Err(problem);
        };
        body.map(|Json(body)| Self(body)).map_err(|error| {
            let mut problem = Problem::bad_request(error.body_text());
            problem.status = error.status().as_u16();
            problem
        })
    }
}

/// `90s`, `5m`, `2h`, `1d`: a whole number and a unit.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let unit = text.chars().last()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return None,
    };
    let number = &text[..text.len() - unit.len_utf8()];
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    number.checked_mul(seconds).filter(|&seconds| seconds > 0).map(Duration::from_secs)
}

/// The reverse of `duration`, in the largest unit that leaves no rest.
pub(super) fn words(time: Duration) -> String {
    let seconds = time.as_secs();
    let units = [(86_400, 'd'), (3600, 'h'), (60, 'm')];
    let unit = units.into_iter().find(|(length, _)| seconds > 0 && seconds.is_multiple_of(*length));
    unit.map_or_else(|| format!("{seconds}s"), |(length, name)| format!("{}{name}", seconds / length))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_a_number_and_a_unit() {
        for (text, seconds) in [("90s", 90), ("5m", 300), ("2h", 7200), ("1d", 86_400)] {
            assert_eq!(duration(text), Some(Duration::from_secs(seconds)));
            assert_eq!(words(Duration::from_secs(seconds)), text);
        }
        for bad in ["", "m", "5", "-5m", "+5m", "5 m", "5w", "0m", "1.5h", "5é", "99999999999999999999m"] {
            assert_eq!(duration(bad), None, "{bad}");
        }
    }
}
