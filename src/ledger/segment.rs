//! Batches of allowed calls: one leaf per call, many leaves under one entry.

use super::{Segment, entry::write_hex, merkle};
use crate::call::Timestamp;

/// The fact for the ledger, and the leaves packed for the row beside it.
#[must_use]
pub fn seal(leaves: &[Vec<u8>], from: Timestamp, to: Timestamp) -> (Segment, Vec<u8>) {
    let mut root = Vec::with_capacity(64);
    write_hex(&merkle::root(leaves), &mut root);
    let root = String::from_utf8_lossy(&root).into_owned();
    let count = u32::try_from(leaves.len()).unwrap_or(u32::MAX);
    (Segment { count, root, from, to }, pack(leaves))
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

const PACKED: u8 = 1;
