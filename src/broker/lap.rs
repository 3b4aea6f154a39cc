//! An agent of 2026-07-28 whose patience is used up waits on by itself: it is told `input_required` with a
//! state of ours, and makes the same call again with it.
//!
//! The state is sealed for the grant, the server and the tool. It names the call and the place that was given
//! up with it, so it is good for one return: once anybody has taken a place after it, it is spent. What the
//! call is stays what is stored; the arguments that come with the state must be the same.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Ask, Broker, End, Inner, Outcome, Waiter, compose::json, proof::is_proven};
use crate::{
    call::{Attachment, Call, CallId, DetachReason, Event, Timestamp, canonical},
    ledger::{Fact, Stream},
    mcp::Json,
    store::{PayloadKind, StoreError},
};

const PURPOSE: &str = "lap";

/// Names our own request among `inputRequests`: what is answered to it is nothing of the call.
pub const LINK: &str = "countersign";

const FORGED: &str = "this requestState was not given to this agent for this tool";
const EXPIRED: &str = "this requestState has expired";
const SPENT: &str = "this requestState was used already";
const CHANGED: &str = "this requestState belongs to a call with other arguments";

/// What the agent carries.
#[derive(Serialize, Deserialize)]
struct Lap {
    call: CallId,
    /// The place that was given up with it.
    attachment: Attachment,
    /// How many states this agent has had for the call.
    laps: u8,
    until: Timestamp,
}

/// What became of a return.
#[derive(Debug)]
pub enum Returned {
    /// The place is taken again; so many states were given before.
    On(Box<Waiter>, u8),
    /// The call ended meanwhile.
    Over(Outcome),
    /// The state is good for nothing: why.
    Refused(&'static str),
    Unavailable,
}

impl Broker {
    /// Patience is used up, and the agent comes back by itself: detached as with a ticket, with a state to
    /// bring back. `laps` were given before.
    pub async fn come_back(&self, waiter: Waiter, laps: u8) -> Outcome {
        let inner = Arc::clone(&self.inner);
        // As for a ticket: the detachment is recorded, whatever becomes of the connection.
        let told = self.inner.tasks.spawn(async move {
            let attachment = waiter.attachment();
            let call = waiter.detach(DetachReason::Ticket).await;
            let told = inner.outcome(&call).await;
            match inner.lap(&call, attachment, laps) {
                Some(state) if told.end == End::Ticket => Outcome { end: End::ComeBack { state }, ..told },
                Some(_) | None => told,
            }
        });
        told.await.unwrap_or_else(|_| Outcome::unrecorded(End::Unavailable))
    }

    /// The same call again, with a state that was given for it.
    pub async fn returned(&self, ask: Ask, state: Box<str>) -> Returned {
        let inner = Arc::clone(&self.inner);
        // A place that was taken is left again, should the agent be gone by then.
        let done = self.inner.tasks.spawn(async move { inner.take_back(&ask, &state).await });
        match done.await {
            Ok(Ok(returned)) => returned,
            Ok(Err(error)) => {
                tracing::error!(%error, "a returning agent could not be given its place");
                Returned::Unavailable
            }
            Err(_) => Returned::Unavailable,
        }
    }
}

impl Inner {
    fn lap(&self, call: &Call, attachment: Attachment, laps: u8) -> Option<String> {
        let until = self.clock.now().plus(self.settings.redelivery);
        let lap = Lap { call: call.id, attachment, laps: laps.saturating_add(1), until };
        let request = &call.request;
        let purpose = [PURPOSE, &request.agent, &request.server, &request.tool];
        self.seal.seal(&purpose, &serde_json::to_vec(&lap).ok()?)
    }

    async fn take_back(self: &Arc<Self>, ask: &Ask, state: &str) -> Result<Returned, StoreError> {
        let purpose = [PURPOSE, &ask.grant.name, &ask.server, &ask.tool];
        let lap = self.seal.open(&purpose, state);
        let Some(lap) = lap.and_then(|plain| serde_json::from_slice::<Lap>(&plain).ok()) else {
            return Ok(Returned::Refused(FORGED));
        };
        if lap.until <= self.clock.now() {
            return Ok(Returned::Refused(EXPIRED));
        }
        let Some(call) = self.store.call(lap.call).await? else { return Ok(Returned::Refused(FORGED)) };
        if self.last_place(call.id).await? != Some(lap.attachment) {
            return Ok(Returned::Refused(SPENT));
        }
        if !self.asks_the_same(ask, &call).await? {
            return Ok(Returned::Refused(CHANGED));
        }
        if let Some(waiter) = self.sit_down((ask.kind, ask.session.as_deref()), &call, false).await? {
            return Ok(Returned::On(Box::new(waiter), lap.laps));
        }
        // Settled meanwhile, or somebody was faster.
        Ok(match self.store.call(call.id).await? {
            Some(call) if call.state.is_settled() => Returned::Over(self.outcome(&call).await),
            Some(_) | None => Returned::Refused(SPENT),
        })
    }

    /// Who was the last to take a place at a call.
    async fn last_place(&self, id: CallId) -> Result<Option<Attachment>, StoreError> {
        let entries = self.store.stream(Stream::Call(id)).await?;
        Ok(entries.iter().rev().find_map(|entry| {
            let Fact::Call(Event::Attached { attachment, .. }) = &entry.fact else { return None };
            Some(*attachment)
        }))
    }

    /// A return brings the arguments of the call, and no other answers than the call itself brought: nobody
    /// has asked it anything since.
    async fn asks_the_same(&self, ask: &Ask, call: &Call) -> Result<bool, StoreError> {
        let stored = self.store.payload(call.id, PayloadKind::Params, 0).await?;
        let Some(stored) = stored.filter(|stored| is_proven(stored, &[call.request.params])) else {
            return Ok(false);
        };
        let Some(message) = json(&stored.bytes) else { return Ok(false) };
        let of_call = |name| message.at(&["params", name]).map(Json::as_str).unwrap_or_default().as_bytes();
        let answers = ask.input_responses();
        let same = |one, other| canonical(one) == canonical(other) && one.is_empty() == other.is_empty();
        let none = brings_nothing(answers);
        Ok(same(ask.arguments(), of_call("arguments")) && (none || same(answers, of_call("inputResponses"))))
    }
}

/// No answers, or none but to our own request.
fn brings_nothing(answers: &[u8]) -> bool {
    answers.is_empty()
        || json(answers).is_some_and(|answers| answers.members().all(|member| member.name == LINK))
}
