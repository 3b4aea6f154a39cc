//! What people do to a call: vote, take it back, withdraw, give more time, say what became of it.

use axum::{Json, extract::State};
use serde::Deserialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{
    ApiParts, Problem,
    calls::model,
    extract::{Body, Named, duration},
    model::CallModel,
    who::Decider,
};
use crate::{
    broker::Rejection,
    call::{Call, CallId, Digest, Person, Resolution, Vote},
};

/// A vote on the digest that was shown.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReviewAsk {
    #[schema(value_type = String, example = "approve")]
    vote: Vote,
    /// 64 hexadecimal digits, as the call shows it.
    #[schema(value_type = String)]
    digest: Digest,
    reason: Option<String>,
    /// With a denial: it answers this call only. The same call, made again, asks people again, instead of
    /// being answered by this denial for a while.
    #[serde(default)]
    once: bool,
    /// Refused: this version cannot change arguments.
    #[schema(value_type = Option<Object>)]
    arguments: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CancelAsk {
    reason: Option<String>,
}

/// Nothing to say: `{}`.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct WithdrawAsk {}

/// Nothing to say: `{}`.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LiftAsk {}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExtendAsk {
    /// `90s`, `5m`, `2h`.
    #[schema(example = "5m")]
    by: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResolveAsk {
    #[schema(value_type = String, example = "done")]
    outcome: Resolution,
    note: Option<String>,
}

type Answer = Result<Json<CallModel>, Problem>;

/// Approves or denies. 409 when the digest is not the one shown, or somebody settled it first.
#[utoipa::path(post, path = "/api/v1/calls/{id}/reviews", tag = "calls", params(("id" = String, Path)),
    request_body = ReviewAsk, responses(
    (status = 200, body = CallModel),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn review(
    State(api): State<ApiParts>,
    Decider(person): Decider,
    Named(id): Named,
    Body(ask): Body<ReviewAsk>,
) -> Answer {
    if ask.arguments.is_some() {
        return Err(Problem::unprocessable(
            "This version cannot change arguments. Deny with a reason that says what to change: the agent reads it.",
        )
        .about(id));
    }
    let done = match (ask.vote, ask.once) {
        (Vote::Deny, true) => api.broker.deny_once(id, person.clone(), ask.digest, ask.reason).await,
        (Vote::Approve, true) => {
            let words = "`once` goes with a denial: an approval lets a call run once anyway.";
            return Err(Problem::unprocessable(words).about(id));
        }
        (vote, false) => api.broker.review(id, person.clone(), vote, ask.digest, ask.reason).await,
    };
    answer(&api, id, done, &person).await
}

/// Ends a person's denial answering the same call made again: the next one asks people again.
#[utoipa::path(post, path = "/api/v1/calls/{id}/lift", tag = "calls", params(("id" = String, Path)),
    request_body = LiftAsk, responses(
    (status = 200, body = CallModel),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 403, body = Problem, content_type = "application/problem+json"),
    (status = 404, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn lift(
    State(api): State<ApiParts>,
    Decider(person): Decider,
    Named(id): Named,
    Body(LiftAsk {}): Body<LiftAsk>,
) -> Answer {
    let done = api.broker.lift(id, person.clone()).await;
    answer(&api, id, done, &person).await
}

/// Takes one's own vote back, before the call is sent.
#[utoipa::path(post, path = "/api/v1/calls/{id}/withdraw", tag = "calls", params(("id" = String, Path)),
    request_body = WithdrawAsk, responses(
    (status = 200, body = CallModel),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn withdraw(
    State(api): State<ApiParts>,
    Decider(person): Decider,
    Named(id): Named,
    Body(WithdrawAsk {}): Body<WithdrawAsk>,
) -> Answer {
    let done = api.broker.withdraw_vote(id, person.clone()).await;
    answer(&api, id, done, &person).await
}

/// Withdraws the call: nothing will be run.
#[utoipa::path(post, path = "/api/v1/calls/{id}/cancel", tag = "calls", params(("id" = String, Path)),
    request_body = CancelAsk, responses(
    (status = 200, body = CallModel),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn cancel(
    State(api): State<ApiParts>,
    Decider(person): Decider,
    Named(id): Named,
    Body(ask): Body<CancelAsk>,
) -> Answer {
    let done = api.broker.cancel(id, person.clone(), ask.reason).await;
    answer(&api, id, done, &person).await
}

/// Gives more time to decide, within the maximum wait.
#[utoipa::path(post, path = "/api/v1/calls/{id}/extend", tag = "calls", params(("id" = String, Path)),
    request_body = ExtendAsk, responses(
    (status = 200, body = CallModel),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
    (status = 422, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn extend(
    State(api): State<ApiParts>,
    Decider(person): Decider,
    Named(id): Named,
    Body(ask): Body<ExtendAsk>,
) -> Answer {
    let Some(extra) = duration(&ask.by) else {
        let words = format!("{:?} is not a time: write a whole number and s, m, h or d, as in `5m`.", ask.by);
        return Err(Problem::unprocessable(words).about(id));
    };
    let done = api.broker.extend(id, person.clone(), extra).await;
    answer(&api, id, done, &person).await
}

/// Says what became of a lost call: `done` or `not_done`.
#[utoipa::path(post, path = "/api/v1/calls/{id}/resolve", tag = "calls", params(("id" = String, Path)),
    request_body = ResolveAsk, responses(
    (status = 200, body = CallModel),
    (status = 401, body = Problem, content_type = "application/problem+json"),
    (status = 409, body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn resolve(
    State(api): State<ApiParts>,
    Decider(person): Decider,
    Named(id): Named,
    Body(ask): Body<ResolveAsk>,
) -> Answer {
    let done = api.broker.resolve(id, person.clone(), ask.outcome, ask.note).await;
    answer(&api, id, done, &person).await
}

/// The call as it stands after the command.
async fn answer<C: std::ops::Deref<Target = Call>>(
    api: &ApiParts,
    id: CallId,
    done: Result<C, Rejection>,
    viewer: &Person,
) -> Answer {
    let call = done.map_err(|rejection| Problem::from(rejection).about(id))?;
    let message = api.broker.message(id).await?;
    Ok(Json(model(api, &call, message.as_ref(), viewer)))
}
