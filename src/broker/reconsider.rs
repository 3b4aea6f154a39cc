//! People come and go: a call that those who are there cannot let go is answered at once:
//! its agent would wait until the deadline for people who are not there.

use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::stream::{self, StreamExt as _};

use super::{
    Broker, Inner,
    deadlines::TOGETHER,
    record::{RecordError, alone},
};
use crate::{
    call::{Call, CallId, Command, People, Refusal, StateName, can_be_met},
    store::{Filter, StoreError},
};

// An approved call needs no look: its claim proves the quorum again, and asks anew or denies it then.

/// Version of the reviewers that every pending call was last held against.
#[derive(Debug)]
pub(super) struct Reconsidered(AtomicU64);

impl Default for Reconsidered {
    /// None yet: people may have left while no broker ran.
    fn default() -> Self {
        Self(AtomicU64::new(u64::MAX))
    }
}

impl Broker {
    /// Who may vote has changed: pending calls are looked at within moments.
    pub fn people_changed(&self) {
        self.inner.deadlines.wake();
    }
}

impl Inner {
    /// Denies what nobody who is there can let go. Returns how many calls that were.
    pub(super) async fn reconsider(&self) -> usize {
        let directory = self.identity.directory();
        let version = directory.reviewers_version;
        if self.reconsidered.0.swap(version, Ordering::SeqCst) == version {
            return 0;
        }
        match self.deny_the_hopeless(&directory.people).await {
            Ok(denied) => denied,
            Err(error) => {
                tracing::error!(%error, "pending calls could not be held against the reviewers");
                self.reconsidered.0.store(u64::MAX, Ordering::SeqCst);
                0
            }
        }
    }

    async fn deny_the_hopeless(&self, people: &People) -> Result<usize, StoreError> {
        let hopeless =
            |call: &&Call| call.terms.as_ref().is_some_and(|terms| !can_be_met(terms, &call.request, people));
        let mut filter = Filter { states: vec![StateName::Pending], limit: 200, ..Filter::default() };
        let mut denied = 0;
        loop {
            let page = self.store.calls(filter.clone()).await?;
            let ids: Vec<_> = page.calls.iter().filter(hopeless).map(|call| call.id).collect();
            let asked = stream::iter(ids.into_iter().map(|id| self.reconsider_one(id)));
            let done = asked.buffer_unordered(TOGETHER).filter(|denied| std::future::ready(*denied));
            denied += done.count().await;
            let Some(next) = page.next else { return Ok(denied) };
            filter.after = Some(next);
        }
    }

    async fn reconsider_one(&self, id: CallId) -> bool {
        let command = |_: Option<&Call>, directory: &crate::identity::Directory| Command::Reconsider {
            people: directory.people.clone(),
        };
        match self.record(id, command, alone).await {
            Ok(_) => true,
            Err(RecordError::Refused(
                Refusal::Nothing | Refusal::TooLate | Refusal::State { .. } | Refusal::Settled { .. },
            )) => false,
            Err(error) => {
                tracing::warn!(call.id = %id, ?error, "a call that nobody can let go could not be denied");
                self.reconsidered.0.store(u64::MAX, Ordering::SeqCst);
                false
            }
        }
    }
}
