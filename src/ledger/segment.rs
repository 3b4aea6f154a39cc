//! Calls that the policy allowed at once: one leaf per call, many leaves under one entry.

use std::{borrow::Cow, ops::Range};

use serde::{Deserialize, Serialize};

use super::{Malformed, Segment, entry::write_hex, leaf_hash, merkle};
use crate::call::{CallId, Digest, Timestamp};

/// Longer arguments are on the ledger by their digest only.
pub const ARGUMENTS_MAX: usize = 4096;

/// The first byte of packed leaves; another form is another number.
const PACKED: u8 = 2;
/// What follows it, again and again: text that leaves have in common, or a leaf.
const COMMON: u8 = 0;
const LEAF: u8 = 1;
/// In place of the number of a common text: this leaf has none.
const ALONE: u32 = u32::MAX;

/// A segment that unpacks to more bytes was not packed here.
const LARGEST: usize = 256 << 20;

/// A call is compared with the last so many for what it has in common with others.
const COMPARED: usize = 32;

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
    /// # Errors
    /// `Malformed` for bytes that are no leaf of ours.
    pub fn read(leaf: &[u8]) -> Result<AllowedCall<'static>, Malformed> {
        serde_json::from_slice(leaf).map_err(|error| Malformed(error.to_string()))
    }
}

/// Leaves on their way into one segment. Each is hashed as it comes; what calls have in common, which is
/// half of a leaf, is written once and kept once.
#[derive(Clone, Debug, Default)]
pub struct Leaves {
    hashes: Vec<[u8; 32]>,
    packed: Vec<u8>,
    commons: Vec<Common>,
    /// The leaf at hand.
    text: Vec<u8>,
}

#[derive(Clone, Debug)]
struct Common {
    agent: String,
    server: String,
    tool: String,
    rule: String,
    policy: String,
    /// These as members of a leaf, a comma before each.
    text: Vec<u8>,
}

/// The members of `AllowedCall` that are common, and those after them.
#[derive(Serialize)]
struct Shared<'a> {
    agent: &'a str,
    server: &'a str,
    tool: &'a str,
    rule: &'a str,
    policy: &'a str,
}

#[derive(Serialize)]
struct Own<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<&'a str>,
    started: Timestamp,
    duration_ms: u64,
    arguments: &'a Arguments<'a>,
    outcome: AllowedOutcome,
}

impl Leaves {
    /// The leaf of a call is the JSON of its `AllowedCall`.
    ///
    /// # Errors
    /// Never for what this type can hold; the encoder is allowed to fail.
    pub fn push(&mut self, call: &AllowedCall<'_>) -> Result<(), Malformed> {
        let before = self.commons.iter().rev().take(COMPARED).position(|common| common.is_of(call));
        let number = match before {
            Some(back) => self.commons.len() - 1 - back,
            None => self.begin(Common::of(call)?),
        };
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        text.extend_from_slice(b"{\"id\":");
        write(&call.id, &mut text)?;
        let from = text.len();
        text.extend_from_slice(self.commons.get(number).map_or(&[], |common| &common.text));
        let to = text.len();
        write(&Own::of(call), &mut text)?;
        go_on(&mut text, to);
        self.keep(&text, (u32::try_from(number).unwrap_or(ALONE), from..to));
        self.text = text;
        Ok(())
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.hashes.is_empty()
    }

    /// The fact for the ledger, and the leaves packed for the row beside it.
    #[must_use]
    pub fn seal(self, from: Timestamp, to: Timestamp) -> (Segment, Vec<u8>) {
        let count = u32::try_from(self.hashes.len()).unwrap_or(u32::MAX);
        (Segment { count, root: in_hex(&merkle::root_of(&self.hashes)), from, to }, self.packed)
    }

    fn begin(&mut self, common: Common) -> usize {
        self.kind(COMMON);
        self.part(&common.text, &[]);
        self.commons.push(common);
        self.commons.len() - 1
    }

    fn keep(&mut self, leaf: &[u8], (number, shared): (u32, Range<usize>)) {
        self.hashes.push(leaf_hash(leaf));
        let (before, after) = (leaf.get(..shared.start), leaf.get(shared.end..));
        self.kind(LEAF);
        self.number(number);
        self.number(u32::try_from(shared.start).unwrap_or(u32::MAX));
        self.part(before.unwrap_or_default(), after.unwrap_or_default());
    }

