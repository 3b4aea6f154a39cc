//! Questions about calls: one, a page of many, how many, the same again, what is due.
//!
//! Pages walk an index that holds everything a filter looks at, newest first, and fetch only the rows
//! that they show.

use std::borrow::Cow;

use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter, types::Value};

use super::{
    projection::state_number,
    reader::{Read, Unread, sql_number},
    words::{self, Found, Place},
};
use crate::{
    call::{Call, CallId, Fingerprint, StateName, Timestamp},
    store::{Filter, Page, StoreError},
};

const PAGE_MAX: usize = 200;
/// How many earlier calls a join looks at.
const SAME_MAX: usize = 16;
/// Up to here each shape's index is read by itself; more shapes are so common that time finds them.
const SHAPES_APART: usize = 256;
/// Up to here a reviewer's votes are gathered before the walk.
const VOTES_GATHERED: usize = 5000;

pub fn call(connection: &Connection, id: CallId) -> Read<Option<Call>> {
    connection
        .prepare_cached("SELECT snapshot FROM calls WHERE id = ?1")?
        .query_row([id.0.as_bytes()], |row| row.get::<_, Vec<u8>>(0))
        .optional()?
        .map(|snapshot| read(&snapshot))
        .transpose()
}

pub fn same(connection: &Connection, fingerprint: Fingerprint) -> Read<Vec<Call>> {
    let mut statement = connection.prepare_cached(
        "SELECT snapshot FROM calls WHERE fingerprint = ?1 ORDER BY requested_at DESC, rowid DESC LIMIT ?2",
    )?;
    let rows =
        statement.query_map(params![fingerprint.to_text(), SAME_MAX], |row| row.get::<_, Vec<u8>>(0))?;
    rows.map(|row| read(&row?)).collect()
}

pub fn has_voted(connection: &Connection, reviewer: &str, call: CallId) -> Read<bool> {
    let found = connection
        .prepare_cached("SELECT 1 FROM votes WHERE reviewer = ?1 AND call = ?2")?
        .exists(params![reviewer, call.0.as_bytes()])?;
    Ok(found)
}

/// At least as many calls as there are, without counting.
pub fn most_calls(connection: &Connection) -> Result<u64, StoreError> {
    connection
        .query_row("SELECT ifnull(max(rowid), 0) FROM calls", [], |row| row.get(0))
        .map_err(super::schema::opening)
}

pub fn tools(connection: &Connection) -> Read<Vec<[String; 3]>> {
    let mut statement = connection.prepare_cached("SELECT agent, server, tool FROM shapes")?;
    let rows = statement.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?]))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

pub fn due(connection: &Connection, until: Timestamp, limit: usize) -> Read<Vec<CallId>> {
    let mut statement =
        connection.prepare_cached("SELECT id FROM calls WHERE deadline <= ?1 ORDER BY deadline LIMIT ?2")?;
    let rows = statement.query_map([until.0, sql_number(limit as u64)], |row| row.get::<_, [u8; 16]>(0))?;
    rows.map(|row| Ok(CallId(uuid::Uuid::from_bytes(row?)))).collect()
}

pub fn counts(connection: &Connection) -> Read<Vec<(StateName, u64)>> {
    let mut statement = connection.prepare_cached("SELECT count(*) FROM calls WHERE state = ?1")?;
    StateName::ALL
        .into_iter()
        .map(|state| Ok((state, statement.query_row([state_number(state)], |row| row.get(0))?)))
        .collect()
}

/// One page, newest first; all of it as of one moment.
pub fn calls(connection: &Connection, filter: &Filter) -> Read<Page> {
    let moment = connection.unchecked_transaction()?;
    let limit = filter.limit.clamp(1, PAGE_MAX);
    let mut places = find(&moment, filter, limit + 1)?;
    let Found { places: more, reached } = in_arguments(&moment, filter, limit + 1)?;
    places.extend(more);
    places.sort_unstable_by(|a, b| b.cmp(a));
    places.dedup();
    // Behind what was looked at there may be more: the next page goes on there.
    places.retain(|place| reached.is_none_or(|reached| *place >= reached));
    let more = places.len() > limit;
    places.truncate(limit);
    let mut snapshot = moment.prepare_cached("SELECT snapshot FROM calls WHERE id = ?1")?;
    let calls: Vec<Call> = places
        .iter()
        .map(|(_, id)| read(&snapshot.query_row([id], |row| row.get::<_, Vec<u8>>(0))?))
        .collect::<Read<_>>()?;
    let next = places.last().filter(|_| more).or(reached.as_ref()).map(cursor);
    let head = moment
        .prepare_cached("SELECT coalesce(max(number), 0) FROM entries")?
        .query_row([], |row| row.get(0))?;
    Ok(Page { calls, next, head })
}

