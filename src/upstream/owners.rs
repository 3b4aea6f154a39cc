//! Whose the living streams of a server are that speaks HTTP+SSE: the endpoint is the session, and an endpoint that two
//! agents are given is one session for both.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Grant and number of streams by endpoint; none is zero.
type Streams = HashMap<String, (String, usize)>;

/// By endpoint, as one server names them.
#[derive(Clone, Debug, Default)]
pub(super) struct Owners(Arc<Mutex<Streams>>);

/// One living stream; dropped when it ends.
#[derive(Debug)]
pub(super) struct Owned {
    owners: Owners,
    endpoint: String,
}

impl Owners {
    /// `None`: a living stream of another grant has that endpoint.
    pub(super) fn take(&self, endpoint: &str, grant: &str) -> Option<Owned> {
        let mut streams = self.lock();
        let (owner, number) = streams.entry(endpoint.to_owned()).or_insert_with(|| (grant.to_owned(), 0));
        if owner != grant {
            return None;
        }
        *number += 1;
        Some(Owned { owners: self.clone(), endpoint: endpoint.to_owned() })
    }

    /// Each use is one operation, so a panic elsewhere leaves no half of one.
    fn lock(&self) -> MutexGuard<'_, Streams> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        let mut streams = self.owners.lock();
        let Some((_, number)) = streams.get_mut(&self.endpoint) else { return };
        *number -= 1;
        if *number == 0 {
            streams.remove(&self.endpoint);
        }
    }
}
