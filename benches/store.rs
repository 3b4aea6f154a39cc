//! How fast the store appends, and how it answers when it is large.
//!
//! `cargo bench --bench store` prints appends per second and their latency with 1, 16 and 128 appenders;
//! `cargo bench --bench store -- 1000000` fills a store with that many entries instead and asks it
//! questions; a second number says how many calls wait, a folder (`./x/`) where the store is kept.

#[path = "rig/history.rs"]
mod history;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use countersign::{
    call::{Call, CallId, Commitment, Event, Fingerprint, Reason, State, StateName, Terms, Timestamp},
    ledger::{Fact, Stream},
    store::{
        Batch, Filter, Payload, PayloadKind, Store, Write,
        sqlite::{OpenOptions, Sqlite},
    },
};
use uuid::Uuid;

const PER_RUN: Duration = Duration::from_secs(3);

fn main() {
    let numbers: Vec<u64> = std::env::args().filter_map(|argument| argument.parse().ok()).collect();
    let kept = std::env::args().find(|argument| argument.contains('/') && Path::new(argument).is_dir());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let Some(entries) = numbers.first() else {
            for appenders in [1, 16, 128] {
                appends(appenders).await;
            }
            return;
        };
        large(*entries, numbers.get(1).copied().unwrap_or(1000), kept.map(PathBuf::from)).await;
    });
}

fn open(folder: &tempfile::TempDir) -> Arc<Sqlite> {
    open_at(folder.path())
}

fn open_at(folder: &Path) -> Arc<Sqlite> {
    Arc::new(Sqlite::open(&folder.join("bench.db"), OpenOptions::default()).expect("a store"))
}

/// CPU time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after = stat.rsplit_once(") ").expect("a name").1;
    let ticks: u64 = after.split(' ').skip(11).take(2).map(|t| t.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 10)
}

/// The most memory that this process had resident, KiB.
fn most_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a size");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

async fn appends(appenders: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder);
    let (start, end) = (Instant::now(), Instant::now() + PER_RUN);
    let tasks: Vec<_> = (0..appenders)
        .map(|appender| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut took = Vec::new();
                for n in 0.. {
                    let batch = submit(&call(n * appenders + appender, pending()));
                    let begun = Instant::now();
                    store.append(batch).await.expect("an append");
                    took.push(begun.elapsed());
                    if Instant::now() > end {
                        break;
                    }
                }
                took
            })
        })
        .collect();
    let mut took = Vec::new();
    for task in tasks {
        took.extend(task.await.expect("an appender"));
    }
    let seconds = start.elapsed().as_secs_f64();
    took.sort_unstable();
    let at = |share: f64| took[((took.len() - 1) as f64 * share) as usize];
    let rate = took.len() as f64 / seconds;
    println!("{appenders:>4} appenders: {rate:>8.0} appends/s, p50 {:?}, p99 {:?}", at(0.5), at(0.99));
}

