//! The bytes of an entry: canonical JSON (RFC 8785), so that the same entry has the same hash everywhere.
//!
//! The fact is nested under its own member: no event's member can ever collide with the entry's own.

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, value::RawValue};

use super::{Entry, Fact, Stream, leaf_hash};
use crate::call::{CallId, Timestamp};

/// Version of the entry's form; another form is another number.
const FORM: u64 = 1;
/// One chain today; room for more writers.
const LANE: u64 = 0;

/// Bytes that are not an entry of a form we know.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// An entry as read back, with the hash that it names as its predecessor's.
#[derive(Clone, PartialEq, Debug)]
pub struct Placed {
    pub entry: Entry,
    pub prev: [u8; 32],
}

/// The entry's canonical bytes; `prev` is the leaf hash of the entry before, zeros for the first.
///
/// # Errors
/// Only for a fact that has no JSON form, which none of ours lacks.
pub fn encode(
    number: u64,
    prev: &[u8; 32],
    at: Timestamp,
    stream: &Stream,
    version: u64,
    fact: &Fact,
) -> Result<Vec<u8>, Malformed> {
    let fact = serde_json::to_value(fact).map_err(|error| Malformed(error.to_string()))?;
    let mut out = Vec::with_capacity(768);
    out.extend_from_slice(format!("{{\"at\":\"{at}\",").as_bytes());
    if let Stream::Call(call) = stream {
        out.extend_from_slice(format!("\"call\":\"{call}\",").as_bytes());
    }
    out.extend_from_slice(b"\"fact\":");
    write_canonical(&fact, &mut out);
    out.extend_from_slice(format!(",\"lane\":{LANE},\"n\":{number},\"prev\":\"").as_bytes());
    write_hex(prev, &mut out);
    let name = stream.name();
    out.extend_from_slice(
        format!("\",\"stream\":\"{name}\",\"v\":{FORM},\"version\":{version}}}").as_bytes(),
    );
    Ok(out)
}

/// Reads an entry's bytes back, and hashes them.
///
/// # Errors
/// `Malformed` says what is not as it must be.
pub fn decode(bytes: &[u8]) -> Result<Placed, Malformed> {
    let line: Line<'_> = serde_json::from_slice(bytes).map_err(|error| Malformed(error.to_string()))?;
    let stream = line.stream()?;
    let fact = fact_of(&stream, line.fact.get())?;
    let prev = line.prev()?;
    let hash = leaf_hash(bytes);
    let entry = Entry { number: line.n, stream, version: line.version, at: line.at, fact, hash };
    Ok(Placed { entry, prev })
}

/// Only what happened, and on which stream.
///
/// # Errors
/// As `decode`.
pub fn read_fact(bytes: &[u8]) -> Result<(Stream, Fact), Malformed> {
    let line: Line<'_> = serde_json::from_slice(bytes).map_err(|error| Malformed(error.to_string()))?;
    let stream = line.stream()?;
    let fact = fact_of(&stream, line.fact.get())?;
    Ok((stream, fact))
}

/// Only the hash that the entry names as its predecessor's; `None` for bytes that are no entry.
#[must_use]
pub fn prev(bytes: &[u8]) -> Option<[u8; 32]> {
    serde_json::from_slice::<Line<'_>>(bytes).ok()?.prev().ok()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Line<'a> {
    pub(super) at: Timestamp,
    #[serde(default)]
    pub(super) call: Option<CallId>,
    #[serde(borrow)]
    pub(super) fact: &'a RawValue,
    lane: u64,
    pub(super) n: u64,
    prev: &'a str,
    #[serde(rename = "stream")]
    stream_name: &'a str,
    v: u64,
    pub(super) version: u64,
}

impl Line<'_> {
    pub(super) fn stream(&self) -> Result<Stream, Malformed> {
        if self.v != FORM || self.lane != LANE {
            return Err(Malformed(format!("form {} lane {} is not known here", self.v, self.lane)));
        }
        Stream::named(self.stream_name, self.call)
            .ok_or_else(|| Malformed(format!("no stream is named {}", self.stream_name)))
    }

    pub(super) fn prev(&self) -> Result<[u8; 32], Malformed> {
        read_hex(self.prev).ok_or_else(|| Malformed("prev is not 64 lower-case hexadecimal digits".into()))
    }
}

/// The stream says which events can stand on it, so nothing is guessed from the members.
pub(super) fn fact_of(stream: &Stream, json: &str) -> Result<Fact, Malformed> {
    fn read<T: DeserializeOwned>(json: &str) -> Result<T, Malformed> {
        serde_json::from_str(json).map_err(|error| Malformed(error.to_string()))
    }
    match stream {
        Stream::Call(_) => read(json).map(Fact::Call),
        Stream::Agents => read(json).map(Fact::Agent),
        Stream::Reviewers => read(json).map(Fact::Reviewer),
        Stream::Policies => read(json).map(Fact::Policy),
        Stream::Servers => read(json).map(Fact::Server),
        Stream::Stops => read(json).map(Fact::Stop),
        Stream::Broker => read(json).map(Fact::Broker),
    }
}

impl Stream {
    /// The stream's name on the wire; a call's stream is `call`, its id stands beside.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Call(_) => "call",
            Self::Agents => "agents",
            Self::Reviewers => "reviewers",
            Self::Policies => "policies",
            Self::Servers => "servers",
            Self::Stops => "stops",
            Self::Broker => "broker",
        }
    }

    /// The stream with this name; a call's needs the call, no other may have one.
    #[must_use]
    pub fn named(name: &str, call: Option<CallId>) -> Option<Self> {
        match (name, call) {
            ("call", Some(call)) => Some(Self::Call(call)),
            ("agents", None) => Some(Self::Agents),
            ("reviewers", None) => Some(Self::Reviewers),
            ("policies", None) => Some(Self::Policies),
            ("servers", None) => Some(Self::Servers),
            ("stops", None) => Some(Self::Stops),
            ("broker", None) => Some(Self::Broker),
            _ => None,
        }
    }
}

/// RFC 8785 for values without fractions: members sorted by UTF-16 code units, no white space.
fn write_canonical(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push(b'{');
            for (i, (name, value)) in members.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_scalar(name, out);
                out.push(b':');
                write_canonical(value, out);
            }
            out.push(b'}');
        }
        Value::Array(values) => {
            out.push(b'[');
            for (i, value) in values.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_canonical(value, out);
            }
            out.push(b']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => write_scalar(value, out),
    }
}

/// `serde_json` escapes strings exactly as RFC 8785 does, and writing to a `Vec` cannot fail.
fn write_scalar<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    let _ = serde_json::to_writer(out, value);
}

const HEX: &[u8; 16] = b"0123456789abcdef";

pub(super) fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    for byte in bytes {
        out.push(HEX[usize::from(byte >> 4)]);
        out.push(HEX[usize::from(byte & 15)]);
    }
}

/// Lower case only: one value has one text.
pub(super) fn read_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let text: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut out = [0; 32];
    for (pair, byte) in text.chunks_exact(2).zip(&mut out) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}
