//! What one may ask of a call, and why it may be refused.

use std::time::Duration;

use super::{
    AttachKind, Attachment, By, CallId, Commitment, DetachReason, Digest, HowDelivered, People, Person,
    Reason, Replica, Request, Resolution, StateName, Terms, Timestamp, Used, Verdict, Vote, Why,
};

/// A command carries everything `decide` needs; nothing is looked up on the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command {
    /// Only on a call that does not exist yet. `people`: who could vote now.
    Submit {
        request: Box<Request>,
        digest: Digest,
        verdict: Verdict,
        people: People,
        /// Who waits for it from the first moment.
        waiter: Option<(Attachment, AttachKind, Replica)>,
    },
    /// The same call again: take the place of a waiter who left.
    Attach {
        attachment: Attachment,
        kind: AttachKind,
        session: Option<String>,
        replica: Replica,
    },
    Detach {
        attachment: Attachment,
        why: DetachReason,
    },
    Vote {
        reviewer: Person,
        vote: Vote,
        digest: Digest,
        reason: Option<Commitment>,
        /// A denial that answers this call only, and no repeat of it.
        once: bool,
        people: People,
    },
    WithdrawVote {
        reviewer: Person,
    },
    Extend {
        by: Person,
        extra: Duration,
        max_wait: Duration,
    },
    /// The pin, the policy or the upstream session changed: ask again, on a new digest.
    Repark {
        why: String,
        digest: Digest,
        terms: Terms,
        policy: String,
        people: People,
    },
    /// Who may vote has changed: what those who are there cannot let go is denied.
    Reconsider {
        people: People,
    },
    /// Policy, grant or stop now refuses it.
    Revoke {
        by: By,
        reason: Reason,
    },
    /// Take the permit, for the waiter that is attached: a line only by the replica that holds it, a
    /// task by any. The authority is that of this moment, and may only tighten.
    Claim {
        by: Replica,
        attachment: Attachment,
        digest: Digest,
        lease: Duration,
        authority: Authority,
        /// What it takes of its limits.
        taken: Vec<Used>,
    },
    Complete {
        by: Replica,
        answer: Commitment,
        bytes: u64,
        is_error: bool,
    },
    Fail {
        by: Replica,
        why: String,
    },
    /// By the dispatching replica at any time; by another only after the lease.
    Lose {
        by: Replica,
        why: String,
    },
    Cancel {
        by: By,
        reason: Why,
    },
    /// A deadline may have passed: expire, lapse, give up, lose. After the lease and `skew` the
    /// dispatcher's own timer loses the call too, so a lease must outlast the longest answer.
    Tick {
        by: Replica,
        detach_grace: Duration,
        skew: Duration,
    },
    Deliver {
        how: HowDelivered,
    },
    Resolve {
        by: Person,
        outcome: Resolution,
        note: Option<Commitment>,
    },
    AnswerLate {
        answer: Commitment,
        bytes: u64,
        is_error: bool,
    },
    /// Ends a denial's answering; `within` is how long a denial answers.
    Lift {
        by: Person,
        within: Duration,
    },
}

/// What is true at the moment of the claim.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Authority {
    pub people: People,
    /// The policies in force now are those that judged this round (same digest).
    pub policy_unchanged: bool,
}

/// Why a command is not possible now. Part of the domain: exhaustive, no source.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    NotFound,
    /// The command needs another state.
    State {
        is: StateName,
    },
    /// Somebody settled it first.
    Settled {
        is: StateName,
        by: Option<String>,
        at: Option<Timestamp>,
    },
    /// The digest is not the one that the call has now.
    Changed {
        digest: Digest,
    },
    /// The deadline has passed, even if no timer said so yet.
    TooLate,
    /// This person may not vote on this call; the text says why.
    NotEligible(String),
    AlreadyVoted,
    NoVote,
    /// Somebody holds the line.
    AlreadyWaiting,
    /// That attachment is not the one that waits.
    NotWaiting,
    /// Votes that counted no longer do (a reviewer left).
    QuorumGone,
    /// Another policy is in force than the one that judged this round.
    PolicyChanged,
    /// Another replica, or another boot of this one, dispatched it.
    NotDispatcher,
    LeaseHeld {
        until: Timestamp,
    },
    TooLong {
        max_wait: Duration,
    },
    AlreadyDelivered,
    AlreadyResolved,
    AlreadyLifted,
    Exists(CallId),
    /// Nothing to do (a tick before its time).
    Nothing,
}
