//! The generic webhook's words: a Standard Webhooks envelope, signed; the call with the API's field names.

use std::collections::BTreeMap;

use reqwest::RequestBuilder;
use serde::Serialize;
use serde_json::value::RawValue;
use standardwebhooks::{HEADER_WEBHOOK_ID, HEADER_WEBHOOK_SIGNATURE, HEADER_WEBHOOK_TIMESTAMP, Webhook};

use super::{
    notice::{Notice, Topic, resolution},
    settings::Secret,
    slack::values,
};
use crate::call::{CallId, Digest, Era, Quorum, State, Timestamp};

#[derive(Serialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    /// When it happened, not when it is told.
    timestamp: Timestamp,
    data: CallModel<'a>,
}

/// A call as `/api/v1/calls` shows it, less what depends on the viewer; `arguments` only where the
/// destination may see values.
#[derive(Serialize)]
struct CallModel<'a> {
    id: CallId,
    url: &'a str,
    server: &'a str,
    tool: &'a str,
    argument_names: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    arguments: Option<BTreeMap<String, Box<RawValue>>>,
    /// What is sent beside the arguments, by name; the values stand on the page only.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    other_names: &'a [String],
    agent: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    era: &'static str,
    state: &'static str,
    digest: Digest,
    short_code: String,
    reason: &'a str,
    rule: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    severity: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<&'static str>,
    requested_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    twin: Option<CallId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    follows: Option<CallId>,
    round: u32,
    quorums: &'a [Quorum],
    /// Who approved it.
    approved_by: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    settled_by: Option<String>,
    /// Why it was ended, or why the votes started anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'a str>,
    /// The server answered with an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    is_error: Option<bool>,
    /// Approved, but not collected in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    lapsed: Option<bool>,
    /// What a person says became of a lost call.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
}

/// The body to POST.
pub(super) fn message(notice: &Notice) -> Result<String, serde_json::Error> {
    let envelope = Envelope { kind: notice.topic.name(), timestamp: notice.at, data: model(notice) };
    serde_json::to_string(&envelope)
}

/// The three headers; the id is the same at every try, the timestamp that of this one.
pub(super) fn sign(
    request: RequestBuilder,
    secret: &Secret,
    (id, now): (&str, Timestamp),
    body: &str,
) -> Result<RequestBuilder, standardwebhooks::WebhookError> {
    let seconds = now.0.div_euclid(1000);
    let signature = Webhook::new(secret.text())?.sign(id, seconds, body.as_bytes())?;
    Ok(request
        .header(HEADER_WEBHOOK_ID, id)
        .header(HEADER_WEBHOOK_TIMESTAMP, seconds.to_string())
        .header(HEADER_WEBHOOK_SIGNATURE, signature))
}

fn model(notice: &Notice) -> CallModel<'_> {
    let call = &notice.call;
    let request = &call.request;
    let (is_error, lapsed, outcome, ended) = end(&call.state);
    let why = match &notice.topic {
        Topic::Pending => None,
        Topic::Reparked { why } => Some(why.as_str()),
        Topic::Settled => notice.words.as_deref().or(ended),
    };
    CallModel {
        id: call.id,
        url: &notice.link,
        server: &request.server,
        tool: &request.tool,
        argument_names: &request.argument_names,
        arguments: notice.message.as_deref().and_then(values),
        other_names: &notice.beside,
        agent: &request.agent,
        owner: request.owner.as_deref(),
        session: request.session.as_deref(),
        era: match request.era {
            Era::Legacy => "legacy",
            Era::Modern => "modern",
        },
        state: call.state.name().as_str(),
        digest: call.digest,
        short_code: call.digest.short_code(),
        reason: call.terms.as_ref().map(|terms| terms.reason.text.as_str()).unwrap_or_default(),
        rule: &call.rule,
        severity: notice.risk.map(|risk| risk.severity.as_str()),
        class: notice.risk.map(|risk| risk.class.as_str()),
        requested_at: call.requested_at,
        expires_at: notice.expires_at(),
        twin: request.twin,
        follows: request.follows,
        round: call.round,
        quorums: call.terms.as_ref().map(|terms| terms.quorums.as_slice()).unwrap_or_default(),
        approved_by: notice.approvers().map(|person| person.name.as_str()).collect(),
        settled_at: call.settled_at,
        settled_by: notice.settled_by(),
        why,
        is_error,
        lapsed,
        outcome,
    }
}

type End<'a> = (Option<bool>, Option<bool>, Option<&'static str>, Option<&'a str>);

fn end(state: &State) -> End<'_> {
    match state {
        State::Completed { is_error, .. } => (Some(*is_error), None, None, None),
        State::Expired { lapsed } => (None, Some(*lapsed), None, None),
        State::Lost { why, resolved, .. } => (None, None, resolution(*resolved), Some(why)),
        State::Failed { why } => (None, None, None, Some(why)),
        State::Pending { .. }
        | State::Permitted { .. }
        | State::Dispatched { .. }
        | State::Denied { .. }
        | State::Cancelled { .. } => (None, None, None, None),
    }
}
