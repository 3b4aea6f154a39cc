//! The ways to the server of tasks that belong to a session (2025-11-25): only in this session's conversation
//! does the server know its client. No restart keeps it, so a task that outlives one waits until its agent asks
//! about it in a session of its own.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use uuid::Uuid;

use super::{Broker, End, Outcome, Task, Waiter, task::SPACE};
use crate::{
    call::{AttachKind, Attachment, Call, CallId, Era},
    mcp::{self, Passthrough},
    store::{Filter, StoreError},
    upstream::{Hold, Link, Outbound},
};

/// Tasks on one page of `tasks/list`.
const PAGE: usize = 50;
/// Connections that may wait for the result of one task, those that broke a moment ago included.
const LISTENERS: usize = 16;

/// By call, with what keeps the conversation from ending for idleness.
#[derive(Debug, Default)]
pub(super) struct Ways(Mutex<HashMap<CallId, (Link, Hold)>>);

impl Ways {
    fn held(&self) -> MutexGuard<'_, HashMap<CallId, (Link, Hold)>> {
        // Each use is one operation, so a panic elsewhere leaves no half of one.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False: there was one already that still leads somewhere, which stays.
    pub(super) fn open(&self, id: CallId, link: &Link) -> bool {
        let mut held = self.held();
        let new = held.get(&id).is_none_or(|(known, _)| known.is_over());
        if new {
            held.insert(id, (link.clone(), link.hold()));
        }
        new
    }

    /// `None`: there is none, or its conversation has ended.
    pub(super) fn of(&self, id: CallId) -> Option<Link> {
        self.held().get(&id).map(|(link, _)| link.clone()).filter(|link| !link.is_over())
    }

    pub(super) fn close(&self, id: CallId) {
        self.held().remove(&id);
    }
}

impl Broker {
    /// The agent of a task is here, in this conversation: a task that lost its own goes on in this one.
    pub async fn lead(&self, task: &Task, link: &Link) {
        let call = &task.call;
        if call.request.session.is_none() || call.state.is_settled() || !self.inner.ways.open(call.id, link) {
            return;
        }
        let (inner, id) = (Arc::clone(&self.inner), call.id);
        // Begun, it is done, whether or not the agent stays: nobody else looks at this way until the call changes.
        let led = self.inner.tasks.spawn(async move {
            // As it stands now. It may have been permitted, and found no way; or be over, and close none any more.
            match inner.store.call(id).await {
                Ok(Some(call)) => inner.follow_task(&Arc::new(call)),
                Ok(None) | Err(_) => inner.ways.close(id),
            }
        });
        if led.await.is_err() {
            tracing::error!(call.id = %id, "a task could not go on in its agent's conversation");
        }
    }

    /// Hears how the call of a task goes on, without a place at it; `None`: enough of its agent do already.
    pub async fn listen(&self, task: &Task) -> Option<Waiter> {
        let inner = &self.inner;
        if inner.seats.number(task.call.id) >= LISTENERS {
            return None;
        }
        let attachment = Attachment(Uuid::from_bytes(rand::random()));
        let waiter = Waiter {
            brief: inner.brief(&task.call),
            inner: Arc::clone(inner),
            attachment,
            seat: inner.seats.take(attachment, Arc::clone(&task.call)),
            seen: task.call.version,
            attached: false,
        };
        // What happened before the seat was taken.
        if let Ok(Some(call)) = inner.store.call(task.call.id).await {
            inner.seats.publish(&Arc::new(call));
        }
        Some(waiter)
    }

    /// An outcome that is there already, as the task of an agent that asked for one.
    pub async fn task_of(&self, outcome: &Outcome) -> Option<Task> {
        let id = outcome.call.as_ref()?.id;
        let call = self.inner.store.call(id).await.ok()??;
        let request = &call.request;
        let name = self.inner.seal.name(&[SPACE, &request.agent, &request.server], id.0.as_bytes())?;
        Some(self.inner.task(name, Arc::new(call)).await)
    }

    /// The tasks of this grant at this server that belong to sessions, newest first, and where the next page
    /// begins. How each stands, and not what it was answered: a page of answers has many megabytes.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn tasks(
        &self,
        grant: &str,
        server: &str,
        after: Option<String>,
    ) -> Result<(Vec<Task>, Option<String>), StoreError> {
        let (agent, of) = (Some(grant.to_owned()), Some(server.to_owned()));
        let filter = Filter { agent, server: of, after, limit: PAGE, ..Filter::default() };
        let page = self.inner.store.calls(filter).await?;
        let mut tasks = Vec::new();
        for call in page.calls.into_iter().filter(is_task) {
            let name = self.inner.seal.name(&[SPACE, grant, server], call.id.0.as_bytes());
            if let Some(name) = name {
                let outcome = Outcome { call: Some(self.inner.brief(&call)), end: End::Ticket };
                tasks.push(self.inner.task_as(name, Arc::new(call), outcome));
            }
        }
        Ok((tasks, page.next))
    }

    /// What an agent carries for its next question of `purpose`: readable here alone.
    #[must_use]
    pub fn sealed(&self, purpose: &[&str], text: &str) -> Option<String> {
        self.inner.seal.name(purpose, text.as_bytes())
    }

    #[must_use]
    pub fn unsealed(&self, purpose: &[&str], sealed: &str) -> Option<String> {
        String::from_utf8(self.inner.seal.open(purpose, sealed)?).ok()
    }

    /// The agent no longer wants a call that the server works on: the server is told, and what it answers is
    /// recorded all the same: it was sent, so it may have had its effect.
    pub async fn call_off(&self, right: Passthrough, task: &Task) {
        let call = &task.call;
        let Some(link) = self.inner.ways.of(call.id) else { return };
        let params = format!("{{\"requestId\":\"{}\",\"reason\":\"the agent cancelled its task\"}}", call.id);
        let said = mcp::answer::notification("notifications/cancelled", Some(&params));
        if let Err(why) = self.inner.upstreams.relay(right, &link, Outbound::post(Bytes::from(said))).await {
            tracing::debug!(call.id = %call.id, %why, "the server was not told that its task is cancelled");
        }
    }
}

fn is_task(call: &Call) -> bool {
    let waits = call.waiter.as_ref().is_some_and(|waiter| waiter.kind == AttachKind::Task);
    waits && call.request.era == Era::Legacy
}
