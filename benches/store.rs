//! How fast the store appends, and how it answers when it is large.
//!
//! `cargo bench --bench store` prints appends per second and their latency with 1, 16 and 128 appenders;
//! `cargo bench --bench store -- 1000000` then fills a store with that many entries and asks it questions.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use countersign::{
    call::{
        Call, CallId, ClientInfo, Commitment, Digest, Era, Event, Fingerprint, Reason, Request, State,
        StateName, Terms, Timestamp,
    },
    ledger::{Fact, Stream},
    store::{
        Batch, Filter, Payload, PayloadKind, Store, Write,
        sqlite::{OpenOptions, Sqlite},
    },
};
use uuid::Uuid;

const PER_RUN: Duration = Duration::from_secs(3);

fn main() {
    let entries = std::env::args().find_map(|argument| argument.parse::<u64>().ok());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        for appenders in [1, 16, 128] {
            appends(appenders).await;
        }
        if let Some(entries) = entries {
            large(entries).await;
        }
    });
}

fn open(folder: &tempfile::TempDir) -> Arc<Sqlite> {
    Arc::new(Sqlite::open(&folder.path().join("bench.db"), OpenOptions::default()).expect("a store"))
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

/// A thousand pending, the rest settled.
async fn large(entries: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(&folder);
    let begun = Instant::now();
    let mut n = 0;
    while n < entries {
        let mut batch = Batch { at: Timestamp(1_790_000_000_000), ..Batch::default() };
        for _ in 0..1000 {
            let state = if n.is_multiple_of((entries / 1000).max(1)) {
                pending()
            } else {
                State::Expired { lapsed: false }
            };
            batch.writes.extend(submit(&call(n, state)).writes);
            n += 1;
        }
        store.append(batch).await.expect("a batch");
    }
    println!("{entries} entries of as many calls written in {:?}", begun.elapsed());
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
    ask(&store, "short code", text(&call(entries / 2, pending()).digest.short_code())).await;
    ask(&store, "id", text(&call(entries / 3, pending()).id.to_string())).await;
    ask(&store, "a reviewer of none", page(Filter { reviewer: Some("ann".into()), ..any() })).await;
    time("counts", async { store.counts().await.expect("counts").len() }).await;
    time("due", async { store.due(Timestamp(1_799_000_000_000), 100).await.expect("due").len() }).await;
    time("verify", async {
        let report = store.read_only().verify(Some(store.verifying_key()), None).expect("a report");
        usize::try_from(report.entries).expect("fits")
    })
    .await;
    drop(store);
    time("open", async { usize::from(open(&folder).is_open()) }).await;
}

async fn ask(store: &Sqlite, what: &str, filter: Filter) {
    time(what, async { store.calls(filter).await.expect("a page").calls.len() }).await;
}

async fn time(what: &str, question: impl Future<Output = usize>) {
    let begun = Instant::now();
    let found = question.await;
    println!("{what:>20}: {found:>4} in {:?}", begun.elapsed());
}

fn pending() -> State {
    State::Pending { expires_at: Timestamp(1_790_000_900_000) }
}

fn call(n: u64, state: State) -> Call {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    let at = Timestamp(1_790_000_000_000 + i64::try_from(n).unwrap_or(0));
    Call {
        id: CallId(Uuid::from_u128((u128::from(n) << 80) | 0x7000_8000_0000_0000_0000)),
        version: 1,
        request: Request {
            agent: format!("agent-{}", n % 5),
            owner: Some("ann".into()),
            server: format!("server-{}", n % 3),
            tool: if n % 100_000 == 5 { "rare".into() } else { format!("tool-{}", n % 40) },
            session: None,
            era: Era::Modern,
            client: ClientInfo { name: "client".into(), version: "1.0".into() },
            argument_names: vec!["batchId".into(), "reason".into()],
            policy: "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef".into(),
            params: Commitment([7; 32]),
            follows: None,
            twin: None,
        },
        digest: Digest(digest),
        policy: "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef".into(),
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
