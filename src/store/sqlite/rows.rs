//! The rows beside the entries' bytes, held against them: columns, snapshots of calls, payloads.
//!
//! The chain proves the bytes only. What is read every day are the rows beside, so whoever verifies a
//! store must look at them too.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{
    projection::{state_number, stream_key},
    reader::{self, Read},
};
use crate::{
    call::{Call, CallId},
    ledger::{Bad, Fact, Stream, commitment, commitments, decode, refold},
};

/// The first row that says something else than the entries; the chain itself was proven before.
pub fn first_changed(connection: &Connection) -> Read<Option<Bad>> {
    if let Some(bad) = changed_column(connection)? {
        return Ok(Some(bad));
    }
    let mut calls = connection
        .prepare("SELECT stream, max(number) FROM entries WHERE length(stream) = 16 GROUP BY stream")?;
    let mut rows = calls.query([])?;
    while let Some(row) = rows.next()? {
        let call = CallId(uuid::Uuid::from_bytes(row.get(0)?));
        if let Some(why) = changed_call(connection, call)? {
            return Ok(Some(Bad { number: row.get(1)?, why: format!("{why} of its call {call}") }));
        }
    }
    without_entries(connection)
}

/// A column that lists and readers go by.
fn changed_column(connection: &Connection) -> Read<Option<Bad>> {
    let mut entries =
        connection.prepare("SELECT number, stream, version, at, hash, bytes FROM entries ORDER BY number")?;
    let mut rows = entries.query([])?;
    while let Some(row) = rows.next()? {
        let number = row.get(0)?;
        let Ok(placed) = decode(&row.get::<_, Vec<u8>>(5)?) else { continue };
        let entry = placed.entry;
        let changed = if stream_key(&entry.stream) != row.get::<_, Vec<u8>>(1)? {
            "stream"
        } else if i64::try_from(entry.version).ok() != Some(row.get(2)?) {
            "version"
        } else if entry.at.0 != row.get::<_, i64>(3)? {
            "moment"
        } else if entry.hash.as_slice() != row.get::<_, Vec<u8>>(4)? {
            "hash"
        } else {
            continue;
        };
        return Ok(Some(Bad { number, why: format!("the {changed} that stands beside it is another") }));
    }
    Ok(None)
}

/// What beside the entries of this call is not as they make it.
fn changed_call(connection: &Connection, id: CallId) -> Read<Option<&'static str>> {
    let entries = reader::stream(connection, &Stream::Call(id))?;
    let row = connection
        .prepare_cached("SELECT state, requested_at, short_code, snapshot FROM calls WHERE id = ?1")?
        .query_row(params![id.0.as_bytes()], |row| {
            Ok((
                row.get::<_, i64>(0)?,
                row.get::<_, i64>(1)?,
                row.get::<_, String>(2)?,
                row.get::<_, Vec<u8>>(3)?,
            ))
        })
        .optional()?;
    let Some((state, requested_at, short_code, snapshot)) = row else { return Ok(Some("there is no row")) };
    let snapshot: Option<Call> = serde_json::from_slice(&snapshot).ok();
    let Some(call) = refold(id, &entries).filter(|call| snapshot.as_ref() == Some(call)) else {
        return Ok(Some("the entries say something else than the row"));
    };
    let listed = (state, requested_at, short_code.as_str());
    if listed != (state_number(call.state.name()), call.requested_at.0, &*call.digest.short_code()) {
        return Ok(Some("the entries say something else than the lists"));
    }
    let proofs: Vec<_> = entries
        .iter()
        .flat_map(|entry| if let Fact::Call(event) = &entry.fact { commitments(event) } else { Vec::new() })
        .collect();
    let payloads = reader::payloads(connection, id)?;
    let proven = payloads.iter().all(|payload| proofs.contains(&commitment(&payload.salt, &payload.bytes)));
    Ok((!proven).then_some("no entry proves one of the payloads"))
}

/// Rows of calls that the ledger does not know.
fn without_entries(connection: &Connection) -> Read<Option<Bad>> {
    for (table, column) in [("calls", "id"), ("payloads", "call")] {
        let many: u64 = connection.query_row(
            &format!("SELECT count(*) FROM {table} WHERE {column} NOT IN (SELECT stream FROM entries)"),
            [],
            |row| row.get(0),
        )?;
        if many > 0 {
            let number =
                connection.query_row("SELECT ifnull(max(number), 1) FROM entries", [], |row| row.get(0))?;
            let why = format!("{many} rows of {table} stand beside the ledger and belong to no entry");
            return Ok(Some(Bad { number, why }));
        }
    }
    Ok(None)
}
