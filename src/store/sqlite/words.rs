//! The words of arguments, for search: an index that follows the payloads it was made from.
//!
//! Each text goes in with its payload's row, in one transaction, and out with it: triggers see to that,
//! whoever erases the row, and nothing of it is left in the index. Measured: 25 µs of CPU more for each
//! parked call. Trigrams would find parts of words too, and cost 80.

use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::Value;

use super::{
    projection::{kind_number, state_number},
    reader::Read,
    writer::Broken,
};
use crate::{
    call::CallId,
    store::{Filter, Payload, PayloadKind, StoreError},
};

/// The table, where a payload's words stand, and what makes both vanish together.
pub const STEP: &str = "
CREATE VIRTUAL TABLE words USING fts5 (call UNINDEXED, text);
INSERT INTO words (words, rank) VALUES ('secure-delete', 1);
ALTER TABLE payloads ADD COLUMN words INTEGER;
CREATE TRIGGER words_erased AFTER DELETE ON payloads WHEN old.words IS NOT NULL BEGIN
  DELETE FROM words WHERE rowid = old.words;
END;
CREATE TRIGGER words_changed AFTER UPDATE OF bytes ON payloads WHEN old.words IS NOT NULL BEGIN
  DELETE FROM words WHERE rowid = old.words;
END;
";

/// Longer arguments are found by their beginning.
const TEXT_MAX: usize = 8 << 10;
/// Words of one search, and bytes of one: what the index does for each is bounded with them.
const WORDS_MAX: usize = 8;
const WORD_MAX: usize = 64;
/// Calls with the wanted words that one page looks at; the page says where the next goes on.
const SEEN_MAX: usize = 10_000;
/// Calls are indexed in the order of their commits, a moment apart from that of their requests.
const SLACK: i64 = 64;

/// What a page is sorted by: the moment of the request, then the id.
pub type Place = (i64, [u8; 16]);

/// Indexes a payload before its row is written. Answers where its words stand.
pub fn put(connection: &Connection, payload: &Payload) -> Result<Option<i64>, Broken> {
    if payload.kind != PayloadKind::Params {
        return Ok(None);
    }
    let text = text_of(&payload.bytes);
    if text.is_empty() {
        return Ok(None);
    }
    let place = connection
        .prepare_cached("INSERT INTO words (call, text) VALUES (?1, ?2)")?
        .insert(params![payload.call.0.as_bytes(), text])?;
    Ok(Some(place))
}

/// Indexes the payloads of a file that had no index.
pub fn put_all(connection: &Connection) -> rusqlite::Result<()> {
    let mut payloads =
        connection.prepare("SELECT rowid, call, bytes FROM payloads WHERE kind = 0 ORDER BY rowid")?;
    let mut rows = payloads.query([])?;
    while let Some(row) = rows.next()? {
        let (place, call): (i64, Vec<u8>) = (row.get(0)?, row.get(1)?);
        let text = text_of(&row.get::<_, Vec<u8>>(2)?);
        let words = connection
            .prepare_cached("INSERT INTO words (call, text) VALUES (?1, ?2)")?
            .insert(params![call, text])?;
        connection
            .prepare_cached("UPDATE payloads SET words = ?2 WHERE rowid = ?1")?
            .execute([place, words])?;
    }
    Ok(())
}

/// Names and values of a call's arguments, a line each.
fn text_of(body: &[u8]) -> String {
    let mut text = String::new();
    if let Ok(body) = serde_json::from_slice::<Value>(body) {
        gather(&body["params"]["arguments"], &mut text);
    }
    text
}

fn gather(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => members.iter().for_each(|(name, value)| {
            line(name, text);
            gather(value, text);
        }),
        Value::Array(values) => values.iter().for_each(|value| gather(value, text)),
        Value::String(value) => line(value, text),
        Value::Number(number) => line(&number.to_string(), text),
        Value::Null | Value::Bool(_) => {}
    }
}

fn line(words: &str, text: &mut String) {
    let room = TEXT_MAX.saturating_sub(text.len());
    text.extend(words.chars().take(room));
    text.push('\n');
}

