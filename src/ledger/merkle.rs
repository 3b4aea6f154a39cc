//! RFC 6962 Merkle trees over a segment's leaves, and the proof that one leaf is in it.

use sha2::{Digest as _, Sha256};

use super::leaf_hash;

/// The tree hash of these leaves; of none, the hash of nothing.
#[must_use]
pub fn root<L: AsRef<[u8]>>(leaves: &[L]) -> [u8; 32] {
    let hashes: Vec<[u8; 32]> = leaves.iter().map(|leaf| leaf_hash(leaf.as_ref())).collect();
    root_of(&hashes)
}

/// The same of leaves whose hashes are known.
#[must_use]
pub fn root_of(hashes: &[[u8; 32]]) -> [u8; 32] {
    match hashes {
        [] => Sha256::digest([]).into(),
        [leaf] => *leaf,
        more => {
            let (left, right) = more.split_at(left_size(more.len()));
            node(&root_of(left), &root_of(right))
        }
    }
}

/// The hashes beside the path from leaf `index` (from 0) up to the root; `None` when there is no such leaf.
#[must_use]
pub fn inclusion<L: AsRef<[u8]>>(leaves: &[L], index: usize) -> Option<Vec<[u8; 32]>> {
    if index >= leaves.len() {
        return None;
    }
    let hashes: Vec<[u8; 32]> = leaves.iter().map(|leaf| leaf_hash(leaf.as_ref())).collect();
    let mut path = Vec::new();
    climb(&hashes, index, &mut path);
    Some(path)
}

/// Is a leaf with this hash number `index` (from 0) of the `size` leaves under `root`?
#[must_use]
pub fn includes(root: &[u8; 32], size: usize, index: usize, leaf: [u8; 32], path: &[[u8; 32]]) -> bool {
    reach(size, index, leaf, path) == Some(*root)
}

fn reach(size: usize, index: usize, leaf: [u8; 32], path: &[[u8; 32]]) -> Option<[u8; 32]> {
    if index >= size {
        return None;
    }
    if size == 1 {
        return path.is_empty().then_some(leaf);
    }
    let (beside, rest) = path.split_last()?;
    let left = left_size(size);
    if index < left {
        Some(node(&reach(left, index, leaf, rest)?, beside))
    } else {
        Some(node(beside, &reach(size - left, index - left, leaf, rest)?))
    }
}

fn climb(hashes: &[[u8; 32]], index: usize, path: &mut Vec<[u8; 32]>) {
    if hashes.len() < 2 {
        return;
    }
    let (left, right) = hashes.split_at(left_size(hashes.len()));
    if index < left.len() {
        climb(left, index, path);
        path.push(root_of(right));
    } else {
        climb(right, index - left.len(), path);
        path.push(root_of(left));
    }
}

/// The largest power of two below `size` (2 or more): RFC 6962 fills trees from the left.
fn left_size(size: usize) -> usize {
    size.next_power_of_two() / 2
}

fn node(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    Sha256::new().chain_update([1]).chain_update(left).chain_update(right).finalize().into()
}
