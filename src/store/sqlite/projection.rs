//! The rows that follow from the entries, written in the entries' own transaction.

use rusqlite::{Connection, OptionalExtension as _, params};

use super::{words, writer::Broken};
use crate::{
    call::{Call, CallId, Fingerprint, StateName, Timestamp},
    ledger::{BrokerEvent, Stream},
    store::{Boot, Payload, PayloadKind},
};

/// Where the last boot stands among the small values.
pub const BOOT: (&str, &str) = ("store", "boot");

type Written = Result<(), Broken>;

/// A stream's key: a call's 16 bytes, or the name of one of the others.
pub fn stream_key(stream: &Stream) -> Vec<u8> {
    match stream {
        Stream::Call(call) => call.0.as_bytes().to_vec(),
        Stream::Agents
        | Stream::Reviewers
        | Stream::Policies
        | Stream::Servers
        | Stream::Stops
        | Stream::Broker => stream.name().as_bytes().to_vec(),
    }
}

/// The number of a state in the `state` column. In the file for ever: extend, never change.
pub fn state_number(state: StateName) -> i64 {
    match state {
        StateName::Pending => 0,
        StateName::Permitted => 1,
        StateName::Dispatched => 2,
        StateName::Completed => 3,
        StateName::Failed => 4,
        StateName::Lost => 5,
        StateName::Denied => 6,
        StateName::Expired => 7,
        StateName::Cancelled => 8,
    }
}

pub fn kind_number(kind: PayloadKind) -> i64 {
    match kind {
        PayloadKind::Params => 0,
        PayloadKind::Answer => 1,
        PayloadKind::Text => 2,
    }
}

pub fn kind_of(number: i64) -> Option<PayloadKind> {
    [PayloadKind::Params, PayloadKind::Answer, PayloadKind::Text]
        .into_iter()
        .find(|kind| kind_number(*kind) == number)
}

/// The version of a stream; 0 for one without entries.
pub fn version(connection: &Connection, stream: &Stream) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT version FROM entries WHERE stream = ?1 ORDER BY version DESC LIMIT 1")?
        .query_row([stream_key(stream)], |row| row.get(0))
        .optional()
        .map(Option::unwrap_or_default)
}

/// The call's row: the snapshot, and beside it what lists are filtered and sorted by.
pub fn put_call(connection: &Connection, call: &Call, deadline: Option<Timestamp>) -> Written {
    let id = call.id.0.as_bytes();
    let state = state_number(call.state.name());
    let deadline = deadline.filter(|_| !call.state.is_settled()).map(|at| at.0);
    let short_code = call.digest.short_code();
    let snapshot = serde_json::to_vec(call)?;
    let updated = connection
        .prepare_cached(
            "UPDATE calls SET state = ?2, deadline = ?3, short_code = ?4, snapshot = ?5 WHERE id = ?1",
        )?
        .execute(params![id, state, deadline, short_code, snapshot])?;
    if updated == 0 {
        let shape = shape(connection, call)?;
        connection
            .prepare_cached(
                "INSERT INTO calls (id, state, shape, requested_at, deadline, short_code, snapshot)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![id, state, shape, call.requested_at.0, deadline, short_code, snapshot])?;
    }
    Ok(())
}

/// There are few (server, tool, agent) but many calls: filters and search look at the few.
fn shape(connection: &Connection, call: &Call) -> rusqlite::Result<i64> {
    let names = params![call.request.server, call.request.tool, call.request.agent];
    let known = connection
        .prepare_cached("SELECT shape FROM shapes WHERE server = ?1 AND tool = ?2 AND agent = ?3")?
        .query_row(names, |row| row.get(0))
        .optional()?;
    if let Some(shape) = known {
        return Ok(shape);
    }
    connection.prepare_cached("INSERT INTO shapes (server, tool, agent) VALUES (?1, ?2, ?3)")?.insert(names)
}

pub fn put_vote(connection: &Connection, reviewer: &str, call: CallId) -> Written {
    connection
        .prepare_cached("INSERT OR IGNORE INTO votes (reviewer, call) VALUES (?1, ?2)")?
        .execute(params![reviewer, call.0.as_bytes()])?;
    Ok(())
}

pub fn put_fingerprint(connection: &Connection, call: CallId, fingerprint: Fingerprint) -> Written {
    connection
        .prepare_cached("UPDATE calls SET fingerprint = ?2 WHERE id = ?1")?
        .execute(params![call.0.as_bytes(), fingerprint.to_text()])?;
    Ok(())
}

pub fn put_payload(connection: &Connection, payload: &Payload) -> Written {
    let words = words::put(connection, payload)?;
    connection
        .prepare_cached(
            "INSERT OR REPLACE INTO payloads (call, kind, part, salt, bytes, words)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            payload.call.0.as_bytes(),
            kind_number(payload.kind),
            payload.part,
            payload.salt,
            payload.bytes,
            words
        ])?;
    Ok(())
}

pub fn put_segment(connection: &Connection, number: u64, leaves: &[u8]) -> Written {
    connection
        .prepare_cached("INSERT INTO segments (number, leaves) VALUES (?1, ?2)")?
        .execute(params![number, leaves])?;
    Ok(())
}

/// Which boot this is stands beside the entries that say so: the broker's stream grows with every batch
/// of allowed calls and is not read to start.
pub fn put_boot(connection: &Connection, event: &BrokerEvent) -> Written {
    match boot_of(event) {
        Some(boot) => put(connection, BOOT.0, BOOT.1, Some(&serde_json::to_vec(&boot)?)),
        None => Ok(()),
    }
}

pub fn boot_of(event: &BrokerEvent) -> Option<Boot> {
    match event {
        BrokerEvent::Started { epoch, .. } => Some(Boot { epoch: *epoch, drained: false }),
        BrokerEvent::Drained { epoch } => Some(Boot { epoch: *epoch, drained: true }),
        BrokerEvent::UncleanStart { .. } | BrokerEvent::AllowedCalls(_) => None,
    }
}

/// `None` deletes.
pub fn put(connection: &Connection, space: &str, key: &str, value: Option<&[u8]>) -> Written {
    match value {
        Some(value) => connection
            .prepare_cached("INSERT OR REPLACE INTO kv (space, key, value) VALUES (?1, ?2, ?3)")?
            .execute(params![space, key, value])?,
        None => connection
            .prepare_cached("DELETE FROM kv WHERE space = ?1 AND key = ?2")?
            .execute(params![space, key])?,
    };
    Ok(())
}
