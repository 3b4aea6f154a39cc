//! The life of one call as people read it: one step for each of its events.

use serde::Serialize;
use utoipa::ToSchema;

use super::model::{by, vote};
use crate::{
    broker::Step,
    call::{AttachKind, DetachReason, Event, HowDelivered, Resolution, Timestamp},
    ledger::Fact,
};

/// One event of a call. Which members there are depends on the event.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(super) struct StepModel {
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub event: &'static str,
    /// The ledger entry's number.
    pub number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// A person's words, or the broker's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vote: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<String>>,
    /// How it waits, why it left, how the answer was delivered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub how: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub round: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub use_by: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is_error: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// `done` or `not_done`: what a person says became of a lost call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<&'static str>,
    /// Approved, but not collected in time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lapsed: Option<bool>,
}

/// `None` for a step that is no event of a call.
pub(super) fn step(step: &Step) -> Option<StepModel> {
    let Fact::Call(event) = &step.entry.fact else { return None };
    let mut model = of(event);
    model.at = step.entry.at;
    model.event = event.name();
    model.number = step.entry.number;
    if step.text.is_some() {
        model.text.clone_from(&step.text);
    }
    Some(model)
}

fn of(event: &Event) -> StepModel {
    let blank = StepModel::default();
    match event {
        Event::Submitted { rule, terms, expires_at, .. } => StepModel {
            rule: Some(rule.clone()),
            text: terms.as_ref().map(|terms| terms.reason.text.clone()).filter(|text| !text.is_empty()),
            expires_at: Some(*expires_at),
            ..blank
        },
        Event::Attached { kind, .. } => StepModel { how: Some(attached(*kind)), ..blank },
        Event::Detached { why, .. } => StepModel { how: Some(detached(*why)), ..blank },
        Event::Voted { review } => StepModel {
            by: Some(review.reviewer.name.clone()),
            groups: Some(review.reviewer.groups.clone()),
            vote: Some(vote(review.vote)),
            ..blank
        },
        Event::Lifted { by } => StepModel { by: Some(by.name.clone()), ..blank },
        Event::VoteWithdrawn { reviewer } => StepModel { by: Some(reviewer.name.clone()), ..blank },
        Event::Extended { by, expires_at } => {
            StepModel { by: Some(by.name.clone()), expires_at: Some(*expires_at), ..blank }
        }
        Event::Reparked { why, round, expires_at, .. } => {
            StepModel { text: Some(why.clone()), round: Some(*round), expires_at: Some(*expires_at), ..blank }
        }
        Event::Permitted { use_by } => StepModel { use_by: Some(*use_by), ..blank },
        Event::Dispatched { .. } => blank,
        Event::Completed { bytes, is_error, duration_ms, .. } => StepModel {
            bytes: Some(*bytes),
            is_error: Some(*is_error),
            duration_ms: Some(*duration_ms),
            ..blank
        },
        Event::Failed { why, .. } | Event::Lost { why, .. } => StepModel { text: Some(why.clone()), ..blank },
        Event::Denied { by: who, reason } | Event::Cancelled { by: who, reason } => StepModel {
            by: Some(by(who)),
            rule: reason.reason.as_ref().map(|reason| reason.rule.clone()),
            text: reason.reason.as_ref().map(|reason| reason.text.clone()),
            ..blank
        },
        Event::Expired { lapsed } => StepModel { lapsed: Some(*lapsed), ..blank },
        Event::Delivered { how } => StepModel { how: Some(delivered(*how)), ..blank },
        Event::Resolved { by, outcome, .. } => {
            StepModel { by: Some(by.name.clone()), outcome: Some(resolution(*outcome)), ..blank }
        }
        Event::LateAnswer { bytes, is_error, .. } => {
            StepModel { bytes: Some(*bytes), is_error: Some(*is_error), ..blank }
        }
    }
}

fn attached(kind: AttachKind) -> &'static str {
    match kind {
        AttachKind::Line => "line",
        AttachKind::Task => "task",
    }
}

fn detached(why: DetachReason) -> &'static str {
    match why {
        DetachReason::Ticket => "ticket",
        DetachReason::Cancelled => "cancelled",
        DetachReason::Closed => "closed",
        DetachReason::Restart => "restart",
    }
}

fn delivered(how: HowDelivered) -> &'static str {
    match how {
        HowDelivered::Line => "line",
        HowDelivered::Recall => "recall",
        HowDelivered::Task => "task",
    }
}

fn resolution(outcome: Resolution) -> &'static str {
    match outcome {
        Resolution::Done => "done",
        Resolution::NotDone => "not_done",
    }
}
