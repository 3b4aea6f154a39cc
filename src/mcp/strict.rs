//! One pass over bytes that says whether they are JSON that every parser reads the same way.
//!
//! Duplicate keys, lone surrogates, invalid UTF-8 and trailing bytes are how one parser is shown one
//! call and the next parser another; so they are refused before anyone judges the call.

use std::fmt;

use super::{Json, scanner::Scanner};

/// No settings allow more: whoever reads a message may recurse.
pub const DEEPEST: usize = 1000;

/// What a message may measure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Nested arrays and objects.
    pub depth: usize,
    /// Bytes.
    pub size: usize,
    /// Refuse an object that names a member twice. Off only for what servers send us.
    pub unique_keys: bool,
    /// Refuse half of a surrogate pair. Off only for what servers send us: a text that was cut in two has one.
    pub whole_pairs: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 64, size: 16 << 20, unique_keys: true, whole_pairs: true }
    }
}

impl Limits {
    /// For what servers send: nothing is decided by it, so it is read as far as it can be.
    #[must_use]
    pub fn of_servers(size: usize) -> Self {
        Self { depth: DEEPEST, size, unique_keys: false, whole_pairs: false }
    }

    /// For what a door took by its own limits, which may be wider than the usual ones.
    #[must_use]
    pub fn of_kept() -> Self {
        Self { depth: DEEPEST, size: usize::MAX, unique_keys: true, whole_pairs: true }
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
    if bytes.len() > limits.size {
        return Err(Defect { offset: limits.size, kind: DefectKind::TooLarge });
    }
    let text = std::str::from_utf8(bytes)
        .map_err(|e| Defect { offset: e.valid_up_to(), kind: DefectKind::NotUtf8 })?;
    Scanner::new(text, limits).value()
}

/// How a message begins that was too long to be kept: its first members can be walked, the last may be
/// cut. For finding the id of what is refused, never for judging.
#[must_use]
pub fn beginning(text: &str) -> Option<Json<'_>> {
    let text = text.trim_start();
    text.starts_with('{').then_some(Json(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(bytes: &[u8]) -> Result<&str, (usize, DefectKind)> {
        check(bytes, &Limits::default()).map(Json::as_str).map_err(|d| (d.offset, d.kind))
    }

    #[test]
    fn a_value_is_returned_without_the_space_around_it() {
        assert_eq!(
            kind(b" \n{\"a\": [1, -0.5e+3, true, null, \"x\"]}\t"),
            Ok("{\"a\": [1, -0.5e+3, true, null, \"x\"]}")
        );
        assert_eq!(kind(b"1e400"), Ok("1e400"));
        assert_eq!(kind("\"\\ud83d\\ude00 ü\"".as_bytes()), Ok("\"\\ud83d\\ude00 ü\""));
    }

    #[test]
    fn each_defect_is_named_with_its_offset() {
        assert_eq!(kind(b"{\"a\":\xff}"), Err((5, DefectKind::NotUtf8)));
        assert_eq!(kind(b"{\"a\":1,\"b\":2,\"a\":3}"), Err((13, DefectKind::DuplicateKey)));
        assert_eq!(kind(b"\"\\ud83d\""), Err((1, DefectKind::LoneSurrogate)));
        assert_eq!(kind(b"\"\\ude00\""), Err((1, DefectKind::LoneSurrogate)));
        assert_eq!(kind(b"[1] x"), Err((4, DefectKind::TrailingBytes)));
        assert_eq!(kind(b"[1,]"), Err((3, DefectKind::Grammar)));
        assert_eq!(kind(b"{\"a\":1"), Err((6, DefectKind::Truncated)));
        assert_eq!(kind(b""), Err((0, DefectKind::Truncated)));
        assert_eq!(kind(b"01"), Err((1, DefectKind::TrailingBytes)));
        assert_eq!(kind(b"\"a\nb\""), Err((2, DefectKind::Grammar)));
        assert_eq!(kind(&[b'['; 65]), Err((64, DefectKind::TooDeep)));
        let large = Limits { size: 2, ..Limits::default() };
        assert_eq!(check(b"[1]", &large).map_err(|d| d.kind), Err(DefectKind::TooLarge));
    }

    #[test]
    fn only_what_servers_send_may_have_half_of_a_surrogate_pair_and_it_equals_no_text() {
        let text = br#"{"\ud800":0,"a":"\ud83d","b":["\ude00 \ud83d\u0041","\ud83d\ude00"],"\ud800":7}"#;
        assert!(matches!(kind(text), Err((2, DefectKind::LoneSurrogate))));
        assert!(matches!(
            check(text, &Limits::of_kept()).map_err(|d| d.kind),
            Err(DefectKind::LoneSurrogate)
        ));
        let json = check(text, &Limits::of_servers(usize::MAX)).unwrap();
        let names: Vec<_> = json.members().map(|member| member.name.into_owned()).collect();
        assert_eq!(names, ["\\ud800", "a", "b", "\\ud800"]);
        let strings: Vec<_> = json.get("b").unwrap().elements().map(Json::string).collect();
        assert_eq!((json.get("a").unwrap().string(), strings), (None, vec![None, Some("😀".into())]));
        for bad in [&br#""\ud83""#[..], br#""\ud83d\u00x0""#, br#""\ud83d\x""#] {
            assert!(check(bad, &Limits::of_servers(usize::MAX)).is_err());
        }
    }

    #[test]
    fn keys_are_compared_as_decoded_and_at_every_level() {
        assert_eq!(kind(br#"{"name":1,"n\u0061me":2}"#), Err((10, DefectKind::DuplicateKey)));
        assert_eq!(kind(br#"[{"x":{"a":1,"a":1}}]"#), Err((13, DefectKind::DuplicateKey)));
        assert!(kind(br#"{"a":{"a":{"a":1}},"b":{"a":1}}"#).is_ok());
        let mut many: Vec<String> = (0..40).map(|i| format!("\"k{i}\":{i}")).collect();
        assert!(kind(format!("{{{}}}", many.join(",")).as_bytes()).is_ok());
        many.push("\"k\\u0037\":0".into());
        assert!(matches!(
            kind(format!("{{{}}}", many.join(",")).as_bytes()),
            Err((_, DefectKind::DuplicateKey))
        ));
    }
}
