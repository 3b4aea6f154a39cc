//! Follows the ledger for one destination: at least once, in order, from where it was before a crash.

use sha2::{Digest as _, Sha256};
use tokio_util::sync::CancellationToken;

use super::{
    Status,
    backoff::wait,
    bookmarks::{Bookmarks, Cursor, DeadLetter, Trying},
    courier::{Courier, Tried},
    notice::{Topic, notice},
    settings::{Destination, Pace, Target},
};
use crate::{broker::Broker, call::CallId, ledger::Entry, store::StoreError};

/// Entries read at once: all that a follower holds in memory of a backlog.
const PAGE: usize = 100;
/// Entries of no interest that are passed before the cursor is written all the same.
const STRIDE: u64 = 1000;

pub(super) struct Follower {
    pub(super) broker: Broker,
    pub(super) destination: Destination,
    pub(super) pace: Pace,
    pub(super) courier: Courier,
    pub(super) bookmarks: Bookmarks,
    pub(super) status: Status,
    pub(super) stop: CancellationToken,
}

/// How the handling of one entry ended.
enum Done {
    /// It was, or need not be, told.
    Told,
    Stopped,
}

/// One entry that is worth telling.
struct Item<'a> {
    entry: &'a Entry,
    call: CallId,
    topic: Topic,
}

impl Follower {
    /// Until it is stopped. An error is the store's, and ends it: what cannot be written down must not be
    /// told, or it would be told for ever.
    pub(super) async fn follow(&self, mut cursor: Cursor) -> Result<(), StoreError> {
        let mut head = self.broker.head();
        let mut saved = cursor.after;
        self.status.dead(self.bookmarks.dead(self.broker.clock().now()).await?);
        loop {
            head.mark_unchanged();
            self.backlog(cursor.after);
            let entries = self.broker.entries(cursor.after, PAGE).await?;
            if entries.is_empty() {
                tokio::select! {
                    () = self.stop.cancelled() => return Ok(()),
                    changed = head.changed() => if changed.is_err() { return Ok(()) },
                }
                continue;
            }
            for entry in &entries {
                if let Some((call, topic)) = Topic::of(entry) {
                    // What has not begun waits for the next start, however much of it there is.
                    if self.stop.is_cancelled() {
                        return Ok(());
                    }
                    match self.tell(Item { entry, call, topic }, &mut cursor).await? {
                        Done::Told => saved = cursor.after,
                        Done::Stopped => return Ok(()),
                    }
                }
                cursor.after = entry.number;
                self.backlog(cursor.after);
            }
            if cursor.after >= saved + STRIDE {
                self.bookmarks.save(cursor).await?;
                saved = cursor.after;
            }
        }
    }

    /// Tells one entry, as often as it takes.
    async fn tell(&self, item: Item<'_>, cursor: &mut Cursor) -> Result<Done, StoreError> {
        let number = item.entry.number;
        let id = self.message_id(item.entry);
        let before = cursor.trying.filter(|trying| trying.entry == number);
        let mut unsure = before.is_some();
        let mut failures = 0;
        loop {
            let topic = (item.call, item.topic.clone());
            let values = self.destination.values;
            let told = notice(&self.broker, &self.bookmarks, topic, item.entry.at, values).await?;
            let Some(notice) = told else {
                return self.skip(&item, cursor, unsure).await;
            };
            let now = self.broker.clock().now();
            let since = self.trying(cursor, number, now).await?;
            let tried = self.courier.deliver(&notice, &id, now).await;
            failures += 1;
            let (asked, why) = match tried {
                Tried::Delivered => return self.delivered(&item, cursor).await,
                Tried::Refused { why } if failures >= self.pace.refused_tries => {
                    return self.give_up(&item, cursor, why).await;
                }
                Tried::Refused { why } => (None, why),
                Tried::Later { wait, why, unsure: silent } => {
                    unsure |= silent;
                    (wait, why)
                }
            };
            let spent = self.broker.clock().now().since(since);
            if spent >= self.destination.retry_for {
                return self.give_up(&item, cursor, why).await;
            }
            self.failed(&item, failures, &why);
            self.backlog(cursor.after);
            let pause = wait(&self.pace, failures, rand::random()).max(asked.unwrap_or_default());
            if !self.rest(pause.min(self.destination.retry_for - spent)).await {
                return Ok(Done::Stopped);
            }
        }
    }

