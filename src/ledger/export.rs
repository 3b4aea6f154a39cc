//! The lines of an export: each entry's own bytes, signed heads between them, and what lies beside.
//!
//! A payload stands behind the entry that proves it, a segment's leaves behind the segment's entry, a
//! head behind its last entry: a verifier reads once, from the first line to the last.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde::{Deserialize, Serialize};

use super::{
    Malformed,
    entry::{read_hex, write_hex},
};
use crate::call::CallId;

/// One line, without its line feed. An entry's line is its canonical bytes and has no variant to write.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    Entry(Vec<u8>),
    /// A signed note.
    Head(String),
    /// One leaf of the segment whose entry came last.
    Leaf(String),
    /// Bytes that the entry before proves.
    Payload {
        call: CallId,
        salt: [u8; 32],
        bytes: Vec<u8>,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "snake_case")]
enum Beside {
    Head(String),
    Leaf(String),
    Payload { call: CallId, salt: String, bytes: String },
}

impl Line {
    /// # Errors
    /// Never for lines that this module made.
    pub fn write(self) -> Result<Vec<u8>, Malformed> {
        let beside = match self {
            Self::Entry(bytes) => return Ok(bytes),
            Self::Head(note) => Beside::Head(note),
            Self::Leaf(leaf) => Beside::Leaf(leaf),
            Self::Payload { call, salt, bytes } => {
                let mut hex = Vec::with_capacity(64);
                write_hex(&salt, &mut hex);
                let salt = String::from_utf8_lossy(&hex).into_owned();
                Beside::Payload { call, salt, bytes: BASE64_STANDARD.encode(bytes) }
            }
        };
        serde_json::to_vec(&beside).map_err(|error| Malformed(error.to_string()))
    }

    /// Whatever is not clearly something else is held to be an entry, and must then be one.
    ///
    /// # Errors
    /// `Malformed` for a line that begins as one of those beside the entries and is not.
    pub fn read(line: &[u8]) -> Result<Self, Malformed> {
        let beside = [b"{\"head\":".as_slice(), b"{\"leaf\":", b"{\"payload\":"];
        if !beside.iter().any(|start| line.starts_with(start)) {
            return Ok(Self::Entry(line.to_vec()));
        }
        match serde_json::from_slice(line).map_err(|error| Malformed(error.to_string()))? {
            Beside::Head(note) => Ok(Self::Head(note)),
            Beside::Leaf(leaf) => Ok(Self::Leaf(leaf)),
            Beside::Payload { call, salt, bytes } => {
                let salt = read_hex(&salt).ok_or_else(|| Malformed("the salt is not 32 bytes".into()))?;
                let bytes = BASE64_STANDARD.decode(bytes).map_err(|error| Malformed(error.to_string()))?;
                Ok(Self::Payload { call, salt, bytes })
            }
        }
    }
}
