//! Legacy sessions: what `initialize` said, and the one conversation upstream that belongs to it.
//!
//! A session is of one grant at one server; to anyone else it does not exist.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use super::{lines::Whose, tasks::Offered};
use crate::{
    call::{ClientInfo, Timestamp},
    identity::Grant,
    upstream::Link,
};

/// One downstream session; whoever works on a request of it holds a clone, and it is not idle then.
#[derive(Debug)]
pub(super) struct Session {
    pub id: Arc<str>,
    /// With its server and grant: what names it among all.
    pub whose: Arc<Whose>,
    pub link: Link,
    pub client: Arc<ClientInfo>,
    pub tasks: Offered,
    /// Its client can show links to the person before it.
    pub shows_links: bool,
    /// Several agents have its grant.
    shared: bool,
    last_use: AtomicI64,
}

impl Session {
    pub(super) fn new(id: &str, grant: &Grant, link: Link, client: ClientInfo, now: Timestamp) -> Self {
        let (id, server): (Arc<str>, _) = (id.into(), link.server().name().to_owned());
        let whose = Arc::new(Whose { server, grant: grant.name.clone(), session: id.clone() });
        Self {
            id,
            whose,
            link,
            client: client.into(),
            tasks: Offered::default(),
            shows_links: false,
            shared: grant.settings.shared,
            last_use: AtomicI64::new(now.0),
        }
    }

    /// Of another grant, or of one that several agents use.
    fn is_anothers(&self, session: &Self) -> bool {
        self.shared || self.whose.grant != session.whose.grant
    }
}

/// Why there is no session.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NotOpened {
    /// There are too many, or this grant has its half of them.
    TooMany,
    /// The server gave it the id of a session that lives and is another agent's: at the server the two are one.
    Taken,
}

/// By server, then by session id.
type Living = HashMap<String, HashMap<String, Arc<Session>>>;

/// Every living session, bounded in number.
#[derive(Debug)]
pub(super) struct Sessions {
    living: Mutex<Living>,
    /// Servers that gave a session once: a request to them without one is refused before it waits.
    keepers: Mutex<HashSet<String>>,
    most: usize,
    idle: Duration,
}

impl Sessions {
    pub(super) fn new(most: usize, idle: Duration) -> Self {
        Self { living: Mutex::default(), keepers: Mutex::default(), most, idle }
    }

    /// # Errors
    /// Why `session` was not kept.
    pub(super) fn open(&self, server: &str, session: Session, now: Timestamp) -> Result<(), NotOpened> {
        let mut living = lock(&self.living);
        let share = self.most.div_ceil(2);
        let is_full = |living: &Living| {
            let all = count(living);
            all >= self.most || (all >= share && count_of(living, &session.whose.grant) >= share)
        };
        if is_full(&living) {
            for sessions in living.values_mut() {
                sessions.retain(|_, session| !self.is_idle(session, now));
            }
        }
        if is_full(&living) {
            return Err(NotOpened::TooMany);
        }
        let sessions = living.entry(server.to_owned()).or_default();
        let before = sessions.get(&*session.id).filter(|before| !before.link.is_over());
        if before.is_some_and(|before| !self.is_idle(before, now) && before.is_anothers(&session)) {
            return Err(NotOpened::Taken);
        }
        sessions.insert(session.id.to_string(), Arc::new(session));
        Ok(())
    }

    /// This server gave a session: from here on it is asked nothing without one.
    pub(super) fn needs_them(&self, server: &str) {
        lock(&self.keepers).insert(server.to_owned());
    }

    /// The session of that id, if it is of this grant; counts as a use.
    pub(super) fn find(&self, server: &str, id: &str, grant: &Grant, now: Timestamp) -> Option<Arc<Session>> {
        let living = lock(&self.living);
        let session = living.get(server)?.get(id)?;
        if session.whose.grant != grant.name {
            return None;
        }
        session.last_use.store(now.0, Ordering::Relaxed);
        Some(session.clone())
    }

    /// This one, and no other to which its server gave the same id later.
    pub(super) fn forget(&self, session: &Arc<Session>) {
        let mut living = lock(&self.living);
        let Some(sessions) = living.get_mut(&session.whose.server) else { return };
        if sessions.get(&*session.id).is_some_and(|known| Arc::ptr_eq(known, session)) {
            sessions.remove(&*session.id);
        }
    }

    /// As if this process had just started.
    pub(super) fn forget_all(&self) {
        lock(&self.living).clear();
    }

    /// Ends what nobody used for long; the conversations to close.
    pub(super) fn sweep(&self, now: Timestamp) -> Vec<Arc<Session>> {
        let mut living = lock(&self.living);
        let idle = |sessions: &mut HashMap<String, Arc<Session>>| -> Vec<Arc<Session>> {
            sessions.extract_if(|_, session| self.is_idle(session, now)).map(|(_, session)| session).collect()
        };
        living.values_mut().flat_map(idle).collect()
    }

    /// Does this server keep sessions, as far as was seen?
    pub(super) fn keeps(&self, server: &str) -> bool {
        lock(&self.keepers).contains(server)
    }

    fn is_idle(&self, session: &Arc<Session>, now: Timestamp) -> bool {
        let last = Timestamp(session.last_use.load(Ordering::Relaxed));
        Arc::strong_count(session) == 1 && now.since(last) >= self.idle
    }
}

fn count(living: &Living) -> usize {
    living.values().map(HashMap::len).sum()
}

fn count_of(living: &Living, grant: &str) -> usize {
    living.values().flat_map(HashMap::values).filter(|session| session.whose.grant == grant).count()
}

/// A poisoned lock still holds a whole map: nothing in here can stop half way.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
