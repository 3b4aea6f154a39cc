//! Calls whose outcome nobody knows: while one is unresolved, the same call needs a person.

use std::{
    collections::{HashMap, HashSet},
    sync::{PoisonError, RwLock, atomic::AtomicUsize, atomic::Ordering},
};

use crate::call::{Call, CallId, State};

/// Unresolved lost calls by agent, server and tool; empty nearly always, which costs one atomic read.
#[derive(Debug, Default)]
pub(super) struct Lost {
    count: AtomicUsize,
    calls: RwLock<HashMap<(String, String, String), HashSet<CallId>>>,
}

fn key(call: &Call) -> (String, String, String) {
    (call.request.agent.clone(), call.request.server.clone(), call.request.tool.clone())
}

impl Lost {
    /// A call's newest state, when it is lost.
    pub(super) fn note(&self, call: &Call) {
        let State::Lost { resolved: None, .. } = &call.state else { return };
        let mut calls = self.calls.write().unwrap_or_else(PoisonError::into_inner);
        if calls.entry(key(call)).or_default().insert(call.id) {
            self.count.fetch_add(1, Ordering::SeqCst);
        }
    }

    pub(super) fn resolved(&self, call: &Call) {
        let mut calls = self.calls.write().unwrap_or_else(PoisonError::into_inner);
        if calls.get_mut(&key(call)).is_some_and(|ids| ids.remove(&call.id)) {
            self.count.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// Might a call of this tool be the repeat of a lost one? Then its fingerprint must be compared.
    pub(super) fn suspects(&self, agent: &str, server: &str, tool: &str) -> bool {
        if self.count.load(Ordering::Relaxed) == 0 {
            return false;
        }
        let calls = self.calls.read().unwrap_or_else(PoisonError::into_inner);
        calls.get(&(agent.into(), server.into(), tool.into())).is_some_and(|ids| !ids.is_empty())
    }
}
