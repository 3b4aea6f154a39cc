//! The one place where errors become HTTP: RFC 9457 problems, in words that say what to do next.

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    broker::Rejection,
    call::{CallId, Digest, Refusal, StateName, Timestamp},
    identity::IdentityError,
    store::StoreError,
};

/// An RFC 9457 problem. `call` names the call that it is about.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// A stable name: `urn:countersign:problem:NAME`.
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    /// What happened, and what to do.
    pub detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub call: Option<CallId>,
    #[serde(flatten)]
    pub stand: Option<Box<Stand>>,
}

/// How the call stands, where that is why.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
pub struct Stand {
    /// Who settled the call first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_by: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub settled_at: Option<Timestamp>,
    /// The digest that the call has now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, name: &str, title: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:countersign:problem:{name}"),
            title: title.to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            call: None,
            stand: None,
        }
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "sign-in",
            "Not signed in",
            "Sign in with a one-time link (`countersign open`, `countersign reviewers add`), or send a \
             reviewer's token as `Authorization: Bearer`. An agent's token opens nothing here.",
        )
    }

    pub(super) fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    pub(super) fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "request", "The request is not understood", detail)
    }

    pub(super) fn unprocessable(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "content", "That cannot be done", detail)
    }

    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
    }

    fn conflict(name: &str, title: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, name, title, detail)
    }

    fn unavailable(cause: &str) -> Self {
        tracing::error!(cause, "the store failed");
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "store",
            "The audit log cannot be read or written",
            "Nothing was changed, and no call is sent while this lasts. `/readyz` and the log say more.",
        )
    }

    /// Names the call that it is about.
    pub(super) fn about(mut self, call: CallId) -> Self {
        self.call = Some(call);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"countersign reviewers\""),
            );
        }
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("60"));
        }
        response
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Refused(refusal) => refused(refusal),
            Rejection::NotFound(id) => {
                Problem::not_found("There is no such call. It may have been in another store.").about(id)
            }
            Rejection::Invalid(why) => Problem::unprocessable(sentence(&why)),
            Rejection::Unavailable(cause) => Problem::unavailable(&cause),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Conflict(_) => Problem::conflict(
                "busy",
                "Somebody else changed it at the same moment",
                "Nothing was changed. Look again, and try again.",
            ),
            StoreError::Cursor => Problem::unprocessable(sentence(&error.to_string())),
            StoreError::Search(_) => Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "search",
                "The search asks for too much",
                sentence(&error.to_string()),
            ),
            StoreError::Unavailable(_) | StoreError::Locked(_) | StoreError::Damaged(_) => {
                Problem::unavailable(&error.to_string())
            }
        }
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        let words = sentence(&error.to_string());
        match error {
            IdentityError::Exists(_) | IdentityError::FromConfig(_) => {
                Problem::conflict("exists", "The name is taken", words)
            }
            IdentityError::Unknown(_) => Problem::not_found(words),
            IdentityError::Invalid(_) => Problem::unprocessable(words),
            IdentityError::Store(error) => error.into(),
        }
    }
}

fn refused(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::NotFound => Problem::not_found("There is no such call."),
        Refusal::State { is } => Problem::conflict("state", "Not in this state", not_in(is)),
        Refusal::Settled { is, by, at } => settled(is, by, at),
        Refusal::Changed { digest } => changed(digest),
        Refusal::TooLate => Problem::conflict(
            "too-late",
            "The deadline has passed",
            "Nobody decided in time; nothing was run.",
        ),
        Refusal::NotEligible(why) => Problem::forbidden(sentence(&why)),
        Refusal::AlreadyVoted => Problem::conflict(
            "voted",
            "You have voted already",
            "Take your vote back first if you have changed your mind.",
        ),
        Refusal::NoVote => {
            Problem::conflict("no-vote", "There is no vote of yours", "There is nothing to take back.")
        }
        Refusal::TooLong { max_wait } => Problem::unprocessable(format!(
            "A call may wait {} in all, extensions included. Ask for less.",
            super::extract::words(max_wait)
        )),
        Refusal::AlreadyResolved => Problem::conflict(
            "resolved",
            "Somebody has said already what became of it",
            "The first word stands in the audit log.",
        ),
        Refusal::AlreadyLifted => Problem::conflict(
            "lifted",
            "Somebody has lifted the denial already",
            "The same call, made again, asks people again.",
        ),
        Refusal::QuorumGone => Problem::conflict(
            "quorum",
            "Votes that counted no longer do",
            "A reviewer who approved has left; somebody else must approve.",
        ),
        Refusal::PolicyChanged => Problem::conflict(
            "policy",
            "Another policy is in force",
            "The call is judged anew under it; look again.",
        ),
        Refusal::AlreadyWaiting
        | Refusal::NotWaiting
        | Refusal::NotDispatcher
        | Refusal::LeaseHeld { .. }
        | Refusal::AlreadyDelivered
        | Refusal::Exists(_)
        | Refusal::Nothing => {
            Problem::conflict("nothing", "There is nothing to do", "The call needs nothing of this kind now.")
        }
    }
}

fn changed(digest: Digest) -> Problem {
    let detail = format!(
        "What you looked at is not what would run. Its code is {} now: look at it again, then decide.",
        digest.short_code()
    );
    let mut problem = Problem::conflict("changed", "The call has changed", detail);
    problem.stand = Some(Box::new(Stand { digest: Some(digest.to_string()), ..Stand::default() }));
    problem
}

fn settled(is: StateName, by: Option<String>, at: Option<Timestamp>) -> Problem {
    let who = by.as_ref().map(|by| format!(" by {by}")).unwrap_or_default();
    let when = at.map(|at| format!(" at {at}")).unwrap_or_default();
    let detail = format!("It was {}{who}{when}; nothing more can be decided.", ended(is));
    let mut problem = Problem::conflict("settled", "The call is settled", detail);
    problem.stand = Some(Box::new(Stand { settled_by: by, settled_at: at, digest: None }));
    problem
}

fn ended(is: StateName) -> &'static str {
    match is {
        StateName::Pending => "asked for",
        StateName::Permitted => "approved",
        StateName::Dispatched => "approved and sent",
        StateName::Completed => "approved, and it ran,",
        StateName::Failed => "approved, and not sent,",
        StateName::Lost => "approved and sent, and its outcome is unknown,",
        StateName::Denied => "denied",
        StateName::Expired => "left to expire",
        StateName::Cancelled => "withdrawn",
    }
}

fn not_in(is: StateName) -> &'static str {
    match is {
        StateName::Pending => "The call waits for people: nothing of it is settled yet.",
        StateName::Permitted => "The call is approved already; it needs no more votes.",
        StateName::Dispatched => "The call was sent already; nothing can hold it back.",
        StateName::Lost => "The call was sent and its outcome is unknown; it can only be resolved.",
        StateName::Completed
        | StateName::Failed
        | StateName::Denied
        | StateName::Expired
        | StateName::Cancelled => "The call is settled; nothing more can be decided.",
    }
}

/// Words of lower modules as a sentence: a capital letter and a full stop.
pub(super) fn sentence(words: &str) -> String {
    let mut chars = words.chars();
    let first = chars.next().map(|first| first.to_uppercase().collect::<String>()).unwrap_or_default();
    let end = if words.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{first}{}{end}", chars.as_str())
}
