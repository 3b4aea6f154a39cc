//! Counters of limits, in memory: reserved before dispatch, all or none, given back when nothing ran.
//!
//! The ledger carries what was taken, so that `rebuild` can restore every open window after a restart.
//! Memory is bounded: a sliding window is kept in a fixed number of slots, and closed windows go.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use super::Window;
use crate::call::Timestamp;

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub enum Scope {
    Grant,
    Agent,
    Session,
    Server,
    Global,
}

/// A limit that this call would use; the broker takes all of them, or none.
#[derive(Clone, PartialEq, Debug)]
pub struct Reservation {
    /// Counter name with its scope's value, e.g. `x_rate|ci-bot`.
    pub counter: String,
    pub window: Window,
    pub max: f64,
    /// 1, or the amount of `increment_from`.
    pub amount: f64,
    pub rule: String,
    pub on_deny: Option<String>,
    /// True: over the limit asks for a person instead of refusing.
    pub on_limit_review: bool,
    /// Longer than a minute or `increment_from`: the call must be durable before it runs.
    pub durable: bool,
}

/// What one call took: what its ledger entry carries, and what `give_back` needs.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Taken {
    pub uses: Vec<Use>,
}

#[derive(Clone, PartialEq, Debug)]
pub struct Use {
    pub counter: String,
    pub window: Window,
    pub amount: f64,
    pub at: Timestamp,
}

/// The limit that is full.
#[derive(Clone, PartialEq, Debug)]
pub struct LimitHit {
    pub rule: String,
    /// When the same call would fit; none when it is more than the limit by itself.
    pub retry_at: Option<Timestamp>,
    pub on_deny: Option<String>,
    /// True: ask a person instead of refusing.
    pub review: bool,
}

/// All counters with an open window.
#[derive(Debug, Default)]
pub struct Limits {
    counters: HashMap<(String, Window), Counter>,
    /// Counters left by the last sweep: the next one comes when there are twice as many.
    swept: usize,
}

impl Limits {
    /// Takes every reservation, or none. A refusal outweighs a limit that only asks for a person.
    pub fn reserve(&mut self, reservations: &[Reservation], now: Timestamp) -> Result<Taken, LimitHit> {
        self.check(reservations, now)?;
        Ok(self.take(reservations, now))
    }

    /// As `reserve`, for a call that a person approved: limits that only ask for a person count it
    /// and let it pass.
    pub fn reserve_approved(
        &mut self,
        reservations: &[Reservation],
        now: Timestamp,
    ) -> Result<Taken, LimitHit> {
        match self.check(reservations, now) {
            Err(hit) if !hit.review => Err(hit),
            Ok(()) | Err(_) => Ok(self.take(reservations, now)),
        }
    }

    /// Would they fit? Takes nothing.
    pub fn check(&self, reservations: &[Reservation], now: Timestamp) -> Result<(), LimitHit> {
        let mut asks = None;
        for (index, wanted) in reservations.iter().enumerate() {
            // Two limits of one call may share a counter: the earlier ones come first.
            let before: f64 = reservations[..index]
                .iter()
                .filter(|other| other.counter == wanted.counter && other.window == wanted.window)
                .map(|other| other.amount)
                .sum();
            let Some(hit) = self.hit(wanted, before, now) else { continue };
            if !hit.review {
                return Err(hit);
            }
            asks = asks.or(Some(hit));
        }
        asks.map_or(Ok(()), Err)
    }

    /// Undoes a `reserve` whose call was not sent.
    pub fn give_back(&mut self, taken: Taken) {
        for used in taken.uses {
            if let Some(counter) = self.counters.get_mut(&(used.counter, used.window)) {
                counter.add(used.window, used.at, -used.amount);
            }
        }
    }

    /// Counts what the ledger says was taken; `at` may be any time, closed windows are passed over.
    pub fn rebuild(&mut self, counter: &str, window: Window, amount: f64, at: Timestamp) {
        self.counters.entry((counter.to_owned(), window)).or_default().add(window, at, amount);
    }

