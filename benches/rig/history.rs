//! A large ledger as use makes it: calls that overlap, six entries each, answers, reasons, batches of allowed calls.

use std::sync::Arc;

use countersign::{
    call::{
        AttachKind, Attachment, By, Call, CallId, ClientInfo, Commitment, DetachReason, Digest, Era, Event,
        Fingerprint, HowDelivered, Person, Reason, Replica, Request, Review, Role, Terms, Timestamp, Vote,
        Why, evolve,
    },
    ledger::{Fact, Stream, commitment},
    store::{Batch, Payload, PayloadKind, Store as _, Write, sqlite::Sqlite},
};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// Calls that live at the same time.
const TOGETHER: u64 = 250;
const START: i64 = 1_790_000_000_000;
/// Ten years: what waits here waits whenever it is asked.
const LONG: u64 = 315_360_000_000;
const SALT: [u8; 32] = [7; 32];
pub const POLICY: &str = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";

/// The digest of the `n`th call.
pub fn digest(n: u64) -> Digest {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    Digest(digest)
}

/// Its join key, which looks like chance as real ones do.
pub fn print(n: u64) -> Fingerprint {
    Fingerprint(Sha256::digest(n.to_be_bytes()).into())
}

/// The id of the `n`th call, sortable by its moment as real ones are.
pub fn id(n: u64) -> CallId {
    let moment = u128::from(START.unsigned_abs() + n) << 80;
    CallId(Uuid::from_u128(moment | 0x7000_8000_0000_0000_0000 | u128::from(n.wrapping_mul(0x9e37_79b9))))
}

/// Appends calls until the ledger has about `entries`, and `pending` more that wait with a ticket.
pub async fn fill(store: &Arc<Sqlite>, entries: u64, pending: u64) -> u64 {
    let mut n = 0;
    while *store.head().borrow() < entries {
        let calls: Vec<u64> = (n..n + TOGETHER).collect();
        let mut lives: Vec<Option<Call>> = vec![None; calls.len()];
        for stage in 0..4 {
            append(store, &calls, &mut lives, stage).await;
        }
        let leaves = (0..20).map(|leaf| format!("{{\"allowed\":{n},\"leaf\":{leaf}}}")).collect();
        store.append_segment(at(n), leaves, at(n), at(n)).await.expect("a segment");
        n += TOGETHER;
    }
    let end = n + pending;
    while n < end {
        let calls: Vec<u64> = (n..end.min(n + TOGETHER)).collect();
        append(store, &calls, &mut vec![None; calls.len()], 4).await;
        n += TOGETHER;
    }
    end
}

fn at(n: u64) -> Timestamp {
    Timestamp(START + i64::try_from(n).unwrap_or(0))
}

async fn append(store: &Sqlite, calls: &[u64], lives: &mut [Option<Call>], stage: u64) {
    let empty = Batch { at: at(calls[0]), ..Batch::default() };
    let (mut batch, mut first) = (empty.clone(), Vec::new());
    for (n, life) in calls.iter().zip(lives) {
        let (events, payloads) = step(*n, stage);
        if events.is_empty() {
            continue;
        }
        let expected = life.as_ref().map_or(0, |call| call.version);
        for event in &events {
            *life = Some(evolve(id(*n), life.take(), event, batch.at).expect("an event that follows"));
        }
        let call = life.clone().expect("a call");
        let deadline = (!call.state.is_settled()).then(|| at(n + LONG));
        let write = Write {
            stream: Stream::Call(id(*n)),
            expected: Some(expected),
            facts: events.into_iter().map(Fact::Call).collect(),
            call: Some(Box::new(call)),
            deadline,
        };
        if expected == 0 {
            let fingerprint = Some((id(*n), print(*n)));
            first.push(Batch { writes: vec![write], payloads, fingerprint, ..empty.clone() });
            continue;
        }
        batch.writes.push(write);
        batch.payloads.extend(payloads);
    }
    // A new call is a batch of its own; they share commits as callers do.
    first.push(batch);
    for appended in futures_util::future::join_all(first.into_iter().map(|batch| store.append(batch))).await {
        appended.expect("an append");
    }
}

