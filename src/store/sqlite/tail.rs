//! The end of the chain against the head that was signed last, before anything is added to it.
//!
//! A store that was cut off, put back or written anew behind its broker's back is found at the next
//! start. Only what stands behind the signed head is walked: about a second of entries.

use std::path::Path;

use ed25519_dalek::VerifyingKey;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{files, reader, schema::opening};
use crate::{
    ledger::{Chain, Head, HeadError, Seen, ZERO, leaf_hash},
    store::StoreError,
};

/// What was signed when the store was opened.
pub struct Signed {
    /// Size and note of the last head in the store.
    pub last: Option<(u64, String)>,
    /// It had signed heads, and the file that keeps the last was not there.
    pub lacks_file: bool,
}

/// Compares the chain with the last signed head, in the store and in the file beside it. Answers the one
/// in the store.
///
/// # Errors
/// `Damaged`: the store is not to be written to, and `audit verify` says what was changed.
pub fn check(
    connection: &Connection,
    path: &Path,
    key: &VerifyingKey,
    chain: &Chain,
) -> Result<Signed, StoreError> {
    let last = reader::last_head(connection)?;
    let mut signed = (0, ZERO);
    if let Some((size, note)) = &last {
        let head = Head::open(note, key).map_err(|error| {
            damaged(path, &format!("the signed head in the store does not hold ({error})"))
        })?;
        if head.size != *size {
            return Err(damaged(path, "the signed head in the store stands in another's place"));
        }
        signed = held(connection, path, chain, &head)?;
    }
    let head = kept(path, key)?;
    let lacks_file = head.is_none() && last.is_some();
    match head {
        Some(head) => signed = signed.max(held(connection, path, chain, &head)?),
        // Each signed head was kept there too. A store and its key put back from a copy look the same, and
        // what is missing cannot be told from here: whoever runs the broker must know.
        None if lacks_file => missing(path),
        None => {}
    }
    walk(connection, path, signed)?;
    Ok(Signed { last, lacks_file })
}

/// The head in the file. One that cannot be read may have been made so, to hide what it said: a person
/// looks first. An empty file is what a crash of the machine leaves, and says no more than a missing one.
fn kept(path: &Path, key: &VerifyingKey) -> Result<Option<Head>, StoreError> {
    let file = files::beside(path, files::HEAD);
    let Some(note) = files::kept_head(path)?.filter(|note| !note.is_empty()) else { return Ok(None) };
    match Head::open(&note, key) {
        Ok(head) => Ok(Some(head)),
        Err(error @ (HeadError::Form(_) | HeadError::Key)) => {
            let file = file.display();
            Err(damaged(
                path,
                &format!(
                    "{file} cannot be read as a head ({error}): compare the store with your last checkpoint or \
                     export, and remove that file if nothing is missing"
                ),
            ))
        }
        Err(error) => Err(damaged(path, &format!("the head kept in {}: {error}", file.display()))),
    }
}

fn missing(path: &Path) {
    tracing::warn!(
        file = %files::beside(path, files::HEAD).display(),
        "the kept head is missing: whether the store was cut off or an older copy put in its place cannot be \
         told; compare it with your last checkpoint (`countersign audit verify --since FILE`)"
    );
}

/// The chain must have the signed entry in its place. Answers where that is, and its hash.
fn held(
    connection: &Connection,
    path: &Path,
    chain: &Chain,
    head: &Head,
) -> Result<(u64, [u8; 32]), StoreError> {
    if head.size > chain.size {
        let (kept, at) = (files::beside(path, files::HEAD), head.at);
        return Err(damaged(
            path,
            &format!(
                "it ends with entry {}, and a head signed at {at} says {} entries: it was cut off, or an older \
                 copy was put in its place (if that was you, remove {})",
                chain.size,
                head.size,
                kept.display()
            ),
        ));
    }
    let bytes: Option<Vec<u8>> = connection
        .query_row("SELECT bytes FROM entries WHERE number = ?1", [head.size], |row| row.get(0))
        .optional()
        .map_err(opening)?;
    match bytes {
        _ if head.size == 0 => Ok((0, ZERO)),
        Some(bytes) if leaf_hash(&bytes) == head.hash => Ok((head.size, head.hash)),
        _ => Err(damaged(path, &format!("entry {} is not the one that was signed", head.size))),
    }
}

/// From the signed entry to the last, each must follow the one before.
fn walk(connection: &Connection, path: &Path, (size, mut hash): (u64, [u8; 32])) -> Result<(), StoreError> {
    let mut entries = connection
        .prepare("SELECT number, bytes FROM entries WHERE number > ?1 ORDER BY number")
        .map_err(opening)?;
    let mut rows = entries.query(params![size]).map_err(opening)?;
    let mut number = size;
    while let Some(row) = rows.next().map_err(opening)? {
        number += 1;
        let seen = Seen::of(&row.get::<_, Vec<u8>>(1).map_err(opening)?);
        let follows = seen.place.is_ok_and(|place| place.number == number && place.prev == hash);
        if !follows || row.get::<_, u64>(0).map_err(opening)? != number {
            return Err(damaged(path, &format!("entry {number} does not follow the one before it")));
        }
        hash = seen.hash;
    }
    Ok(())
}

fn damaged(path: &Path, why: &str) -> StoreError {
    let kept = files::beside(path, files::HEAD);
    let since = if kept.exists() { format!(" --since {}", kept.display()) } else { String::new() };
    StoreError::Damaged(format!(
        "{why}; nothing was written and no call is sent; `countersign audit verify{since}` names what was changed"
    ))
}
