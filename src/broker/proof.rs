//! Rows beside the ledger are believed only where the ledger proves them.
//!
//! Whoever can write to the store's file can change a snapshot or the stored arguments. What was approved
//! is on the ledger; nothing else is sent, and nothing else is shown to the person who decides.

use super::{Inner, record::RecordError};
use crate::{
    call::{Call, CallId, Commitment},
    ledger::{Entry, Fact, Stream, commitment, commitments, refold},
    store::{Payload, PayloadKind, StoreError},
};

/// Are these the bytes that the ledger speaks of? An error in the log when they are not.
pub(super) fn is_proven(payload: &Payload, proofs: &[Commitment]) -> bool {
    let proven = proofs.contains(&commitment(&payload.salt, &payload.bytes));
    if !proven {
        let Payload { call, kind, .. } = payload;
        tracing::error!(call.id = %call, ?kind, "a stored payload is not the one in the audit log");
    }
    proven
}

/// What an entry proves of the bytes beside it.
pub(super) fn proofs(entry: &Entry) -> Vec<Commitment> {
    let Fact::Call(event) = &entry.fact else { return Vec::new() };
    commitments(event)
}

impl Inner {
    /// Stored bytes that one of these proves; changed ones are as good as erased.
    pub(super) async fn proven(
        &self,
        id: CallId,
        kind: PayloadKind,
        part: u64,
        proofs: &[Commitment],
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let stored = self.store.payload(id, kind, part).await?;
        Ok(stored.filter(|payload| is_proven(payload, proofs)).map(|payload| payload.bytes))
    }

    /// The snapshot that decides must be what the call's own entries make of it.
    pub(super) async fn prove(&self, call: &Call) -> Result<(), RecordError> {
        let mut entries = self.store.stream(Stream::Call(call.id)).await?;
        // Entries that came since the snapshot was read: the append will find the conflict.
        entries.retain(|entry| entry.version <= call.version);
        if refold(call.id, &entries).as_ref() == Some(call) {
            return Ok(());
        }
        Err(damaged(call.id))
    }
}

fn damaged(id: CallId) -> RecordError {
    tracing::error!(call.id = %id, "the stored call is not what its entries say: nothing is sent");
    RecordError::Store(StoreError::Damaged(format!("call {id} is not what its entries say")))
}
