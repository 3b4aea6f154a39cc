//! What the writer, the readers and the store's owner share: the keys, the head, what was written last.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use ed25519_dalek::SigningKey;
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::watch;

use super::{files, prints::Prints, schema::opening};
use crate::{
    call::{Call, CallId, Timestamp},
    ledger::{Chain, Head},
    store::StoreError,
};

/// Calls remembered in each of two generations: a parked call is looked at without touching the disk.
const GENERATION: usize = 2048;

#[derive(Debug)]
pub struct Shared {
    path: PathBuf,
    name: String,
    signing_key: SigningKey,
    fingerprint_key: [u8; 32],
    pub head: watch::Sender<u64>,
    /// Set once, with the reason, by the first write that fails.
    closed: OnceLock<String>,
    signed_size: AtomicU64,
    signed_head: Mutex<Option<Arc<str>>>,
    recent: Mutex<Recent>,
    pub prints: Arc<Prints>,
}

/// Snapshots of the calls written last. Only the writer adds to it, after the commit and before the
/// answer, so it never shows a call older than the one that an append has answered.
#[derive(Debug, Default)]
struct Recent {
    young: HashMap<CallId, Arc<Call>>,
    old: HashMap<CallId, Arc<Call>>,
}

impl Shared {
    pub fn new(
        path: &Path,
        name: String,
        signing_key: SigningKey,
        fingerprint_key: [u8; 32],
        size: u64,
        prints: Arc<Prints>,
    ) -> Self {
        Self {
            path: path.to_owned(),
            name,
            signing_key,
            fingerprint_key,
            head: watch::Sender::new(size),
            closed: OnceLock::new(),
            signed_size: AtomicU64::new(0),
            signed_head: Mutex::default(),
            recent: Mutex::default(),
            prints,
        }
    }

    pub fn signing_key(&self) -> &SigningKey {
        &self.signing_key
    }

    pub fn fingerprint_key(&self) -> &[u8; 32] {
        &self.fingerprint_key
    }

    pub fn is_open(&self) -> bool {
        self.closed.get().is_none()
    }

    pub fn check_open(&self) -> Result<(), StoreError> {
        match self.closed.get() {
            None => Ok(()),
            Some(why) => Err(StoreError::Unavailable(why.clone())),
        }
    }

    pub fn close(&self, why: &str) {
        if self.closed.set(why.to_owned()).is_ok() {
            tracing::error!(error = why, "the store cannot write and stays closed");
        }
    }

    pub fn sign(&self, chain: &Chain, at: Timestamp) -> String {
        Head { origin: self.name.clone(), size: chain.size, hash: chain.head, at }.sign(&self.signing_key)
    }

    pub fn signed_size(&self) -> u64 {
        self.signed_size.load(Ordering::Acquire)
    }

    pub fn signed_head(&self) -> Option<Arc<str>> {
        lock(&self.signed_head).clone()
    }

    /// After the commit: also to the file beside the store. A folder that cannot be written closes nothing;
    /// the next start then compares with the head in the store alone.
    pub fn keep_signed_head(&self, size: u64, note: String) {
        if let Err(error) = files::keep_head(&self.path, &note) {
            tracing::warn!(%error, "the signed head could not be kept beside the store");
        }
        self.set_signed_head(size, note);
    }

    pub fn set_signed_head(&self, size: u64, note: String) {
        *lock(&self.signed_head) = Some(note.into());
        self.signed_size.store(size, Ordering::Release);
    }

    pub fn recent(&self, id: CallId) -> Option<Arc<Call>> {
        let recent = lock(&self.recent);
        recent.young.get(&id).or_else(|| recent.old.get(&id)).cloned()
    }

    pub fn remember<'a>(&self, calls: impl Iterator<Item = &'a Call>) {
        let mut recent = lock(&self.recent);
        for call in calls {
            recent.young.insert(call.id, Arc::new(call.clone()));
            if recent.young.len() >= GENERATION {
                recent.old = std::mem::take(&mut recent.young);
            }
        }
    }
}

/// Each value behind these locks is whole after every statement, so a panic elsewhere spoils nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The secret of the join keys, made at the first start. It is not in the key file: losing it only
/// forgets which earlier calls were the same.
pub fn fingerprint_key(connection: &Connection) -> Result<[u8; 32], StoreError> {
    const PLACE: (&str, &str) = ("store", "fingerprint key");
    let known = connection
        .query_row("SELECT value FROM kv WHERE space = ?1 AND key = ?2", PLACE, |row| row.get(0))
        .optional()
        .map_err(opening)?;
    if let Some(key) = known {
        return Ok(key);
    }
    let key: [u8; 32] = rand::random();
    connection
        .execute("INSERT INTO kv (space, key, value) VALUES (?1, ?2, ?3)", params![PLACE.0, PLACE.1, key])
        .map_err(opening)?;
    Ok(key)
}
