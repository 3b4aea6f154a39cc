//! The one way to change a call: load, decide, append, tell. Nothing else in countersign appends.

use std::sync::{Arc, atomic::Ordering};

use super::{Inner, Rejection, seats::Seat};
use crate::{
    call::{
        AttachKind, Attachment, Call, CallId, Command, Event, Fingerprint, Refusal, Timestamp, decide,
        evolve, next_deadline,
    },
    identity::Directory,
    ledger::{Entry, Fact, Stream, segment::Leaves},
    store::{Batch, Payload, Put, StoreError, Write},
};

/// How often a lost race is tried again before we give up; each try sees a newer state.
const TRIES: usize = 32;

/// What goes into the same transaction as the events.
#[derive(Debug, Default)]
pub(super) struct Beside {
    pub payloads: Vec<Payload>,
    pub fingerprint: Option<Fingerprint>,
    pub puts: Vec<Put>,
}

/// Where a command finds its call.
enum Standing {
    New,
    Stored,
    /// Read a moment ago; if it has changed since, the append fails and it is read again.
    Known(Box<Call>),
}

/// Versions of what lies in memory, as they were before the command was made.
#[derive(Clone, Copy)]
struct Seen {
    policies: u64,
    stops: u64,
}

/// A command that took effect.
#[derive(Debug)]
pub(super) struct Recorded {
    pub call: Arc<Call>,
    pub entries: Vec<Entry>,
    /// The place that the command's attachment took.
    pub seat: Option<Seat>,
}

#[derive(Debug)]
pub(super) enum RecordError {
    Refused(Refusal),
    Store(StoreError),
}

impl From<StoreError> for RecordError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl RecordError {
    pub(super) fn rejection(self, id: CallId) -> Rejection {
        match self {
            Self::Refused(Refusal::NotFound) => Rejection::NotFound(id),
            Self::Refused(refusal) => Rejection::Refused(refusal),
            Self::Store(error) => Rejection::Unavailable(error.to_string()),
        }
    }
}

impl Inner {
    /// Applies the command that `command` makes of the present people and call, again after each lost race.
    ///
    /// `beside` is asked for the payloads once the events are known, with the version of the first event.
    pub(super) async fn record(
        &self,
        id: CallId,
        command: impl FnMut(Option<&Call>, &Directory) -> Command + Send,
        beside: impl FnMut(&[Event], u64) -> Beside + Send,
    ) -> Result<Recorded, RecordError> {
        self.record_at(Standing::Stored, id, command, beside).await
    }

    /// As `record`, for a call whose id was made just now: nothing of it can be in the store.
    pub(super) async fn record_first(
        &self,
        id: CallId,
        command: impl FnMut(Option<&Call>, &Directory) -> Command + Send,
        beside: impl FnMut(&[Event], u64) -> Beside + Send,
    ) -> Result<Recorded, RecordError> {
        self.record_at(Standing::New, id, command, beside).await
    }

    /// As `record`, for a call that was just read from the store.
    pub(super) async fn record_known(
        &self,
        call: Call,
        command: impl FnMut(Option<&Call>, &Directory) -> Command + Send,
    ) -> Result<Recorded, RecordError> {
        let id = call.id;
        self.record_at(Standing::Known(Box::new(call)), id, command, alone).await
    }

    async fn record_at(
        &self,
        mut standing: Standing,
        id: CallId,
        mut command: impl FnMut(Option<&Call>, &Directory) -> Command + Send,
        mut beside: impl FnMut(&[Event], u64) -> Beside + Send,
    ) -> Result<Recorded, RecordError> {
        for _ in 0..TRIES {
            // Versions first: what the command is decided by can then only be newer, and a change in between
            // fails the guard instead of slipping through.
            let seen = Seen { policies: self.rules.load().version, stops: self.stops.load().version };
            let directory = self.identity.directory();
            let before = match standing {
                Standing::New => None,
                Standing::Stored => self.store.call(id).await?,
                Standing::Known(call) => {
                    standing = Standing::Stored;
                    Some(*call)
                }
            };
            let command = command(before.as_ref(), &directory);
            if let (Command::Claim { .. }, Some(call)) = (&command, &before) {
                self.prove(call).await?;
            }
            let now = self.clock.now();
            let events = decide(before.as_ref(), &command, now).map_err(RecordError::Refused)?;
            let batch = self.batch(id, before, &command, (&directory, seen), events, now, &mut beside)?;
            let (batch, call) = batch;
            let attachment = newcomer(&command);
            let seat = attachment.map(|attachment| self.seats.take(attachment, Arc::clone(&call)));
            match self.append_and_tell(batch, Arc::clone(&call)).await {
                Ok(entries) => return Ok(Recorded { call, entries, seat }),
                Err(error) => {
                    if let Some(attachment) = attachment {
                        self.seats.leave(id, attachment);
                    }
                    // Somebody was faster: look again at what is true now.
                    let StoreError::Conflict(_) = error else { return Err(error.into()) };
                    tokio::task::yield_now().await;
                }
            }
        }
        Err(RecordError::Store(StoreError::Unavailable(
            "the call changes faster than it can be recorded".into(),
        )))
    }

    /// In a task of its own: whoever asked may be dropped meanwhile (an agent or a browser that closes),
    /// and what is on the disk must be told all the same.
    async fn append_and_tell(&self, batch: Batch, call: Arc<Call>) -> Result<Vec<Entry>, StoreError> {
        let ended = || StoreError::Unavailable("the broker has ended".into());
        let inner = self.me.upgrade().ok_or_else(ended)?;
        let told = self.tasks.spawn(async move {
            let entries = inner.append(batch).await?;
            inner.tell(&call);
            inner.measure(&call, &entries);
            Ok(entries)
        });
        told.await.map_err(|_| ended())?
    }

