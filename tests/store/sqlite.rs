//! What SQLite adds to the contract: a file that outlives its process, a lock, and clear errors.

use std::{path::Path, sync::Arc};

use countersign::store::{
    Store as _,
    sqlite::{OpenOptions, Sqlite},
};
use tempfile::TempDir;

use crate::{
    contract,
    sample::{call, submit},
};

fn open(folder: &Path) -> Sqlite {
    Sqlite::open(&folder.join("ledger.db"), OpenOptions::default()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_holds_the_contract() {
    let folder = TempDir::new().unwrap();
    let mut n = 0;
    contract::hold(async || {
        n += 1;
        let path = folder.path().join(format!("{n}.db"));
        Arc::new(Sqlite::open(&path, OpenOptions::default()).unwrap()) as contract::Opened
    })
    .await;
}

#[tokio::test]
async fn a_store_that_is_opened_again_has_everything() {
    let folder = TempDir::new().unwrap();
    let first = open(folder.path());
    let written = first.append(submit(&call(1))).await.unwrap();
    let (key, secret) = (first.verifying_key(), *first.fingerprint_key());
    drop(first);
    let second = open(folder.path());
    assert_eq!(second.entries(0, 10).await.unwrap(), written);
    assert_eq!(second.call(call(1).id).await.unwrap(), Some(call(1)));
    assert_eq!((second.verifying_key(), *second.fingerprint_key()), (key, secret));
    assert_eq!(*second.head().borrow(), 1);
    let more = second.append(submit(&call(2))).await.unwrap();
    assert_eq!(more[0].number, 2);
}