    /// Since when this entry is tried; written down before the first try.
    async fn trying(
        &self,
        cursor: &mut Cursor,
        entry: u64,
        now: crate::call::Timestamp,
    ) -> Result<crate::call::Timestamp, StoreError> {
        if let Some(trying) = cursor.trying.filter(|trying| trying.entry == entry) {
            return Ok(trying.since);
        }
        cursor.trying = Some(Trying { entry, since: now });
        self.bookmarks.save(*cursor).await?;
        Ok(now)
    }

    async fn delivered(&self, item: &Item<'_>, cursor: &mut Cursor) -> Result<Done, StoreError> {
        let open = item.topic != Topic::Settled;
        *cursor = Cursor { after: item.entry.number, trying: None };
        self.bookmarks.save_told(*cursor, item.call, open).await?;
        self.status.well();
        tracing::debug!(destination = self.destination.name, call.id = %item.call, kind = item.topic.name(), "told");
        match self.destination.target {
            Target::Slack(_) if !self.rest(self.pace.slack_interval).await => Ok(Done::Stopped),
            Target::Slack(_) | Target::Webhook(..) => Ok(Done::Told),
        }
    }

    /// Nothing to say any more. Who may have heard of the call will hear of its end.
    async fn skip(&self, item: &Item<'_>, cursor: &mut Cursor, unsure: bool) -> Result<Done, StoreError> {
        *cursor = Cursor { after: item.entry.number, trying: None };
        if unsure && item.topic != Topic::Settled {
            self.bookmarks.save_told(*cursor, item.call, true).await?;
        } else {
            self.bookmarks.save(*cursor).await?;
        }
        self.status.well();
        Ok(Done::Told)
    }

    async fn give_up(&self, item: &Item<'_>, cursor: &mut Cursor, why: String) -> Result<Done, StoreError> {
        *cursor = Cursor { after: item.entry.number, trying: None };
        let (name, kind) = (&self.destination.name, item.topic.name());
        let host = self.destination.target.endpoint().host();
        tracing::error!(destination = name, host, call.id = %item.call, kind, why, "a message was given up");
        let at = self.broker.clock().now();
        let letter = DeadLetter { entry: item.entry.number, call: item.call, kind: kind.into(), at, why };
        self.bookmarks.save_dead(*cursor, &letter).await?;
        self.broker.metrics().dead_letter(name);
        self.status.dead(self.bookmarks.dead(at).await?);
        self.status.well();
        Ok(Done::Told)
    }

    fn failed(&self, item: &Item<'_>, failures: u32, why: &str) {
        let host = self.destination.target.endpoint().host();
        tracing::warn!(
            destination = self.destination.name, host, call.id = %item.call, failures, why,
            "a message could not be delivered; it will be tried again"
        );
        self.status.ill(format!("{why} ({failures} tries)"));
    }

    /// The same at every try, after a crash too; no other entry of any ledger, and no other destination,
    /// has it.
    fn message_id(&self, entry: &Entry) -> String {
        let mut hash = Sha256::new();
        hash.update(self.destination.name.as_bytes());
        hash.update([0]);
        hash.update(entry.hash);
        let hash: [u8; 32] = hash.finalize().into();
        format!("msg_{}", hash[..16].iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    }

    /// Waits; false when it is stopped meanwhile.
    async fn rest(&self, pause: std::time::Duration) -> bool {
        tokio::select! {
            () = self.stop.cancelled() => false,
            () = tokio::time::sleep(pause) => true,
        }
    }

    fn backlog(&self, after: u64) {
        let entries = self.broker.head().borrow().saturating_sub(after);
        self.broker.metrics().backlog(&self.destination.name, entries);
    }
}