/// A thousand pending unless told otherwise, the rest settled. A folder that was named is kept: what it
/// holds is asked again.
async fn large(entries: u64, pending: u64, kept: Option<PathBuf>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = kept.unwrap_or_else(|| folder.path().to_owned());
    let store = open_at(&path);
    let begun = Instant::now();
    if *store.head().borrow() < entries {
        history::fill(&store, entries, pending).await;
    }
    let entries = *store.head().borrow();
    let n = store.calls(Filter { limit: 1, ..Filter::default() }).await.expect("a page").calls.len();
    assert_eq!(n, 1, "there are calls");
    println!("{entries} entries are here after {:?}", begun.elapsed());
    let page = |filter: Filter| Filter { limit: 50, ..filter };
    let any = Filter::default;
    let text = |text: &str| page(Filter { text: Some(text.into()), ..any() });
    ask(&store, "pending", page(Filter { states: vec![StateName::Pending], ..any() })).await;
    ask(&store, "newest", page(any())).await;
    ask(&store, "one tool", page(Filter { tool: Some("tool-7".into()), ..any() })).await;
    ask(
        &store,
        "one tool, pending",
        page(Filter { tool: Some("tool-7".into()), states: vec![StateName::Pending], ..any() }),
    )
    .await;
    ask(&store, "text of a few", text("rare")).await;
    ask(&store, "text of many", text("tool-1")).await;
    ask(&store, "text of none", text("nothing")).await;
    ask(&store, "short code", text(&history::digest(entries / 20).short_code())).await;
    ask(&store, "id", text(&history::id(entries / 30).to_string())).await;
    ask(&store, "a reviewer of none", page(Filter { reviewer: Some("ann".into()), ..any() })).await;
    time("counts", async { store.counts().await.expect("counts").len() }).await;
    time("due", async { store.due(Timestamp(1_799_000_000_000), 100).await.expect("due").len() }).await;
    ask(&store, "a reviewer of many", page(Filter { reviewer: Some("reviewer-3".into()), ..any() })).await;
    ask(&store, "a word of few arguments", text("quicksilver")).await;
    ask(&store, "a word of all arguments", text("ordinary clean")).await;
    ask(&store, "one argument's value", text(&format!("batch-{:08}", entries / 40))).await;
    first_times(&store).await;
    let id = history::id(entries / 30);
    time("one call", async { usize::from(store.call(id).await.expect("a call").is_some()) }).await;
    time("its stream", async { store.stream(Stream::Call(id)).await.expect("entries").len() }).await;
    store.drain().await.expect("a signed head");
    let before = cpu();
    time("verify", async {
        let report = store.read_only().verify(Some(store.verifying_key()), None).expect("a report");
        assert_eq!(report.bad, None);
        usize::try_from(report.entries).expect("fits")
    })
    .await;
    println!("{:>24}: {:?} of CPU, {} MiB at most", "verify", cpu() - before, most_memory() >> 10);
    drop(store);
    time("open", async { usize::from(open_at(&path).is_open()) }).await;
}

/// What parking costs in looks for the same call: ten thousand calls at once, each made for the first time;
/// then as many that are known.
async fn first_times(store: &Arc<Sqlite>) {
    tokio::time::sleep(Duration::from_secs(3)).await;
    for (what, from) in [("10,000 first times", 1 << 40), ("10,000 known keys", 0)] {
        let before = cpu();
        time(what, async {
            let looks = (from..from + 10_000).map(|n| store.same(history::print(n)));
            futures_util::future::join_all(looks)
                .await
                .into_iter()
                .map(|same| same.expect("calls").len())
                .sum()
        })
        .await;
        println!("{what:>24}: {:?} of CPU", cpu() - before);
    }
}

async fn ask(store: &Sqlite, what: &str, filter: Filter) {
    time(what, async { store.calls(filter).await.expect("a page").calls.len() }).await;
}

async fn time(what: &str, question: impl Future<Output = usize>) {
    let begun = Instant::now();
    let found = question.await;
    println!("{what:>24}: {found:>4} in {:?}", begun.elapsed());
}

fn pending() -> State {
    State::Pending { expires_at: Timestamp(1_790_000_900_000) }
}

fn call(n: u64, state: State) -> Call {
    let at = Timestamp(1_790_000_000_000 + i64::try_from(n).unwrap_or(0));
    Call {
        id: CallId(Uuid::from_u128((u128::from(n) << 80) | 0x7000_8000_0000_0000_0000)),
        version: 1,
        request: history::request(n, &["batchId", "reason"], Commitment([7; 32])),
        digest: history::digest(n),
        policy: history::POLICY.into(),
        round: 0,
        rule: "/tools/tool/require_approval/0".into(),
        terms: Some(Terms::standard(Reason { rule: "/tools/tool".into(), text: "it stops runs".into() })),
        reviews: Vec::new(),
        waiter: None,
        ticket: false,
        detached_at: None,
        delivered: None,
        requested_at: at,
        settled_at: None,
        state,
    }
}

fn submit(call: &Call) -> Batch {
    let fact = Fact::Call(Event::Submitted {
        request: Box::new(call.request.clone()),
        digest: call.digest,
        rule: call.rule.clone(),
        terms: call.terms.clone(),
        expires_at: call.requested_at,
    });
    let write = Write {
        stream: Stream::Call(call.id),
        expected: Some(0),
        facts: vec![fact],
        call: Some(Box::new(call.clone())),
        deadline: Some(call.requested_at),
    };
    let payload =
        Payload { call: call.id, kind: PayloadKind::Params, part: 0, salt: [1; 32], bytes: vec![b'x'; 400] };
    Batch {
        at: call.requested_at,
        writes: vec![write],
        payloads: vec![payload],
        puts: Vec::new(),
        fingerprint: Some((call.id, Fingerprint(call.digest.0))),
    }
}