/// Calls whose arguments have the words of the filter's text.
fn in_arguments(connection: &Connection, filter: &Filter, limit: usize) -> Read<Found> {
    let Some(text) = &filter.text else { return Ok(Found::default()) };
    let names = named(filter);
    let shapes = if names.is_empty() { None } else { Some(shapes(connection, &names)?) };
    let after = filter.after.as_deref().map(|after| place(after).ok_or(StoreError::Cursor)).transpose()?;
    words::find(connection, text, filter, shapes.as_deref(), after, limit)
}

/// The newest `limit` of each branch that can hold calls that the page wants; no branch reads much more
/// of its index than that.
fn find(connection: &Connection, filter: &Filter, limit: usize) -> Read<Vec<Place>> {
    let common = common(connection, filter)?;
    let mut places = Vec::new();
    for branch in branches(connection, filter)? {
        let all: Vec<&Condition> = common.iter().chain(&branch).collect();
        let sql = match all.as_slice() {
            [] => "1".to_owned(),
            some => some.iter().map(|condition| condition.sql.as_ref()).collect::<Vec<_>>().join(" AND "),
        };
        let sql = format!(
            "SELECT requested_at, id FROM calls WHERE {sql} ORDER BY requested_at DESC, id DESC LIMIT {limit}"
        );
        let values = all.iter().flat_map(|condition| &condition.values);
        let mut statement = connection.prepare_cached(&sql)?;
        let rows = statement.query_map(params_from_iter(values), |row| Ok((row.get(0)?, row.get(1)?)))?;
        for row in rows {
            places.push(row?);
        }
    }
    Ok(places)
}

fn read(snapshot: &[u8]) -> Read<Call> {
    serde_json::from_slice(snapshot).map_err(|error| Unread::Content(format!("a call's snapshot: {error}")))
}

/// Opaque to callers: the place of the page's last call.
fn cursor((at, id): &Place) -> String {
    format!("{at:x}.{}", uuid::Uuid::from_bytes(*id).simple())
}

/// `None` for a text that no page ever gave.
fn place(cursor: &str) -> Option<Place> {
    let (at, id) = cursor.split_once('.')?;
    Some((i64::from_str_radix(at, 16).ok()?, *uuid::Uuid::parse_str(id).ok()?.as_bytes()))
}

struct Condition {
    sql: Cow<'static, str>,
    values: Vec<Value>,
}

fn condition(sql: impl Into<Cow<'static, str>>, values: impl IntoIterator<Item = Value>) -> Condition {
    Condition { sql: sql.into(), values: values.into_iter().collect() }
}

/// What every call of the page must satisfy, whatever branch finds it.
fn common(connection: &Connection, filter: &Filter) -> Read<Vec<Condition>> {
    let mut all = Vec::new();
    if let Some(reviewer) = &filter.reviewer {
        let sql = if votes_often(connection, reviewer)? {
            "EXISTS (SELECT 1 FROM votes WHERE reviewer = ? AND call = calls.id)"
        } else {
            "id IN (SELECT call FROM votes WHERE reviewer = ?)"
        };
        all.push(condition(sql, [Value::from(reviewer.clone())]));
    }
    if let Some(after) = &filter.after {
        let (at, id) = place(after).ok_or(StoreError::Cursor)?;
        all.push(condition("(requested_at, id) < (?, ?)", [Value::from(at), Value::from(id.to_vec())]));
    }
    Ok(all)
}

/// The calls of a few votes are gathered first; of many, a walk by time meets enough soon.
fn votes_often(connection: &Connection, reviewer: &str) -> Read<bool> {
    let often = connection
        .prepare_cached("SELECT 1 FROM votes WHERE reviewer = ?1 LIMIT 1 OFFSET ?2")?
        .exists(params![reviewer, VOTES_GATHERED])?;
    Ok(often)
}

