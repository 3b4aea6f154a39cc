//! Which tools an agent may be calling once more: only for those is an allowed call looked up.
//!
//! A policy may allow now what it sent to people before (a limit's window has moved on, the file has
//! changed). The same call must still find its card, the answer that it is owed, or its denial.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasher as _, RandomState},
    sync::{
        PoisonError, RwLock, RwLockWriteGuard,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use crate::call::{Call, CallId, State, Timestamp};

/// The tools of each agent with calls that are open, or were a short while ago. While nothing was ever
/// recorded, which is how an agent that needs no one runs, it costs one atomic read.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    any: AtomicBool,
    hasher: RandomState,
    /// By the hash of agent, server and tool: two of the same hash only cost a look.
    tools: RwLock<HashMap<u64, Tool>>,
}

#[derive(Debug)]
struct Tool {
    /// Unsettled, or lost and unresolved.
    open: HashSet<CallId>,
    /// The last that settled may answer the same call until then.
    until: Timestamp,
}

impl Default for Tool {
    fn default() -> Self {
        Self { open: HashSet::new(), until: Timestamp(i64::MIN) }
    }
}

impl Repeats {
    /// A call's newest state; a settled one answers the same call for `window`.
    pub(super) fn note(&self, call: &Call, window: Duration) {
        let tool = (&*call.request.agent, &*call.request.server, &*call.request.tool);
        if !call.state.is_settled() || matches!(call.state, State::Lost { resolved: None, .. }) {
            self.with(tool, |tool| {
                tool.open.insert(call.id);
            });
        } else if call.terms.is_some() || matches!(call.state, State::Completed { .. } | State::Lost { .. }) {
            let until = call.settled_at.unwrap_or(call.requested_at).plus(window);
            self.with(tool, |tool| {
                tool.open.remove(&call.id);
                tool.until = tool.until.max(until);
            });
        }
    }

    /// Whatever was called before this process began may be owed an answer until then.
    pub(super) fn expect(&self, (agent, server, tool): (&str, &str, &str), until: Timestamp) {
        self.with((agent, server, tool), |tool| tool.until = tool.until.max(until));
    }

    /// May this be the same call as an earlier one? Then its fingerprint must be looked up.
    pub(super) fn may_be(&self, tool: (&str, &str, &str), now: Timestamp) -> bool {
        if !self.any.load(Ordering::Relaxed) {
            return false;
        }
        let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner);
        tools.get(&self.hasher.hash_one(tool)).is_some_and(|tool| !tool.open.is_empty() || now < tool.until)
    }

    fn with(&self, tool: (&str, &str, &str), change: impl FnOnce(&mut Tool)) {
        let mut tools: RwLockWriteGuard<'_, _> = self.tools.write().unwrap_or_else(PoisonError::into_inner);
        change(tools.entry(self.hasher.hash_one(tool)).or_default());
        self.any.store(true, Ordering::Relaxed);
    }
}
