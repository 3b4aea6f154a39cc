//! A call as people's programs see it. Field names are a promise (public-face.md): extend, keep.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::call::{
    AttachKind, By, Call, CallId, ClientInfo, Command, Digest, Era, People, Person, Refusal, Resolution,
    State, StateName, Timestamp, Vote, decide, denial_answers, tally,
};
use crate::{card::sent_beside, policy::Risk};

/// One call.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CallModel {
    #[schema(value_type = String, format = Uuid)]
    pub id: CallId,
    pub server: String,
    pub tool: String,
    /// The agent's own bytes; null when they were erased.
    #[schema(value_type = Option<Object>)]
    pub arguments: Option<Box<RawValue>>,
    /// Is anything sent beside the arguments? One call's `other_raw` says what.
    pub other: bool,
    pub agent: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<ClientModel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    pub era: &'static str,
    /// The exact version of MCP that the agent speaks, such as `2025-06-18`, where it was said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    pub state: &'static str,
    /// What a vote must name: it binds everything that would be sent.
    #[schema(value_type = String)]
    pub digest: Digest,
    pub short_code: String,
    pub reason: String,
    pub rule: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<&'static str>,
    #[schema(value_type = String, format = DateTime)]
    pub requested_at: Timestamp,
    /// Undecided at this moment is expired.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// Approved, and not collected by then, is lapsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub use_by: Option<Timestamp>,
    /// Is the agent still there: `line`, `task`, `ticket` or `gone`.
    pub waiting: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub twin: Option<CallId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub follows: Option<CallId>,
    pub round: u32,
    pub reviews: Vec<ReviewModel>,
    pub quorums: Vec<QuorumModel>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub settled_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_by: Option<String>,
    /// The same call, made again before then, is told this person's denial; `lift` ends that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub answers_until: Option<Timestamp>,
    /// It ran, and the server answered with an error.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub is_error: bool,
    /// An expired call that was approved, and not collected in time.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub lapsed: bool,
    /// What a person found out about a lost call: `done` or `not_done`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolved: Option<&'static str>,
    /// May the one who asks vote on it now?
    pub can_vote: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_vote_why: Option<String>,
}

/// What the client calls itself.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClientModel {
    pub name: String,
    pub version: String,
}

/// A vote of the present round.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReviewModel {
    pub reviewer: String,
    pub groups: Vec<String>,
    pub vote: &'static str,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub self_approved: bool,
    /// A denial that answers no repeat of the call.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub once: bool,
}

/// How many approvals are needed, of which group, and how many there are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QuorumModel {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    pub approvals: u32,
    pub have: u32,
}

/// Who looks at a call, when, and what the policy holds it to be.
pub(super) struct View<'a> {
    pub viewer: &'a Person,
    pub people: &'a People,
    pub now: Timestamp,
    /// How long a denial answers the same call.
    pub redelivery: std::time::Duration,
    pub risk: Option<Risk>,
}

impl CallModel {
    pub(super) fn new(call: &Call, message: Option<&Bytes>, view: &View<'_>) -> Self {
        let request = &call.request;
        let (expires_at, use_by) = deadlines(&call.state);
        let refusal = voting(call, view).err();
        Self {
            id: call.id,
            server: request.server.clone(),
            tool: request.tool.clone(),
            arguments: message.and_then(|message| arguments(message)),
            other: message.is_some_and(|message| sent_beside(message).is_some()),
            agent: request.agent.clone(),
            owner: request.owner.clone(),
            client: client(&request.client),
            session: request.session.clone(),
            era: match request.era {
                Era::Legacy => "legacy",
                Era::Modern => "modern",
            },
            protocol: request.protocol.clone(),
            state: call.state.name().as_str(),
            digest: call.digest,
            short_code: call.digest.short_code(),
            reason: reason(call),
            rule: call.rule.clone(),
            severity: view.risk.map(|risk| risk.severity.as_str()),
            class: view.risk.map(|risk| risk.class.as_str()),
            requested_at: call.requested_at,
            expires_at,
            use_by,
            waiting: waiting(call),
            twin: request.twin,
            follows: request.follows,
            round: call.round,
            reviews: call.reviews.iter().map(review).collect(),
            quorums: quorums(call, view.people),
            settled_at: call.settled_at,
            settled_by: settled_by(&call.state),
            answers_until: answers_until(call, view),
            is_error: matches!(call.state, State::Completed { is_error: true, .. }),
            lapsed: matches!(call.state, State::Expired { lapsed: true }),
            resolved: resolved(&call.state),
            can_vote: refusal.is_none(),
            can_vote_why: refusal.map(why_not),
        }
    }
}

