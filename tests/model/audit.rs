//! The invariants of a call, read from the ledger alone.
//!
//! This is an auditor's reading: it shares no code with `decide`, `evolve` or `tally`, and counts
//! votes by trying every assignment. What it cannot see, no auditor could see.

use std::time::Duration;

use countersign::call::{
    AttachKind, Attachment, By, DetachReason, Digest, Event, Person, Replica, Review, Role, Terms, Timestamp,
    Used, Vote,
};

use crate::count::{enough, fits};

/// The settings that the ledger's readers know.
pub const GRACE: Duration = Duration::from_secs(4);
pub const SKEW: Duration = Duration::from_secs(1);
pub const MAX_WAIT: Duration = Duration::from_secs(16);
/// How long a person's denial answers the same call.
pub const ANSWERS: Duration = Duration::from_secs(9);

/// Which rule a history breaks; the number is that of the invariant.
pub type Violation = &'static str;

/// One entry of the ledger.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Entry {
    Call {
        stream: usize,
        event: Event,
    },
    /// Who may vote from now on.
    People(Vec<Person>),
    /// The digest of the policy in force from now on.
    Policy(String),
}

/// A ledger, or a part of it.
pub type Ledger = Vec<(Entry, Timestamp)>;

/// Reads a whole ledger.
pub fn invariants(ledger: &[(Entry, Timestamp)]) -> Result<Audit, Violation> {
    let mut audit = Audit::default();
    for (entry, at) in ledger {
        audit.read(entry, *at)?;
    }
    Ok(audit)
}

/// What an auditor remembers of the entries so far.
#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
pub struct Audit {
    people: Vec<Person>,
    policy: String,
    calls: [Trail; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Debug)]
enum Phase {
    #[default]
    Absent,
    Open,
    Permitted,
    Sent,
    Settled,
}

#[derive(Clone, PartialEq, Eq, Hash, Default, Debug)]
struct Trail {
    phase: Phase,
    owner: Option<String>,
    terms: Option<Terms>,
    digest: Option<Digest>,
    policy: String,
    round: u32,
    requested_at: Timestamp,
    deadline: Timestamp,
    use_by: Timestamp,
    votes: Vec<Review>,
    waiter: Option<(Attachment, AttachKind, Replica)>,
    ticket: bool,
    left_at: Timestamp,
    sent: Option<(Replica, Timestamp)>,
    must_deny: bool,
    lost: bool,
    resolved: bool,
    late: bool,
    delivered: bool,
    taken: Vec<Used>,
    settled_at: Timestamp,
    by_person: bool,
    lifted: bool,
}

fn hold(condition: bool, rule: Violation) -> Result<(), Violation> {
    if condition { Ok(()) } else { Err(rule) }
}

impl Audit {
    pub fn read(&mut self, entry: &Entry, at: Timestamp) -> Result<(), Violation> {
        match entry {
            Entry::People(people) => self.people.clone_from(people),
            Entry::Policy(policy) => self.policy.clone_from(policy),
            Entry::Call { stream, event } => {
                self.calls[*stream].read(event, at, &self.people, &self.policy)?;
            }
        }
        Ok(())
    }

    /// At the end of an append: what had to follow has followed.
    pub fn complete(&self) -> Result<(), Violation> {
        hold(self.calls.iter().all(|call| !call.must_deny), "2: a denial ends the call at once")
    }

    /// Just after people came or went.
    pub fn nobody_waits_in_vain(&self, stream: usize, now: Timestamp) -> Result<(), Violation> {
        let call = &self.calls[stream];
        let open = call.phase == Phase::Open && now < call.deadline;
        hold(!open || call.could_be_met(&self.people), "2: nobody waits for people who are not there")
    }

    /// Would the same call, made again, hear this person's denial?
    pub fn denial_answers(&self, stream: usize, now: Timestamp) -> bool {
        let call = &self.calls[stream];
        let once = call.votes.last().is_some_and(|vote| vote.once);
        call.by_person && !call.lifted && !(once && call.delivered) && now < call.settled_at.plus(ANSWERS)
    }

