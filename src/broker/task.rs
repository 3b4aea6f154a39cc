//! Calls that wait as a task: no connection holds them, the agent asks how they stand.
//!
//! A task counts as a waiter, since its agent can fetch the outcome whenever it likes: at its quorum it is
//! dispatched at once, here, because no connection is there to do it. Its name is sealed, so that nobody guesses one and another grant's is nobody's. It is the
//! call itself that is stored; what a restart must not lose beside it are the headers it is sent with.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{
    Broker, End, Inner, Live, Outcome, Part, Waiter,
    dispatch::Agent,
    follows::asking,
    legs::Leg,
    record::{Beside, RecordError},
};
use crate::{
    call::{
        AttachKind, Attachment, Call, CallId, Command, DetachReason, Era, State, Tally, Timestamp, tally,
    },
    store::{Put, StoreError},
    upstream::{Conversation, Link},
};

/// Of the sealed headers beside the ledger.
pub(super) const SPACE: &str = "tasks";

/// A limit that was full is not asked again sooner.
const BREATH: Duration = Duration::from_secs(1);

/// How a task stands.
#[derive(Clone, Debug)]
pub struct Task {
    pub id: String,
    /// When its agent made the first of its calls.
    pub begun: Timestamp,
    /// The one that it is at.
    pub call: Arc<Call>,
    pub(super) first: CallId,
    pub(super) leg: Leg,
    pub tally: Tally,
    pub outcome: Outcome,
    /// Until when its answer is to be had at least; `None`: it is not known yet, or there already.
    pub until: Option<Timestamp>,
    /// Its agent called it off, and the server had not answered.
    pub called_off: bool,
}

impl Broker {
    /// The agent that waits goes on with a task, which is on the disk when this answers.
    ///
    /// # Errors
    /// What to tell the agent instead: it was settled meanwhile, or the place was taken.
    pub async fn go_on_as_task(
        &self,
        waiter: Waiter,
        headers: &HeaderMap,
        link: &Link,
    ) -> Result<Task, Outcome> {
        let inner = Arc::clone(&self.inner);
        let headers = spelt(headers);
        if waiter.now().request.session.is_some() {
            // Before anybody can decide: what is permitted is sent on its way, and on none of a task before.
            inner.ways.close(waiter.call());
            inner.ways.open(waiter.call(), link);
        }
        let (told, heard) = oneshot::channel();
        // What is begun is recorded; an agent that closes its connection meanwhile never learns its task's name.
        self.inner.tasks.spawn(async move {
            let begun = inner.begin_task(waiter, &headers, Vec::new()).await;
            if let Err(Ok((task, attachment))) = told.send(begun) {
                // Before another can sit down, who would find this way in the place of its own.
                inner.ways.close(task.call.id);
                inner.detach(task.call.id, attachment, DetachReason::Closed).await;
            }
        });
        match heard.await {
            Ok(begun) => begun.map(|(task, _)| task),
            Err(_) => Err(Outcome::unrecorded(End::Unavailable)),
        }
    }

    /// Was this name given here: a task's, or a state that an agent brings back?
    #[must_use]
    pub fn is_ours(&self, name: &str) -> bool {
        self.inner.seal.is_ours(name)
    }

    /// Is that the name of a task of this grant at this server?
    #[must_use]
    pub fn names_task(&self, grant: &str, server: &str, name: &str) -> bool {
        self.inner.named(grant, server, name).is_some()
    }

    /// The task of that name, if it is of this grant at this server.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn task(&self, grant: &str, server: &str, name: &str) -> Result<Option<Task>, StoreError> {
        let Some(id) = self.inner.named(grant, server, name) else { return Ok(None) };
        let Some(call) = self.inner.store.call(id).await? else { return Ok(None) };
        let first = self.inner.task(name.to_owned(), Arc::new(call)).await;
        let Some(task) = self.inner.at_its_leg(first).await? else { return Ok(None) };
        let is_lost = matches!(task.call.state, State::Lost { .. });
        let called_off = is_lost && self.inner.was_called_off(task.call.id).await?;
        Ok(Some(Task { called_off, ..task }))
    }

    /// From here on tasks are dispatched, those first that were approved while no broker ran. Called by the
    /// door, when policies and servers are there.
    pub fn serve_tasks(&self) {
        if !self.inner.serves_tasks.swap(true, Ordering::SeqCst) {
            let inner = Arc::clone(&self.inner);
            self.inner.tasks.spawn(async move {
                if let Err(error) = inner.take_tasks_up().await {
                    tracing::error!(%error, "tasks could not be taken up; they wait for the next start");
                }
            });
        }
    }
}

