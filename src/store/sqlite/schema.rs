//! The tables, and how a file of an earlier version becomes one of this.
//!
//! `entries` is the truth; `calls`, `votes` and `shapes` are projections of it, written in the same
//! transaction, and `audit/` holds them against it. `words` follows the payloads. A migration is never edited once released.

use rusqlite::{Connection, TransactionBehavior};

use super::words;
use crate::store::StoreError;

/// What `PRAGMA application_id` says of our files: "cSgn".
const APPLICATION: i32 = 0x6353_676e;

/// Bytes of the write-ahead log that stay on the disk after a burst.
const WAL_KEPT: i64 = 64 << 20;

/// Step N takes a file from version N to N + 1.
const STEPS: &[&str] = &[
    "
CREATE TABLE entries (
  number  INTEGER PRIMARY KEY,
  stream  BLOB NOT NULL,
  version INTEGER NOT NULL,
  at      INTEGER NOT NULL,
  bytes   BLOB NOT NULL,
  hash    BLOB NOT NULL,
  limits  INTEGER GENERATED ALWAYS AS (
    instr(bytes, CAST('\"taken\":[' AS BLOB)) > 0 OR instr(bytes, CAST('\"given_back\":[' AS BLOB)) > 0
  ) VIRTUAL,
  UNIQUE (stream, version)
) STRICT;
CREATE INDEX entries_of_limits ON entries (at) WHERE limits;
CREATE TABLE shapes (
  shape  INTEGER PRIMARY KEY,
  server TEXT NOT NULL,
  tool   TEXT NOT NULL,
  agent  TEXT NOT NULL,
  UNIQUE (server, tool, agent)
) STRICT;
CREATE TABLE calls (
  id           BLOB NOT NULL UNIQUE,
  state        INTEGER NOT NULL,
  shape        INTEGER NOT NULL,
  requested_at INTEGER NOT NULL,
  deadline     INTEGER,
  short_code   TEXT NOT NULL,
  fingerprint  TEXT,
  snapshot     BLOB NOT NULL
) STRICT;
CREATE INDEX calls_by_time ON calls (requested_at, id, state, shape);
CREATE INDEX calls_by_shape ON calls (shape, requested_at, id, state);
CREATE INDEX calls_by_state ON calls (state, requested_at, id, shape);
CREATE INDEX calls_by_short_code ON calls (short_code);
CREATE INDEX calls_by_deadline ON calls (deadline) WHERE deadline IS NOT NULL;
CREATE INDEX calls_by_fingerprint ON calls (fingerprint, requested_at) WHERE fingerprint IS NOT NULL;
CREATE TABLE votes (
  reviewer TEXT NOT NULL,
  call     BLOB NOT NULL,
  PRIMARY KEY (reviewer, call)
) STRICT, WITHOUT ROWID;
CREATE TABLE payloads (
  call   BLOB NOT NULL,
  kind   INTEGER NOT NULL,
  part   INTEGER NOT NULL,
  key_id INTEGER NOT NULL DEFAULT 0,
  salt   BLOB NOT NULL,
  bytes  BLOB NOT NULL,
  UNIQUE (call, kind, part)
) STRICT;
CREATE TABLE segments (
  number INTEGER PRIMARY KEY,
  leaves BLOB NOT NULL
) STRICT;
CREATE TABLE heads (
  size INTEGER PRIMARY KEY,
  note TEXT NOT NULL
) STRICT;
CREATE TABLE kv (
  space TEXT NOT NULL,
  key   TEXT NOT NULL,
  value BLOB NOT NULL,
  PRIMARY KEY (space, key)
) STRICT, WITHOUT ROWID;
",
    words::STEP,
];

/// Brings the file to this version, in one transaction.
///
/// # Errors
/// `Damaged` for a file that is not ours, or of a later version.
pub fn migrate(connection: &mut Connection) -> Result<(), StoreError> {
    let transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(opening)?;
    let number = |name: &str| {
        transaction.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0)).map_err(opening)
    };
    let version = usize::try_from(number("user_version")?).unwrap_or(usize::MAX);
    let tables: i64 =
        transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(opening)?;
    if tables > 0 && number("application_id")? != i64::from(APPLICATION) {
        return Err(StoreError::Damaged("it is a database of another program".into()));
    }
    let Some(steps) = STEPS.get(version..) else {
        let known = STEPS.len();
        return Err(StoreError::Damaged(format!(
            "its version {version} is later than {known}, the latest known"
        )));
    };
    for step in steps {
        transaction.execute_batch(step).map_err(opening)?;
    }
    if version == 1 {
        words::put_all(&transaction).map_err(opening)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION).map_err(opening)?;
    transaction.pragma_update(None, "user_version", STEPS.len()).map_err(opening)?;
    transaction.commit().map_err(opening)
}

/// Is this file one of ours, of this version? For readers, who cannot migrate it.
///
/// # Errors
/// `Damaged` says what it is instead.
pub fn check(connection: &Connection) -> Result<(), StoreError> {
    let number = |name: &str| {
        connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0)).map_err(opening)
    };
    if number("application_id")? != i64::from(APPLICATION) {
        return Err(StoreError::Damaged("it is not a store of countersign".into()));
    }
    let version = number("user_version")?;
    if usize::try_from(version) != Ok(STEPS.len()) {
        return Err(StoreError::Damaged(format!("its version is {version}, not {}", STEPS.len())));
    }
    Ok(())
}

/// Settings of the one connection that writes: an answered commit is on the disk.
pub fn prepare_writer(connection: &Connection, max_pages: Option<u32>) -> Result<(), StoreError> {
    connection.pragma_update_and_check(None, "journal_mode", "wal", |_| Ok(())).map_err(opening)?;
    connection.pragma_update(None, "synchronous", "full").map_err(opening)?;
    connection.pragma_update(None, "fullfsync", true).map_err(opening)?;
    connection.pragma_update(None, "checkpoint_fullfsync", true).map_err(opening)?;
    // A row that is replaced takes its words with it, as one that is deleted.
    connection.pragma_update(None, "recursive_triggers", true).map_err(opening)?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_KEPT, |_| Ok(())).map_err(opening)?;
    if let Some(pages) = max_pages {
        connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(())).map_err(opening)?;
    }
    prepare(connection)
}

/// Settings of every connection.
pub fn prepare(connection: &Connection) -> Result<(), StoreError> {
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(opening)?;
    connection.pragma_update(None, "cache_size", -4096).map_err(opening)?;
    connection.pragma_update(None, "trusted_schema", false).map_err(opening)?;
    connection.set_prepared_statement_cache_capacity(48);
    Ok(())
}

/// What a failure means while the file is opened or read.
pub fn opening(error: rusqlite::Error) -> StoreError {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase, OperationInterrupted};
    match error.sqlite_error_code() {
        Some(OperationInterrupted) => too_long(),
        Some(NotADatabase) => StoreError::Damaged("it is not a SQLite database".into()),
        Some(DatabaseCorrupt) => StoreError::Damaged(error.to_string()),
        _ => StoreError::Unavailable(error.to_string()),
    }
}

/// Only searches are interrupted.
pub fn too_long() -> StoreError {
    StoreError::Search("took too long: use fewer or longer words".into())
}
