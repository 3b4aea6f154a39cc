//! Calls and batches to write: plausible, small, and each its own.

use countersign::{
    call::{
        Call, CallId, ClientInfo, Commitment, Digest, Era, Event, Person, Reason, Request, Review, Role,
        State, Terms, Timestamp, Vote,
    },
    ledger::{AgentEvent, Fact, Stream},
    store::{Batch, Payload, PayloadKind, Write},
};
use uuid::Uuid;

/// The `n`th call: its id and its moment grow with `n`.
pub fn call(n: u64) -> Call {
    let id = CallId(Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0000 + (u128::from(n) << 80)));
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    Call {
        id,
        version: 1,
        request: Request {
            agent: format!("agent-{}", n % 3),
            owner: None,
            server: "healthomics".into(),
            tool: if n.is_multiple_of(2) { "CancelAHORunBatch".into() } else { "GetAHORun".into() },
            session: None,
            era: Era::Legacy,
            protocol: None,
            client: ClientInfo::default(),
            argument_names: vec!["batchId".into()],
            policy: "p".into(),
            params: Commitment([7; 32]),
            follows: None,
            twin: None,
        },
        digest: Digest(digest),
        policy: "p".into(),
        round: 0,
        rule: "/tools/CancelAHORunBatch".into(),
        terms: Some(terms()),
        reviews: Vec::new(),
        waiter: None,
        ticket: false,
        detached_at: Some(moment(n)),
        delivered: None,
        requested_at: moment(n),
        settled_at: None,
        state: State::Pending { expires_at: moment(n + 1000) },
    }
}

pub fn terms() -> Terms {
    Terms::standard(Reason { rule: "/tools/CancelAHORunBatch".into(), text: "it stops runs".into() })
}

pub fn moment(seconds: u64) -> Timestamp {
    Timestamp(1_790_000_000_000 + i64::try_from(seconds).unwrap() * 1000)
}

pub fn submitted(call: &Call) -> Fact {
    Fact::Call(Event::Submitted {
        request: Box::new(call.request.clone()),
        digest: call.digest,
        rule: call.rule.clone(),
        terms: call.terms.clone(),
        expires_at: Timestamp(call.requested_at.0 + 1_000_000),
    })
}

/// The call's first entry.
pub fn submit(call: &Call) -> Batch {
    write(call, Some(0), vec![submitted(call)])
}

/// `facts` on the call's stream, and `call` as its row.
pub fn write(call: &Call, expected: Option<u64>, facts: Vec<Fact>) -> Batch {
    let deadline = match &call.state {
        State::Pending { expires_at } => Some(*expires_at),
        _ => None,
    };
    let stream = Stream::Call(call.id);
    let write = Write { stream, expected, facts, call: Some(Box::new(call.clone())), deadline };
    Batch { at: call.requested_at, writes: vec![write], ..Batch::default() }
}

pub fn on(stream: Stream, expected: Option<u64>, facts: Vec<Fact>) -> Write {
    Write { stream, expected, facts, call: None, deadline: None }
}

pub fn agent_added(name: &str) -> Fact {
    Fact::Agent(AgentEvent::AgentAdded {
        agent: name.into(),
        owner: None,
        servers: vec![],
        token: "t1".into(),
        by: "root".into(),
    })
}

pub fn voted(name: &str, digest: Digest, at: Timestamp) -> Fact {
    Fact::Call(Event::Voted {
        review: Review {
            reviewer: Person { name: name.into(), groups: vec![], role: Role::Reviewer, token: "t1".into() },
            vote: Vote::Approve,
            digest,
            at,
            reason: None,
            self_approved: false,
            once: false,
        },
    })
}

pub fn payload(call: &Call, bytes: &[u8]) -> Payload {
    Payload { call: call.id, kind: PayloadKind::Params, part: 0, salt: [3; 32], bytes: bytes.to_vec() }
}