/// The raw value of `params.arguments` in a request; `{}` where there was none.
pub(super) fn arguments(message: &[u8]) -> Option<Box<RawValue>> {
    #[derive(Deserialize)]
    struct Message<'a> {
        #[serde(borrow)]
        params: Params<'a>,
    }
    #[derive(Deserialize)]
    struct Params<'a> {
        #[serde(borrow)]
        arguments: Option<&'a RawValue>,
    }
    let message: Message<'_> = serde_json::from_slice(message).ok()?;
    message
        .params
        .arguments
        .map_or_else(|| RawValue::from_string("{}".to_owned()).ok(), |raw| Some(raw.to_owned()))
}

/// Who ended a call, in one word.
pub(super) fn by(by: &By) -> String {
    match by {
        By::Policy => "the policy".to_owned(),
        By::Reviewer { person } => person.name.clone(),
        By::Stop { person } => person.clone(),
        By::Agent => "the agent".to_owned(),
        By::Timer => "the timer".to_owned(),
    }
}

pub(super) fn vote(vote: Vote) -> &'static str {
    match vote {
        Vote::Approve => "approve",
        Vote::Deny => "deny",
    }
}

fn settled_by(state: &State) -> Option<String> {
    match state {
        State::Denied { by: who, .. } | State::Cancelled { by: who, .. } => Some(by(who)),
        State::Expired { .. } => Some(by(&By::Timer)),
        State::Pending { .. }
        | State::Permitted { .. }
        | State::Dispatched { .. }
        | State::Completed { .. }
        | State::Failed { .. }
        | State::Lost { .. } => None,
    }
}

fn answers_until(call: &Call, view: &View<'_>) -> Option<Timestamp> {
    let until = call.settled_at?.plus(view.redelivery);
    // Meant for this call only: whoever did not hear it yet is told once, which leaves nothing to lift.
    let once = call.reviews.iter().any(|review| review.vote == Vote::Deny && review.once);
    (!once && denial_answers(call, view.redelivery, view.now)).then_some(until)
}

fn resolved(state: &State) -> Option<&'static str> {
    match state {
        State::Lost { resolved, .. } => resolved.map(|outcome| match outcome {
            Resolution::Done => "done",
            Resolution::NotDone => "not_done",
        }),
        State::Pending { .. }
        | State::Permitted { .. }
        | State::Dispatched { .. }
        | State::Completed { .. }
        | State::Failed { .. }
        | State::Denied { .. }
        | State::Expired { .. }
        | State::Cancelled { .. } => None,
    }
}

fn deadlines(state: &State) -> (Option<Timestamp>, Option<Timestamp>) {
    match state {
        State::Pending { expires_at } => (Some(*expires_at), None),
        State::Permitted { use_by, .. } => (None, Some(*use_by)),
        State::Dispatched { .. }
        | State::Completed { .. }
        | State::Failed { .. }
        | State::Lost { .. }
        | State::Denied { .. }
        | State::Expired { .. }
        | State::Cancelled { .. } => (None, None),
    }
}

