//! A call by its short code, for an agent that holds its ticket and cannot make the same call again.

use std::sync::Arc;

use bytes::Bytes;

use super::{Broker, Inner, Outcome, Waiter};
use crate::{
    call::{AttachKind, Call, CallId, Era},
    store::{Filter, PayloadKind, StoreError},
};

/// Pages of calls that are looked through for one code, and calls on each.
const PAGES: usize = 5;
const PAGE: usize = 200;

/// Whose call it must be.
#[derive(Clone, Debug)]
pub struct Holder {
    pub grant: String,
    pub server: String,
    pub session: Option<Arc<str>>,
    pub era: Era,
}

/// What there is to collect.
#[derive(Debug)]
pub enum Collected {
    /// A place at the call, and the tool that is called.
    Seat(Box<Waiter>, String),
    /// The outcome, which the agent has not had. Report its delivery as `HowDelivered::Recall`.
    Owed(Box<Outcome>),
    /// Another connection of the agent, or a task, waits for it.
    Taken,
    /// There is no such call of this agent, or its answer was given already.
    Nothing,
    Unavailable,
}

impl Broker {
    /// Takes a place at the call of a ticket, as the same call made again does.
    pub async fn collect(&self, holder: Holder, code: &str) -> Collected {
        let (inner, code) = (Arc::clone(&self.inner), code.to_ascii_uppercase());
        // A place that was taken is left again, should the agent be gone by then.
        let done = self.inner.tasks.spawn(async move { inner.collect(&holder, &code).await });
        match done.await {
            Ok(Ok(collected)) => collected,
            Ok(Err(error)) => {
                tracing::error!(%error, "a call could not be found by its code");
                Collected::Unavailable
            }
            Err(_) => Collected::Unavailable,
        }
    }

    /// The message of a call that waits, as the agent sent it. `None`: it was erased, or cannot be read.
    pub async fn message_of(&self, call: CallId) -> Option<Bytes> {
        let stored = self.inner.store.payload(call, PayloadKind::Params, 0).await;
        Some(stored.ok()??.bytes.into())
    }
}

impl Inner {
    async fn collect(self: &Arc<Self>, holder: &Holder, code: &str) -> Result<Collected, StoreError> {
        let Some(call) = self.coded(holder, code).await? else { return Ok(Collected::Nothing) };
        if call.state.is_settled() {
            return Ok(self.owed(&call).await);
        }
        if self.is_waited_for(&call) {
            return Ok(Collected::Taken);
        }
        let session = holder.session.as_deref();
        if let Some(waiter) = self.sit_down((AttachKind::Line, session), &call, false).await? {
            return Ok(Collected::Seat(Box::new(waiter), call.request.tool.clone()));
        }
        // Settled meanwhile, or somebody was faster.
        Ok(match self.store.call(call.id).await? {
            Some(call) if call.state.is_settled() => self.owed(&call).await,
            Some(_) | None => Collected::Taken,
        })
    }

    async fn owed(&self, call: &Call) -> Collected {
        if self.is_owed(call) {
            Collected::Owed(Box::new(self.outcome(call).await))
        } else {
            Collected::Nothing
        }
    }

    async fn coded(&self, holder: &Holder, code: &str) -> Result<Option<Call>, StoreError> {
        if code.len() != 6 || !code.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Ok(None);
        }
        let is_it = |call: &Call| {
            let request = &call.request;
            call.digest.short_code() == code
                && (&request.agent, &request.server, request.era)
                    == (&holder.grant, &holder.server, holder.era)
        };
        let mut after = None;
        for _ in 0..PAGES {
            let (agent, server) = (Some(holder.grant.clone()), Some(holder.server.clone()));
            let text = Some(code.to_owned());
            let filter = Filter { agent, server, text, after, limit: PAGE, ..Filter::default() };
            let page = self.store.calls(filter).await?;
            let found = page.calls.into_iter().find(is_it);
            if found.is_some() || page.next.is_none() {
                return Ok(found);
            }
            after = page.next;
        }
        Ok(None)
    }
}
