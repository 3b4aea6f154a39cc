//! The JSON of every event, as it stands on ledgers for ever.

use std::time::Duration;

use countersign::call::{
    AttachKind, Attachment, By, CallId, ClientInfo, Commitment, DetachReason, Digest, Era, Event,
    HowDelivered, Person, Quorum, Reason, Replica, Request, Resolution, Review, Role, Terms, Timestamp, Used,
    Vote, Why,
};
use serde_json::{Value, json};
use uuid::Uuid;

const AT: Timestamp = Timestamp(1_795_243_500_123);

fn digest() -> String {
    "07".repeat(32)
}

fn person() -> (Person, Value) {
    let person =
        Person { name: "alice".into(), groups: vec!["sre".into()], role: Role::Reviewer, token: "t1".into() };
    (person, json!({"name": "alice", "groups": ["sre"], "role": "reviewer", "token": "t1"}))
}

fn replica() -> (Replica, Value) {
    (Replica { name: "a".into(), epoch: 3 }, json!({"name": "a", "epoch": 3}))
}

fn terms() -> (Terms, Value) {
    let terms = Terms {
        reason: Reason { rule: "/tools/x/require".into(), text: "ask first".into() },
        quorums: vec![
            Quorum { group: Some("sre".into()), approvals: 2 },
            Quorum { group: None, approvals: 1 },
        ],
        expires_after: Duration::from_secs(900),
        use_within: Duration::from_millis(1_500),
    };
    let json = json!({
        "reason": {"rule": "/tools/x/require", "text": "ask first"},
        "quorums": [{"group": "sre", "approvals": 2}, {"approvals": 1}],
        "expires_after": 900_000,
        "use_within": 1_500,
    });
    (terms, json)
}

fn request() -> (Request, Value) {
    let request = Request {
        agent: "ci".into(),
        owner: Some("olga".into()),
        server: "omics".into(),
        tool: "cancel".into(),
        session: Some("s1".into()),
        era: Era::Legacy,
        protocol: Some("2025-06-18".into()),
        client: ClientInfo { name: "inspector".into(), version: "1".into() },
        argument_names: vec!["batchId".into()],
        policy: "p1".into(),
        params: Commitment([7; 32]),
        follows: Some(CallId(Uuid::from_u128(1))),
        twin: None,
    };
    let json = json!({
        "agent": "ci", "owner": "olga", "server": "omics", "tool": "cancel", "session": "s1", "era": "legacy",
        "protocol": "2025-06-18",
        "client": {"name": "inspector", "version": "1"}, "argument_names": ["batchId"], "policy": "p1",
        "params": digest(), "follows": "00000000-0000-0000-0000-000000000001",
    });
    (request, json)
}

/// How a call begins, who waits, and what people do.
fn beginnings() -> Vec<(Event, Value)> {
    let ((person, person_json), (replica, replica_json)) = (person(), replica());
    let ((request, request_json), (terms, terms_json)) = (request(), terms());
    let (attachment, attachment_json) =
        (Attachment(Uuid::from_u128(2)), "00000000-0000-0000-0000-000000000002");
    let (digest, expires_at, moment) = (Digest([7; 32]), AT, "2026-11-21T06:45:00.123Z");
    let review = Review {
        reviewer: person.clone(),
        vote: Vote::Approve,
        digest,
        at: AT,
        reason: Some(Commitment([7; 32])),
        self_approved: true,
        once: true,
    };
    let review_json = json!({
        "reviewer": person_json, "vote": "approve", "digest": digest.to_string(), "at": moment,
        "reason": self::digest(), "self_approved": true, "once": true,
    });
    let submitted = Event::Submitted {
        request: Box::new(request),
        digest,
        rule: "/tools/x".into(),
        terms: Some(terms.clone()),
        expires_at,
    };
    let session = Some("s1".into());
    let attached = Event::Attached { attachment, kind: AttachKind::Line, session, replica };
    let withdrawn = Event::VoteWithdrawn { reviewer: person.clone() };
    let reparked =
        Event::Reparked { why: "pin".into(), round: 1, digest, terms, policy: "p2".into(), expires_at };
    vec![
        (
            submitted,
            json!({"event": "submitted", "request": request_json, "digest": self::digest(),
            "rule": "/tools/x", "terms": terms_json, "expires_at": moment}),
        ),
        (
            attached,
            json!({"event": "attached", "attachment": attachment_json, "kind": "line", "session": "s1",
            "replica": replica_json}),
        ),
        (
            Event::Detached { attachment, why: DetachReason::Ticket },
            json!({"event": "detached", "attachment": attachment_json, "why": "ticket"}),
        ),
        (Event::Voted { review }, json!({"event": "voted", "review": review_json})),
        (withdrawn, json!({"event": "vote_withdrawn", "reviewer": person_json})),
        (
            Event::Extended { by: person, expires_at },
            json!({"event": "extended", "by": person_json, "expires_at": moment}),
        ),
        (
            reparked,
            json!({"event": "reparked", "why": "pin", "round": 1, "digest": self::digest(),
            "terms": terms_json, "policy": "p2", "expires_at": moment}),
        ),
        (Event::Permitted { use_by: AT }, json!({"event": "permitted", "use_by": moment})),
    ]
}

