//! What agents carry for us, and what lies beside the ledger for our own later use: sealed under a key that
//! follows from the broker's, so that it is read and made by nobody else, and outlives a restart.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::Sha256;

/// No other use of the broker's key begins with these bytes.
const KEY: &[u8] = b"countersign/seal/v1\0key";
const MARK: &[u8] = b"countersign/seal/v1\0mark";

/// Seals and opens (ChaCha20-Poly1305, a random nonce each).
pub(super) struct Seal {
    key: [u8; 32],
    /// Begins each of ours, and of no other broker: two of them may stand one behind the other.
    mark: String,
}

impl Seal {
    pub(super) fn new(key: &[u8; 32]) -> Self {
        let [a, b, c, d, ..] = derived(key, MARK);
        Self { key: derived(key, KEY), mark: format!("countersign-{a:02x}{b:02x}{c:02x}{d:02x}-") }
    }

    /// Did this broker make it, as far as its first characters say?
    pub(super) fn is_ours(&self, text: &str) -> bool {
        text.starts_with(&self.mark)
    }

    /// `plain`, readable only under the same `purpose`; safe in a header. `None` cannot come: the key has its size.
    pub(super) fn seal(&self, purpose: &[&str], plain: &[u8]) -> Option<String> {
        self.seal_under(rand::random(), purpose, plain)
    }

    fn seal_under(&self, nonce: [u8; NONCE_LEN], purpose: &[&str], plain: &[u8]) -> Option<String> {
        let mut sealed = plain.to_vec();
        let bound = Aad::from(bound(purpose));
        self.cipher()?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), bound, &mut sealed)
            .ok()?;
        let whole = [&nonce[..], &sealed].concat();
        Some(format!("{}{}", self.mark, BASE64_URL_SAFE_NO_PAD.encode(whole)))
    }

    /// As `seal`, always the same for the same: for names, which an agent compares.
    pub(super) fn name(&self, purpose: &[&str], plain: &[u8]) -> Option<String> {
        let parts = [&[self.mark.as_str()], purpose].concat();
        let tag = derived(&self.key, &[&bound(&parts)[..], plain].concat());
        let (nonce, _) = tag.split_first_chunk::<NONCE_LEN>()?;
        self.seal_under(*nonce, purpose, plain)
    }

    /// `None`: not ours, changed, or sealed for another purpose.
    pub(super) fn open(&self, purpose: &[&str], text: &str) -> Option<Vec<u8>> {
        let whole = BASE64_URL_SAFE_NO_PAD.decode(text.strip_prefix(&self.mark)?).ok()?;
        let (nonce, sealed) = whole.split_first_chunk::<NONCE_LEN>()?;
        let mut sealed = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let plain = self.cipher()?.open_in_place(nonce, Aad::from(bound(purpose)), &mut sealed).ok()?;
        Some(plain.to_vec())
    }

    fn cipher(&self) -> Option<LessSafeKey> {
        UnboundKey::new(&CHACHA20_POLY1305, &self.key).ok().map(LessSafeKey::new)
    }
}

fn derived(key: &[u8; 32], purpose: &[u8]) -> [u8; 32] {
    // HMAC fills a shorter key up to the hash's block with zeros; a whole block cannot be refused.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    Hmac::<Sha256>::new(&block.into()).chain_update(purpose).finalize().into_bytes().into()
}

/// Each part with its length: no two purposes are the same bytes.
fn bound(purpose: &[&str]) -> Vec<u8> {
    let part = |part: &&str| [&(part.len() as u64).to_be_bytes()[..], part.as_bytes()].concat();
    purpose.iter().flat_map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::Seal;

    #[test]
    fn what_is_sealed_is_opened_for_its_purpose_alone() {
        let seal = Seal::new(&[7; 32]);
        let text = seal.seal(&["state", "bot"], b"abc").unwrap();
        assert!(seal.is_ours(&text) && !text.contains("abc"));
        assert!(text.bytes().all(|b| b.is_ascii_graphic()));
        assert_eq!(seal.open(&["state", "bot"], &text).as_deref(), Some(&b"abc"[..]));
        assert_eq!(seal.open(&["state", "bo"], &text), None);
        assert_eq!(seal.open(&["stateb", "ot"], &text), None);
        assert_ne!(seal.seal(&["state", "bot"], b"abc").unwrap(), text);

        let name = seal.name(&["task", "bot"], b"abc").unwrap();
        assert_eq!(seal.name(&["task", "bot"], b"abc").unwrap(), name);
        assert_eq!(seal.open(&["task", "bot"], &name).as_deref(), Some(&b"abc"[..]));
        // Another text or purpose has another nonce: none is used twice.
        let nonce = |name: &str| name[seal.mark.len()..][..16].to_owned();
        for other in [seal.name(&["task", "bot"], b"abd"), seal.name(&["task", "bo"], b"abc")] {
            assert_ne!(nonce(&other.unwrap()), nonce(&name));
        }

        let other = Seal::new(&[8; 32]);
        assert!(!other.is_ours(&text));
        let moved = text.replace(&seal.mark, &other.mark);
        assert_eq!(other.open(&["state", "bot"], &moved), None);
    }

    #[test]
    fn a_changed_character_opens_nothing() {
        let seal = Seal::new(&[7; 32]);
        let text = seal.seal(&[], b"abc").unwrap();
        for at in seal.mark.len()..text.len() - 1 {
            let mut bytes = text.clone().into_bytes();
            bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(seal.open(&[], std::str::from_utf8(&bytes).unwrap()), None, "{at}");
        }
        assert_eq!(seal.open(&[], &seal.mark), None);
    }
}
