//! What people do to a call: vote, take a vote back, give more time, withdraw, say what became of it.

use std::{sync::Arc, time::Duration};

use super::{
    Broker, Rejection,
    record::{Beside, Recorded},
};
use crate::{
    call::{By, Call, CallId, Command, Commitment, Digest, Event, People, Person, Resolution, Vote, Why},
    identity::Directory,
    ledger::commitment,
    store::{Payload, PayloadKind},
};

/// Longest reason, comment or note, bytes.
const LONGEST_TEXT: usize = 4096;

/// A person's words on their way to the payloads, and the proof that goes on the ledger.
struct Words {
    text: String,
    salt: [u8; 32],
    proof: Commitment,
}

impl Words {
    fn of(text: Option<String>) -> Result<Option<Self>, Rejection> {
        let Some(text) = text.filter(|text| !text.trim().is_empty()) else { return Ok(None) };
        if text.len() > LONGEST_TEXT {
            return Err(Rejection::Invalid(format!("a reason may have at most {LONGEST_TEXT} bytes")));
        }
        let salt = rand::random();
        let proof = commitment(&salt, text.as_bytes());
        Ok(Some(Self { text, salt, proof }))
    }

    fn proof(words: Option<&Self>) -> Option<Commitment> {
        words.map(|words| words.proof)
    }

    /// Beside the first event; and as the call's last word (part 0) where the events settle it.
    fn beside(words: Option<&Self>, id: CallId, events: &[Event], first: u64) -> Beside {
        let Some(words) = words else { return Beside::default() };
        let settles =
            events.iter().any(|event| matches!(event, Event::Denied { .. } | Event::Cancelled { .. }));
        let parts = [Some(first), settles.then_some(0)];
        let payload = |part| Payload {
            call: id,
            kind: PayloadKind::Text,
            part,
            salt: words.salt,
            bytes: words.text.clone().into_bytes(),
        };
        Beside { payloads: parts.into_iter().flatten().map(payload).collect(), ..Beside::default() }
    }
}

impl Broker {
    /// Records a vote on the digest that the reviewer saw; answers after it is on the disk.
    ///
    /// # Errors
    /// `Refused` says why it does not count; `Unavailable` when the ledger cannot be written.
    pub async fn review(
        &self,
        id: CallId,
        reviewer: Person,
        vote: Vote,
        digest: Digest,
        reason: Option<String>,
    ) -> Result<Arc<Call>, Rejection> {
        self.vote(id, reviewer, (vote, false), digest, reason).await
    }

    /// As `review`, a denial that answers this call only: made again, it asks people again.
    ///
    /// # Errors
    /// As `review`.
    pub async fn deny_once(
        &self,
        id: CallId,
        reviewer: Person,
        digest: Digest,
        reason: Option<String>,
    ) -> Result<Arc<Call>, Rejection> {
        self.vote(id, reviewer, (Vote::Deny, true), digest, reason).await
    }

    /// Ends an earlier denial's answering: the same call, made again, asks people again.
    ///
    /// # Errors
    /// As `review`.
    pub async fn lift(&self, id: CallId, by: Person) -> Result<Arc<Call>, Rejection> {
        let within = self.inner.settings.redelivery;
        self.person(id, None, |_, _| Command::Lift { by: by.clone(), within }).await
    }

    async fn vote(
        &self,
        id: CallId,
        reviewer: Person,
        (vote, once): (Vote, bool),
        digest: Digest,
        reason: Option<String>,
    ) -> Result<Arc<Call>, Rejection> {
        self.person(id, reason, |directory, reason| Command::Vote {
            reviewer: reviewer.clone(),
            vote,
            digest,
            reason,
            once,
            people: directory.people.clone(),
        })
        .await
    }

    /// Takes one's own vote back, before the call is dispatched.
    ///
    /// # Errors
    /// As `review`.
    pub async fn withdraw_vote(&self, id: CallId, reviewer: Person) -> Result<Arc<Call>, Rejection> {
        self.person(id, None, |_, _| Command::WithdrawVote { reviewer: reviewer.clone() }).await
    }

    /// Withdraws the call itself.
    ///
    /// # Errors
    /// As `review`.
    pub async fn cancel(
        &self,
        id: CallId,
        by: Person,
        reason: Option<String>,
    ) -> Result<Arc<Call>, Rejection> {
        self.person(id, reason, |_, text| Command::Cancel {
            by: By::Reviewer { person: by.clone() },
            reason: Why { reason: None, text },
        })
        .await
    }

    /// More time to decide.
    ///
    /// # Errors
    /// As `review`.
    pub async fn extend(&self, id: CallId, by: Person, extra: Duration) -> Result<Arc<Call>, Rejection> {
        let max_wait = self.inner.settings.max_wait;
        self.person(id, None, |_, _| Command::Extend { by: by.clone(), extra, max_wait }).await
    }

    /// Says what became of a lost call.
    ///
    /// # Errors
    /// As `review`.
    pub async fn resolve(
        &self,
        id: CallId,
        by: Person,
        outcome: Resolution,
        note: Option<String>,
    ) -> Result<Arc<Call>, Rejection> {
        self.person(id, note, |_, note| Command::Resolve { by: by.clone(), outcome, note }).await
    }

    async fn person(
        &self,
        id: CallId,
        text: Option<String>,
        command: impl Fn(&Directory, Option<Commitment>) -> Command + Send + Sync,
    ) -> Result<Arc<Call>, Rejection> {
        let words = Words::of(text)?;
        let words = words.as_ref();
        let recorded = self
            .inner
            .record(
                id,
                |_, directory| command(directory, Words::proof(words)),
                |events, first| Words::beside(words, id, events, first),
            )
            .await;
        let Recorded { call, .. } = recorded.map_err(|error| error.rejection(id))?;
        Ok(call)
    }

    /// Who may vote now.
    #[must_use]
    pub fn people(&self) -> People {
        self.inner.identity.directory().people.clone()
    }
}
