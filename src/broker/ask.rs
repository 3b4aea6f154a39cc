//! What the gate brings, and what it gets back.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use http::HeaderMap;

use super::{Outcome, Waiter, segments::Recording};
use crate::{
    call::{AttachKind, ClientInfo, Era},
    identity::Grant,
    ledger::Pass,
    mcp::Version,
    policy::Taken,
};

/// One `tools/call`, strictly checked. Ranges are into `body`.
#[derive(Clone, Debug)]
pub struct Ask {
    pub grant: Arc<Grant>,
    pub server: Arc<str>,
    /// What the server is (command line or URL): part of the digest.
    pub server_identity: Arc<str>,
    pub session: Option<Arc<str>>,
    pub era: Era,
    /// What the session agreed on, or the request says.
    pub protocol: Option<Version>,
    pub client: Arc<ClientInfo>,
    pub tool: String,
    /// The whole JSON-RPC message.
    pub body: Bytes,
    /// The value of `params.arguments`.
    pub arguments: Option<Range<usize>>,
    /// The value of `params.inputResponses` (modern).
    pub input_responses: Option<Range<usize>>,
    /// Something beside the body goes upstream that no reviewer would be shown: sent at once, or not at all.
    pub unseen: bool,
    pub kind: AttachKind,
    /// It is answered with a task of ours in any case: on the ledger before it is sent, even if it is allowed.
    pub as_task: bool,
}

impl Ask {
    /// The raw arguments; empty when absent.
    #[must_use]
    pub fn arguments(&self) -> &[u8] {
        self.arguments.clone().and_then(|range| self.body.get(range)).unwrap_or_default()
    }

    pub(super) fn input_responses(&self) -> &[u8] {
        self.input_responses.clone().and_then(|range| self.body.get(range)).unwrap_or_default()
    }
}

/// What became of an `Ask`.
#[derive(Debug)]
pub enum Submission {
    /// Forward it now with `Broker::pass`.
    Allowed(Allowed),
    /// The tool does not exist for this grant: answer as the server would.
    Hidden,
    /// It is not allowed outright, and some of it would be sent unseen: refuse it. Nothing was recorded.
    Unseen,
    /// Answer this; it is told for the first time.
    Settled(Outcome),
    /// Answer this: the same call's outcome, which the agent has not had yet (or a person's fresh denial).
    /// Report its delivery as `HowDelivered::Recall`. The ask comes back, for an agent that had it after all.
    Recalled(Outcome, Box<Ask>),
    /// A person decides (or a permit must be durable first).
    Waiting(Box<Waiter>),
}

/// The right to send an allowed call, with the record that will tell of it.
#[derive(Debug)]
pub struct Allowed {
    pub(super) pass: Pass,
    pub(super) recording: Recording,
    pub(super) taken: Option<Taken>,
}

/// What of the live request replaces its twin in the stored one: id, progress token, trace keys.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// Raw JSON.
    pub id: Bytes,
    /// Raw JSON of `params._meta.progressToken`.
    pub progress_token: Option<Bytes>,
    /// Raw JSON of `traceparent`, `tracestate`, `baggage` in `params._meta`, by key.
    pub trace: Vec<(String, Bytes)>,
    /// The live request's headers; the allow-listed ones go upstream.
    pub headers: HeaderMap,
    /// The task that the agent asked for is ours (2025-11-25): the server is asked for none.
    pub own_task: bool,
}
