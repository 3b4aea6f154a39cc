//! One pass over bytes that says whether they are JSON that every parser reads the same way.
//!
//! Duplicate keys, lone surrogates, invalid UTF-8 and trailing bytes are how one parser is shown one
//! call and the next parser another; so they are refused before anyone judges the call.

use std::fmt;

use super::Json;

/// What a message may measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Nested arrays and objects.
    pub depth: usize,
    /// Bytes.
    pub size: usize,
    /// Refuse an object that names a member twice. Off only for what servers send us.
    pub unique_keys: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 64, size: 16 << 20, unique_keys: true }
    }
}

/// Where the bytes stop being acceptable JSON, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{kind} at byte {offset}")]
pub struct Defect {
    pub offset: usize,
    pub kind: DefectKind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DefectKind {
    NotUtf8,
    DuplicateKey,
    LoneSurrogate,
    TooDeep,
    TooLarge,
    Grammar,
    Truncated,
    TrailingBytes,
}

impl fmt::Display for DefectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotUtf8 => "not UTF-8",
            Self::DuplicateKey => "an object names the same member twice",
            Self::LoneSurrogate => "half of a surrogate pair in a string",
            Self::TooDeep => "nested too deep",
            Self::TooLarge => "too large",
            Self::Grammar => "not valid JSON",
            Self::Truncated => "JSON that ends too early",
            Self::TrailingBytes => "something after the JSON value",
        })
    }
}

/// Accepts exactly one JSON value, with white space around it.
///
/// # Errors
/// The first defect.
pub fn check<'a>(bytes: &'a [u8], limits: &Limits) -> Result<Json<'a>, Defect> {
    let _ = (bytes, limits);
    unimplemented!()
}