    /// Forgets the counters whose windows have closed.
    pub fn sweep(&mut self, now: Timestamp) {
        self.counters.retain(|(_, window), counter| {
            counter.close(*window, now);
            !counter.slots.is_empty()
        });
        self.swept = self.counters.len();
    }

    /// How many counters are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.counters.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counters.is_empty()
    }

    fn take(&mut self, reservations: &[Reservation], now: Timestamp) -> Taken {
        if self.counters.len() > 2 * self.swept + 64 {
            self.sweep(now);
        }
        let uses = reservations.iter().map(|wanted| {
            let key = (wanted.counter.clone(), wanted.window);
            let counter = self.counters.entry(key).or_default();
            counter.close(wanted.window, now);
            counter.add(wanted.window, now, wanted.amount);
            Use { counter: wanted.counter.clone(), window: wanted.window, amount: wanted.amount, at: now }
        });
        Taken { uses: uses.collect() }
    }

    fn hit(&self, wanted: &Reservation, before: f64, now: Timestamp) -> Option<LimitHit> {
        let free = wanted.max - wanted.amount - before;
        let counter = self.counters.get(&(wanted.counter.clone(), wanted.window));
        let used = counter.map_or(0.0, |counter| counter.used(wanted.window, now));
        if used <= free {
            return None;
        }
        Some(LimitHit {
            rule: wanted.rule.clone(),
            retry_at: counter.and_then(|counter| counter.frees(wanted.window, now, free)),
            on_deny: wanted.on_deny.clone(),
            review: wanted.on_limit_review,
        })
    }
}

/// Uses of one counter in one window, oldest slot first; a slot is `(number, amount)`.
#[derive(Debug, Default)]
struct Counter {
    slots: VecDeque<(i64, f64)>,
}

/// A sliding window is kept in this many slots; a use counts until its whole slot has left.
const SLOTS: u32 = 60;

fn slot_length(window: Window) -> i64 {
    let length = match window {
        Window::Calendar(length) => length,
        Window::Sliding(length) => (length / SLOTS).max(Duration::from_millis(1)),
    };
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX).max(1)
}

/// When a slot no longer counts.
fn closes(window: Window, slot: i64) -> Timestamp {
    let end = Timestamp(slot.saturating_add(1).saturating_mul(slot_length(window)));
    match window {
        Window::Calendar(_) => end,
        Window::Sliding(length) => end.plus(length),
    }
}

impl Counter {
    fn add(&mut self, window: Window, at: Timestamp, amount: f64) {
        let slot = at.0.div_euclid(slot_length(window));
        match self.slots.binary_search_by_key(&slot, |(number, _)| *number) {
            Ok(index) => {
                if let Some((_, used)) = self.slots.get_mut(index) {
                    *used = (*used + amount).max(0.0);
                }
            }
            // What is given back after its slot has closed is gone with it.
            Err(_) if amount < 0.0 => {}
            Err(index) => self.slots.insert(index, (slot, amount)),
        }
        self.slots.retain(|(_, used)| *used > 0.0);
    }

    fn close(&mut self, window: Window, now: Timestamp) {
        self.slots.retain(|(slot, _)| closes(window, *slot) > now);
    }

    fn used(&self, window: Window, now: Timestamp) -> f64 {
        self.open(window, now).map(|(_, used)| used).sum()
    }

    /// When no more than `free` will be used, with nothing added.
    fn frees(&self, window: Window, now: Timestamp, free: f64) -> Option<Timestamp> {
        let mut used = self.used(window, now);
        (free >= 0.0).then_some(())?;
        for (slot, amount) in self.open(window, now) {
            used -= amount;
            if used <= free {
                return Some(closes(window, slot));
            }
        }
        None
    }

    fn open(&self, window: Window, now: Timestamp) -> impl Iterator<Item = (i64, f64)> {
        self.slots.iter().copied().filter(move |(slot, _)| closes(window, *slot) > now)
    }
}
