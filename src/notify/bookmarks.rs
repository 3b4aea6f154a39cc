//! What a destination's follower must not forget over a restart: how far it has read, what it was trying
//! to say, whom it has told of what, and what it had to give up.

use std::{sync::Arc, time::Duration};

use serde::{Deserialize, Serialize};

use crate::{
    call::{CallId, Timestamp},
    store::{Put, Store, StoreError},
};

const CURSOR: &str = "cursor";
const TOLD: &str = "told";
const DEAD_LETTER: &str = "dead_letter";

/// Dead letters are kept, and complained of, for this long.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// How far a destination has been told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Cursor {
    /// Number of the last ledger entry that is dealt with.
    pub after: u64,
    /// Written before the first try: after a crash it says that the message may have arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trying: Option<Trying>,
}

/// A message on its way.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Trying {
    pub entry: u64,
    /// The moment of the first try, from which its patience runs.
    pub since: Timestamp,
}

/// A message that was given up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct DeadLetter {
    pub entry: u64,
    pub call: CallId,
    /// `call.pending` and its kin.
    pub kind: String,
    pub at: Timestamp,
    pub why: String,
}

/// One destination's place in the store.
pub(super) struct Bookmarks {
    store: Arc<dyn Store>,
    destination: String,
}

impl Bookmarks {
    pub(super) fn new(store: Arc<dyn Store>, destination: String) -> Self {
        Self { store, destination }
    }

    /// Where to go on. A destination without a cursor starts at the present head: history is not news.
    pub(super) async fn cursor(&self) -> Result<Cursor, StoreError> {
        let stored = self.store.get(CURSOR, self.destination.clone()).await?;
        if let Some(bytes) = stored {
            return serde_json::from_slice(&bytes).map_err(|error| {
                StoreError::Damaged(format!("the cursor of {}: {error}", self.destination))
            });
        }
        let head = *self.store.head().borrow();
        let cursor = Cursor { after: head, trying: None };
        self.store.put(vec![self.cursor_put(cursor)]).await?;
        Ok(cursor)
    }

    pub(super) async fn save(&self, cursor: Cursor) -> Result<(), StoreError> {
        self.store.put(vec![self.cursor_put(cursor)]).await
    }

    /// The cursor, and whether the destination knows of this unsettled call, as one.
    pub(super) async fn save_told(&self, cursor: Cursor, call: CallId, told: bool) -> Result<(), StoreError> {
        let mark = Put { space: TOLD, key: self.told_key(call), value: told.then(Vec::new) };
        self.store.put(vec![mark, self.cursor_put(cursor)]).await
    }

    /// The cursor, and the letter that was given up, as one.
    pub(super) async fn save_dead(&self, cursor: Cursor, letter: &DeadLetter) -> Result<(), StoreError> {
        let value = serde_json::to_vec(letter).map_err(|error| StoreError::Damaged(error.to_string()))?;
        let key = format!("{}/{:020}", self.destination, letter.entry);
        let letter = Put { space: DEAD_LETTER, key, value: Some(value) };
        self.store.put(vec![letter, self.cursor_put(cursor)]).await
    }

    /// Was a message of this call sent that is not followed by its end yet?
    pub(super) async fn told(&self, call: CallId) -> Result<bool, StoreError> {
        Ok(self.store.get(TOLD, self.told_key(call)).await?.is_some())
    }

    /// How many letters were given up of late; forgets the old ones.
    pub(super) async fn dead(&self, now: Timestamp) -> Result<u64, StoreError> {
        let prefix = format!("{}/", self.destination);
        let mut kept = 0;
        let mut old = Vec::new();
        for (key, value) in self.store.list(DEAD_LETTER).await? {
            if !key.starts_with(&prefix) {
                continue;
            }
            let letter: Option<DeadLetter> = serde_json::from_slice(&value).ok();
            if letter.is_some_and(|letter| now.since(letter.at) < KEPT) {
                kept += 1;
            } else {
                old.push(Put { space: DEAD_LETTER, key, value: None });
            }
        }
        if !old.is_empty() {
            self.store.put(old).await?;
        }
        Ok(kept)
    }

    fn told_key(&self, call: CallId) -> String {
        format!("{}/{call}", self.destination)
    }

    fn cursor_put(&self, cursor: Cursor) -> Put {
        // Two numbers and a time always have a JSON form.
        let value = serde_json::to_vec(&cursor).unwrap_or_default();
        Put { space: CURSOR, key: self.destination.clone(), value: Some(value) }
    }
}
