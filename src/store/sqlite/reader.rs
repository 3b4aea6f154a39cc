//! Reading beside the writer: a few connections, each on a thread that may block.

use std::{
    ffi::c_int,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row, Rows, params};
use tokio::{sync::Semaphore, task, time::timeout};

use super::{
    projection::{BOOT, kind_number, kind_of, stream_key},
    schema,
};
use crate::{
    call::{CallId, Timestamp},
    ledger::{Chain, Entry, Stream, decode, prev, segment},
    store::{Boot, Payload, PayloadKind, StoreError},
};

/// Reads at the same moment; more wait their turn.
const CONNECTIONS: usize = 4;
/// Searches at the same moment, beside those: no search keeps a call from being read.
const SEARCHES: usize = 2;
/// Steps of SQLite between two looks at a search's deadline.
const STEPS: c_int = 200;

/// Why a read did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Unread {
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    /// What is there is not what we wrote.
    #[error("{0}")]
    Content(String),
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What takes the answer could not.
    #[error("{0}")]
    Sink(String),
}

impl From<Unread> for StoreError {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Database(error) => schema::opening(error),
            Unread::Content(what) => Self::Damaged(what),
            Unread::Store(error) => error,
            Unread::Sink(why) => Self::Unavailable(why),
        }
    }
}

pub type Read<T> = Result<T, Unread>;

#[derive(Debug)]
pub struct Readers {
    path: PathBuf,
    idle: Mutex<Vec<Connection>>,
    turns: Arc<Semaphore>,
}

impl Readers {
    pub fn new(path: &Path) -> Self {
        Self::of(path, CONNECTIONS)
    }

    pub fn for_searches(path: &Path) -> Self {
        Self::of(path, SEARCHES)
    }

    fn of(path: &Path, most: usize) -> Self {
        Self { path: path.to_owned(), idle: Mutex::default(), turns: Arc::new(Semaphore::new(most)) }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `query` on one of the connections, off the async threads.
    pub async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&Connection) -> Read<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| stopped())?;
        let readers = Arc::clone(self);
        let reading = task::spawn_blocking(move || {
            let _turn = turn;
            readers.run(query)
        });
        reading.await.map_err(|_| stopped())?
    }

    /// As `read`, and it ends by its deadline, also when nobody waits for it any more.
    pub async fn read_within<T: Send + 'static>(
        self: &Arc<Self>,
        most: Duration,
        query: impl FnOnce(&Connection) -> Read<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = timeout(most, Arc::clone(&self.turns).acquire_owned()).await;
        let turn = turn.map_err(|_| schema::too_long())?.map_err(|_| stopped())?;
        let readers = Arc::clone(self);
        let reading = task::spawn_blocking(move || {
            let _turn = turn;
            readers.run(|connection| {
                let until = Instant::now() + most;
                connection.progress_handler(STEPS, Some(move || Instant::now() >= until))?;
                let answer = query(connection);
                connection.progress_handler(0, None::<fn() -> bool>)?;
                answer
            })
        });
        reading.await.map_err(|_| stopped())?
    }

    /// As `read`, on the caller's own thread.
    pub fn run<T>(&self, query: impl FnOnce(&Connection) -> Read<T>) -> Result<T, StoreError> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => open(&self.path)?,
        };
        let answer = query(&connection)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(answer)
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the readers have stopped".into())
}

pub fn open(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(schema::opening)?;
    schema::prepare(&connection)?;
    Ok(connection)
}

/// Where the chain ends, and when its last entry was made. What goes on from here must stand on the
/// entry's own bytes, not on a hash that somebody wrote beside them.
pub fn end_of_chain(connection: &Connection) -> Result<(Chain, Timestamp), StoreError> {
    let row = connection
        .query_row("SELECT number, bytes, hash FROM entries ORDER BY number DESC LIMIT 1", [], |row| {
            Ok((row.get::<_, u64>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, [u8; 32]>(2)?))
        })
        .optional()
        .map_err(schema::opening)?;
    let Some((number, bytes, hash)) = row else { return Ok(Default::default()) };
    let damaged = |why: &str| {
        StoreError::Damaged(format!(
            "entry {number}, the last: {why}; `countersign audit verify` names what was changed first"
        ))
    };
    let entry = decode(&bytes).map_err(|error| damaged(&error.0))?.entry;
    if entry.number != number || entry.hash != hash {
        return Err(damaged("it was changed"));
    }
    Ok((Chain { size: number, head: hash }, entry.at))
}