    /// Just after a timer ran.
    pub fn nothing_overdue(&self, stream: usize, now: Timestamp) -> Result<(), Violation> {
        let call = &self.calls[stream];
        let left = call.given_up_at().is_some_and(|at| at <= now);
        let overdue = match call.phase {
            Phase::Absent | Phase::Settled => false,
            Phase::Open => call.deadline <= now || left,
            Phase::Permitted => call.use_by <= now || left,
            Phase::Sent => call.sent.as_ref().is_some_and(|(_, lease)| lease.plus(SKEW) <= now),
        };
        hold(!overdue, "7: a timer leaves nothing overdue")
    }
}

impl Trail {
    fn read(
        &mut self,
        event: &Event,
        at: Timestamp,
        people: &[Person],
        policy: &str,
    ) -> Result<(), Violation> {
        let must_deny = std::mem::take(&mut self.must_deny);
        hold(!must_deny || matches!(event, Event::Denied { .. }), "2: a denial ends the call at once")?;
        match event {
            Event::Submitted { .. } => self.submitted(event, at, people),
            Event::Attached { attachment, kind, replica, .. } => {
                self.unsettled()?;
                hold(self.waiter.is_none(), "one waiter at a time")?;
                self.waiter = Some((*attachment, *kind, replica.clone()));
                Ok(())
            }
            Event::Detached { attachment, why } => self.detached(*attachment, *why, at),
            Event::Voted { review } => self.voted(review, at, people),
            Event::VoteWithdrawn { reviewer } => self.withdrawn(reviewer),
            Event::Extended { by, expires_at } => self.extended(by, *expires_at, at),
            Event::Reparked { .. } => self.reparked(event, at, people),
            Event::Permitted { use_by } => self.permitted(*use_by, at, people),
            Event::Dispatched { .. } => self.dispatched(event, at, people, policy),
            Event::Completed { by, .. } | Event::Failed { by, .. } => {
                if let Event::Failed { given_back, .. } = event {
                    hold(*given_back == self.taken, "what did not run counts against no limit")?;
                }
                let sent = self.sent.as_ref().is_some_and(|(sent, _)| sent == by);
                hold(sent, "5: answered by the replica that dispatched")?;
                self.settle(&[Phase::Sent])
            }
            Event::Lost { by, .. } => self.given_up(by, at),
            Event::Denied { by, .. } => self.denied(by, at),
            Event::Expired { lapsed } => self.expired(*lapsed, at),
            Event::Cancelled { by, .. } => self.cancelled(by, at),
            Event::Delivered { .. } => {
                hold(self.phase == Phase::Settled, "delivered before it settled")?;
                hold(!std::mem::replace(&mut self.delivered, true), "delivered once")
            }
            Event::Resolved { .. } => {
                hold(self.lost && !std::mem::replace(&mut self.resolved, true), "4: resolved once, if lost")
            }
            Event::LateAnswer { .. } => {
                hold(self.lost && !std::mem::replace(&mut self.late, true), "4: answered late once, if lost")
            }
            Event::Lifted { by } => {
                let answers = self.by_person && at < self.settled_at.plus(ANSWERS);
                let first = !std::mem::replace(&mut self.lifted, true);
                let may = by.role == Role::Reviewer;
                hold(answers && first && may, "a person's denial is lifted once, by one who decides")
            }
        }
    }

    fn submitted(&mut self, event: &Event, at: Timestamp, people: &[Person]) -> Result<(), Violation> {
        hold(self.phase == Phase::Absent, "submitted once")?;
        let Event::Submitted { request, digest, terms, expires_at, .. } = event else { return Ok(()) };
        self.phase = Phase::Open;
        self.owner.clone_from(&request.owner);
        self.terms.clone_from(terms);
        self.digest = Some(*digest);
        self.policy.clone_from(&request.policy);
        (self.requested_at, self.left_at, self.deadline) = (at, at, *expires_at);
        self.must_deny = !self.could_be_met(people);
        Ok(())
    }

    fn could_be_met(&self, people: &[Person]) -> bool {
        let owner = self.owner.as_deref();
        self.terms.as_ref().is_none_or(|terms| enough(&terms.quorums, people, people, owner))
    }

    fn unsettled(&self) -> Result<(), Violation> {
        hold(self.phase != Phase::Absent, "something before the request")?;
        hold(self.phase != Phase::Settled, "4: nothing after it settled")
    }

