//! Which join keys the store may know. A call that is made for the first time needs no read.
//!
//! A Bloom filter: it never misses a key that is there, and now and then takes a new one for a known one,
//! which costs a read. It may be trusted because the lock makes this process the only writer, and the
//! writer notes each key before its commit. Two bytes for each call that the store had when it was opened,
//! twice over; a store that outgrows that reads more often until it is opened again.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use rusqlite::Connection;

use super::reader::{self, Read};
use crate::{call::Fingerprint, store::StoreError};

/// Keys that there is room for: 256 KiB at least, 8 MiB at most.
const ROOM: (u64, u64) = (1 << 17, 1 << 22);
const BITS_PER_KEY: u64 = 16;

#[derive(Debug)]
pub struct Prints {
    words: Vec<AtomicU64>,
    /// The keys of before have all been read: only then does absence mean anything.
    whole: AtomicBool,
    ending: AtomicBool,
}

impl Prints {
    /// For a store that may hold as many calls.
    pub fn new(calls: u64) -> Self {
        let keys = calls.saturating_mul(2).clamp(ROOM.0, ROOM.1).next_power_of_two();
        let words = (0..keys * BITS_PER_KEY / 64).map(|_| AtomicU64::new(0)).collect();
        Self { words, whole: AtomicBool::new(false), ending: AtomicBool::new(false) }
    }

    /// By the writer, before the commit.
    pub fn note(&self, print: Fingerprint) {
        for (word, bit) in self.places(print) {
            word.fetch_or(bit, Ordering::Release);
        }
    }

    /// False: no call has this join key.
    pub fn may_have(&self, print: Fingerprint) -> bool {
        !self.whole.load(Ordering::Acquire)
            || self.places(print).all(|(word, bit)| word.load(Ordering::Acquire) & bit != 0)
    }

    /// The key is the output of a keyed hash: its bytes need no further hashing.
    fn places(&self, print: Fingerprint) -> impl Iterator<Item = (&AtomicU64, u64)> {
        let bits = self.words.len() as u64 * 64;
        let hashes =
            print.0.chunks_exact(8).map(|part| part.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)));
        let places: Vec<u64> = hashes.map(|hash: u64| hash % bits).collect();
        places.into_iter().filter_map(|place| {
            let word = self.words.get(usize::try_from(place / 64).ok()?)?;
            Some((word, 1 << (place % 64)))
        })
    }

    /// Reads the keys of before on a thread of its own: whoever opens a large store does not wait for it.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn fill(self: &Arc<Self>, path: &Path) -> std::io::Result<thread::JoinHandle<()>> {
        let (prints, path) = (Arc::clone(self), path.to_owned());
        thread::Builder::new().name("store-prints".into()).spawn(move || {
            if let Err(error) = prints.read(&path) {
                tracing::warn!(%error, "the join keys could not be read; each parked call reads the store");
            }
        })
    }

    pub fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    fn read(&self, path: &Path) -> Result<(), StoreError> {
        let connection = reader::open(path)?;
        if self.read_all(&connection)? {
            self.whole.store(true, Ordering::Release);
        }
        Ok(())
    }

    /// False when it was told to end before.
    fn read_all(&self, connection: &Connection) -> Read<bool> {
        let mut statement =
            connection.prepare("SELECT fingerprint FROM calls WHERE fingerprint IS NOT NULL")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if self.ending.load(Ordering::Relaxed) {
                return Ok(false);
            }
            // A text that is no key can be asked for by nobody.
            if let Some(print) = row.get_ref(0)?.as_str().ok().and_then(Fingerprint::from_text) {
                self.note(print);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn print(n: u64) -> Fingerprint {
        Fingerprint(Sha256::digest(n.to_be_bytes()).into())
    }

    #[test]
    fn absence_means_something_once_all_keys_of_before_are_read() {
        let before = Connection::open_in_memory().unwrap();
        before.execute_batch("CREATE TABLE calls (fingerprint TEXT)").unwrap();
        for n in 0..1000 {
            before.execute("INSERT INTO calls VALUES (?1)", [print(n).to_text()]).unwrap();
        }
        let prints = Prints::new(1000);
        prints.note(print(1000));
        assert!(prints.may_have(print(5000)), "nobody knows yet");
        assert!(prints.read_all(&before).unwrap());
        prints.whole.store(true, Ordering::Release);
        assert!((0..=1000).all(|n| prints.may_have(print(n))));
        let wrong = (1001..101_001).filter(|n| prints.may_have(print(*n))).count();
        assert!(wrong < 10, "{wrong} of 100,000 new keys cost a read");
        prints.end();
        assert!(!prints.read_all(&before).unwrap(), "told to end");
    }
}
