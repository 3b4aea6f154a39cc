//! The second half of a browser's session: what a page must show beside the cookie to change anything.
//!
//! Browsers send a cookie to every port of a host, so any server on the same machine that a reviewer
//! visits learns the session's secret. This half is kept by the page for its own origin, port included,
//! and follows from the cookie only for who has the broker's key.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// No other use of the broker's key begins with these bytes.
const PURPOSE: &[u8] = b"countersign/page-key/v1\0";

/// HMAC-SHA-256 of the session's secret under the broker's key, 43 characters of base64url.
#[must_use]
pub fn page_key(key: &[u8; 32], session: &str) -> String {
    // HMAC fills a shorter key up to the hash's block with zeros; a whole block cannot be refused.
    let mut block = [0; 64];
    block[..32].copy_from_slice(key);
    let keyed = Hmac::<Sha256>::new(&block.into()).chain_update(PURPOSE).chain_update(session);
    BASE64_URL_SAFE_NO_PAD.encode(keyed.finalize().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::page_key;

    #[test]
    fn it_follows_from_the_session_and_the_brokers_key_both() {
        let one = page_key(&[1; 32], "css_a");
        assert_eq!(one.len(), 43);
        assert_eq!(one, page_key(&[1; 32], "css_a"));
        assert_ne!(one, page_key(&[1; 32], "css_b"));
        assert_ne!(one, page_key(&[2; 32], "css_a"));
    }
}
