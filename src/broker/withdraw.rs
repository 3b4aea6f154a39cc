//! An agent no longer wants its task. What was not sent is cancelled; what was sent is called off:
//! the broker leaves the server's stream, which is how a server of 2026-07-28 is told (on a pipe by a
//! notification), and nobody knows then whether the call was run.
//!
//! The word of it is on the ledger first, as the detachment of the place that the call was sent for; whoever
//! follows the call hears it there.

use super::{
    Broker, End, Inner, Outcome, Task,
    record::{RecordError, alone},
    seats::Seat,
};
use crate::{
    call::{
        AttachKind, Attachment, By, Call, CallId, Command, DetachReason, Era, Event, Reason, Refusal,
        StateName, Why,
    },
    ledger::{Fact, Stream},
    store::StoreError,
};

/// Why a call is lost that its agent called off.
const CALLED_OFF: &str =
    "its agent cancelled the task after the call was sent, so the server was left before it answered";

impl Broker {
    /// Ends a task, as far as it can be ended. What a server has begun for it may be done all the same.
    pub async fn cancel_task(&self, task: &Task) {
        if task.asks().is_none() && self.inner.withdraw(&task.call).await {
            return;
        }
        // Its server asks for more, or did so just now.
        self.inner.ask_no_more(task).await;
    }
}

impl Inner {
    /// False: it is settled already.
    pub(super) async fn withdraw(&self, call: &Call) -> bool {
        let text = "the agent cancelled its task".into();
        let reason = Some(Reason { rule: "(tasks/cancel)".into(), text });
        let cancel = Command::Cancel { by: By::Agent, reason: Why { reason, text: None } };
        match self.record(call.id, |_, _| cancel.clone(), alone).await {
            Ok(_) => true,
            Err(RecordError::Refused(Refusal::State { is: StateName::Dispatched })) => {
                self.call_off(call).await;
                true
            }
            Err(RecordError::Refused(_)) => false,
            Err(RecordError::Store(error)) => {
                tracing::error!(call.id = %call.id, %error, "a task could not be cancelled");
                true
            }
        }
    }

    /// Its dispatcher hears it. A call of a session (2025-11-25) is told to its server, and waited for.
    async fn call_off(&self, call: &Call) {
        let place = call.waiter.as_ref().filter(|_| call.request.era == Era::Modern);
        if let Some(waiter) = place {
            self.detach(call.id, waiter.attachment, DetachReason::Cancelled).await;
        }
    }

    /// Resolves when the agent of a task that was sent no longer wants it. A line has its own way to leave.
    pub(super) async fn called_off(&self, id: CallId, attachment: Attachment, mut seat: Seat) {
        if !waits_as_modern_task(&seat.borrow()) {
            return std::future::pending().await;
        }
        loop {
            let gone = {
                let call = seat.borrow_and_update();
                call.waiter.as_ref().is_none_or(|waiter| waiter.attachment != attachment)
            };
            // Another may have taken the place: that calls nothing off.
            if gone && self.was_called_off(id).await.unwrap_or(false) {
                return;
            }
            if seat.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Did the agent leave the place that this call was sent for?
    pub(super) async fn was_called_off(&self, id: CallId) -> Result<bool, StoreError> {
        let mut sent_for = None;
        for entry in self.store.stream(Stream::Call(id)).await? {
            if let Fact::Call(Event::Dispatched { attachment, .. }) = &entry.fact {
                sent_for = Some(*attachment);
            }
            if let Fact::Call(Event::Detached { attachment, why: DetachReason::Cancelled }) = &entry.fact
                && sent_for == Some(*attachment)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The server was left. Its answer may have come just then.
    pub(super) async fn left(&self, id: CallId) -> Outcome {
        let command = Command::Lose { by: self.replica.clone(), why: CALLED_OFF.into() };
        match self.record(id, |_, _| command.clone(), alone).await {
            Ok(recorded) => self.outcome(&recorded.call).await,
            Err(RecordError::Refused(_)) => match self.store.call(id).await {
                Ok(Some(call)) => self.outcome(&call).await,
                Ok(None) | Err(_) => Outcome::unrecorded(End::Unavailable),
            },
            Err(error) => self.unrecorded(error),
        }
    }
}

fn waits_as_modern_task(call: &Call) -> bool {
    let task = call.waiter.as_ref().is_some_and(|waiter| waiter.kind == AttachKind::Task);
    task && call.request.era == Era::Modern
}
