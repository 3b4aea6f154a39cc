//! What SQLite adds to the contract: a file that outlives its process, a lock, and clear errors.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use countersign::{
    call::Event,
    ledger::{BrokerEvent, Fact, Head, Report, Stream, commitment, leaf_hash, read_key},
    store::{
        Batch, Put, Store as _, StoreError,
        sqlite::{OpenOptions, ReadOnly, Sqlite},
    },
};
use ed25519_dalek::VerifyingKey;
use tempfile::TempDir;

use crate::{
    contract,
    sample::{call, moment, on, payload, submit, voted, write},
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

#[tokio::test]
async fn a_second_opener_is_told_who_holds_the_store() {
    let folder = TempDir::new().unwrap();
    let first = open(folder.path());
    let second = Sqlite::open(&folder.path().join("ledger.db"), OpenOptions::default());
    let Err(StoreError::Locked(who)) = second else { panic!("{second:?}") };
    assert!(who.contains(&format!("pid {}", std::process::id())), "{who}");
    drop(first);
    open(folder.path());
}

#[tokio::test]
async fn only_their_owner_can_read_the_secrets() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    store.append(submit(&call(1))).await.unwrap();
    let mode = |name: &str| fs::metadata(folder.path().join(name)).unwrap().permissions().mode() & 0o777;
    for name in ["ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.key", "ledger.db.lock"] {
        assert_eq!(mode(name), 0o600, "{name}");
    }
    let public = fs::read_to_string(folder.path().join("ledger.db.pub")).unwrap();
    assert_eq!(read_key(&public).unwrap(), store.verifying_key());
}

#[tokio::test]
async fn a_file_that_is_no_store_gets_a_clear_error() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ledger.db");
    let refused = || match Sqlite::open(&path, OpenOptions::default()) {
        Err(StoreError::Damaged(why)) => why,
        other => panic!("{other:?}"),
    };
    fs::write(&path, "hello, this is a letter and not a database".repeat(200)).unwrap();
    assert_eq!(refused(), "it is not a SQLite database");
    fs::remove_file(&path).unwrap();
    rusqlite::Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
    assert_eq!(refused(), "it is a database of another program");
    fs::remove_file(&path).unwrap();
    drop(open(folder.path()));
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(refused().contains("version 99"), "{}", refused());
    assert!(ReadOnly::open(&folder.path().join("none.db")).is_err());
}

#[tokio::test]
async fn a_full_disk_closes_the_store_and_leaves_nothing_half_written() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ledger.db");
    let store = Sqlite::open(&path, OpenOptions { max_pages: Some(80), ..OpenOptions::default() }).unwrap();
    let mut written = 0;
    let why = loop {
        let mut next = call(written + 1);
        next.request.params = commitment(&[3; 32], &[7; 20_000]);
        let mut batch = submit(&next);
        batch.payloads = vec![payload(&next, &[7; 20_000])];
        match store.append(batch).await {
            Ok(entries) => written = entries[0].number,
            Err(StoreError::Unavailable(why)) => break why,
            Err(other) => panic!("{other}"),
        }
        assert!(written < 100, "80 pages hold no 100 payloads");
    };
    assert!(why.contains("full"), "{why}");
    assert!(!store.is_open());
    let small = Put { space: "s", key: "k".into(), value: Some(vec![1]) };
    assert!(matches!(store.put(vec![small]).await, Err(StoreError::Unavailable(_))), "it stays closed");
    assert_eq!(store.entries(0, 200).await.unwrap().len() as u64, written, "and can be read");
    assert_eq!(store.call(call(written + 1).id).await.unwrap(), None);
    drop(store);
    let again = open(folder.path());
    assert_eq!(again.append(submit(&call(written + 1))).await.unwrap()[0].number, written + 1);
    again.drain().await.unwrap();
    assert_eq!(again.read_only().verify(Some(again.verifying_key()), None).unwrap().bad, None);
}

