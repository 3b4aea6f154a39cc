//! Where `notifications/cancelled` finds the request it means, and a resumed stream the one it goes on with,
//! while that request waits here.
//!
//! Only requests of a session have a line here: without one, two clients of the same grant may use the same id.
//! Servers choose the ids of their sessions, so two may choose the same: a session is meant with its server
//! and its grant.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU8, Ordering},
    },
};

use tokio::sync::{Notify, oneshot};

use super::wait::Wait;

type Key = (Arc<Whose>, Box<str>);

/// A session among all those of all servers.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Whose {
    pub server: String,
    pub grant: String,
    pub session: Arc<str>,
}

/// The waiting requests of all sessions.
#[derive(Clone, Debug, Default)]
pub(super) struct Lines(Arc<Mutex<HashMap<Key, Weak<Place>>>>);

/// One waiting request, its response held open; given up when dropped.
#[derive(Debug)]
pub(super) struct Line {
    place: Arc<Place>,
    key: Option<Key>,
    lines: Lines,
}

#[derive(Debug, Default)]
struct Place {
    phase: AtomicU8,
    /// The number of its stream; 0: none that can be resumed.
    stream: Mutex<u128>,
    stirred: Notify,
    heir: Mutex<Option<Heir>>,
}

/// Who takes the stream up again, and waits to be given it.
pub(super) type Heir = oneshot::Sender<Box<Wait>>;

/// What reaches a waiting request from beside its own connection.
#[derive(Debug)]
pub(super) enum Stir {
    /// The agent cancelled.
    Left,
    /// The agent takes its stream up again, on another connection.
    Wanted(Heir),
}

/// What a cancel means for the one who waits there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Leave {
    /// It waited for a person: it hears of it, and nothing goes upstream.
    Heard,
    /// Nobody waits here (any more): the server must hear it.
    PassOn,
}

const WAITING: u8 = 0;
const SENT: u8 = 1;
const LEFT: u8 = 2;

impl Lines {
    /// `session` and the request's id as written.
    pub(super) fn take(&self, session: Option<&Arc<Whose>>, id: &str) -> Line {
        let place = Arc::<Place>::default();
        let key = session.map(|session| (session.clone(), Box::from(id)));
        if let Some(key) = &key {
            self.lock().insert(key.clone(), Arc::downgrade(&place));
        }
        Line { place, key, lines: self.clone() }
    }

    /// `notifications/cancelled` came for this request.
    pub(super) fn cancel(&self, session: &Arc<Whose>, id: &str) -> Leave {
        let place = self.lock().get(&(session.clone(), Box::from(id))).and_then(Weak::upgrade);
        let Some(place) = place else { return Leave::PassOn };
        let was = place.phase.swap(LEFT, Ordering::SeqCst);
        place.stirred.notify_one();
        if was == SENT { Leave::PassOn } else { Leave::Heard }
    }