    fn settle(&mut self, from: &[Phase]) -> Result<(), Violation> {
        self.unsettled()?;
        hold(from.contains(&self.phase), "4: settled from a state that cannot settle so")?;
        self.phase = Phase::Settled;
        Ok(())
    }

    fn detached(
        &mut self,
        attachment: Attachment,
        why: DetachReason,
        at: Timestamp,
    ) -> Result<(), Violation> {
        self.unsettled()?;
        let waiter = self.waiter.take();
        let task = waiter.as_ref().is_some_and(|(_, kind, _)| *kind == AttachKind::Task);
        hold(!task || why != DetachReason::Restart, "a task outlives its broker")?;
        let waits = waiter.is_some_and(|waiter| waiter.0 == attachment);
        hold(waits, "who leaves has waited")?;
        self.ticket |= why == DetachReason::Ticket;
        self.left_at = at;
        Ok(())
    }

    fn voted(&mut self, review: &Review, at: Timestamp, people: &[Person]) -> Result<(), Violation> {
        self.unsettled()?;
        let name = &review.reviewer.name;
        hold(self.phase == Phase::Open, "2: voted while it was open")?;
        hold(at < self.deadline && review.at == at, "3: voted before the deadline")?;
        hold(Some(review.digest) == self.digest, "3: voted on the digest that is sent")?;
        hold(self.votes.iter().all(|vote| vote.reviewer.name != *name), "2: distinct reviewers")?;
        let known = people.iter().any(|person| {
            person.name == *name
                && person.role == review.reviewer.role
                && person.groups == review.reviewer.groups
        });
        let owner = self.owner.as_deref();
        let eligible = self.terms.iter().flat_map(|terms| &terms.quorums);
        let eligible = eligible.into_iter().any(|quorum| fits(quorum, &review.reviewer, people, owner));
        hold(known && eligible, "2: eligible reviewers")?;
        let own = owner == Some(name) && review.vote == Vote::Approve;
        hold(review.self_approved == own, "2: an owner's own approval says so")?;
        self.must_deny = review.vote == Vote::Deny;
        self.votes.push(review.clone());
        Ok(())
    }

    fn withdrawn(&mut self, reviewer: &Person) -> Result<(), Violation> {
        self.unsettled()?;
        hold(self.phase != Phase::Sent, "1: nothing is called back once sent")?;
        let before = self.votes.len();
        self.votes.retain(|vote| vote.reviewer.name != reviewer.name);
        hold(self.votes.len() < before, "who withdraws has voted")?;
        let voters = self.votes.iter().map(|vote| vote.reviewer.clone()).collect::<Vec<_>>();
        if !self.approved(&voters) {
            self.phase = Phase::Open;
        }
        Ok(())
    }

    fn extended(&mut self, by: &Person, expires_at: Timestamp, at: Timestamp) -> Result<(), Violation> {
        self.unsettled()?;
        let open = self.phase == Phase::Open && at < self.deadline && by.role == Role::Reviewer;
        hold(open, "3: extended while it was open")?;
        hold(expires_at > self.deadline, "extended to later")?;
        hold(expires_at <= self.requested_at.plus(MAX_WAIT), "extended within the maximum wait")?;
        self.deadline = expires_at;
        Ok(())
    }

    fn reparked(&mut self, event: &Event, at: Timestamp, people: &[Person]) -> Result<(), Violation> {
        let Event::Reparked { round, digest, terms, policy, expires_at, .. } = event else { return Ok(()) };
        self.unsettled()?;
        hold(self.phase != Phase::Sent, "1: nothing is called back once sent")?;
        hold(self.phase != Phase::Open || at < self.deadline, "3: asked again before the deadline")?;
        hold(*round == self.round + 1 && Some(*digest) != self.digest, "3: a new round has a new digest")?;
        self.phase = Phase::Open;
        self.round = *round;
        self.digest = Some(*digest);
        self.terms = Some(terms.clone());
        self.policy.clone_from(policy);
        self.deadline = *expires_at;
        self.votes.clear();
        self.must_deny = !self.could_be_met(people);
        Ok(())
    }