#[tokio::test]
async fn an_export_proves_entries_payloads_and_allowed_calls() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    let mut first = call(1);
    first.request.params = commitment(&[3; 32], b"{}");
    let mut batch = submit(&first);
    batch.payloads = vec![payload(&first, b"{}")];
    store.append(batch).await.unwrap();
    store
        .append_segment(moment(1), [b"one", b"two"].into_iter().collect(), moment(0), moment(1))
        .await
        .unwrap();
    store.drain().await.unwrap();
    let beside = ReadOnly::open(store.path()).unwrap();
    let report = beside.verify(Some(store.verifying_key()), None).unwrap();
    assert_eq!((report.bad, report.entries, report.proven), (None, 2, 2));
    assert_eq!((report.payloads, report.leaves), (1, 2));
    let mut lines = Vec::new();
    beside
        .export(false, |line| {
            lines.push(String::from_utf8_lossy(line).into_owned());
            Ok(())
        })
        .unwrap();
    assert!(lines.iter().all(|line| !line.contains("payload") && !line.contains("leaf")), "{lines:?}");
    let note = store.signed_head().unwrap();
    assert_eq!(beside.signed_head().unwrap().as_deref(), Some(&*note));
    assert_eq!(Head::open(&note, &store.verifying_key()).unwrap().size, 2);
}

#[tokio::test]
async fn a_changed_row_is_named_by_verification() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    for n in 1..=5 {
        store.append(submit(&call(n))).await.unwrap();
    }
    store.drain().await.unwrap();
    let key = store.verifying_key();
    drop(store);
    let path = folder.path().join("ledger.db");
    let vandal = rusqlite::Connection::open(&path).unwrap();
    let sql = "UPDATE entries SET bytes = CAST(replace(CAST(bytes AS TEXT), 'agent-0', 'agent-9') AS BLOB) WHERE number = 3";
    assert_eq!(vandal.execute(sql, []).unwrap(), 1);
    let report = ReadOnly::open(&path).unwrap().verify(Some(key), None).unwrap();
    assert_eq!(report.bad.map(|bad| bad.number), Some(3));
    vandal.execute("DELETE FROM entries WHERE number > 2", []).unwrap();
    let report = ReadOnly::open(&path).unwrap().verify(Some(key), None).unwrap();
    assert_eq!(report.bad.map(|bad| bad.number), Some(3));
}

/// A store with everything in it that can be changed, closed: two calls, a batch of allowed ones, a boot, a vote.
async fn full() -> (TempDir, VerifyingKey) {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    let mut first = call(1);
    first.request.params = commitment(&[3; 32], b"{}");
    let mut batch = submit(&first);
    batch.payloads = vec![payload(&first, b"{}")];
    store.append(batch).await.unwrap();
    store.append_segment(moment(1), [b"one"].into_iter().collect(), moment(0), moment(1)).await.unwrap();
    store.append(submit(&call(2))).await.unwrap();
    let started = BrokerEvent::Started { replica: "r".into(), epoch: 1, version: "1".into() };
    let boot = on(Stream::Broker, None, vec![Fact::Broker(started)]);
    store.append(Batch { writes: vec![boot], ..Batch::default() }).await.unwrap();
    // The fifth entry, and the row that follows from it.
    let mut second = call(2);
    let vote = voted("ann", second.digest, moment(3));
    let Fact::Call(Event::Voted { review }) = &vote else { panic!("{vote:?}") };
    second.reviews.push(review.clone());
    second.version = 2;
    store.append(write(&second, Some(1), vec![vote])).await.unwrap();
    store.drain().await.unwrap();
    let key = store.verifying_key();
    drop(store);
    (folder, key)
}

/// What verification says of a copy to which `sql` was done.
fn verify_after(folder: &Path, key: VerifyingKey, sql: &str) -> Report {
    let copy = folder.join("copy.db");
    let _ = fs::remove_file(&copy);
    let whole = rusqlite::Connection::open(folder.join("ledger.db")).unwrap();
    whole.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    assert!(rusqlite::Connection::open(&copy).unwrap().execute(sql, []).unwrap() > 0, "{sql}");
    ReadOnly::open(&copy).unwrap().verify(Some(key), None).unwrap()
}

