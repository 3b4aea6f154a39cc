//! An entry's bytes, read and hashed: all of its proof that needs no neighbour, so that many threads can do it.

use super::{
    Fact, Malformed, Stream,
    entry::{Line, fact_of},
    leaf_hash,
};
use crate::call::Timestamp;

#[derive(Clone, PartialEq, Debug)]
pub struct Seen {
    /// Leaf hash of the bytes, whatever they are.
    pub hash: [u8; 32],
    pub place: Result<Place, Malformed>,
}

/// Where the entry says that it stands, and what happened.
#[derive(Clone, PartialEq, Debug)]
pub struct Place {
    pub number: u64,
    pub stream: Stream,
    pub version: u64,
    pub at: Timestamp,
    pub prev: [u8; 32],
    /// A fact that this version does not know breaks no chain.
    pub fact: Result<Fact, Malformed>,
}

impl Seen {
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self { hash: leaf_hash(bytes), place: place(bytes) }
    }
}

fn place(bytes: &[u8]) -> Result<Place, Malformed> {
    let line: Line<'_> =
        serde_json::from_slice(bytes).map_err(|error| Malformed(format!("it cannot be read: {error}")))?;
    let stream = line.stream()?;
    let prev = line.prev()?;
    let fact = fact_of(&stream, line.fact.get());
    Ok(Place { number: line.n, stream, version: line.version, at: line.at, prev, fact })
}
