//! The same call again: it joins the one that waits, gets the answer it missed, or is a call of its own.

use std::sync::Arc;

use uuid::Uuid;

use super::{
    Ask, Inner, Outcome, Submission, Waiter,
    record::{RecordError, alone},
};
use crate::{
    call::{AttachKind, Attachment, By, Call, CallId, Command, DetachReason, Refusal, State, denial_answers},
    policy::{Join, joins},
    store::StoreError,
};

pub(super) enum Joined {
    /// It is the same as an earlier one: a place at that, or the answer that is owed.
    Same(Submission),
    /// A call of its own; `twin` waits already.
    New { ask: Ask, twin: Option<CallId> },
}

enum Found {
    /// A place at the call that waits already.
    Seat(Box<Waiter>),
    /// The outcome that the agent may not have had.
    Owed(Box<Outcome>),
    None {
        twin: Option<CallId>,
    },
}

impl Inner {
    /// Looks for the same call.
    pub(super) async fn join(self: &Arc<Self>, ask: Ask) -> Joined {
        match self.same_as(&ask).await {
            Ok(Found::Seat(waiter)) => Joined::Same(Submission::Waiting(waiter)),
            Ok(Found::Owed(outcome)) => Joined::Same(Submission::Recalled(*outcome, Box::new(ask))),
            Ok(Found::None { twin }) => Joined::New { ask, twin },
            Err(error) => Joined::Same(Submission::Settled(self.unrecorded(error.into()))),
        }
    }

    async fn same_as(self: &Arc<Self>, ask: &Ask) -> Result<Found, StoreError> {
        let mode = self.join_mode(ask);
        let followed = self.followed(ask).await;
        let mut twin = None;
        for call in self.store.same(self.fingerprint(ask)).await? {
            // Its answer is what this call goes on with: it has come.
            if followed == Some(call.id) {
                continue;
            }
            if call.state.is_settled() {
                // A server's answer is in the form of its era.
                let fits = call.request.era == ask.era || !matches!(call.state, State::Completed { .. });
                if fits && self.is_owed(&call) {
                    return Ok(Found::Owed(Box::new(self.outcome(&call).await)));
                }
                continue;
            }
            // What is stored is sent, and a request of one era is none of the other.
            if mode == Join::Never || call.request.era != ask.era {
                twin = twin.or(Some(call.id));
                continue;
            }
            let waited_for = self.is_waited_for(&call);
            if (!waited_for || (mode == Join::Grant && self.displace(&call).await))
                && let Some(waiter) =
                    self.sit_down((ask.kind, ask.session.as_deref()), &call, waited_for).await?
            {
                return Ok(Found::Seat(Box::new(waiter)));
            }
            twin = twin.or(Some(call.id));
        }
        Ok(Found::None { twin })
    }

    /// What the policies say of a repeat. A grant of several agents never gives one's place to another.
    fn join_mode(&self, ask: &Ask) -> Join {
        let rules = self.rules.load();
        let said = joins(&rules.of(&ask.grant.name, &ask.server), &ask.server, &ask.tool);
        if ask.grant.settings.shared { said.max(Join::Detached) } else { said }
    }

    /// Is this settled call's outcome still to be told to who asks again?
    pub(super) fn is_owed(&self, call: &Call) -> bool {
        let (now, window) = (self.clock.now(), self.settings.redelivery);
        if matches!(call.state, State::Denied { by: By::Reviewer { .. }, .. }) {
            return denial_answers(call, window, now);
        }
        let fresh = call.settled_at.is_some_and(|at| now.since(at) < window);
        let told_at_once =
            call.terms.is_none() && !matches!(call.state, State::Completed { .. } | State::Lost { .. });
        fresh && !told_at_once && call.delivered.is_none()
    }

    pub(super) fn is_waited_for(&self, call: &Call) -> bool {
        let attached = call.waiter.as_ref().is_some_and(|waiter| waiter.replica == self.replica);
        waits_as_task(call) || (attached && self.seats.is_taken(call.id))
    }

    /// `join: grant`: the newer waiter takes the place of the older.
    async fn displace(&self, call: &Call) -> bool {
        let Some(waiter) = &call.waiter else { return true };
        self.detach(call.id, waiter.attachment, DetachReason::Closed).await.is_some()
    }

    /// `None`: somebody else sat down first, or it has just settled.
    pub(super) async fn sit_down(
        self: &Arc<Self>,
        (kind, session): (AttachKind, Option<&str>),
        call: &Call,
        displaced: bool,
    ) -> Result<Option<Waiter>, StoreError> {
        if let (Some(gone), false) = (&call.waiter, displaced) {
            // Its connection has closed; the word of it is still on its way to the ledger.
            self.detach(call.id, gone.attachment, DetachReason::Closed).await;
        }
        let attachment = Attachment(Uuid::from_bytes(rand::random()));
        let attach = Command::Attach {
            attachment,
            kind,
            session: session.map(str::to_owned),
            replica: self.replica.clone(),
        };
        match self.record(call.id, |_, _| attach.clone(), alone).await {
            Ok(recorded) => Ok(self.waiter(attachment, recorded)),
            Err(RecordError::Refused(
                Refusal::AlreadyWaiting | Refusal::Settled { .. } | Refusal::State { .. } | Refusal::TooLate,
            )) => Ok(None),
            Err(RecordError::Refused(refusal)) => {
                tracing::warn!(call.id = %call.id, ?refusal, "a repeated call could not join");
                Ok(None)
            }
            Err(RecordError::Store(error)) => Err(error),
        }
    }
}

/// A task waits without a connection.
pub(super) fn waits_as_task(call: &Call) -> bool {
    call.waiter.as_ref().is_some_and(|waiter| waiter.kind == AttachKind::Task)
}