    /// The transaction for these events, with the guards that the command needs.
    #[expect(
        clippy::too_many_arguments,
        reason = "the parts of one transaction; a struct of them would be used once"
    )]
    fn batch(
        &self,
        id: CallId,
        before: Option<Call>,
        command: &Command,
        (directory, seen): (&Directory, Seen),
        events: Vec<Event>,
        now: Timestamp,
        beside: &mut impl FnMut(&[Event], u64) -> Beside,
    ) -> Result<(Batch, Arc<Call>), RecordError> {
        let expected = before.as_ref().map_or(0, |call| call.version);
        let beside = beside(&events, expected + 1);
        let after = events.iter().fold(before, |call, event| evolve(id, call, event, now));
        let Some(after) = after else {
            return Err(RecordError::Store(StoreError::Damaged(format!(
                "the events of call {id} do not fold"
            ))));
        };
        let deadline = next_deadline(&after, self.settings.detach_grace, self.settings.skew);
        let mut writes = vec![Write {
            stream: Stream::Call(id),
            expected: Some(expected),
            facts: events.into_iter().map(Fact::Call).collect(),
            call: Some(Box::new(after.clone())),
            deadline,
        }];
        writes.extend(self.guards(command, directory, seen));
        let fingerprint = beside.fingerprint.map(|fingerprint| (id, fingerprint));
        let batch = Batch { at: now, writes, payloads: beside.payloads, puts: beside.puts, fingerprint };
        Ok((batch, Arc::new(after)))
    }

    /// Assertions that the authority the command was decided by still holds at its commit.
    fn guards(&self, command: &Command, directory: &Directory, seen: Seen) -> Vec<Write> {
        let guard = |stream, version| Write {
            stream,
            expected: Some(version),
            facts: Vec::new(),
            call: None,
            deadline: None,
        };
        let people = guard(Stream::Reviewers, directory.reviewers_version);
        match command {
            Command::Claim { .. } => vec![
                people,
                guard(Stream::Agents, directory.agents_version),
                guard(Stream::Policies, seen.policies),
                guard(Stream::Stops, seen.stops),
            ],
            Command::Submit { .. } => vec![people, guard(Stream::Stops, seen.stops)],
            Command::Vote { .. } | Command::Repark { .. } | Command::Reconsider { .. } => vec![people],
            Command::Attach { .. }
            | Command::Detach { .. }
            | Command::WithdrawVote { .. }
            | Command::Extend { .. }
            | Command::Revoke { .. }
            | Command::Complete { .. }
            | Command::Fail { .. }
            | Command::Lose { .. }
            | Command::Cancel { .. }
            | Command::Tick { .. }
            | Command::Deliver { .. }
            | Command::Resolve { .. }
            | Command::AnswerLate { .. }
            | Command::Lift { .. } => Vec::new(),
        }
    }

    /// The only caller of `Store::append`. The first write that fails closes the gate for all calls.
    pub(super) async fn append(&self, batch: Batch) -> Result<Vec<Entry>, StoreError> {
        let begun = std::time::Instant::now();
        let appended = self.store.append(batch).await;
        self.metrics.appended(begun.elapsed());
        self.close_on_failure(&appended);
        appended
    }

    /// A batch of allowed calls; a failure closes the gate as any other.
    pub(super) async fn append_segment(
        &self,
        at: Timestamp,
        leaves: Leaves,
        from: Timestamp,
    ) -> Result<(), StoreError> {
        let appended = self.store.append_segment(at, leaves, from, at).await;
        self.close_on_failure(&appended);
        appended.map(|_| ())
    }

    fn close_on_failure<T>(&self, appended: &Result<T, StoreError>) {
        if let Err(StoreError::Unavailable(why) | StoreError::Damaged(why)) = appended
            && self.open.swap(false, Ordering::SeqCst)
        {
            tracing::error!(%why, "the audit log cannot be written: nothing is forwarded until a restart");
        }
    }

    /// Everyone in this process who waits for news of the call.
    fn tell(&self, call: &Arc<Call>) {
        self.parked.note(call);
        self.repeats.note(call, self.settings.redelivery);
        self.deadlines.note(call, &self.settings);
        self.seats.publish(call);
        self.follow_task(call);
    }
}

/// Whose place a command takes. A task sits nowhere: it is followed.
fn newcomer(command: &Command) -> Option<Attachment> {
    let line = |attachment, kind| (kind == AttachKind::Line).then_some(attachment);
    match command {
        Command::Submit { waiter, .. } => {
            waiter.as_ref().and_then(|(attachment, kind, _)| line(*attachment, *kind))
        }
        Command::Attach { attachment, kind, .. } => line(*attachment, *kind),
        Command::Detach { .. }
        | Command::Vote { .. }
        | Command::WithdrawVote { .. }
        | Command::Extend { .. }
        | Command::Repark { .. }
        | Command::Reconsider { .. }
        | Command::Revoke { .. }
        | Command::Claim { .. }
        | Command::Complete { .. }
        | Command::Fail { .. }
        | Command::Lose { .. }
        | Command::Cancel { .. }
        | Command::Tick { .. }
        | Command::Deliver { .. }
        | Command::Resolve { .. }
        | Command::AnswerLate { .. }
        | Command::Lift { .. } => None,
    }
}

/// For commands that bring nothing else along.
pub(super) fn alone(_events: &[Event], _first: u64) -> Beside {
    Beside::default()
}