/// Why a person is asked, or why the policy refused at once; empty for an allowed call.
fn reason(call: &Call) -> String {
    if let Some(terms) = &call.terms {
        return terms.reason.text.clone();
    }
    match &call.state {
        State::Denied { reason, .. } => reason.reason.clone().unwrap_or_default().text,
        State::Pending { .. }
        | State::Permitted { .. }
        | State::Dispatched { .. }
        | State::Completed { .. }
        | State::Failed { .. }
        | State::Lost { .. }
        | State::Expired { .. }
        | State::Cancelled { .. } => String::new(),
    }
}

fn waiting(call: &Call) -> &'static str {
    match &call.waiter {
        Some(waiter) => match waiter.kind {
            AttachKind::Line => "line",
            AttachKind::Task => "task",
        },
        None if call.ticket && !call.state.is_settled() => "ticket",
        None => "gone",
    }
}

fn client(client: &ClientInfo) -> Option<ClientModel> {
    let ClientInfo { name, version } = client.clone();
    (!name.is_empty()).then_some(ClientModel { name, version })
}

fn review(review: &crate::call::Review) -> ReviewModel {
    ReviewModel {
        reviewer: review.reviewer.name.clone(),
        groups: review.reviewer.groups.clone(),
        vote: vote(review.vote),
        at: review.at,
        reason: None,
        self_approved: review.self_approved,
        once: review.once,
    }
}

fn quorums(call: &Call, people: &People) -> Vec<QuorumModel> {
    let Some(terms) = &call.terms else { return Vec::new() };
    let counts = tally(call, people).counts;
    let have = |i: usize| counts.get(i).map_or(0, |(have, _)| *have);
    let quorum = |(i, quorum): (usize, &crate::call::Quorum)| QuorumModel {
        group: quorum.group.clone(),
        approvals: quorum.approvals,
        have: have(i),
    };
    terms.quorums.iter().enumerate().map(quorum).collect()
}

/// Asks the same function that will judge the vote.
fn voting(call: &Call, view: &View<'_>) -> Result<(), Refusal> {
    let command = Command::Vote {
        reviewer: view.viewer.clone(),
        vote: Vote::Approve,
        digest: call.digest,
        reason: None,
        once: false,
        people: view.people.clone(),
    };
    decide(Some(call), &command, view.now).map(|_| ())
}

/// In a few words, for a page; `problem.rs` has the sentences for one who tries all the same.
fn why_not(refusal: Refusal) -> String {
    match refusal {
        Refusal::NotEligible(why) => super::problem::sentence(&why),
        Refusal::AlreadyVoted => "You have voted.".to_owned(),
        Refusal::TooLate => "The deadline has passed.".to_owned(),
        Refusal::State { is: StateName::Permitted } => "It is approved already.".to_owned(),
        Refusal::State { is: StateName::Dispatched } => "It was sent already.".to_owned(),
        Refusal::Settled { .. } | Refusal::State { .. } => "It is settled.".to_owned(),
        Refusal::NotFound
        | Refusal::Changed { .. }
        | Refusal::NoVote
        | Refusal::AlreadyWaiting
        | Refusal::NotWaiting
        | Refusal::QuorumGone
        | Refusal::PolicyChanged
        | Refusal::NotDispatcher
        | Refusal::LeaseHeld { .. }
        | Refusal::TooLong { .. }
        | Refusal::AlreadyDelivered
        | Refusal::AlreadyResolved
        | Refusal::AlreadyLifted
        | Refusal::Exists(_)
        | Refusal::Nothing => "It cannot be voted on now.".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_the_agents_own_bytes() {
        let raw = |stored: &str| arguments(stored.as_bytes()).map(|raw| raw.get().to_owned());
        let odd = r#"{ "n": 12345678901234567890.10, "s":"\u0041" }"#;
        let message = format!(r#"{{"params":{{"name":"t","arguments":{odd}}}}}"#);
        assert_eq!(raw(&message).as_deref(), Some(odd));
        assert_eq!(raw(r#"{"params":{"name":"t"}}"#).as_deref(), Some("{}"));
        assert_eq!(raw("not json"), None);
    }
}
