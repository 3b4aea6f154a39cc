//! The right to send: values that must be held, and are spent by sending.

use super::{Entry, Fact, Stream};
use crate::call::{Attachment, CallId, Digest, Event};

/// The right to send one call that waited, once. Made only from the appended `dispatched` entry.
#[derive(Debug)]
pub struct Permit {
    call: CallId,
    digest: Digest,
    attachment: Attachment,
}

impl Permit {
    /// `None` unless `entry` is a call's `dispatched`, as `append` returned it.
    #[must_use]
    pub fn of(entry: &Entry) -> Option<Self> {
        let (Stream::Call(call), Fact::Call(Event::Dispatched { attachment, digest, .. })) =
            (&entry.stream, &entry.fact)
        else {
            return None;
        };
        Some(Self { call: *call, digest: *digest, attachment: *attachment })
    }

    #[must_use]
    pub fn call(&self) -> CallId {
        self.call
    }

    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    #[must_use]
    pub fn attachment(&self) -> Attachment {
        self.attachment
    }
}

/// The right to send one call that the policy allowed at once: another type than `Permit`, because
/// its entry may be behind the disk. Made by the broker's gate with a reserved place in the next segment.
#[derive(Debug)]
pub struct Pass(());

impl Pass {
    /// Called by `broker::pass` only (held by tests/tidy.rs).
    #[must_use]
    pub fn reserved() -> Self {
        Self(())
    }
}