    fn permitted(&mut self, use_by: Timestamp, at: Timestamp, people: &[Person]) -> Result<(), Violation> {
        self.unsettled()?;
        hold(self.phase == Phase::Open && at < self.deadline, "2: permitted while it was open")?;
        if let Some(terms) = &self.terms {
            hold(self.approved(people), "2: a quorum of distinct, eligible reviewers")?;
            hold(use_by <= at.plus(terms.use_within), "3: to be used within its time")?;
        }
        self.phase = Phase::Permitted;
        self.use_by = use_by;
        Ok(())
    }

    /// By the votes of this round, cast by people who are in `people` now.
    fn approved(&self, people: &[Person]) -> bool {
        let Some(terms) = &self.terms else { return true };
        let voters = self.votes.iter().filter(|vote| vote.vote == Vote::Approve);
        let voters = voters.filter_map(|vote| people.iter().find(|person| person.name == vote.reviewer.name));
        let voters = voters.cloned().collect::<Vec<_>>();
        enough(&terms.quorums, &voters, people, self.owner.as_deref())
    }

    fn dispatched(
        &mut self,
        event: &Event,
        at: Timestamp,
        people: &[Person],
        policy: &str,
    ) -> Result<(), Violation> {
        let Event::Dispatched { by, attachment, digest, lease_until, taken } = event else { return Ok(()) };
        hold(self.sent.is_none(), "1: dispatched at most once")?;
        self.unsettled()?;
        hold(self.phase == Phase::Permitted, "2: dispatched only when permitted")?;
        hold(at < self.use_by, "3: sent before the permit lapsed")?;
        hold(Some(*digest) == self.digest, "3: what is sent is what was approved")?;
        hold(self.approved(people), "2: the quorum holds when it is sent")?;
        hold(self.policy == policy, "2: the policy that judged it is still in force")?;
        let waits = self.waiter.as_ref().is_some_and(|(waiter, kind, replica)| {
            waiter == attachment && (*kind == AttachKind::Task || replica == by)
        });
        hold(waits, "nothing runs for an agent that has gone")?;
        self.phase = Phase::Sent;
        self.sent = Some((by.clone(), *lease_until));
        self.taken.clone_from(taken);
        Ok(())
    }

    fn given_up(&mut self, by: &Replica, at: Timestamp) -> Result<(), Violation> {
        let may = self.sent.as_ref().is_some_and(|(sent, lease_until)| {
            (sent.name == by.name && sent.epoch <= by.epoch) || *lease_until <= at
        });
        hold(may, "5: given up by its dispatcher, or after the lease")?;
        self.lost = true;
        self.settle(&[Phase::Sent])
    }

    fn denied(&mut self, by: &By, at: Timestamp) -> Result<(), Violation> {
        self.settled_at = at;
        if let By::Reviewer { person } = by {
            let last = self.votes.last();
            let voted = last.is_some_and(|vote| vote.vote == Vote::Deny && vote.reviewer == *person);
            hold(voted, "2: who denied has voted so")?;
            self.by_person = true;
        }
        self.settle(&[Phase::Open, Phase::Permitted])
    }

    fn expired(&mut self, lapsed: bool, at: Timestamp) -> Result<(), Violation> {
        let (from, due) = if lapsed { (Phase::Permitted, self.use_by) } else { (Phase::Open, self.deadline) };
        hold(due <= at, "3: no deadline before its time")?;
        hold(self.given_up_at().is_none_or(|left| due <= left), "the first deadline counts")?;
        self.settle(&[from])
    }

    /// When an agent without ticket or task that left is given up.
    fn given_up_at(&self) -> Option<Timestamp> {
        (self.waiter.is_none() && !self.ticket).then(|| self.left_at.plus(GRACE))
    }

    fn cancelled(&mut self, by: &By, at: Timestamp) -> Result<(), Violation> {
        if *by == By::Timer {
            let left = self.given_up_at().filter(|left| *left <= at);
            let left = left.ok_or("given up only when the agent has gone")?;
            let due = if self.phase == Phase::Permitted { self.use_by } else { self.deadline };
            hold(left < due, "the first deadline counts")?;
        }
        self.settle(&[Phase::Open, Phase::Permitted])
    }
}