/// Where the calls can be: under a state, or under a shape that matches, or at the id or short code that
/// the text begins. Each branch is one walk of one index, by time.
fn branches(connection: &Connection, filter: &Filter) -> Read<Vec<Vec<Condition>>> {
    let mut names = named(filter);
    // A NUL would end the text for SQLite, and match everything.
    let text = filter.text.as_deref().map(|text| text.replace(char::is_control, " "));
    let Some(text) = text.as_deref().map(str::trim).filter(|text| !text.is_empty()) else {
        let shapes = if names.is_empty() { None } else { Some(shapes(connection, &names)?) };
        return Ok(walks(&filter.states, shapes.as_deref()));
    };
    let named = if names.is_empty() { None } else { Some(shapes(connection, &names)?) };
    names.push(part_of_a_name(text));
    let mut all = walks(&filter.states, Some(&shapes(connection, &names)?));
    for mut begun in beginnings(text) {
        begun.extend(state_in(&filter.states));
        begun.extend(named.as_deref().map(shape_in));
        all.push(begun);
    }
    Ok(all)
}

/// The names that the filter wants, each whole.
fn named(filter: &Filter) -> Vec<Condition> {
    let wanted = [("server", &filter.server), ("tool", &filter.tool), ("agent", &filter.agent)];
    let wanted = wanted.into_iter().filter_map(|(column, name)| Some((column, name.clone()?)));
    wanted.map(|(column, name)| condition(format!("{column} = ?"), [Value::from(name)])).collect()
}

/// Unsettled calls are few, so their states lead; else the shapes do while they are few; else time.
fn walks(states: &[StateName], shapes: Option<&[i64]>) -> Vec<Vec<Condition>> {
    let few = !states.is_empty() && states.iter().all(|state| is_unsettled(*state));
    match shapes {
        Some(shapes) if !few && shapes.len() <= SHAPES_APART => shapes
            .iter()
            .map(|shape| condition("shape = ?", [Value::from(*shape)]))
            .map(|shape| [shape].into_iter().chain(state_in(states)).collect())
            .collect(),
        shapes if states.is_empty() => vec![shapes.map(shape_in).into_iter().collect()],
        shapes => states
            .iter()
            .map(|state| condition("state = ?", [Value::from(state_number(*state))]))
            .map(|state| [state].into_iter().chain(shapes.map(shape_in)).collect())
            .collect(),
    }
}

fn is_unsettled(state: StateName) -> bool {
    match state {
        StateName::Pending | StateName::Permitted | StateName::Dispatched => true,
        StateName::Completed
        | StateName::Failed
        | StateName::Lost
        | StateName::Denied
        | StateName::Expired
        | StateName::Cancelled => false,
    }
}

fn shapes(connection: &Connection, names: &[Condition]) -> Read<Vec<i64>> {
    let all: Vec<&str> = names.iter().map(|name| name.sql.as_ref()).collect();
    let sql = format!("SELECT shape FROM shapes WHERE {}", all.join(" AND "));
    let mut statement = connection.prepare_cached(&sql)?;
    let values = names.iter().flat_map(|name| &name.values);
    let rows = statement.query_map(params_from_iter(values), |row| row.get(0))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

/// The plus keeps the database on the walk by time: it would rather gather all of these and sort them.
fn shape_in(shapes: &[i64]) -> Condition {
    let all: Vec<String> = shapes.iter().map(i64::to_string).collect();
    condition(format!("+shape IN ({})", all.join(",")), [])
}

/// `None` for any state.
fn state_in(states: &[StateName]) -> Option<Condition> {
    let all: Vec<String> = states.iter().map(|state| state_number(*state).to_string()).collect();
    (!all.is_empty()).then(|| condition(format!("+state IN ({})", all.join(",")), []))
}

fn part_of_a_name(text: &str) -> Condition {
    let like = format!("%{}%", text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
    let names = "server || char(10) || tool || char(10) || agent LIKE ? ESCAPE '\\'";
    condition(names, [Value::from(like)])
}

/// Three characters of a short code, or eight of an id, find few enough.
fn beginnings(text: &str) -> Vec<Vec<Condition>> {
    let mut found = Vec::new();
    let code = text.to_ascii_uppercase();
    if (3..=6).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        let range = [Value::from(code.clone()), Value::from(format!("{code}~"))];
        found.push(vec![condition("short_code >= ? AND short_code < ?", range)]);
    }
    if let Some((from, to)) = id_range(text) {
        found.push(vec![condition("id BETWEEN ? AND ?", [Value::from(from), Value::from(to)])]);
    }
    found
}

/// The ids that begin as `text` does, if it could begin one.
fn id_range(text: &str) -> Option<(Vec<u8>, Vec<u8>)> {
    let digits: String = text.chars().filter(|digit| *digit != '-').collect();
    if !(8..=32).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let end = |fill: char| {
        let filled: String = digits.chars().chain(std::iter::repeat(fill)).take(32).collect();
        uuid::Uuid::parse_str(&filled).ok().map(|id| id.as_bytes().to_vec())
    };
    Some((end('0')?, end('f')?))
}
