//! The end of the chain: what gives the next entry its number and its predecessor's hash.

use sha2::{Digest as _, Sha256};

use super::{Entry, Fact, Malformed, Stream, encode};
use crate::call::Timestamp;

/// The hash before the first entry.
pub const ZERO: [u8; 32] = [0; 32];

/// RFC 6962 leaf hash: SHA-256 over a zero byte and the bytes.
#[must_use]
pub fn leaf_hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update([0]).chain_update(bytes).finalize().into()
}

/// How long the chain is and the hash of its last entry. One owner extends it: the store's writer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chain {
    /// Number of the last entry; 0 for an empty chain.
    pub size: u64,
    pub head: [u8; 32],
}

impl Default for Chain {
    fn default() -> Self {
        Self { size: 0, head: ZERO }
    }
}

impl Chain {
    /// Places `fact` at the end; answers the entry and its canonical bytes.
    ///
    /// # Errors
    /// As `encode`; the chain is then as before.
    pub fn push(
        &mut self,
        at: Timestamp,
        stream: &Stream,
        version: u64,
        fact: Fact,
    ) -> Result<(Entry, Vec<u8>), Malformed> {
        let number = self.size + 1;
        let bytes = encode(number, &self.head, at, stream, version, &fact)?;
        let hash = leaf_hash(&bytes);
        *self = Self { size: number, head: hash };
        Ok((Entry { number, stream: stream.clone(), version, at, fact, hash }, bytes))
    }
}
