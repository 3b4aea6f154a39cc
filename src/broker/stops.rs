//! The stop button: denies what is pending and permitted in a scope, at once, until resumed.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::{
    FutureExt as _,
    stream::{self, StreamExt as _, TryStreamExt as _},
};

use super::{Broker, Inner, Rejection, deadlines::TOGETHER, record::RecordError};
use crate::{
    call::{By, Call, Command, Reason, Refusal, StateName},
    identity::Grant,
    ledger::{Fact, StopEvent, StopScope, Stream},
    store::{Batch, Filter, StoreError, Write},
};

/// The rule's name in entries and answers.
pub(super) const STOPPED: &str = "(stopped)";

/// What is stopped at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Stops {
    pub active: BTreeMap<StopScope, Stop>,
    /// Version of the `stops` stream that this reflects.
    pub version: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Stop {
    pub by: String,
    pub reason: String,
}

impl Stops {
    /// The stop that covers this agent at this server, if any.
    pub(super) fn covering(&self, agent: &str, server: &str) -> Option<&Stop> {
        if self.active.is_empty() {
            return None;
        }
        self.active
            .iter()
            .find(|(scope, _)| match scope {
                StopScope::All => true,
                StopScope::Agent(name) => name == agent,
                StopScope::Server(name) => name == server,
            })
            .map(|(_, stop)| stop)
    }

    pub(super) fn apply(&mut self, event: StopEvent) {
        match event {
            StopEvent::Stopped { scope, by, reason } => {
                self.active.insert(scope, Stop { by, reason });
            }
            StopEvent::Resumed { scope, .. } => {
                self.active.remove(&scope);
            }
        }
        self.version += 1;
    }
}

impl Broker {
    /// Denies what is pending and permitted in the scope, at once; until resumed nothing of it passes.
    /// Answers how many were denied.
    ///
    /// # Errors
    /// The ledger cannot be written, or the scope is stopped already.
    pub async fn stop(&self, scope: StopScope, by: &str, reason: &str) -> Result<usize, Rejection> {
        if self.inner.stops.load().active.contains_key(&scope) {
            return Err(Rejection::Invalid("that is stopped already; `resume` lifts it".into()));
        }
        let event = StopEvent::Stopped { scope: scope.clone(), by: by.into(), reason: reason.into() };
        self.inner.append_stop(event).await?;
        let reason = Reason { rule: STOPPED.into(), text: reason.into() };
        let by = By::Stop { person: by.into() };
        self.inner.revoke_all(&scope, &by, &reason).await.map_err(unavailable)
    }

    /// Lifts a stop.
    ///
    /// # Errors
    /// The ledger cannot be written, or the scope is not stopped.
    pub async fn resume(&self, scope: StopScope, by: &str, reason: &str) -> Result<(), Rejection> {
        if !self.inner.stops.load().active.contains_key(&scope) {
            return Err(Rejection::Invalid("that is not stopped".into()));
        }
        self.inner.append_stop(StopEvent::Resumed { scope, by: by.into(), reason: reason.into() }).await
    }

    /// What is stopped now: scope, who, why.
    #[must_use]
    pub fn stops(&self) -> Vec<(StopScope, String, String)> {
        let stops = self.inner.stops.load();
        stops
            .active
            .iter()
            .map(|(scope, stop)| (scope.clone(), stop.by.clone(), stop.reason.clone()))
            .collect()
    }

    /// Why this agent may not use this server now, in the words of whoever stopped it.
    #[must_use]
    pub fn stopped(&self, grant: &Grant, server: &str) -> Option<String> {
        self.inner.stopped(&grant.name, server).map(|reason| reason.text)
    }

    /// Resolves when this agent may not use this server any more; cancel-safe.
    pub async fn until_stopped(&self, grant: &Grant, server: &str) {
        let mut moved = self.inner.stops_moved.subscribe();
        while self.stopped(grant, server).is_none() {
            // The sender lives as long as the broker, so an error cannot come.
            let _ = moved.changed().await;
        }
    }