    /// Asks whoever holds that stream of this request for it; `None`: nobody does.
    pub(super) fn ask(
        &self,
        session: &Arc<Whose>,
        id: &str,
        stream: u128,
    ) -> Option<oneshot::Receiver<Box<Wait>>> {
        let place = self.lock().get(&(session.clone(), Box::from(id))).and_then(Weak::upgrade)?;
        if stream == 0 || *place.stream.lock().unwrap_or_else(PoisonError::into_inner) != stream {
            return None;
        }
        let (heir, wait) = oneshot::channel();
        *place.heir.lock().unwrap_or_else(PoisonError::into_inner) = Some(heir);
        place.stirred.notify_one();
        Some(wait)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Weak<Place>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    /// Resolves when the agent cancelled (if that is heard now) or takes its stream up again; cancel-safe.
    pub(super) async fn stirred(&self, hears_cancel: bool) -> Stir {
        loop {
            if hears_cancel && self.has_left() {
                return Stir::Left;
            }
            let heir = self.place.heir.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some(heir) = heir {
                return Stir::Wanted(heir);
            }
            self.place.stirred.notified().await;
        }
    }

    /// Another look at the same request, which gives nothing up.
    pub(super) fn also(&self) -> Self {
        Self { place: Arc::clone(&self.place), key: None, lines: self.lines.clone() }
    }

    /// Its stream has this number from here on.
    pub(super) fn opens(&self, stream: u128) {
        *self.place.stream.lock().unwrap_or_else(PoisonError::into_inner) = stream;
    }

    pub(super) fn has_left(&self) -> bool {
        self.place.phase.load(Ordering::SeqCst) == LEFT
    }

    /// From here on a cancel is the server's to hear. False: the agent has left already.
    pub(super) fn sent(&self) -> bool {
        let moved = self.place.phase.compare_exchange(WAITING, SENT, Ordering::SeqCst, Ordering::SeqCst);
        moved.is_ok() || !self.has_left()
    }

    /// Not sent after all: it waits again.
    pub(super) fn waits_again(&self) {
        let _ = self.place.phase.compare_exchange(SENT, WAITING, Ordering::SeqCst, Ordering::SeqCst);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Some(key) = self.key.take() else { return };
        let mut lines = self.lines.lock();
        let mine = Arc::downgrade(&self.place);
        if lines.get(&key).is_some_and(|place| place.ptr_eq(&mine)) {
            lines.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whose(server: &str, grant: &str, session: &str) -> Arc<Whose> {
        Arc::new(Whose { server: server.into(), grant: grant.into(), session: session.into() })
    }

    #[test]
    fn a_cancel_is_heard_by_the_request_it_names_and_by_no_other() {
        let (lines, session): (Lines, Arc<Whose>) = (Lines::default(), whose("rig", "bot", "s1"));
        let (mine, other) = (lines.take(Some(&session), "1"), lines.take(Some(&session), "2"));
        assert_eq!(lines.cancel(&session, "1"), Leave::Heard);
        assert!(mine.has_left());
        assert!(!other.has_left());
        for other in [whose("rig", "bot", "s2"), whose("rig", "eve", "s1"), whose("other", "bot", "s1")] {
            assert_eq!(lines.cancel(&other, "2"), Leave::PassOn);
        }
    }

    #[tokio::test]
    async fn a_stream_is_asked_for_by_its_session_request_and_number() {
        let (lines, session): (Lines, Arc<Whose>) = (Lines::default(), whose("rig", "bot", "s1"));
        let line = lines.take(Some(&session), "1");
        assert!(lines.ask(&session, "1", 0).is_none(), "it has no stream yet");
        line.opens(7);
        assert!(lines.ask(&session, "1", 8).is_none());
        assert!(lines.ask(&session, "2", 7).is_none());
        assert!(lines.ask(&whose("rig", "bot", "s2"), "1", 7).is_none());
        assert!(lines.ask(&whose("rig", "eve", "s1"), "1", 7).is_none());
        assert!(lines.ask(&whose("other", "bot", "s1"), "1", 7).is_none());
        assert!(lines.ask(&session, "1", 7).is_some());
        assert!(matches!(line.stirred(true).await, Stir::Wanted(_)));
        lines.cancel(&session, "1");
        assert!(matches!(line.stirred(true).await, Stir::Left));
    }

    #[test]
    fn a_cancel_after_the_call_was_sent_is_passed_on() {
        let (lines, session): (Lines, Arc<Whose>) = (Lines::default(), whose("rig", "bot", "s1"));
        let line = lines.take(Some(&session), "\"a\"");
        assert!(line.sent());
        assert_eq!(lines.cancel(&session, "\"a\""), Leave::PassOn);
        assert!(line.has_left());
    }

    #[test]
    fn a_seat_given_up_is_forgotten_and_one_taken_again_is_kept() {
        let (lines, session): (Lines, Arc<Whose>) = (Lines::default(), whose("rig", "bot", "s1"));
        let first = lines.take(Some(&session), "1");
        let second = lines.take(Some(&session), "1");
        drop(first);
        assert_eq!(lines.cancel(&session, "1"), Leave::Heard);
        drop(second);
        assert_eq!(lines.cancel(&session, "1"), Leave::PassOn);
    }
}