/// What was found, newest first, and how far back was looked when that is not all the way.
#[derive(Default)]
pub struct Found {
    pub places: Vec<Place>,
    pub reached: Option<Place>,
}

/// Calls whose arguments have every word of `text`, and are of these shapes if any are named.
pub fn find(
    connection: &Connection,
    text: &str,
    filter: &Filter,
    shapes: Option<&[i64]>,
    after: Option<Place>,
    limit: usize,
) -> Read<Found> {
    let Some(wanted) = expression(text)? else { return Ok(Found::default()) };
    let below = match after {
        None => i64::MAX,
        Some(after) => match place_before(connection, after)? {
            Some(place) => place.saturating_add(SLACK),
            None => return Ok(Found::default()),
        },
    };
    let states: Vec<i64> = filter.states.iter().map(|state| state_number(*state)).collect();
    let mut words = connection.prepare_cached(
        "SELECT call FROM words WHERE words MATCH ?1 AND rowid < ?2 ORDER BY rowid DESC LIMIT ?3",
    )?;
    let mut call = connection.prepare_cached("SELECT requested_at, state, shape FROM calls WHERE id = ?1")?;
    let mut rows = words.query(params![wanted, below, SEEN_MAX])?;
    let (mut found, mut seen, mut last) = (Found::default(), 0, None);
    while let Some(row) = rows.next()? {
        let id: [u8; 16] = row.get(0)?;
        seen += 1;
        let Some((at, state, shape)) =
            call.query_row([id], |row| Ok((row.get::<_, i64>(0)?, row.get(1)?, row.get(2)?))).optional()?
        else {
            continue;
        };
        last = Some((at, id));
        let fits = (states.is_empty() || states.contains(&state))
            && shapes.is_none_or(|shapes| shapes.contains(&shape))
            && after.is_none_or(|after| (at, id) < after)
            && is_reviewed(connection, filter, id)?;
        if fits {
            found.places.push((at, id));
        }
        if found.places.len() == limit + SLACK as usize {
            return Ok(found);
        }
    }
    found.reached = last.filter(|_| seen == SEEN_MAX);
    Ok(found)
}

/// Each word in quotes: what is in them is text, whatever it looks like. A phrase of many tokens costs the
/// product of their places, so a word is one token wherever the index ends one. `None`: there is no word.
fn expression(text: &str) -> Read<Option<String>> {
    let words: Vec<&str> =
        text.split(parts).filter(|word| word.contains(char::is_alphanumeric)).take(WORDS_MAX + 1).collect();
    if words.len() > WORDS_MAX || words.iter().any(|word| word.len() > WORD_MAX) {
        let most = format!("takes at most {WORDS_MAX} words of up to {WORD_MAX} bytes");
        return Err(StoreError::Search(format!("{most}: use fewer or shorter ones")).into());
    }
    let words: Vec<String> = words.into_iter().map(|word| format!("\"{word}\"")).collect();
    Ok((!words.is_empty()).then(|| words.join(" ")))
}

/// What stands between words: all but letters, digits and the marks on them, as the index has it.
fn parts(c: char) -> bool {
    !c.is_alphanumeric() && !('\u{300}'..='\u{36f}').contains(&c)
}

/// Where the words of the newest call before `after` stand; `None` when there is none.
fn place_before(connection: &Connection, (at, id): Place) -> Read<Option<i64>> {
    let place = connection
        .prepare_cached(
            "SELECT p.words FROM calls c CROSS JOIN payloads p
             WHERE (c.requested_at, c.id) < (?1, ?2) AND p.call = c.id AND p.kind = ?3 AND p.words IS NOT NULL
             ORDER BY c.requested_at DESC, c.id DESC LIMIT 1",
        )?
        .query_row(params![at, id, kind_number(PayloadKind::Params)], |row| row.get(0))
        .optional()?;
    Ok(place)
}

fn is_reviewed(connection: &Connection, filter: &Filter, id: [u8; 16]) -> Read<bool> {
    match &filter.reviewer {
        Some(reviewer) => super::query::has_voted(connection, reviewer, CallId(uuid::Uuid::from_bytes(id))),
        None => Ok(true),
    }
}