    fn kind(&mut self, kind: u8) {
        if self.packed.is_empty() {
            self.packed.push(PACKED);
        }
        self.packed.push(kind);
    }

    fn number(&mut self, number: u32) {
        self.packed.extend_from_slice(&number.to_be_bytes());
    }

    fn part(&mut self, one: &[u8], other: &[u8]) {
        self.number(u32::try_from(one.len() + other.len()).unwrap_or(u32::MAX));
        self.packed.extend_from_slice(one);
        self.packed.extend_from_slice(other);
    }
}

/// Leaves that have nothing in common.
impl<L: AsRef<[u8]>> FromIterator<L> for Leaves {
    fn from_iter<I: IntoIterator<Item = L>>(texts: I) -> Self {
        let mut leaves = Self::default();
        for text in texts {
            leaves.keep(text.as_ref(), (ALONE, 0..0));
        }
        leaves
    }
}

impl Common {
    fn of(call: &AllowedCall<'_>) -> Result<Self, Malformed> {
        let AllowedCall { agent, server, tool, rule, policy, .. } = call;
        let mut text = Vec::new();
        write(&Shared { agent, server, tool, rule, policy }, &mut text)?;
        go_on(&mut text, 0);
        text.pop();
        let [agent, server, tool, rule, policy] =
            [agent, server, tool, rule, policy].map(ToString::to_string);
        Ok(Self { agent, server, tool, rule, policy, text })
    }

    fn is_of(&self, call: &AllowedCall<'_>) -> bool {
        self.tool == call.tool
            && self.rule == call.rule
            && self.server == call.server
            && self.agent == call.agent
            && self.policy == call.policy
    }
}

impl<'a> Own<'a> {
    fn of(call: &'a AllowedCall<'a>) -> Self {
        Self {
            session: call.session.as_deref(),
            started: call.started,
            duration_ms: call.duration_ms,
            arguments: &call.arguments,
            outcome: call.outcome,
        }
    }
}

fn write(value: &impl Serialize, text: &mut Vec<u8>) -> Result<(), Malformed> {
    serde_json::to_writer(text, value).map_err(|error| Malformed(error.to_string()))
}

/// The object that begins at `at` goes on where another ended.
fn go_on(text: &mut [u8], at: usize) {
    if let Some(brace) = text.get_mut(at) {
        *brace = b',';
    }
}

fn in_hex(root: &[u8; 32]) -> String {
    let mut text = Vec::with_capacity(64);
    write_hex(root, &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The tree hash of the leaves as it stands in the entry.
pub(super) fn root_text<L: AsRef<[u8]>>(leaves: &[L]) -> String {
    in_hex(&merkle::root(leaves))
}

/// The leaves of a packed segment of so many; `None` when it is not one that we know, or holds anything else.
#[must_use]
pub fn unpack(packed: &[u8], count: u32) -> Option<Vec<String>> {
    let (&PACKED, rest) = packed.split_first()? else { return None };
    let mut rest = Rest(rest);
    let (mut commons, mut leaves, mut room) = (Vec::new(), Vec::new(), LARGEST);
    while let Some((kind, after)) = rest.0.split_first() {
        rest.0 = after;
        match *kind {
            COMMON => commons.push((rest.part()?, false)),
            LEAF => {
                let (number, at) = (rest.number()?, rest.number()? as usize);
                let (before, after) = rest.part()?.split_at_checked(at)?;
                let common = match commons.get_mut(number as usize) {
                    Some((common, used)) => {
                        *used = true;
                        *common
                    }
                    None if number == ALONE => &[][..],
                    None => return None,
                };
                if leaves.len() >= count as usize {
                    return None;
                }
                room = room.checked_sub(before.len() + common.len() + after.len())?;
                leaves.push(String::from_utf8([before, common, after].concat()).ok()?);
            }
            _ => return None,
        }
    }
    commons.iter().all(|(_, used)| *used).then_some(leaves)
}

/// What is still to be unpacked.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn number(&mut self) -> Option<u32> {
        let (number, after) = self.0.split_first_chunk::<4>()?;
        self.0 = after;
        Some(u32::from_be_bytes(*number))
    }

    fn part(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        let (part, after) = self.0.split_at_checked(length as usize)?;
        self.0 = after;
        Some(part)
    }
}
