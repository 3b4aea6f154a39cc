//! A place at a call: whoever holds it hears what happens, and may dispatch when it is permitted.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{
    Brief, Broker, Inner, Outcome,
    record::{RecordError, alone},
    seats::Seat,
};
use crate::call::{Attachment, Call, CallId, Command, DetachReason, HowDelivered, State, Tally, tally};

/// One attached connection. Dropping it appends `detached{closed}`.
pub struct Waiter {
    pub brief: Brief,
    pub(super) inner: Arc<Inner>,
    pub(super) attachment: Attachment,
    pub(super) seat: Seat,
    /// The version that was last told.
    pub(super) seen: u64,
    /// Attached on the ledger; false for one who only listens to a call that is already dispatched.
    pub(super) attached: bool,
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiter").field("call", &self.brief.id).finish_non_exhaustive()
    }
}

/// What changed for a waiter.
#[derive(Debug)]
pub enum Turn {
    /// Go on with `Broker::dispatch`.
    Permitted,
    Settled(Outcome),
    /// New deadline, votes so far: worth a progress message.
    Changed(Brief),
}

impl Waiter {
    #[must_use]
    pub fn call(&self) -> CallId {
        self.brief.id
    }

    #[must_use]
    pub fn attachment(&self) -> Attachment {
        self.attachment
    }

    /// The call as it stands.
    #[must_use]
    pub fn now(&self) -> Arc<Call> {
        Arc::clone(&self.seat.borrow())
    }

    /// Approvals so far and needed, per quorum.
    #[must_use]
    pub fn tally(&self) -> Tally {
        tally(&self.seat.borrow(), &self.inner.identity.directory().people)
    }

    fn replaced(&self, call: &Call) -> bool {
        self.attached && call.waiter.as_ref().is_none_or(|waiter| waiter.attachment != self.attachment)
    }

    /// Takes the place without a word on the ledger: the attachment is spent or noted otherwise.
    pub(super) fn spend(&mut self) {
        self.attached = false;
    }

    pub(super) async fn detach(mut self, why: DetachReason) -> Arc<Call> {
        let attached = self.attached;
        self.spend();
        if attached { self.inner.detach(self.brief.id, self.attachment, why).await } else { None }
            .unwrap_or_else(|| self.now())
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.inner.seats.leave(self.brief.id, self.attachment);
        if self.attached && !self.seat.borrow().state.is_settled() {
            let (inner, id, attachment) = (Arc::clone(&self.inner), self.brief.id, self.attachment);
            self.inner.tasks.spawn(async move {
                inner.detach(id, attachment, DetachReason::Closed).await;
            });
        }
    }
}

impl Inner {
    /// The call after it, or `None` when the detachment was refused: there was nothing to detach any more.
    pub(super) async fn detach(
        &self,
        id: CallId,
        attachment: Attachment,
        why: DetachReason,
    ) -> Option<Arc<Call>> {
        let command = Command::Detach { attachment, why };
        match self.record(id, |_, _| command.clone(), alone).await {
            Ok(recorded) => Some(recorded.call),
            Err(RecordError::Refused(_)) => None,
            Err(RecordError::Store(error)) => {
                tracing::error!(call.id = %id, %error, "a detachment could not be recorded");
                None
            }
        }
    }
}

impl Broker {
    /// Waits for the next change of a call; cancel-safe.
    pub async fn turn(&self, waiter: &mut Waiter) -> Turn {
        loop {
            let call = Arc::clone(&waiter.seat.borrow_and_update());
            let changed = call.version > waiter.seen;
            waiter.seen = call.version;
            match &call.state {
                State::Pending { .. } | State::Permitted { .. } if waiter.replaced(&call) => {
                    // A newer waiter of the same grant has taken the place.
                    waiter.spend();
                    let brief = self.inner.brief(&call);
                    return Turn::Settled(Outcome { call: Some(brief), end: super::End::Ticket });
                }
                State::Permitted { .. } if waiter.attached => return Turn::Permitted,
                State::Pending { .. } | State::Permitted { .. } | State::Dispatched { .. } => {}
                State::Completed { .. }
                | State::Failed { .. }
                | State::Lost { .. }
                | State::Denied { .. }
                | State::Expired { .. }
                | State::Cancelled { .. } => {
                    waiter.spend();
                    return Turn::Settled(self.inner.outcome(&call).await);
                }
            }
            if changed {
                waiter.brief = self.inner.brief(&call);
                return Turn::Changed(waiter.brief.clone());
            }
            // The sender lives in the seats until this waiter leaves, so an error cannot come.
            let _ = waiter.seat.changed().await;
        }
    }

    /// Patience is used up: detach with a ticket; the answer to give (the outcome, if it settled meanwhile).
    pub async fn ticket(&self, waiter: Waiter) -> Outcome {
        let inner = Arc::clone(&self.inner);
        // The agent may close its connection meanwhile: the detachment is recorded all the same.
        let told = self.inner.tasks.spawn(async move {
            let call = waiter.detach(DetachReason::Ticket).await;
            inner.outcome(&call).await
        });
        told.await.unwrap_or_else(|_| Outcome::unrecorded(super::End::Unavailable))
    }

    /// `notifications/cancelled`: detach; nothing is withdrawn.
    pub async fn leave(&self, waiter: Waiter) {
        // As for a ticket: what is begun is recorded.
        let left = self.inner.tasks.spawn(async move {
            waiter.detach(DetachReason::Cancelled).await;
        });
        if left.await.is_err() {
            tracing::error!("an agent that cancelled could not be detached");
        }
    }

    /// Its agent's stream broke but can be resumed, or was: one who is away keeps its attachment, and
    /// whoever makes the same call again may take its place.
    pub fn step_away(&self, call: CallId, attachment: Attachment, away: bool) {
        self.inner.seats.step_away(call, attachment, away);
    }

    /// How a call ended, or the ticket of one that has not.
    pub async fn outcome(&self, call: CallId) -> Outcome {
        match self.inner.store.call(call).await {
            Ok(Some(call)) => self.inner.outcome(&call).await,
            Ok(None) | Err(_) => Outcome::unrecorded(super::End::Unavailable),
        }
    }

    /// The agent has its answer (the response ended cleanly and the peer stayed).
    pub async fn delivered(&self, call: CallId, how: HowDelivered) {
        let command = Command::Deliver { how };
        match self.inner.record(call, |_, _| command.clone(), alone).await {
            Ok(_) | Err(RecordError::Refused(_)) => {}
            Err(RecordError::Store(error)) => {
                tracing::error!(call.id = %call, %error, "a delivery could not be recorded");
            }
        }
    }
}

/// A dispatched call's messages, in order. The call runs on when this is dropped; its outcome is
/// recorded all the same.
#[derive(Debug)]
pub struct Exchange {
    pub attachment: Attachment,
    pub(super) parts: mpsc::Receiver<Part>,
}

#[derive(Debug)]
pub enum Part {
    /// A notification or request of the upstream's, on its way to the agent.
    Message(Bytes),
    /// Not sent: asked again on a new round (policy or people changed at the claim). Wait on.
    Reparked(Box<Waiter>),
    End(Outcome),
}

impl Exchange {
    /// The next part; `None` after the `End`.
    pub async fn next(&mut self) -> Option<Part> {
        self.parts.recv().await
    }
}