impl Inner {
    /// `puts` go into the transaction that makes it a task.
    pub(super) async fn begin_task(
        self: &Arc<Self>,
        mut waiter: Waiter,
        headers: &[u8],
        mut puts: Vec<Put>,
    ) -> Result<(Task, Attachment), Outcome> {
        let (id, line) = (waiter.call(), waiter.attachment());
        waiter.spend();
        let left = self.detach(id, line, DetachReason::Closed).await.unwrap_or_else(|| waiter.now());
        drop(waiter);
        let request = &left.request;
        let purpose = [SPACE, &request.agent, &request.server];
        let attachment = Attachment(Uuid::from_bytes(rand::random()));
        let attach = Command::Attach {
            attachment,
            kind: AttachKind::Task,
            session: request.session.clone(),
            replica: self.replica.clone(),
        };
        let (name, row) = (self.seal.name(&purpose, id.0.as_bytes()), self.row(id, headers));
        let (Some(name), Some(row)) = (name, row) else {
            self.ways.close(id);
            return Err(self.outcome(&left).await);
        };
        puts.push(row);
        let beside = |_: &[_], _| Beside { puts: puts.clone(), ..Beside::default() };
        match self.record(id, |_, _| attach.clone(), beside).await {
            Ok(recorded) => Ok((self.task(name, recorded.call).await, attachment)),
            // Settled, or somebody else sat down.
            Err(RecordError::Refused(_)) => {
                self.ways.close(id);
                Err(match self.store.call(id).await {
                    Ok(Some(call)) => self.outcome(&call).await,
                    Ok(None) | Err(_) => self.outcome(&left).await,
                })
            }
            Err(error) => {
                self.ways.close(id);
                Err(self.unrecorded(error))
            }
        }
    }

    pub(super) fn named(&self, grant: &str, server: &str, name: &str) -> Option<CallId> {
        let id = self.seal.open(&[SPACE, grant, server], name)?;
        Uuid::from_slice(&id).ok().map(CallId)
    }

    pub(super) async fn task(&self, id: String, call: Arc<Call>) -> Task {
        let outcome = self.outcome(&call).await;
        self.task_as(id, call, outcome)
    }

    pub(super) fn task_as(&self, id: String, call: Arc<Call>, outcome: Outcome) -> Task {
        let tally = tally(&call, &self.identity.directory().people);
        let until = outcome.call.as_ref().and_then(|brief| brief.expires_at);
        let until = until.map(|at| at.plus(self.settings.redelivery));
        let (begun, first) = (call.requested_at, call.id);
        Task { id, begun, call, first, leg: Leg::default(), tally, outcome, until, called_off: false }
    }

    // ── the following dispatcher ──────────────────────────────────────────

    /// Every append to a call passes here: one that waits as a task and may be sent is sent.
    pub(super) fn follow_task(&self, call: &Arc<Call>) {
        if call.state.is_settled() {
            self.ways.close(call.id);
        }
        if let Some(attachment) = due(call)
            && self.serves_tasks.load(Ordering::SeqCst)
            && !self.ending.is_cancelled()
            && let Some(inner) = self.me.upgrade()
        {
            let call = Arc::clone(call);
            self.tasks.spawn(async move { inner.serve_task(call, attachment).await });
        }
    }

    async fn take_tasks_up(self: &Arc<Self>) -> Result<(), StoreError> {
        for (key, _) in self.store.list(SPACE).await? {
            let Ok(id) = key.parse::<CallId>() else { continue };
            match self.store.call(id).await? {
                Some(call) if !call.state.is_settled() => self.follow_task(&Arc::new(call)),
                Some(_) if self.may_go_on(id).await? => {}
                Some(_) | None => self.forget_task(id).await?,
            }
        }
        Ok(())
    }