/// What is done to the rows, and the entry that is named for it.
const CHANGES: &[(&str, u64)] = &[
    ("UPDATE payloads SET bytes = x'5b5d'", 1),
    ("UPDATE payloads SET salt = x'00'", 1),
    ("INSERT INTO payloads SELECT call, 2, 9, 0, salt, x'31', NULL FROM payloads", 1),
    ("INSERT INTO payloads VALUES (x'00', 0, 0, 0, x'00', x'00', NULL)", 5),
    ("UPDATE segments SET leaves = x'00'", 2),
    ("UPDATE segments SET leaves = x''", 2),
    ("INSERT INTO segments SELECT 1, leaves FROM segments", 5),
    ("UPDATE calls SET state = 1 WHERE rowid = 2", 5),
    ("UPDATE calls SET snapshot = x'7b7d' WHERE rowid = 1", 1),
    (
        "UPDATE calls SET snapshot = CAST(replace(CAST(snapshot AS TEXT), 'agent-2', 'agent-3') AS BLOB) WHERE rowid = 2",
        5,
    ),
    ("UPDATE calls SET shape = 1 WHERE rowid = 2", 5),
    ("UPDATE calls SET short_code = 'AAAAAA' WHERE rowid = 1", 1),
    ("UPDATE calls SET requested_at = 1 WHERE rowid = 1", 1),
    ("INSERT INTO calls SELECT x'00', state, shape, 1, 1, short_code, NULL, snapshot FROM calls LIMIT 1", 5),
    ("UPDATE shapes SET tool = 'ls' WHERE shape = 1", 1),
    ("DELETE FROM shapes WHERE shape = 2", 5),
    ("INSERT INTO shapes VALUES (9, 's', 't', 'a')", 5),
    ("DELETE FROM votes", 5),
    ("UPDATE votes SET reviewer = 'bob'", 5),
    ("INSERT INTO votes VALUES ('bob', x'00')", 5),
    ("UPDATE kv SET value = CAST('{\"epoch\":0,\"drained\":true}' AS BLOB) WHERE key = 'boot'", 4),
    ("DELETE FROM kv WHERE key = 'boot'", 4),
    ("DELETE FROM calls WHERE rowid = 1", 1),
    ("UPDATE entries SET hash = zeroblob(32) WHERE number = 2", 2),
    ("UPDATE entries SET at = at + 1 WHERE number = 3", 3),
    ("UPDATE entries SET version = 7 WHERE number = 3", 3),
    ("UPDATE entries SET stream = x'00' WHERE number = 3", 3),
];

#[tokio::test]
async fn a_changed_row_beside_the_entries_is_named_by_verification() {
    let (folder, key) = full().await;
    for (sql, number) in CHANGES {
        let bad = verify_after(folder.path(), key, sql).bad;
        assert_eq!(bad.as_ref().map(|bad| bad.number), Some(*number), "{sql}: {bad:?}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_to_be_unproven() {
    let (folder, key) = full().await;
    for (sql, said) in [
        ("DELETE FROM heads", "no signed head is here"),
        ("DELETE FROM segments", "what 1 of the batches of allowed calls held"),
        ("DELETE FROM payloads", "what 2 of the texts said"),
    ] {
        let report = verify_after(folder.path(), key, sql);
        assert_eq!(report.bad, None, "{sql}");
        assert!(report.unproven.iter().any(|what| what.contains(said)), "{sql}: {:?}", report.unproven);
    }
}

#[tokio::test]
async fn a_stream_with_a_changed_entry_is_not_read() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    for n in 1..=3 {
        store.append(submit(&call(n))).await.unwrap();
    }
    let stream = Stream::Call(call(2).id);
    assert_eq!(store.stream(stream.clone()).await.unwrap().len(), 1);
    let vandal = rusqlite::Connection::open(store.path()).unwrap();
    let bytes: Vec<u8> =
        vandal.query_row("SELECT bytes FROM entries WHERE number = 2", [], |row| row.get(0)).unwrap();
    let forged = String::from_utf8(bytes).unwrap().replace("agent-2", "agent-9").into_bytes();
    vandal.execute("UPDATE entries SET bytes = ?1 WHERE number = 2", [&forged]).unwrap();
    let refused = store.stream(stream.clone()).await;
    assert!(matches!(&refused, Err(StoreError::Damaged(why)) if why.contains("entry 2")), "{refused:?}");
    let hash = leaf_hash(&forged);
    vandal.execute("UPDATE entries SET hash = ?1 WHERE number = 2", [hash]).unwrap();
    let refused = store.stream(stream).await;
    assert!(matches!(&refused, Err(StoreError::Damaged(why)) if why.contains("entry 2")), "{refused:?}");
}

#[tokio::test]
async fn a_store_whose_last_entry_was_changed_does_not_open() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    store.append(submit(&call(1))).await.unwrap();
    drop(store);
    let path = folder.path().join("ledger.db");
    let vandal = rusqlite::Connection::open(&path).unwrap();
    vandal
        .execute(
            "UPDATE entries SET bytes = CAST(replace(CAST(bytes AS TEXT), 'agent-1', 'agent-9') AS BLOB)",
            [],
        )
        .unwrap();
    drop(vandal);
    let refused = Sqlite::open(&path, OpenOptions::default());
    assert!(matches!(&refused, Err(StoreError::Damaged(why)) if why.contains("entry 1")), "{refused:?}");
}