/// What happens to the `n`th call: most are approved and run, some are denied, some expire. Stage 4 is a
/// call that only waits.
fn step(n: u64, stage: u64) -> (Vec<Event>, Vec<Payload>) {
    let attachment = Attachment(Uuid::from_u128(u128::from(n) + 1));
    let replica = Replica { name: "bench".into(), epoch: 1 };
    match (stage, n % 10) {
        (0, _) => (vec![submitted(n), attached(attachment, &replica)], vec![params(n)]),
        (4, _) => {
            let left = Event::Detached { attachment, why: DetachReason::Ticket };
            (vec![submitted(n), attached(attachment, &replica), left], vec![params(n)])
        }
        (1, 9) => (vec![Event::Detached { attachment, why: DetachReason::Closed }], Vec::new()),
        (2, 9) => (vec![Event::Expired { lapsed: false }], Vec::new()),
        (1, kind) => {
            let vote = if kind == 8 { Vote::Deny } else { Vote::Approve };
            let after = if kind == 8 {
                let person = person(n);
                Event::Denied { by: By::Reviewer { person }, reason: Why::default() }
            } else {
                Event::Permitted { use_by: at(n + 900_000) }
            };
            let text = beside(n, PayloadKind::Text, 3, format!("looks right to me, number {n}").into_bytes());
            let reason = Some(commitment(&SALT, &text.bytes));
            let (reviewer, digest) = (person(n), digest(n));
            let review =
                Review { reviewer, vote, digest, at: at(n), reason, self_approved: false, once: false };
            (vec![Event::Voted { review }, after], vec![text])
        }
        (2, 0..=7) => {
            let answer =
                beside(n, PayloadKind::Answer, 0, format!("{{\"answer\":\"{n:0300}\"}}").into_bytes());
            let proof = commitment(&SALT, &answer.bytes);
            let dispatched = Event::Dispatched {
                by: replica.clone(),
                attachment,
                digest: digest(n),
                lease_until: at(n + 60_000),
                taken: Vec::new(),
            };
            let completed =
                Event::Completed { by: replica, answer: proof, bytes: 300, is_error: false, duration_ms: 5 };
            (vec![dispatched, completed], vec![answer])
        }
        (3, 0..=7) => (vec![Event::Delivered { how: HowDelivered::Line }], Vec::new()),
        _ => (Vec::new(), Vec::new()),
    }
}

fn person(n: u64) -> Person {
    let groups = vec!["operators".into()];
    Person { name: format!("reviewer-{}", n % 7), groups, role: Role::Reviewer, token: "t1".into() }
}

fn attached(attachment: Attachment, replica: &Replica) -> Event {
    Event::Attached { attachment, kind: AttachKind::Line, session: None, replica: replica.clone() }
}

/// Arguments as agents send them: an id that is one call's own, a word that many have, some text.
fn arguments(n: u64) -> Vec<u8> {
    let word = if n % 100_003 == 7 { "quicksilver" } else { "ordinary" };
    format!(
        "{{\"method\":\"tools/call\",\"params\":{{\"name\":\"tool\",\"arguments\":{{\"batchId\":\"batch-{n:08}\",\
         \"region\":\"eu-west-{}\",\"reason\":\"{word} clean-up of the runs of sample {} that stopped\",\
         \"paths\":[\"/data/project-{}/runs/{n}/input.cram\",\"/data/project-{}/runs/{n}/output.vcf.gz\"],\
         \"force\":false,\"limit\":{}}}}}}}",
        n % 3,
        n % 5000,
        n % 100,
        n % 100,
        n % 17
    )
    .into_bytes()
}

fn params(n: u64) -> Payload {
    beside(n, PayloadKind::Params, 0, arguments(n))
}

fn beside(n: u64, kind: PayloadKind, part: u64, bytes: Vec<u8>) -> Payload {
    Payload { call: id(n), kind, part, salt: SALT, bytes }
}

/// What the `n`th call asks for.
pub fn request(n: u64, argument_names: &[&str], params: Commitment) -> Request {
    Request {
        agent: format!("agent-{}", n % 5),
        owner: Some("ann".into()),
        server: format!("server-{}", n % 3),
        tool: if n % 100_000 == 5 { "rare".into() } else { format!("tool-{}", n % 40) },
        session: None,
        era: Era::Modern,
        protocol: None,
        client: ClientInfo { name: "client".into(), version: "1.0".into() },
        argument_names: argument_names.iter().map(|&name| name.into()).collect(),
        policy: POLICY.into(),
        params,
        follows: None,
        twin: None,
    }
}

fn submitted(n: u64) -> Event {
    let names = ["batchId", "region", "reason", "paths", "force", "limit"];
    let request = request(n, &names, commitment(&SALT, &arguments(n)));
    Event::Submitted {
        request: Box::new(request),
        digest: digest(n),
        rule: "/tools/tool/require_approval/0".into(),
        terms: Some(Terms::standard(Reason { rule: "/tools/tool".into(), text: "it stops runs".into() })),
        expires_at: at(n + LONG),
    }
}
