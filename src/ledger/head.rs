//! The signed head: how long the ledger is and where its chain ends, in a text that is easy to paste.
//!
//! The form is a C2SP signed note: lines of text, an empty line, and `— NAME base64(key id ‖ signature)`.
//! Whoever keeps one can later tell whether anything up to its size was changed or cut off.

use std::fmt::Write as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey, pkcs8::DecodePublicKey as _};
use sha2::{Digest as _, Sha256};

use super::entry::{read_hex, write_hex};
use crate::call::Timestamp;

const TITLE: &str = "countersign ledger v1";

/// What a head says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Whose ledger: the store's name, without white space or `+`.
    pub origin: String,
    /// Number of the last entry.
    pub size: u64,
    /// Leaf hash of the last entry.
    pub hash: [u8; 32],
    /// The last entry's moment.
    pub at: Timestamp,
}

/// Why a text is not a head that this key signed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeadError {
    #[error("this is not a signed head: {0}")]
    Form(&'static str),
    #[error("this is not an Ed25519 public key in PEM form")]
    Key,
    #[error("the head is not signed by key {0}")]
    Signature(String),
}

impl Head {
    /// The note: text, empty line, signature line.
    #[must_use]
    pub fn sign(&self, key: &SigningKey) -> String {
        let mut note = self.text();
        let signature = key.sign(note.as_bytes());
        let mut signed = key_hash(&self.origin, &key.verifying_key()).to_vec();
        signed.extend_from_slice(&signature.to_bytes());
        let _ = write!(note, "\n— {} {}\n", self.origin, BASE64_STANDARD.encode(signed));
        note
    }

    /// Reads a note and checks its signature. White space around it, as pasting leaves it, is ignored.
    ///
    /// # Errors
    /// `Form` for another text, `Signature` for one that was changed or signed by another key.
    pub fn open(note: &str, key: &VerifyingKey) -> Result<Self, HeadError> {
        let note = note.trim().replace("\r\n", "\n");
        let (text, signatures) = note.rsplit_once("\n\n").ok_or(HeadError::Form("it has no signature"))?;
        let text = format!("{text}\n");
        let head = Self::parse(&text)?;
        let wanted = key_hash(&head.origin, key);
        let signed = signatures.lines().filter_map(|line| {
            let (name, signature) = line.strip_prefix("— ")?.split_once(' ')?;
            let signature = BASE64_STANDARD.decode(signature).ok()?;
            (name == head.origin && signature.starts_with(&wanted)).then_some(signature)
        });
        for signature in signed {
            let Ok(signature) = Signature::from_slice(&signature[wanted.len()..]) else { continue };
            if key.verify_strict(text.as_bytes(), &signature).is_ok() {
                return Ok(head);
            }
        }
        Err(HeadError::Signature(key_id(&head.origin, key)))
    }

    fn text(&self) -> String {
        let mut hash = Vec::with_capacity(64);
        write_hex(&self.hash, &mut hash);
        let hash = String::from_utf8_lossy(&hash);
        format!("{TITLE}\n{}\nsize {}\nhash {hash}\nat {}\n", self.origin, self.size, self.at)
    }

    fn parse(text: &str) -> Result<Self, HeadError> {
        let mut lines = text.lines();
        if lines.next() != Some(TITLE) {
            return Err(HeadError::Form("another title"));
        }
        let origin = lines.next().ok_or(HeadError::Form("no name"))?.to_owned();
        let mut member = |name: &'static str| {
            lines
                .next()
                .and_then(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .ok_or(HeadError::Form("a line is missing"))
        };
        let size = member("size")?.parse().map_err(|_| HeadError::Form("size is not a number"))?;
        let hash = read_hex(member("hash")?).ok_or(HeadError::Form("hash is not a hash"))?;
        let at = member("at")?.parse().map_err(|_| HeadError::Form("at is not a time"))?;
        let head = Self { origin, size, hash, at };
        if head.text() == text { Ok(head) } else { Err(HeadError::Form("more lines than a head has")) }
    }
}

/// The public key in a PEM file, as it lies beside the store.
///
/// # Errors
/// `Key` for anything else.
pub fn read_key(pem: &str) -> Result<VerifyingKey, HeadError> {
    let pem = pem.trim().replace("\r\n", "\n");
    VerifyingKey::from_public_key_pem(&pem).map_err(|_| HeadError::Key)
}

/// Names a key in a few characters: `NAME+8 hex digits`, as signed notes do.
#[must_use]
pub fn key_id(origin: &str, key: &VerifyingKey) -> String {
    let hash = u32::from_be_bytes(key_hash(origin, key));
    format!("{origin}+{hash:08x}")
}

/// C2SP signed-note: the first bytes of SHA-256(name ‖ LF ‖ algorithm 1 ‖ public key).
fn key_hash(origin: &str, key: &VerifyingKey) -> [u8; 4] {
    let digest =
        Sha256::new().chain_update(origin).chain_update([b'\n', 1]).chain_update(key.as_bytes()).finalize();
    [digest[0], digest[1], digest[2], digest[3]]
}
