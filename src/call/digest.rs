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

/// SHA-256 over the length-prefixed parts (u64, big-endian), under the label `countersign/call/v1`.
/// The definition is preceded by a part of one byte that says whether it is known.
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

#[cfg(test)]
mod tests {
    use super::{DigestParts, FingerprintParts, digest, fingerprint};

    const PARTS: DigestParts<'_> = DigestParts {
        nonce: &[7; 32],
        server_identity: "https://omics.example/mcp",
        tool: "CancelAHORunBatch",
        definition: Some("d1"),
        arguments: br#"{"batchId": 12345678901234567890}"#,
        other_params: b"{}",
        agent: "ci-bot",
        rule: "/tools/CancelAHORunBatch/require",
        policy: "p1",
        round: 0,
    };

    const FINGERPRINT: FingerprintParts<'_> = FingerprintParts {
        agent: "ci-bot",
        server: "omics",
        tool: "CancelAHORunBatch",
        arguments: b"{}",
        input_responses: b"",
    };

    #[test]
    fn the_digest_is_frozen() {
        assert_eq!(
            digest(&PARTS).to_string(),
            "b669d9e0ea9cd1b268d7fcf6d22a88612f4e027b0c17b988942d14939d7d8486"
        );
        assert_eq!(digest(&PARTS).short_code(), "PSMXKR");
    }

    #[test]
    fn the_fingerprint_is_frozen() {
        assert_eq!(
            fingerprint(&[9; 32], &FINGERPRINT).to_text(),
            "TM3SxM3Sldcm0UYw62P2UjPtfMU9WT7IuH5nY1qQO3c"
        );
    }

    #[test]
    fn every_part_changes_the_digest() {
        let variants = [
            DigestParts { nonce: &[8; 32], ..PARTS },
            DigestParts { server_identity: "x", ..PARTS },
            DigestParts { tool: "x", ..PARTS },
            DigestParts { definition: None, ..PARTS },
            DigestParts { definition: Some(""), ..PARTS },
            DigestParts { arguments: b"x", ..PARTS },
            DigestParts { other_params: b"x", ..PARTS },
            DigestParts { agent: "x", ..PARTS },
            DigestParts { rule: "x", ..PARTS },
            DigestParts { policy: "x", ..PARTS },
            DigestParts { round: 1, ..PARTS },
            // A byte that moves from one part to the next.
            DigestParts { agent: "ci-bot/", rule: "tools/CancelAHORunBatch/require", ..PARTS },
            PARTS,
        ];
        let digests = variants.iter().map(digest).collect::<std::collections::BTreeSet<_>>();
        assert_eq!(digests.len(), variants.len());
    }

    #[test]
    fn every_part_and_the_key_change_the_fingerprint() {
        let variants = [
            FingerprintParts { agent: "x", ..FINGERPRINT },
            FingerprintParts { server: "x", ..FINGERPRINT },
            FingerprintParts { tool: "x", ..FINGERPRINT },
            FingerprintParts { arguments: b"x", ..FINGERPRINT },
            FingerprintParts { input_responses: b"x", ..FINGERPRINT },
            FINGERPRINT,
        ];
        let prints = variants.iter().map(|parts| fingerprint(&[9; 32], parts));
        let prints = prints.chain([fingerprint(&[8; 32], &FINGERPRINT)]);
        assert_eq!(prints.collect::<std::collections::BTreeSet<_>>().len(), variants.len() + 1);
    }
}