/// How a call is sent and ends.
fn endings() -> Vec<(Event, Value)> {
    let ((person, person_json), (by, by_json)) = (person(), replica());
    let (attachment, attachment_json) =
        (Attachment(Uuid::from_u128(2)), "00000000-0000-0000-0000-000000000002");
    let answer = Commitment([7; 32]);
    let reason = Why { reason: Some(Reason { rule: "r".into(), text: "t".into() }), text: Some(answer) };
    let reason_json = json!({"reason": {"rule": "r", "text": "t"}, "text": digest()});
    let taken = vec![Used { counter: "spend|ci".into(), window: "day".into(), amount: "12.5".into() }];
    let taken_json = json!([{"counter": "spend|ci", "window": "day", "amount": "12.5"}]);
    let given_back = taken.clone();
    let digest_sent = Digest([7; 32]);
    let dispatched =
        Event::Dispatched { by: by.clone(), attachment, digest: digest_sent, lease_until: AT, taken };
    let completed = Event::Completed { by: by.clone(), answer, bytes: 9, is_error: false, duration_ms: 12 };
    let denied = Event::Denied { by: By::Reviewer { person: person.clone() }, reason };
    vec![
        (
            dispatched,
            json!({"event": "dispatched", "by": by_json, "attachment": attachment_json,
            "digest": digest(), "lease_until": "2026-11-21T06:45:00.123Z", "taken": taken_json}),
        ),
        (
            completed,
            json!({"event": "completed", "by": by_json, "answer": digest(), "bytes": 9,
            "is_error": false, "duration_ms": 12}),
        ),
        (
            Event::Failed { by: by.clone(), why: "refused".into(), given_back },
            json!({"event": "failed", "by": by_json, "why": "refused", "given_back": taken_json}),
        ),
        (Event::Lost { by, why: "cut".into() }, json!({"event": "lost", "by": by_json, "why": "cut"})),
        (
            denied,
            json!({"event": "denied", "by": {"who": "reviewer", "person": person_json},
            "reason": reason_json}),
        ),
        (Event::Expired { lapsed: true }, json!({"event": "expired", "lapsed": true})),
        (
            Event::Cancelled { by: By::Stop { person: "alice".into() }, reason: Why::default() },
            json!({"event": "cancelled", "by": {"who": "stop", "person": "alice"}, "reason": {}}),
        ),
        (Event::Delivered { how: HowDelivered::Recall }, json!({"event": "delivered", "how": "recall"})),
        (
            Event::Resolved { by: person.clone(), outcome: Resolution::NotDone, note: Some(answer) },
            json!({"event": "resolved", "by": person_json, "outcome": "not_done", "note": digest()}),
        ),
        (
            Event::LateAnswer { answer, bytes: 9, is_error: true },
            json!({"event": "late_answer", "answer": digest(), "bytes": 9, "is_error": true}),
        ),
        (Event::Lifted { by: person }, json!({"event": "lifted", "by": person_json})),
    ]
}

#[test]
fn the_json_of_every_event_is_frozen() {
    let frozen = beginnings().into_iter().chain(endings()).collect::<Vec<_>>();
    let names = frozen.iter().map(|(event, _)| event.name()).collect::<std::collections::BTreeSet<_>>();
    assert_eq!(names.len(), 19, "one of each");
    for (event, json) in frozen {
        assert_eq!(serde_json::to_value(&event).expect("an event is JSON"), json);
        assert_eq!(json["event"], event.name());
        assert_eq!(serde_json::from_value::<Event>(json).expect("an event reads back"), event);
    }
}

#[test]
fn the_words_of_small_enums_are_frozen() {
    let words = json!([
        [AttachKind::Line, AttachKind::Task],
        [DetachReason::Ticket, DetachReason::Cancelled, DetachReason::Closed, DetachReason::Restart],
        [By::Policy, By::Agent, By::Timer],
        [HowDelivered::Line, HowDelivered::Recall, HowDelivered::Task],
        [Resolution::Done, Resolution::NotDone],
        [Vote::Approve, Vote::Deny],
        [Role::Reviewer, Role::Auditor],
        [Era::Legacy, Era::Modern],
    ]);
    let frozen = json!([
        ["line", "task"],
        ["ticket", "cancelled", "closed", "restart"],
        [{"who": "policy"}, {"who": "agent"}, {"who": "timer"}],
        ["line", "recall", "task"],
        ["done", "not_done"],
        ["approve", "deny"],
        ["reviewer", "auditor"],
        ["legacy", "modern"],
    ]);
    assert_eq!(words, frozen);
}
