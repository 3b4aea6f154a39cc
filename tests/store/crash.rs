//! A process that writes is killed at some moment; what it was told is on the disk stays there.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use countersign::{
    ledger::commitment,
    store::{
        Store as _,
        sqlite::{OpenOptions, Sqlite},
    },
};
use tempfile::TempDir;

use crate::sample::{call, payload, submit};

const STORE: &str = "COUNTERSIGN_TEST_STORE";
const WRITERS: u64 = 8;

/// Not a test of its own: the process that the test below starts, and kills. Without a store to write
/// there is nothing to do.
#[tokio::test]
async fn the_process_that_is_killed() {
    let Ok(path) = env::var(STORE) else { return };
    let store = Arc::new(Sqlite::open(Path::new(&path), OpenOptions::default()).unwrap());
    let first = *store.head().borrow();
    let writers: Vec<_> = (1..=WRITERS)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for n in 0.. {
                    let mut call = call(first + writer + n * WRITERS);
                    call.request.params = commitment(&[3; 32], &[1; 100]);
                    let mut batch = submit(&call);
                    batch.payloads = vec![payload(&call, &[1; 100])];
                    let entry = &store.append(batch).await.unwrap()[0];
                    writeln!(std::io::stdout(), "written {} {}", entry.number, call.id).unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
}

fn start(path: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "crash::the_process_that_is_killed", "--nocapture"])
        .env(STORE, path)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Kills it after `many` answers; what it was answered, in its own order.
fn kill_after(many: usize, path: &Path) -> Vec<(u64, String)> {
    let mut child = start(path);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut written = Vec::new();
    let mut take = |line: String| {
        if let Some((_, entry)) = line.split_once("written ")
            && let Some((number, id)) = entry.split_once(' ')
            && id.len() == 36
        {
            written.push((number.parse().unwrap(), id.to_owned()));
        }
        written.len()
    };
    while take(lines.next().unwrap().unwrap()) < many {}
    child.kill().unwrap();
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        take(line);
    }
    written
}

#[tokio::test]
async fn what_was_answered_survives_the_kill_of_its_process() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("ledger.db");
    let mut written = Vec::new();
    for many in [1, 40, 113] {
        written.extend(kill_after(many, &path));
        let store = Sqlite::open(&path, OpenOptions::default()).unwrap();
        let entries = store.entries(0, 100_000).await.unwrap();
        for (number, id) in &written {
            let entry = &entries[usize::try_from(*number).unwrap() - 1];
            assert_eq!((entry.number, entry.stream.name()), (*number, "call"));
            let call = store.call(id.parse().unwrap()).await.unwrap().unwrap();
            assert_eq!(store.version(entry.stream.clone()).await.unwrap(), 1);
            assert_eq!(countersign::ledger::Stream::Call(call.id), entry.stream);
        }
        store.drain().await.unwrap();
        let report = store.read_only().verify(Some(store.verifying_key()), None).unwrap();
        assert_eq!((report.bad, report.proven), (None, entries.len() as u64));
    }
    assert!(written.len() > 150);
}
