//! How much waits: the caps on parked calls, kept in memory and fed by `record`.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::Settings;
use crate::call::{Call, CallId};

#[derive(Debug, Default)]
pub(super) struct Parked {
    waiting: Mutex<Waiting>,
}

#[derive(Debug, Default)]
struct Waiting {
    calls: HashMap<CallId, u32>,
    agents: Vec<(String, usize)>,
    agent_index: HashMap<String, u32>,
    bytes: usize,
    sizes: HashMap<CallId, usize>,
}

impl Parked {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call's newest state: counts it in while it is unsettled, out when it settles.
    pub(super) fn note(&self, call: &Call) {
        let mut waiting = self.waiting();
        if call.state.is_settled() { waiting.remove(call.id) } else { waiting.insert(call) }
    }

    /// Remembers how large the arguments of a call are that is about to be parked.
    pub(super) fn weigh(&self, id: CallId, bytes: usize) {
        self.waiting().weigh(id, bytes);
    }

    /// Gives the weight back of a call that could not be recorded.
    pub(super) fn unweigh(&self, id: CallId) {
        self.waiting().remove(id);
    }

    /// Counts a call of `agent` in that is about to be parked: of a burst, no more get a place than there are.
    ///
    /// # Errors
    /// Which cap it would break, in words for the agent.
    pub(super) fn admit(
        &self,
        id: CallId,
        agent: &str,
        bytes: usize,
        settings: &Settings,
    ) -> Result<(), String> {
        let mut waiting = self.waiting();
        let index = waiting.agent(agent);
        let own = waiting.agents[index as usize].1;
        if own >= settings.pending_per_agent {
            return Err(format!(
                "{own} calls of this agent already wait for approval, which is the most allowed; \
                 let some be decided, then call again"
            ));
        }
        if waiting.calls.len() >= settings.pending || waiting.bytes + bytes > settings.pending_bytes {
            return Err("too many calls wait for approval at this broker; call again later".into());
        }
        waiting.count(id, index);
        waiting.weigh(id, bytes);
        Ok(())
    }

    /// How many calls are unsettled now.
    pub(super) fn count(&self) -> usize {
        self.waiting().calls.len()
    }
}

impl Waiting {
    fn insert(&mut self, call: &Call) {
        if self.calls.contains_key(&call.id) {
            return;
        }
        let index = self.agent(&call.request.agent);
        self.count(call.id, index);
    }

    fn count(&mut self, id: CallId, index: u32) {
        self.agents[index as usize].1 += 1;
        self.calls.insert(id, index);
    }

    /// Once: what had its place already is as large as it was.
    fn weigh(&mut self, id: CallId, bytes: usize) {
        if self.sizes.insert(id, bytes).is_none() {
            self.bytes += bytes;
        }
    }

    fn agent(&mut self, name: &str) -> u32 {
        if let Some(index) = self.agent_index.get(name) {
            return *index;
        }
        let index = u32::try_from(self.agents.len()).unwrap_or(u32::MAX);
        self.agents.push((name.to_owned(), 0));
        self.agent_index.insert(name.to_owned(), index);
        index
    }

    fn remove(&mut self, id: CallId) {
        if let Some(bytes) = self.sizes.remove(&id) {
            self.bytes -= bytes;
        }
        if let Some(index) = self.calls.remove(&id) {
            self.agents[index as usize].1 -= 1;
        }
    }
}