pub fn last_head(connection: &Connection) -> Result<Option<(u64, String)>, StoreError> {
    connection
        .query_row("SELECT size, note FROM heads ORDER BY size DESC LIMIT 1", [], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()
        .map_err(schema::opening)
}

pub fn entries(connection: &Connection, after: u64, limit: usize) -> Read<Vec<Entry>> {
    let mut statement =
        connection.prepare_cached("SELECT bytes FROM entries WHERE number > ?1 ORDER BY number LIMIT ?2")?;
    let rows = statement.query_map([sql_number(after), sql_number(limit as u64)], bytes)?;
    rows.map(|row| entry(&row?)).collect()
}

/// SQLite counts to 2^63: beyond that there is nothing to find, and no limit.
pub fn sql_number(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A stream decides who may do what, and what is sent: each of its entries must be the one that the
/// chain has in its place.
pub fn stream(connection: &Connection, stream: &Stream) -> Read<Vec<Entry>> {
    let mut statement = connection.prepare_cached(
        "SELECT e.bytes, e.number, e.version, e.hash, after.bytes, e.stream
         FROM entries e LEFT JOIN entries after ON after.number = e.number + 1
         WHERE e.stream = ?1 ORDER BY e.version",
    )?;
    in_place(&mut statement.query([stream_key(stream)])?)
}

/// What was taken of limits decides what may run: as `stream`, each must be the one in its place. An index
/// of the entries' own bytes finds them, however long the ledger is.
pub fn taken(connection: &Connection, from: Timestamp, to: Timestamp) -> Read<Vec<Entry>> {
    let mut statement = connection.prepare_cached(
        "SELECT e.bytes, e.number, e.version, e.hash, after.bytes, e.stream
         FROM entries e INDEXED BY entries_of_limits LEFT JOIN entries after ON after.number = e.number + 1
         WHERE e.limits AND e.at >= ?1 AND e.at < ?2 ORDER BY e.at, e.number",
    )?;
    in_place(&mut statement.query([from.0, to.0])?)
}

fn in_place(rows: &mut Rows<'_>) -> Read<Vec<Entry>> {
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        let number: u64 = row.get(1)?;
        let changed = |why: &str| Unread::Content(format!("entry {number}: {why}"));
        let entry = entry(&row.get::<_, Vec<u8>>(0)?)?;
        let place = (entry.number, entry.version, stream_key(&entry.stream));
        if place != (number, row.get(2)?, row.get(5)?) || entry.hash.as_slice() != row.get::<_, Vec<u8>>(3)? {
            return Err(changed("it was changed"));
        }
        let after: Option<Vec<u8>> = row.get(4)?;
        if after.is_some_and(|after| prev(&after) != Some(entry.hash)) {
            return Err(changed("the entry after it follows another"));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn bytes(row: &Row<'_>) -> rusqlite::Result<Vec<u8>> {
    row.get(0)
}

fn entry(bytes: &[u8]) -> Read<Entry> {
    decode(bytes).map(|placed| placed.entry).map_err(|error| Unread::Content(format!("an entry: {error}")))
}

pub fn payload(connection: &Connection, call: CallId, kind: PayloadKind, part: u64) -> Read<Option<Payload>> {
    let row = connection
        .prepare_cached("SELECT salt, bytes FROM payloads WHERE call = ?1 AND kind = ?2 AND part = ?3")?
        .query_row(params![call.0.as_bytes(), kind_number(kind), part], |row| {
            Ok(Payload { call, kind, part, salt: row.get(0)?, bytes: row.get(1)? })
        })
        .optional()?;
    Ok(row)
}

/// Every payload of a call. A salt of another length than ours proves nothing, and is read as zeros.
pub fn payloads(connection: &Connection, call: CallId) -> Read<Vec<Payload>> {
    let mut statement =
        connection.prepare_cached("SELECT kind, part, salt, bytes FROM payloads WHERE call = ?1")?;
    let mut rows = statement.query([call.0.as_bytes()])?;
    let mut payloads = Vec::new();
    while let Some(row) = rows.next()? {
        let kind = kind_of(row.get(0)?).ok_or_else(|| Unread::Content("a payload of no kind".into()))?;
        let salt = row.get::<_, Vec<u8>>(2)?.try_into().unwrap_or_default();
        payloads.push(Payload { call, kind, part: row.get(1)?, salt, bytes: row.get(3)? });
    }
    Ok(payloads)
}

pub fn get(connection: &Connection, space: &str, key: &str) -> Read<Option<Vec<u8>>> {
    let value = connection
        .prepare_cached("SELECT value FROM kv WHERE space = ?1 AND key = ?2")?
        .query_row([space, key], bytes)
        .optional()?;
    Ok(value)
}

/// What stands for the leaves of a row that is not as it was written: no entry proves it.
const NO_LEAVES: &str = "(these are not the calls of a batch)";

/// The `count` leaves under the segment's entry `number`; none when they were dropped.
pub fn leaves(connection: &Connection, number: u64, count: u32) -> Read<Vec<String>> {
    let packed = connection
        .prepare_cached("SELECT leaves FROM segments WHERE number = ?1")?
        .query_row([number], bytes)
        .optional()?;
    let Some(packed) = packed else { return Ok(Vec::new()) };
    let leaves = segment::unpack(&packed, count).filter(|leaves| !leaves.is_empty());
    Ok(leaves.unwrap_or_else(|| vec![NO_LEAVES.to_owned()]))
}

pub fn boot(connection: &Connection) -> Read<Option<Boot>> {
    get(connection, BOOT.0, BOOT.1)?
        .map(|json| serde_json::from_slice(&json))
        .transpose()
        .map_err(|error| Unread::Content(format!("the last boot: {error}")))
}

/// By key.
pub fn list(connection: &Connection, space: &str) -> Read<Vec<(String, Vec<u8>)>> {
    let mut statement =
        connection.prepare_cached("SELECT key, value FROM kv WHERE space = ?1 ORDER BY key")?;
    let rows = statement.query_map([space], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}
