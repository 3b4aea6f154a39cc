//! How a call ended, as told to the agent, and why a person's command was refused. Facts only: the
//! words for agents are in `downstream/answer.rs`, those for people in `api/problem.rs`.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::{Inner, proof::proofs, stops::STOPPED};
use crate::{
    call::{By, Call, CallId, Digest, Event, Refusal, State, StateName, Timestamp, Why},
    ledger::{Entry, Fact, Stream},
    store::{PayloadKind, StoreError},
};

/// What every answer carries in `_meta["countersign/call"]`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Brief {
    pub id: CallId,
    pub state: StateName,
    pub digest: Digest,
    /// Where a person finds the call's page.
    pub url: String,
    pub expires_at: Option<Timestamp>,
}

/// An outcome, with the call it belongs to (none for calls that were never recorded as one).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    pub call: Option<Brief>,
    pub end: End,
}

impl Outcome {
    /// An answer to a call that is not on the ledger.
    #[must_use]
    pub fn unrecorded(end: End) -> Self {
        Self { call: None, end }
    }

    /// The ledger has it as failed or lost; the agent that waits for it hears the server itself.
    pub(super) fn in_words_of(mut self, said: Option<Box<HttpError>>) -> Self {
        if let (End::Failed { .. } | End::Lost { .. }, Some(said)) = (&self.end, said) {
            self.end = End::HttpError(said);
        }
        self
    }
}

/// An HTTP error of the server, whole: what it means for the call is the call's state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HttpError {
    pub status: StatusCode,
    /// Those that may pass down.
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum End {
    /// The upstream's whole JSON-RPC response, under whatever id it was sent with.
    Completed {
        message: Bytes,
    },
    /// Completed, but the answer was too large to keep for a later delivery.
    CompletedNotKept {
        bytes: u64,
    },
    PolicyDenied {
        text: String,
    },
    DeniedBy {
        reviewer: String,
        text: String,
    },
    /// `countersign stop` or a revoked grant.
    Stopped {
        text: String,
    },
    Limit {
        text: String,
        retry_at: Timestamp,
    },
    Expired,
    Lapsed,
    WithdrawnBy {
        who: String,
        text: String,
    },
    /// The agent's own cancel, or a detached call that nobody came back for.
    Cancelled,
    Failed {
        why: String,
    },
    Lost {
        why: String,
    },
    /// The server took the call, or refused it, with an HTTP error: told to whoever waits, and kept by nobody.
    HttpError(Box<HttpError>),
    /// Patience used up: call again with the same arguments.
    Ticket,
    /// Patience used up: the client comes back by itself, with this state (2026-07-28).
    ComeBack {
        state: String,
    },
    /// Caps reached; nothing was recorded.
    Refused {
        text: String,
    },
    /// The store cannot write: nothing is forwarded.
    Unavailable,
}

/// Why what a person asked was not done.
#[derive(Debug, thiserror::Error)]
pub enum Rejection {
    #[error("refused: {0:?}")]
    Refused(Refusal),
    #[error("there is no call {0}")]
    NotFound(CallId),
    #[error("{0}")]
    Invalid(String),
    #[error("the audit log cannot be written: {0}")]
    Unavailable(String),
}

/// How long the answer was that an entry tells of.
fn answered(entry: &Entry) -> Option<u64> {
    let Fact::Call(Event::Completed { bytes, .. }) = &entry.fact else { return None };
    Some(*bytes)
}

impl Inner {
    pub(super) fn brief(&self, call: &Call) -> Brief {
        let expires_at = match &call.state {
            State::Pending { expires_at, .. } => Some(*expires_at),
            State::Permitted { use_by, .. } => Some(*use_by),
            State::Dispatched { .. }
            | State::Completed { .. }
            | State::Failed { .. }
            | State::Lost { .. }
            | State::Denied { .. }
            | State::Expired { .. }
            | State::Cancelled { .. } => None,
        };
        Brief {
            id: call.id,
            state: call.state.name(),
            digest: call.digest,
            url: format!("{}/c/{}", self.settings.public_url, call.id),
            expires_at,
        }
    }

    /// What a settled call's agent is told; a ticket for one that is not settled.
    pub(super) async fn outcome(&self, call: &Call) -> Outcome {
        let end = self.end(call).await.unwrap_or_else(|error| {
            tracing::error!(call.id = %call.id, %error, "an outcome could not be read");
            End::Unavailable
        });
        Outcome { call: Some(self.brief(call)), end }
    }

    async fn end(&self, call: &Call) -> Result<End, StoreError> {
        Ok(match &call.state {
            State::Pending { .. } | State::Permitted { .. } | State::Dispatched { .. } => End::Ticket,
            State::Completed { .. } => self.kept_answer(call.id).await?,
            State::Failed { why } => End::Failed { why: why.clone() },
            State::Lost { why, .. } => End::Lost { why: why.clone() },
            State::Expired { lapsed: false } => End::Expired,
            State::Expired { lapsed: true } => End::Lapsed,
            State::Denied { by, reason, .. } => {
                let text = self.words(call.id, reason).await?;
                match by {
                    By::Reviewer { person } => End::DeniedBy { reviewer: person.name.clone(), text },
                    By::Stop { .. } => End::Stopped { text },
                    By::Policy if reason.reason.as_ref().is_some_and(|reason| reason.rule == STOPPED) => {
                        End::Stopped { text }
                    }
                    By::Policy | By::Agent | By::Timer => End::PolicyDenied { text },
                }
            }
            State::Cancelled { by, reason } => match by {
                By::Reviewer { person } => {
                    End::WithdrawnBy { who: person.name.clone(), text: self.words(call.id, reason).await? }
                }
                By::Stop { .. } => End::Stopped { text: self.words(call.id, reason).await? },
                By::Policy | By::Agent | By::Timer => End::Cancelled,
            },
        })
    }

    async fn kept_answer(&self, id: CallId) -> Result<End, StoreError> {
        let entries = self.store.stream(Stream::Call(id)).await?;
        let proofs: Vec<_> = entries.iter().flat_map(proofs).collect();
        let answer = self.proven(id, PayloadKind::Answer, 0, &proofs).await?;
        Ok(answer.map_or_else(
            || End::CompletedNotKept { bytes: entries.iter().find_map(answered).unwrap_or_default() },
            |bytes| End::Completed { message: Bytes::from(bytes) },
        ))
    }

    /// The words that ended a call: the rule's, or a person's last word.
    async fn words(&self, id: CallId, why: &Why) -> Result<String, StoreError> {
        if let Some(reason) = &why.reason {
            return Ok(reason.text.clone());
        }
        let Some(proof) = why.text else { return Ok(String::new()) };
        let text = self.proven(id, PayloadKind::Text, 0, &[proof]).await?;
        Ok(text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default())
    }
}
