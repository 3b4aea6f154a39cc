//! What people and followers may read.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;

use super::{Broker, Outcome, proof::proofs};
use crate::{
    call::{Call, CallId, Commitment, Event, StateName},
    ledger::{Entry, Fact, Stream, commitments},
    store::{Filter, Page, PayloadKind, Store, StoreError},
};

/// Most entries of one call that are shown: a call that is re-parked for ever cannot fill a page.
const LONGEST_TIMELINE: usize = 1000;

/// One step of a call's timeline, with the words that lie beside it.
#[derive(Clone, Debug)]
pub struct Step {
    pub entry: Entry,
    /// The reason, comment or note that the entry commits to, unless erased.
    pub text: Option<String>,
}

/// Everything a person may see of one call.
#[derive(Clone, Debug)]
pub struct CallView {
    pub call: Call,
    /// The whole request as the agent sent it; `None` when erased.
    pub message: Option<Bytes>,
    pub timeline: Vec<Step>,
    /// The upstream's whole response, if kept.
    pub answer: Option<Bytes>,
    /// What an agent that asks now is told.
    pub outcome: Outcome,
}

impl Broker {
    /// One page of calls, newest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn calls(&self, filter: Filter) -> Result<Page, StoreError> {
        self.inner.store.calls(filter).await
    }

    /// How many calls stand in each state.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn counts(&self) -> Result<Vec<(StateName, u64)>, StoreError> {
        self.inner.store.counts().await
    }

    /// The whole request of a call, as the agent sent it; `None` when there is no such call, or it was erased.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn message(&self, id: CallId) -> Result<Option<Bytes>, StoreError> {
        let Some(call) = self.inner.store.call(id).await? else { return Ok(None) };
        self.proven_message(id, &[call.request.params]).await
    }

    async fn proven_message(&self, id: CallId, proofs: &[Commitment]) -> Result<Option<Bytes>, StoreError> {
        let stored = self.inner.proven(id, PayloadKind::Params, 0, proofs).await?;
        Ok(stored.map(Bytes::from))
    }

    /// Everything of one call.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn view(&self, id: CallId) -> Result<Option<CallView>, StoreError> {
        let store = &self.inner.store;
        let Some(call) = store.call(id).await? else { return Ok(None) };
        let entries = store.stream(Stream::Call(id)).await?;
        let proofs: Vec<_> = entries.iter().flat_map(proofs).collect();
        let mut timeline = Vec::new();
        for entry in entries.into_iter().take(LONGEST_TIMELINE) {
            let text = self.step_text(id, &entry).await?;
            timeline.push(Step { entry, text });
        }
        let answer = self.inner.proven(id, PayloadKind::Answer, 0, &proofs).await?.map(Bytes::from);
        let message = self.proven_message(id, &proofs).await?;
        let outcome = self.inner.outcome(&call).await;
        Ok(Some(CallView { call, message, timeline, answer, outcome }))
    }

    async fn step_text(&self, id: CallId, entry: &Entry) -> Result<Option<String>, StoreError> {
        let Fact::Call(event) = &entry.fact else { return Ok(None) };
        let part = match event {
            Event::Voted { review } if review.reason.is_some() => entry.version,
            Event::Resolved { note: Some(_), .. } => entry.version,
            Event::Denied { reason, .. } | Event::Cancelled { reason, .. } if reason.text.is_some() => 0,
            Event::Denied { reason, .. } | Event::Cancelled { reason, .. } => {
                return Ok(reason.reason.as_ref().map(|reason| reason.text.clone()));
            }
            Event::Submitted { .. }
            | Event::Attached { .. }
            | Event::Detached { .. }
            | Event::Voted { .. }
            | Event::VoteWithdrawn { .. }
            | Event::Extended { .. }
            | Event::Reparked { .. }
            | Event::Permitted { .. }
            | Event::Dispatched { .. }
            | Event::Completed { .. }
            | Event::Failed { .. }
            | Event::Lost { .. }
            | Event::Expired { .. }
            | Event::Lifted { .. }
            | Event::Delivered { .. }
            | Event::Resolved { .. }
            | Event::LateAnswer { .. } => return Ok(None),
        };
        let text = self.inner.proven(id, PayloadKind::Text, part, &commitments(event)).await?;
        Ok(text.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Ledger entries after `after`, oldest first.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn entries(&self, after: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.inner.store.entries(after, limit).await
    }

    /// Number of the last committed entry; changes wake every follower.
    #[must_use]
    pub fn head(&self) -> watch::Receiver<u64> {
        self.inner.store.head()
    }

    /// Where followers keep their cursors.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.inner.store
    }
}
