//! How many streams without an end of their own are open: GET, `subscriptions/listen`, HTTP+SSE of 2024-11-05.
//!
//! Each is a connection, and mostly another at its server; an agent may open them faster than it needs them.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

pub(super) const TOO_MANY: &str =
    "too many streams are open (one agent may have half of all); close one, or try again later";

/// The open streams of all agents, bounded in number.
#[derive(Debug)]
pub(super) struct Listeners {
    open: Arc<Mutex<Open>>,
    most: usize,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    /// By grant; none is zero.
    own: HashMap<String, usize>,
}

/// One open stream; its place is given back when it is dropped.
#[derive(Debug)]
pub(super) struct Listening {
    open: Arc<Mutex<Open>>,
    grant: String,
}

impl Listeners {
    pub(super) fn new(most: usize) -> Self {
        Self { open: Arc::default(), most }
    }

    /// `None`: there are too many, or this grant has its half of them.
    pub(super) fn take(&self, grant: &str) -> Option<Listening> {
        let mut open = lock(&self.open);
        let own = open.own.get(grant).copied().unwrap_or_default();
        if open.all >= self.most || own >= self.most.div_ceil(2) {
            return None;
        }
        open.all += 1;
        open.own.insert(grant.to_owned(), own + 1);
        Some(Listening { open: self.open.clone(), grant: grant.to_owned() })
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        open.all -= 1;
        let own = open.own.get(&self.grant).copied().unwrap_or_default();
        if own <= 1 {
            open.own.remove(&self.grant);
        } else {
            open.own.insert(self.grant.clone(), own - 1);
        }
    }
}

/// Each use is one operation, so a panic elsewhere leaves no half of one.
fn lock(open: &Mutex<Open>) -> MutexGuard<'_, Open> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_grant_has_half_and_what_is_closed_is_given_back() {
        let listeners = Listeners::new(5);
        let mut own: Vec<_> = (0..3).map(|_| listeners.take("bot").unwrap()).collect();
        assert!(listeners.take("bot").is_none(), "it has its half");
        let others: Vec<_> = (0..2).map(|_| listeners.take("ann-bot").unwrap()).collect();
        assert!(listeners.take("eve").is_none(), "there are no more");
        own.pop();
        own.push(listeners.take("bot").unwrap());
        drop((own, others));
        assert!(lock(&listeners.open).own.is_empty());
        assert_eq!(lock(&listeners.open).all, 0);
    }
}
