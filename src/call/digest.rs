//! The two values that name a call's content: the digest (what votes bind to) and the fingerprint
//! (what makes a second call the same call).

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

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
pub fn digest(parts: &DigestParts<'_>) -> Digest {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    part(b"countersign/call/v1");
    part(parts.nonce);
    part(parts.server_identity.as_bytes());
    part(parts.tool.as_bytes());
    // An unknown definition is not the same as an empty one.
    part(&[u8::from(parts.definition.is_some())]);
    part(parts.definition.unwrap_or_default().as_bytes());
    part(parts.arguments);
    part(parts.other_params);
    part(parts.agent.as_bytes());
    part(parts.rule.as_bytes());
    part(parts.policy.as_bytes());
    part(&parts.round.to_be_bytes());
    Digest(hash.finalize().into())
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
pub fn fingerprint(key: &[u8; 32], parts: &FingerprintParts<'_>) -> Fingerprint {
    // The key has the fixed size that this constructor takes, so it cannot fail.
    let mut mac = Hmac::<Sha256>::new(&padded(key));
    let mut part = |bytes: &[u8]| {
        mac.update(&(bytes.len() as u64).to_be_bytes());
        mac.update(bytes);
    };
    part(b"countersign/fingerprint/v1");
    part(parts.agent.as_bytes());
    part(parts.server.as_bytes());
    part(parts.tool.as_bytes());
    part(parts.arguments);
    part(parts.input_responses);
    Fingerprint(mac.finalize().into_bytes().into())
}

/// HMAC pads short keys with zeros to the hash's block; done here, the key has its one exact size.
fn padded(key: &[u8; 32]) -> hmac::digest::Key<Hmac<Sha256>> {
    let mut block = hmac::digest::Key::<Hmac<Sha256>>::default();
    block[..key.len()].copy_from_slice(key);
    block
}