    /// The place of a task at its call, the way to the server, and what the call is sent with.
    async fn errand(
        self: &Arc<Self>,
        call: &Arc<Call>,
        attachment: Attachment,
    ) -> Option<(Waiter, Link, Live)> {
        let (id, request) = (call.id, &call.request);
        let own = self.ways.of(id);
        if own.is_none() && request.session.is_some() {
            tracing::info!(call.id = %id, "an approved task waits for a session of its agent");
            return None;
        }
        let headers = match self.store.get(SPACE, id.to_string()).await {
            Ok(row) => row.and_then(|row| self.headers(id, &row)),
            Err(error) => {
                tracing::error!(call.id = %id, %error, "the headers of a task could not be read");
                None
            }
        };
        let (Some(headers), Some(server)) = (headers, self.upstreams.server(&request.server)) else {
            tracing::error!(call.id = %id, "an approved task cannot be sent: its headers or its server are gone");
            return None;
        };
        let conversation = Conversation::Shared { grant: &request.agent };
        let waiter = Waiter {
            brief: self.brief(call),
            inner: Arc::clone(self),
            attachment,
            seat: self.seats.take(attachment, Arc::clone(call)),
            seen: call.version,
            // Whatever becomes of this process, the task stays.
            attached: false,
        };
        let own_task = request.era == Era::Legacy;
        let live = Live { id: format!("\"{id}\"").into(), headers, own_task, ..Live::default() };
        let link = own.unwrap_or_else(|| self.upstreams.link(&server, conversation));
        Some((waiter, link, live))
    }

    async fn serve_task(self: Arc<Self>, call: Arc<Call>, attachment: Attachment) {
        let id = call.id;
        let Some((waiter, link, live)) = self.errand(&call, attachment).await else { return };
        let (sender, mut parts) = mpsc::channel(1);
        let agent = Agent(sender);
        // Nobody is there to hear what the server says meanwhile: a task has no progress.
        let nobody = async {
            while parts.recv().await.is_some() {}
            std::future::pending::<()>().await
        };
        let part = tokio::select! {
            part = self.serve(waiter, &link, &live, &agent) => part,
            () = nobody => return,
        };
        match part {
            Part::End(Outcome { end: End::Limit { retry_at, .. }, .. }) => {
                self.again_at(id, retry_at).await;
            }
            // Asked anew: it is followed again when people have agreed.
            Part::Reparked(_) | Part::Message(_) | Part::End(Outcome { end: End::Unavailable, .. }) => {}
            // The next leg goes up with the same headers.
            Part::End(Outcome { end: End::Completed { message }, .. }) if asking(&message).is_some() => {}
            Part::End(_) => {
                self.ways.close(id);
                if let Err(error) = self.forget_task(id).await {
                    tracing::warn!(call.id = %id, %error, "the headers of a task could not be forgotten");
                }
            }
        }
    }

    /// A limit was full: the call stays permitted, and is tried again until it lapses.
    async fn again_at(self: &Arc<Self>, id: CallId, at: Timestamp) {
        let nap = at.since(self.clock.now()).max(BREATH);
        tokio::select! {
            () = self.ending.cancelled() => return,
            () = tokio::time::sleep(nap) => {}
        }
        if let Ok(Some(call)) = self.store.call(id).await {
            self.follow_task(&Arc::new(call));
        }
    }

    // ── what is sent with it ──────────────────────────────────────────────

    fn row(&self, id: CallId, headers: &[u8]) -> Option<Put> {
        let key = id.to_string();
        let value = self.seal.seal(&[SPACE, &key], headers)?.into_bytes();
        Some(Put { space: SPACE, key, value: Some(value) })
    }

    pub(super) fn headers_as_stored(&self, id: CallId, row: &[u8]) -> Option<Vec<u8>> {
        self.seal.open(&[SPACE, &id.to_string()], std::str::from_utf8(row).ok()?)
    }

    fn headers(&self, id: CallId, row: &[u8]) -> Option<HeaderMap> {
        let pairs: Vec<(String, String)> = serde_json::from_slice(&self.headers_as_stored(id, row)?).ok()?;
        let read = |(name, value): (String, String)| {
            Some((HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?))
        };
        pairs.into_iter().map(read).collect()
    }

    async fn forget_task(&self, id: CallId) -> Result<(), StoreError> {
        self.store.put(vec![Put { space: SPACE, key: id.to_string(), value: None }]).await
    }
}

/// The place of a task whose call may be sent now.
fn due(call: &Call) -> Option<Attachment> {
    let waiter = call.waiter.as_ref().filter(|waiter| waiter.kind == AttachKind::Task)?;
    matches!(call.state, State::Permitted { .. }).then_some(waiter.attachment)
}

fn spelt(headers: &HeaderMap) -> Vec<u8> {
    let pairs = headers.iter().filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    // Pairs of texts are always JSON.
    serde_json::to_vec(&pairs.collect::<Vec<_>>()).unwrap_or_default()
}
