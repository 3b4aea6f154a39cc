//! Threads that hash and parse entries, in order: what one thread reads, several look at, and one takes back.

use std::{
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use rusqlite::{Connection, Rows};

use crate::{
    ledger::{Place, Seen},
    store::sqlite::{
        projection::stream_key,
        reader::{Read, Unread},
    },
};

/// Entries that travel together.
const CHUNK: usize = 256;
/// Chunks on the way to and from each thread: all that is held of the entries at a time.
const AHEAD: usize = 3;
const THREADS_MAX: usize = 8;

/// A row of the entries' table.
struct Raw {
    number: u64,
    stream: Vec<u8>,
    version: i64,
    at: i64,
    hash: Vec<u8>,
    bytes: Vec<u8>,
}

/// An entry that was looked at.
pub struct Checked {
    pub number: u64,
    pub seen: Seen,
    /// The first column that says something else than the bytes: lists and readers go by the columns.
    pub changed: Option<&'static str>,
}

struct Hand {
    give: SyncSender<Vec<Raw>>,
    take: Receiver<Vec<Checked>>,
}

/// Hands every entry to `sink`, in order, until it answers false.
pub fn each_entry(moment: &Connection, mut sink: impl FnMut(&Checked) -> Read<bool>) -> Read<()> {
    let mut entries =
        moment.prepare("SELECT number, stream, version, at, hash, bytes FROM entries ORDER BY number")?;
    let mut rows = entries.query([])?;
    let threads = thread::available_parallelism().map_or(1, usize::from).min(THREADS_MAX);
    thread::scope(|scope| {
        let hands: Vec<Hand> = (0..threads)
            .map(|_| {
                let (give, given) = sync_channel::<Vec<Raw>>(AHEAD);
                let (put, take) = sync_channel(AHEAD);
                scope.spawn(move || {
                    given
                        .iter()
                        .map(|chunk| chunk.into_iter().map(check).collect())
                        .try_for_each(|done| put.send(done))
                });
                Hand { give, take }
            })
            .collect();
        let stopped = || Unread::Content("a thread of the verification has stopped".into());
        let (mut given, mut taken, mut more) = (0, 0, true);
        loop {
            while more && given - taken < threads * AHEAD {
                let chunk = read(&mut rows)?;
                more = chunk.len() == CHUNK;
                hands[given % threads].give.send(chunk).map_err(|_| stopped())?;
                given += 1;
            }
            if taken == given {
                return Ok(());
            }
            for entry in hands[taken % threads].take.recv().map_err(|_| stopped())? {
                if !sink(&entry)? {
                    return Ok(());
                }
            }
            taken += 1;
        }
    })
}

fn read(rows: &mut Rows<'_>) -> Read<Vec<Raw>> {
    let mut chunk = Vec::with_capacity(CHUNK);
    while chunk.len() < CHUNK {
        let Some(row) = rows.next()? else { break };
        chunk.push(Raw {
            number: row.get(0)?,
            stream: row.get(1)?,
            version: row.get(2)?,
            at: row.get(3)?,
            hash: row.get(4)?,
            bytes: row.get(5)?,
        });
    }
    Ok(chunk)
}

fn check(raw: Raw) -> Checked {
    let seen = Seen::of(&raw.bytes);
    let changed = seen.place.as_ref().ok().and_then(|place| changed(&raw, place, &seen.hash));
    Checked { number: raw.number, seen, changed }
}

fn changed(raw: &Raw, place: &Place, hash: &[u8; 32]) -> Option<&'static str> {
    if stream_key(&place.stream) != raw.stream {
        Some("stream")
    } else if i64::try_from(place.version) != Ok(raw.version) {
        Some("version")
    } else if place.at.0 != raw.at {
        Some("moment")
    } else if hash.as_slice() != raw.hash {
        Some("hash")
    } else {
        None
    }
}
