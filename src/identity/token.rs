//! Secrets: 256 random bits behind a prefix that scanners know, kept only as SHA-256.
//!
//! A lookup by hash needs no constant-time comparison: what an attacker could time is the hash of a
//! guess, and no guess comes nearer to 256 random bits.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::distr::{Alphanumeric, SampleString as _};
use sha2::{Digest as _, Sha256};

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 43 characters out of 62 carry 256.03 bits.
const RANDOM: usize = 43;
const CHECKSUM: usize = 6;

/// What a secret is for; the prefix tells it to people and to secret scanners.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TokenKind {
    Grant,
    Reviewer,
    Session,
    Link,
}

impl TokenKind {
    const ALL: [Self; 4] = [Self::Grant, Self::Reviewer, Self::Session, Self::Link];

    #[must_use]
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Grant => "csg_",
            Self::Reviewer => "csr_",
            Self::Session => "css_",
            Self::Link => "csl_",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Grant => "grant",
            Self::Reviewer => "reviewer",
            Self::Session => "session",
            Self::Link => "link",
        }
    }

    /// Which of our secrets `token` is, by prefix and checksum; `None` for any other text. Says nothing
    /// about whether it is valid.
    #[must_use]
    pub fn of(token: &str) -> Option<Self> {
        let kind = Self::ALL.into_iter().find(|kind| token.starts_with(kind.prefix()))?;
        let body = token.len().checked_sub(CHECKSUM)?;
        (body == kind.prefix().len() + RANDOM && token.is_char_boundary(body)).then_some(())?;
        (checksum(&token[..body]) == token[body..]).then_some(kind)
    }
}

/// A new secret, its hash, and the name under which the ledger knows it.
pub(super) struct Secret {
    pub text: String,
    pub hash: [u8; 32],
    pub id: String,
}

pub(super) fn fresh(kind: TokenKind) -> Secret {
    let mut text = kind.prefix().to_owned();
    Alphanumeric.append_string(&mut rand::rng(), &mut text, RANDOM);
    let check = checksum(&text);
    text.push_str(&check);
    let hash = hash(&text);
    Secret { id: id(kind, &hash), text, hash }
}

pub(super) fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

/// A name for the secret that leads nowhere: 32 bits of its hash.
pub(super) fn id(kind: TokenKind, hash: &[u8; 32]) -> String {
    format!("{}-{:02x}{:02x}{:02x}{:02x}", kind.word(), hash[0], hash[1], hash[2], hash[3])
}

/// The hash as a key of the store.
pub(super) fn key(hash: &[u8; 32]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(hash)
}

/// The reverse of `key`.
pub(super) fn unkey(text: &str) -> Option<[u8; 32]> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn checksum(text: &str) -> String {
    let sum = hash(text);
    sum[..CHECKSUM].iter().map(|byte| char::from(ALPHABET[usize::from(*byte) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_recognised_by_prefix_and_checksum() {
        for kind in TokenKind::ALL {
            let secret = fresh(kind);
            assert_eq!(secret.text.len(), 4 + RANDOM + CHECKSUM);
            assert_eq!(TokenKind::of(&secret.text), Some(kind));
            let mut wrong = secret.text.clone().into_bytes();
            wrong[10] = if wrong[10] == b'a' { b'b' } else { b'a' };
            assert_eq!(TokenKind::of(std::str::from_utf8(&wrong).unwrap()), None);
        }
        assert_eq!(TokenKind::of("csg_"), None);
        assert_eq!(TokenKind::of("csg_ééééééééééééééééééééééééééé"), None);
    }

    #[test]
    fn a_hash_survives_its_way_into_the_store_and_back() {
        let secret = fresh(TokenKind::Grant);
        assert_eq!(unkey(&key(&secret.hash)), Some(secret.hash));
        assert!(!secret.id.contains(&secret.text[4..12]));
    }
}
