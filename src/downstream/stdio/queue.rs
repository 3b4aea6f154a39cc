//! Messages on their way to one client, bounded in number and in bytes: who does not read lets those behind wait.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

/// Where messages are put.
pub(in crate::downstream) struct Queue {
    messages: mpsc::Sender<Queued>,
    room: Arc<Semaphore>,
    bytes: u32,
}

/// One that was put there; its room is free again when it is dropped.
pub(in crate::downstream) struct Queued {
    pub message: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

/// A queue of at most `number` messages and `bytes` bytes, and the end where they are taken. A message that is
/// larger than all of it is alone in it.
pub(in crate::downstream) fn queue(number: usize, bytes: u32) -> (Queue, mpsc::Receiver<Queued>) {
    let (messages, taken) = mpsc::channel(number);
    let room = Arc::new(Semaphore::new(usize::try_from(bytes).unwrap_or(Semaphore::MAX_PERMITS)));
    (Queue { messages, room, bytes }, taken)
}

impl Queue {
    /// Returns when there was room; what nobody takes any more is dropped.
    pub(super) async fn put(&self, message: Vec<u8>) {
        let size = u32::try_from(message.len()).unwrap_or(u32::MAX).min(self.bytes);
        // The room is never closed.
        let Ok(room) = Arc::clone(&self.room).acquire_many_owned(size).await else { return };
        let _ = self.messages.send(Queued { message, _room: room }).await;
    }

    /// Resolves when nobody takes any more.
    pub(super) async fn closed(&self) {
        self.messages.closed().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn it_is_full_by_number_by_bytes_and_with_one_that_is_larger_than_it() {
        let (entry, mut taken) = queue(2, 100);
        let put = |bytes: usize| entry.put(vec![b'x'; bytes]).now_or_never();
        assert!(put(40).is_some() && put(40).is_some());
        assert!(put(1).is_none(), "two are there");
        drop(taken.recv().await);
        assert!(put(61).is_none(), "40 bytes are there");
        assert!(put(60).is_some());
        drop((taken.recv().await, taken.recv().await));
        assert!(put(1_000).is_some());
        assert!(put(1).is_none(), "it is alone");
        assert_eq!(taken.recv().await.map(|queued| queued.message.len()), Some(1_000));
        assert!(put(1).is_some());
        drop(taken);
        assert!(put(1_000).is_some(), "nobody takes it");
        entry.closed().await;
    }
}
