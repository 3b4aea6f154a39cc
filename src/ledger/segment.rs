//! Calls that the policy allowed at once: one leaf per call, many leaves under one entry.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Malformed, Segment, entry::write_hex, merkle};
use crate::call::{CallId, Digest, Timestamp};

/// Longer arguments are on the ledger by their digest only.
pub const ARGUMENTS_MAX: usize = 4096;

/// Bytes of most leaves.
const LEAF: usize = 512;

/// The first byte of packed leaves; another form is another number.
const PACKED: u8 = 1;

/// An allowed call from start to end. Members are on the ledger for ever: extend, never rename.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct AllowedCall<'a> {
    pub id: CallId,
    pub agent: Cow<'a, str>,
    pub server: Cow<'a, str>,
    pub tool: Cow<'a, str>,
    pub rule: Cow<'a, str>,
    /// Digest of the policies that judged it.
    pub policy: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Cow<'a, str>>,
    pub started: Timestamp,
    pub duration_ms: u64,
    pub arguments: Arguments<'a>,
    pub outcome: AllowedOutcome,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arguments<'a> {
    /// The client's own text.
    Raw(Cow<'a, str>),
    /// SHA-256 of the client's own bytes.
    Digest(Digest),
}

/// What became of it, as told to the agent; answers are not kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum AllowedOutcome {
    Completed {
        is_error: bool,
        /// Length of the answer.
        bytes: u64,
    },
    /// It cannot have run.
    Failed,
    /// It was sent and nobody knows.
    Lost,
    /// Written out before its end: it ran longer than the window.
    Running,
}

impl AllowedCall<'_> {
    /// The bytes of its leaf.
    ///
    /// # Errors
    /// Never for what this type can hold; the encoder is allowed to fail.
    pub fn leaf(&self) -> Result<Vec<u8>, Malformed> {
        let mut leaf = Vec::with_capacity(LEAF);
        serde_json::to_writer(&mut leaf, self).map_err(|error| Malformed(error.to_string()))?;
        Ok(leaf)
    }

    /// # Errors
    /// `Malformed` for bytes that are no leaf of ours.
    pub fn read(leaf: &[u8]) -> Result<AllowedCall<'static>, Malformed> {
        serde_json::from_slice(leaf).map_err(|error| Malformed(error.to_string()))
    }
}

/// The fact for the ledger, and the leaves packed for the row beside it.
#[must_use]
pub fn seal(leaves: &[Vec<u8>], from: Timestamp, to: Timestamp) -> (Segment, Vec<u8>) {
    let count = u32::try_from(leaves.len()).unwrap_or(u32::MAX);
    (Segment { count, root: root_text(leaves), from, to }, pack(leaves))
}

/// The tree hash of the leaves as it stands in the entry.
pub(super) fn root_text<L: AsRef<[u8]>>(leaves: &[L]) -> String {
    let mut root = Vec::with_capacity(64);
    write_hex(&merkle::root(leaves), &mut root);
    String::from_utf8_lossy(&root).into_owned()
}

/// Leaves one after the other, each behind its length in four bytes, big-endian, under a version byte.
#[must_use]
pub fn pack(leaves: &[Vec<u8>]) -> Vec<u8> {
    let mut packed = Vec::with_capacity(1 + leaves.iter().map(|leaf| leaf.len() + 4).sum::<usize>());
    packed.push(PACKED);
    for leaf in leaves {
        packed.extend_from_slice(&u32::try_from(leaf.len()).unwrap_or(u32::MAX).to_be_bytes());
        packed.extend_from_slice(leaf);
    }
    packed
}

/// The leaves of a packed segment; `None` when it is not one that we know.
#[must_use]
pub fn unpack(packed: &[u8]) -> Option<Vec<&[u8]>> {
    let (&PACKED, mut rest) = packed.split_first()? else { return None };
    let mut leaves = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>()?;
        let (leaf, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        leaves.push(leaf);
        rest = after;
    }
    Some(leaves)
}