    /// Denies what waits of a grant that was revoked.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub async fn grant_revoked(&self, agent: &str, by: &str) -> Result<(), Rejection> {
        let reason = Reason { rule: "(grant revoked)".into(), text: "the agent was revoked".into() };
        let scope = StopScope::Agent(agent.into());
        let by = By::Stop { person: by.into() };
        self.inner.revoke_all(&scope, &by, &reason).await.map(|_| ()).map_err(unavailable)
    }
}

fn unavailable(error: StoreError) -> Rejection {
    Rejection::Unavailable(error.to_string())
}

impl Inner {
    /// Why nothing of this agent passes to this server now.
    pub(super) fn stopped(&self, agent: &str, server: &str) -> Option<Reason> {
        let stops = self.stops.load();
        let stop = stops.covering(agent, server)?;
        Some(Reason { rule: STOPPED.into(), text: stop.reason.clone() })
    }

    /// Appends, then lets everyone here see it; a lost race is tried again on the newer state.
    async fn append_stop(&self, event: StopEvent) -> Result<(), Rejection> {
        loop {
            let stops = self.stops.load_full();
            let write = Write {
                stream: Stream::Stops,
                expected: Some(stops.version),
                facts: vec![Fact::Stop(event.clone())],
                call: None,
                deadline: None,
            };
            let batch = Batch { at: self.clock.now(), writes: vec![write], ..Batch::default() };
            match self.append(batch).await {
                Ok(_) => {
                    let mut next = Stops::clone(&stops);
                    next.apply(event);
                    self.stops.store(Arc::new(next));
                    self.stops_moved.send_replace(());
                    return Ok(());
                }
                Err(StoreError::Conflict(_)) => tokio::task::yield_now().await,
                Err(error) => return Err(unavailable(error)),
            }
        }
    }

    /// Revokes every unsettled, undispatched call of the scope.
    async fn revoke_all(&self, scope: &StopScope, by: &By, reason: &Reason) -> Result<usize, StoreError> {
        let mut filter = Filter {
            states: vec![StateName::Pending, StateName::Permitted],
            limit: 200,
            ..Filter::default()
        };
        match scope {
            StopScope::Agent(name) => filter.agent = Some(name.clone()),
            StopScope::Server(name) => filter.server = Some(name.clone()),
            StopScope::All => {}
        }
        // The next page is read while calls of the one before are still being denied.
        let store = &self.store;
        let page_of = move |filter: Option<Filter>| async move {
            let Some(filter) = filter else { return Ok::<_, StoreError>(None) };
            let page = store.calls(filter.clone()).await?;
            let next = page.next.map(|next| Filter { after: Some(next), ..filter });
            Ok(Some((stream::iter(page.calls.into_iter().map(Ok)), next)))
        };
        let calls = stream::try_unfold(Some(filter), page_of).try_flatten().boxed();
        let mut revocations =
            calls.map_ok(|call| self.denies(call, by, reason).boxed()).try_buffer_unordered(TOGETHER);
        let mut denied = 0;
        while let Some(was) = revocations.try_next().await? {
            denied += usize::from(was);
        }
        Ok(denied)
    }

    pub(super) async fn revoke(&self, call: Call, by: &By, reason: &Reason) -> Result<(), StoreError> {
        self.denies(call, by, reason).await.map(|_| ())
    }

    /// False when it was settled or sent before.
    async fn denies(&self, call: Call, by: &By, reason: &Reason) -> Result<bool, StoreError> {
        let command = Command::Revoke { by: by.clone(), reason: reason.clone() };
        let id = call.id;
        match self.record_known(call, |_, _| command.clone()).await {
            Ok(_) => Ok(true),
            Err(RecordError::Refused(Refusal::State { .. } | Refusal::Settled { .. })) => Ok(false),
            Err(RecordError::Refused(refusal)) => {
                tracing::warn!(call.id = %id, ?refusal, "a revocation was refused");
                Ok(false)
            }
            Err(RecordError::Store(error)) => Err(error),
        }
    }
}
