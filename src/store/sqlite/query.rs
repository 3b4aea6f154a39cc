//! Questions about calls: one, a page of many, how many, the same again, what is due.
//!
//! Pages walk an index that holds everything a filter looks at, newest first, and fetch only the rows
//! that they show.

use rusqlite::{Connection, OptionalExtension as _, params, params_from_iter, types::Value};

use super::{
    projection::state_number,
    reader::{Read, Unread},
};
use crate::{
    call::{Call, CallId, Fingerprint, StateName, Timestamp},
    store::{Filter, Page},
};

const PAGE_MAX: usize = 200;
/// How many earlier calls a join looks at.
const SAME_MAX: usize = 16;

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

pub fn due(connection: &Connection, until: Timestamp, limit: usize) -> Read<Vec<CallId>> {
    let mut statement =
        connection.prepare_cached("SELECT id FROM calls WHERE deadline <= ?1 ORDER BY deadline LIMIT ?2")?;
    let rows = statement.query_map(params![until.0, limit], |row| row.get::<_, [u8; 16]>(0))?;
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
    let (sql, values) = page_sql(filter, limit)?;
    let mut statement = moment.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut calls = Vec::with_capacity(limit);
    let mut more = false;
    while let Some(row) = rows.next()? {
        if calls.len() == limit {
            more = true;
            break;
        }
        calls.push(read(&row.get::<_, Vec<u8>>(0)?)?);
    }
    let next = calls.last().filter(|_| more).map(|call: &Call| cursor(call));
    let head = moment
        .prepare_cached("SELECT coalesce(max(number), 0) FROM entries")?
        .query_row([], |row| row.get(0))?;
    Ok(Page { calls, next, head })
}

fn read(snapshot: &[u8]) -> Read<Call> {
    serde_json::from_slice(snapshot).map_err(|error| Unread::Content(format!("a call's snapshot: {error}")))
}

/// Opaque to callers: the moment and the id of the page's last call.
fn cursor(call: &Call) -> String {
    format!("{:x}.{}", call.requested_at.0, call.id.0.simple())
}

/// `None` for a text that no page ever gave.
fn place(cursor: &str) -> Option<(i64, uuid::Uuid)> {
    let (at, id) = cursor.split_once('.')?;
    Some((i64::from_str_radix(at, 16).ok()?, uuid::Uuid::parse_str(id).ok()?))
}

/// One row more than the page shows, to know whether there is another page.
fn page_sql(filter: &Filter, limit: usize) -> Read<(String, Vec<Value>)> {
    let mut found = Conditions::default();
    if !filter.states.is_empty() {
        let states: Vec<String> =
            filter.states.iter().map(|state| state_number(*state).to_string()).collect();
        found.add(&format!("state IN ({})", states.join(",")), []);
    }
    let shape = [("server", &filter.server), ("tool", &filter.tool), ("agent", &filter.agent)];
    for (column, wanted) in shape {
        if let Some(wanted) = wanted {
            found.add(
                &format!("shape IN (SELECT shape FROM shapes WHERE {column} = ?)"),
                [Value::from(wanted.clone())],
            );
        }
    }
    if let Some(reviewer) = &filter.reviewer {
        found.add("id IN (SELECT call FROM votes WHERE reviewer = ?)", [Value::from(reviewer.clone())]);
    }
    if let Some(text) = filter.text.as_deref().map(str::trim).filter(|text| !text.is_empty()) {
        found.add_text(text);
    }
    if let Some(after) = &filter.after {
        let (at, id) =
            place(after).ok_or_else(|| Unread::Content("`after` is not a cursor of ours".into()))?;
        found.add("(requested_at, id) < (?, ?)", [Value::from(at), Value::from(id.as_bytes().to_vec())]);
    }
    let conditions = if found.sql.is_empty() { "1".to_owned() } else { found.sql.join(" AND ") };
    let sql = format!(
        "SELECT snapshot FROM calls WHERE {conditions} ORDER BY requested_at DESC, id DESC LIMIT {}",
        limit + 1
    );
    Ok((sql, found.values))
}

#[derive(Default)]
struct Conditions {
    sql: Vec<String>,
    values: Vec<Value>,
}

impl Conditions {
    fn add(&mut self, sql: &str, values: impl IntoIterator<Item = Value>) {
        self.sql.push(sql.to_owned());
        self.values.extend(values);
    }

    /// Names by any part of them; an id and a short code by how they begin.
    fn add_text(&mut self, text: &str) {
        let like = format!("%{}%", text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_"));
        let mut either = vec![
            "shape IN (SELECT shape FROM shapes WHERE server || char(10) || tool || char(10) || agent LIKE ? ESCAPE '\\')",
        ];
        let mut values = vec![Value::from(like)];
        let code = text.to_ascii_uppercase();
        if code.len() <= 6 && code.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            either.push("id IN (SELECT id FROM calls WHERE short_code >= ? AND short_code < ?)");
            values.extend([Value::from(code.clone()), Value::from(format!("{code}~"))]);
        }
        if let Some((from, to)) = id_range(text) {
            either.push("id IN (SELECT id FROM calls WHERE id BETWEEN ? AND ?)");
            values.extend([Value::from(from), Value::from(to)]);
        }
        self.add(&format!("({})", either.join(" OR ")), values);
    }
}

/// The ids that begin as `text` does, if it could begin one: at least eight hexadecimal digits.
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
