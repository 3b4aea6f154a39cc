//! What a store is held against when it is opened, and what it remembers without reading.

use std::{fs, path::Path};

use countersign::{
    call::Fingerprint,
    store::{
        Store as _, StoreError,
        sqlite::{OpenOptions, ReadOnly, Sqlite},
    },
};
use tempfile::TempDir;

use crate::sample::{call, submit};

fn open(folder: &Path) -> Result<Sqlite, StoreError> {
    Sqlite::open(&folder.join("ledger.db"), OpenOptions::default())
}

/// A store of five entries, signed after the third and at the end, closed.
async fn closed() -> TempDir {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path()).unwrap();
    for n in 1..=5 {
        store.append(submit(&call(n))).await.unwrap();
        if n == 3 {
            store.drain().await.unwrap();
        }
    }
    drop(store);
    folder
}

/// What opening says after `sql` was done to the store.
fn opened_after(folder: &Path, sql: &str) -> Result<Sqlite, String> {
    let vandal = rusqlite::Connection::open(folder.join("ledger.db")).unwrap();
    vandal.execute_batch(sql).unwrap();
    drop(vandal);
    match open(folder) {
        Ok(store) => Ok(store),
        Err(StoreError::Damaged(why)) => Err(why),
        Err(other) => panic!("{other}"),
    }
}

const FORGE: &str =
    "UPDATE entries SET bytes = CAST(replace(CAST(bytes AS TEXT), 'agent-', 'agent+') AS BLOB)";

#[tokio::test]
async fn a_store_that_was_cut_off_or_written_anew_does_not_open() {
    for (sql, says) in [
        ("DELETE FROM entries WHERE number > 4", "cut off"),
        // With its signed heads: the file beside the store remembers.
        ("DELETE FROM entries WHERE number > 3; DELETE FROM heads WHERE size > 3", "cut off"),
        ("DELETE FROM entries; DELETE FROM heads", "cut off"),
        (&format!("{FORGE} WHERE number = 5"), "entry 5"),
        ("UPDATE heads SET note = replace(note, 'size 5', 'size 4') WHERE size = 5", "does not hold"),
        ("UPDATE heads SET size = 6 WHERE size = 5", "another's place"),
        // The end is not signed: it is walked.
        (&format!("DELETE FROM heads WHERE size > 3; {FORGE} WHERE number = 4"), "entry 5 does not follow"),
        ("DELETE FROM heads WHERE size > 3; DELETE FROM entries WHERE number = 4", "entry 4 does not follow"),
    ] {
        let folder = closed().await;
        if sql.starts_with("DELETE FROM heads WHERE") {
            fs::remove_file(folder.path().join("ledger.db.head")).unwrap();
        }
        let why = opened_after(folder.path(), sql).expect_err(sql);
        assert!(why.contains(says) && why.contains("countersign audit verify"), "{sql}: {why}");
        assert!(ReadOnly::open(&folder.path().join("ledger.db")).is_ok(), "{sql}: it can still be read");
    }
}

#[tokio::test]
async fn a_kept_head_that_says_less_or_nothing_stops_no_one() {
    let folder = closed().await;
    let kept = folder.path().join("ledger.db.head");
    let newest = fs::read_to_string(&kept).unwrap();
    assert!(newest.contains("size 5"), "{newest}");
    let older = "SELECT note FROM heads WHERE size = 3";
    let vandal = rusqlite::Connection::open(folder.path().join("ledger.db")).unwrap();
    fs::write(&kept, vandal.query_row(older, [], |row| row.get::<_, String>(0)).unwrap()).unwrap();
    drop(vandal);
    drop(open(folder.path()).expect("the store says more than the file"));
    // A crash of the machine may leave it empty.
    fs::write(&kept, "").unwrap();
    drop(opened_after(folder.path(), "DELETE FROM heads WHERE size > 3").unwrap());
    fs::remove_file(&kept).unwrap();
    let store = opened_after(folder.path(), "DELETE FROM heads WHERE size > 3").unwrap();
    assert!(store.lacked_head(), "it had one once");
    drop(store);
    assert!(!open(folder.path()).unwrap().lacked_head(), "it is kept again");
    fs::remove_file(&kept).unwrap();
    let store = opened_after(folder.path(), "DELETE FROM heads").unwrap();
    assert!(!store.lacked_head(), "a store without a signed head kept none");
    store.append(submit(&call(6))).await.unwrap();
    drop(store);
    assert!(fs::read_to_string(&kept).unwrap().contains("size 6"));
    // Another key signed it: this is not the store that the key file belongs to.
    fs::remove_file(folder.path().join("ledger.db.key")).unwrap();
    let why = open(folder.path()).expect_err("another key").to_string();
    assert!(why.contains("is not signed by key"), "{why}");
}

#[tokio::test]
async fn join_keys_are_known_at_once_and_after_a_restart() {
    let folder = TempDir::new().unwrap();
    let print = |n: u64| Fingerprint(call(n * 7919).digest.0);
    let store = open(folder.path()).unwrap();
    for n in 1..=300 {
        let mut batch = submit(&call(n));
        batch.fingerprint = Some((call(n).id, print(n)));
        store.append(batch).await.unwrap();
        assert_eq!(store.same(print(n)).await.unwrap(), [call(n)]);
    }
    assert_eq!(store.same(print(301)).await.unwrap(), []);
    drop(store);
    let store = open(folder.path()).unwrap();
    for n in 1..=300 {
        assert_eq!(store.same(print(n)).await.unwrap(), [call(n)], "{n}");
    }
    assert_eq!(store.same(print(301)).await.unwrap(), []);
}

#[tokio::test]
async fn a_kept_head_that_cannot_be_read_is_a_refusal() {
    let folder = closed().await;
    let kept = folder.path().join("ledger.db.head");
    let newest = fs::read_to_string(&kept).unwrap();
    for torn in ["xx".to_owned(), newest[..60].to_owned(), newest.replacen("v1", "v2", 1)] {
        fs::write(&kept, &torn).unwrap();
        let why = open(folder.path()).expect_err(&torn).to_string();
        assert!(why.contains("ledger.db.head cannot be read as a head"), "{why}");
        assert!(why.contains("remove that file") && why.contains("audit verify"), "{why}");
        assert_eq!(fs::read_to_string(&kept).unwrap(), torn, "it is not written over");
    }
    fs::write(&kept, newest).unwrap();
    assert!(open(folder.path()).is_ok());
}
