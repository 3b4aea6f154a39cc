//! Proofs of bytes that lie beside the ledger: erase bytes and salt, and the entry says nothing of them.

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::call::{Commitment, Event, Review, Why};

/// HMAC-SHA-256 of the bytes under the salt that lies with them.
#[must_use]
pub fn commitment(salt: &[u8; 32], bytes: &[u8]) -> Commitment {
    // HMAC fills a shorter key up to the hash's block with zeros; a whole block cannot be refused.
    let mut block = [0; 64];
    block[..32].copy_from_slice(salt);
    let keyed = Hmac::<Sha256>::new(&block.into()).chain_update(bytes);
    Commitment(keyed.finalize().into_bytes().into())
}

/// What this event proves of payloads.
#[must_use]
pub fn commitments(event: &Event) -> Vec<Commitment> {
    match event {
        Event::Submitted { request, .. } => vec![request.params],
        Event::Voted { review: Review { reason, .. } } => reason.iter().copied().collect(),
        Event::Completed { answer, .. } | Event::LateAnswer { answer, .. } => vec![*answer],
        Event::Denied { reason: Why { text, .. }, .. }
        | Event::Cancelled { reason: Why { text, .. }, .. } => text.iter().copied().collect(),
        Event::Resolved { note, .. } => note.iter().copied().collect(),
        Event::Attached { .. }
        | Event::Detached { .. }
        | Event::VoteWithdrawn { .. }
        | Event::Extended { .. }
        | Event::Reparked { .. }
        | Event::Permitted { .. }
        | Event::Dispatched { .. }
        | Event::Failed { .. }
        | Event::Lost { .. }
        | Event::Expired { .. }
        | Event::Delivered { .. }
        | Event::Lifted { .. } => Vec::new(),
    }
}
