//! Search looks into arguments, and finds nothing of what was erased.

use std::{path::Path, time::Duration};

use countersign::{
    call::{Call, StateName},
    store::{
        Batch, Filter, Store as _,
        sqlite::{OpenOptions, Sqlite},
    },
};
use tempfile::TempDir;

use crate::sample::{call, payload, submit};

fn open(folder: &Path) -> Sqlite {
    Sqlite::open(&folder.join("ledger.db"), OpenOptions::default()).unwrap()
}

/// A search may take so long.
fn within(folder: &Path, search: Duration) -> Sqlite {
    Sqlite::open(&folder.join("ledger.db"), OpenOptions { search, ..OpenOptions::default() }).unwrap()
}

fn with(call: &Call, arguments: &str) -> Batch {
    let body = format!(r#"{{"method":"tools/call","params":{{"name":"wipe","arguments":{arguments}}}}}"#);
    Batch { payloads: vec![payload(call, body.as_bytes())], ..submit(call) }
}

fn text(text: &str) -> Filter {
    Filter { text: Some(text.into()), limit: 10, ..Filter::default() }
}

/// The numbers of the calls on the page.
async fn find(store: &Sqlite, filter: Filter) -> Vec<u64> {
    let page = store.calls(filter).await.unwrap();
    let number = |found: &Call| (1..100).find(|n| call(*n).id == found.id).unwrap();
    page.calls.iter().map(number).collect()
}

async fn some(store: &Sqlite) {
    for (n, arguments) in [
        (1, r#"{"batchId":"batch-00012","force":true}"#),
        (2, r#"{"reason":"clean\nup the Überlauf","paths":["/data/runs/17/in.cram"]}"#),
        (3, r#"{"batchId":"batch-00013","deep":{"note":["nothing",{"limit":4711}]}}"#),
    ] {
        store.append(with(&call(n), arguments)).await.unwrap();
    }
}

#[tokio::test]
async fn a_call_is_found_by_the_words_of_its_arguments() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    some(&store).await;
    for (wanted, found) in [
        ("batch-00012", vec![1]),
        ("00013", vec![3]),
        ("BATCHID", vec![3, 1]),
        ("up überlauf", vec![2]),
        ("runs/17", vec![2]),
        ("4711 nothing", vec![3]),
        ("00012 00013", vec![]),
        // Beside the arguments, and what the index's own language would make of it.
        ("wipe", vec![]),
        ("batch OR clean", vec![]),
        ("\"batch", vec![3, 1]),
        ("text:batch", vec![]),
        ("batch*", vec![3, 1]),
        ("-- ( ^", vec![]),
    ] {
        assert_eq!(find(&store, text(wanted)).await, found, "{wanted}");
    }
    let pending =
        Filter { states: vec![StateName::Pending], tool: Some("GetAHORun".into()), ..text("batchId") };
    assert_eq!(find(&store, pending).await, [3, 1]);
    assert!(find(&store, Filter { agent: Some("agent-2".into()), ..text("batchId") }).await.is_empty());
    assert!(find(&store, Filter { reviewer: Some("ann".into()), ..text("batchId") }).await.is_empty());
    assert!(find(&store, Filter { states: vec![StateName::Lost], ..text("batchId") }).await.is_empty());
}

#[tokio::test]
async fn what_was_erased_is_found_no_more_and_leaves_no_word() {
    for erase in ["DELETE FROM payloads WHERE rowid = 2", "UPDATE payloads SET bytes = x'' WHERE rowid = 2"] {
        let folder = TempDir::new().unwrap();
        let store = open(folder.path());
        some(&store).await;
        let eraser = rusqlite::Connection::open(store.path()).unwrap();
        let words = || -> Vec<String> {
            eraser
                .execute_batch(
                    "CREATE VIRTUAL TABLE IF NOT EXISTS temp.terms USING fts5vocab(main, words, row)",
                )
                .unwrap();
            let mut terms = eraser.prepare("SELECT term FROM terms").unwrap();
            terms.query_map([], |row| row.get(0)).unwrap().collect::<Result<_, _>>().unwrap()
        };
        assert!(words().contains(&"uberlauf".into()));
        assert_eq!(eraser.execute(erase, []).unwrap(), 1);
        assert_eq!(find(&store, text("cram")).await, [] as [u64; 0], "{erase}");
        assert!(!words().contains(&"uberlauf".into()) && words().contains(&"4711".into()), "{erase}");
        let kept: i64 = eraser.query_row("SELECT count(*) FROM words_content", [], |row| row.get(0)).unwrap();
        assert_eq!(kept, 2, "{erase}");
        assert_eq!(find(&store, text("batchId")).await, [3, 1], "{erase}");
    }
}

#[tokio::test]
async fn pages_of_a_search_go_on_where_the_last_ended() {
    const MANY: u64 = 10_200;
    let folder = TempDir::new().unwrap();
    let store = within(folder.path(), Duration::from_secs(60));
    for chunk in (1..=MANY).collect::<Vec<_>>().chunks(1020) {
        let mut batch = Batch::default();
        for n in chunk {
            let mut next = call(*n);
            next.request.tool = if *n == 3 { "rare".into() } else { "wipe".into() };
            let one = with(&next, r#"{"word":"common"}"#);
            batch.writes.extend(one.writes);
            batch.payloads.extend(one.payloads);
        }
        store.append(batch).await.unwrap();
    }
    let mut filter = Filter { tool: Some("rare".into()), ..text("common") };
    let first = store.calls(filter.clone()).await.unwrap();
    assert_eq!(first.calls, [], "it looked at the newest ten thousand");
    filter.after = first.next;
    let second = store.calls(filter).await.unwrap();
    assert_eq!(second.calls.iter().map(|call| call.id).collect::<Vec<_>>(), [call(3).id]);
    assert_eq!(second.next, None);
    let (mut filter, mut seen) = (Filter { limit: 200, ..text("common") }, 0);
    loop {
        let page = store.calls(filter.clone()).await.unwrap();
        for found in &page.calls {
            assert_eq!(found.id, call(MANY - seen).id);
            seen += 1;
        }
        let Some(next) = page.next else { break };
        filter.after = Some(next);
    }
    assert_eq!(seen, MANY);
}

#[tokio::test]
async fn a_store_from_before_the_index_gets_one() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    some(&store).await;
    let path = store.path().to_owned();
    drop(store);
    let before = "DROP TRIGGER words_erased; DROP TRIGGER words_changed; DROP TABLE words;
                  ALTER TABLE payloads DROP COLUMN words; PRAGMA user_version = 1;";
    rusqlite::Connection::open(&path).unwrap().execute_batch(before).unwrap();
    let store = open(folder.path());
    assert_eq!(find(&store, text("batchId")).await, [3, 1]);
    rusqlite::Connection::open(&path).unwrap().execute("DELETE FROM payloads WHERE rowid = 1", []).unwrap();
    assert_eq!(find(&store, text("batchId")).await, [3]);
}

#[tokio::test]
async fn a_search_of_too_much_is_refused_in_words() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    some(&store).await;
    for much in ["a ".repeat(9), vec!["a"; 1_000].join("-"), "a".repeat(65), "a\u{2026}".repeat(9)] {
        let refused = store.calls(text(&much)).await.unwrap_err().to_string();
        assert!(refused.contains("at most 8 words of up to 64 bytes"), "{refused}");
    }
    assert_eq!(
        find(&store, text("force true batchId batch 00012 force batch batchId")).await,
        [] as [u64; 0]
    );
    assert_eq!(find(&store, text("force batchId batch 00012 force batch batchId batch")).await, [1]);
}

#[tokio::test]
async fn a_control_character_parts_words() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    some(&store).await;
    for wanted in ["\x0000012", "batch\x0000012", "00012\0", "\u{1}batch\u{7f}00012\u{feff}"] {
        assert_eq!(find(&store, text(wanted)).await, [1], "{wanted:?}");
    }
    assert_eq!(find(&store, text("\0")).await, find(&store, text(" ")).await, "no word is no search");
    assert_eq!(find(&store, text("\0none")).await, [] as [u64; 0]);
    // Marks on a letter are part of it.
    assert_eq!(find(&store, text("u\u{308}berlauf")).await, [2]);
}

#[tokio::test]
async fn a_search_ends_by_its_deadline_and_holds_up_nobody() {
    let folder = TempDir::new().unwrap();
    let store = within(folder.path(), Duration::ZERO);
    for n in 1..=60 {
        store.append(with(&call(n), r#"{"word":"batch"}"#)).await.unwrap();
    }
    let slow = store.calls(text("batch")).await.unwrap_err().to_string();
    assert!(slow.contains("took too long: use fewer or longer words"), "{slow}");
    let page = store.calls(Filter { limit: 100, ..Filter::default() }).await.unwrap();
    assert_eq!(page.calls.len(), 60, "a page without words has no deadline");
    assert!(store.is_open());
}

#[tokio::test]
async fn words_of_replaced_arguments_are_found_no_more() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    some(&store).await;
    let replaced = with(&call(2), r#"{"reason":"other"}"#).payloads;
    store.append(Batch { payloads: replaced, ..Batch::default() }).await.unwrap();
    assert_eq!(find(&store, text("cram")).await, [] as [u64; 0]);
    assert_eq!(find(&store, text("other")).await, [2]);
    let reader = rusqlite::Connection::open(store.path()).unwrap();
    let kept: i64 = reader.query_row("SELECT count(*) FROM words_content", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 3, "nothing of it stays in the index");
}
