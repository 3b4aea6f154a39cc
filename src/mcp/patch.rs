//! Edits of a message that touch one field and leave every other byte as it was.

use std::{borrow::Cow, ops::Range};

use super::Json;

/// Edits of one JSON text, applied together. Edits of the same place: the first wins.
#[derive(Debug)]
pub struct Edits<'a> {
    source: Json<'a>,
    splices: Vec<(Range<usize>, Cow<'a, str>)>,
}

impl<'a> Edits<'a> {
    #[must_use]
    pub fn of(source: Json<'a>) -> Self {
        Self { source, splices: Vec::new() }
    }

    /// Replaces the member at `path` with `value` (JSON text), or inserts it (with missing objects on
    /// the way). `false` when something on the way is not an object.
    pub fn set(&mut self, path: &[&str], value: impl Into<Cow<'a, str>>) -> bool {
        let _ = (path, value.into(), &self.source, &self.splices);
        unimplemented!()
    }

    /// Removes the member at `path`, with its comma. `false` when it is not there.
    pub fn remove(&mut self, path: &[&str]) -> bool {
        let _ = path;
        unimplemented!()
    }

    /// Keeps the elements of the array at `path` for which `keep` holds; how many were dropped.
    pub fn retain(&mut self, path: &[&str], keep: impl FnMut(Json<'a>) -> bool) -> usize {
        let _ = (path, keep);
        unimplemented!()
    }

    /// Nothing to change: the source bytes can be forwarded as they are.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.splices.is_empty()
    }

    #[must_use]
    pub fn apply(self) -> Vec<u8> {
        unimplemented!()
    }
}
