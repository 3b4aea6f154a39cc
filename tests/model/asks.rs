//! Who is there, and what they may ask: the words that the searches are written in.

use std::time::Duration;

use countersign::call::{
    AttachKind, Attachment, Authority, By, ClientInfo, Command, Commitment, DetachReason, Digest, Era,
    People, Person, Quorum, Reason, Replica, Request, Role, Terms, Used, Verdict, Vote, Why,
};
use uuid::Uuid;

use crate::{
    audit::ANSWERS,
    world::{Step, World, policy_name},
};

fn person(name: &str, group: &str, role: Role) -> Person {
    Person { name: name.into(), groups: vec![group.into()], role, token: String::new() }
}

pub fn alice() -> Person {
    person("alice", "sre", Role::Reviewer)
}

pub fn rex() -> Person {
    person("rex", "sre", Role::Reviewer)
}

pub fn carol() -> Person {
    person("carol", "ops", Role::Reviewer)
}

/// The agent's owner.
pub fn olga() -> Person {
    person("olga", "sre", Role::Reviewer)
}

pub fn tom() -> Person {
    person("tom", "sre", Role::Auditor)
}

pub fn terms(quorums: &[(Option<&str>, u32)]) -> Terms {
    let quorum = |(group, approvals): &(Option<&str>, u32)| Quorum {
        group: group.map(str::to_owned),
        approvals: *approvals,
    };
    Terms {
        reason: reason(),
        quorums: quorums.iter().map(quorum).collect(),
        expires_after: Duration::from_secs(10),
        use_within: Duration::from_secs(8),
    }
}

pub fn reason() -> Reason {
    Reason { rule: "/tools/cancel".into(), text: "ask".into() }
}

pub fn line() -> Option<(Attachment, AttachKind, Replica)> {
    Some((Attachment(Uuid::from_u128(0)), AttachKind::Line, Replica { name: "a".into(), epoch: 1 }))
}

pub fn task() -> Option<(Attachment, AttachKind, Replica)> {
    line().map(|(attachment, _, replica)| (attachment, AttachKind::Task, replica))
}

pub fn submit(
    verdict: Verdict,
    people: &[Person],
    waiter: Option<(Attachment, AttachKind, Replica)>,
) -> Command {
    let request = Request {
        agent: "ci".into(),
        owner: Some("olga".into()),
        server: "omics".into(),
        tool: "cancel".into(),
        session: None,
        era: Era::Modern,
        protocol: None,
        client: ClientInfo::default(),
        argument_names: Vec::new(),
        policy: policy_name(0),
        params: Commitment([0; 32]),
        follows: None,
        twin: None,
    };
    let (request, people) = (Box::new(request), People(people.to_vec()));
    Command::Submit { request, digest: Digest([0; 32]), verdict, people, waiter }
}

pub fn review(people: &[Person], quorums: &[(Option<&str>, u32)]) -> (Vec<Person>, Command) {
    (people.to_vec(), submit(Verdict::Review { terms: terms(quorums) }, people, line()))
}

/// Builds the steps of a world's replicas.
pub struct Asks<'a> {
    world: &'a World,
    stream: usize,
    pub steps: Vec<Step>,
}

impl<'a> Asks<'a> {
    pub fn of(world: &'a World, stream: usize) -> Self {
        Self { world, stream, steps: Vec::new() }
    }

    pub fn ask(&mut self, replica: usize, command: Command) {
        let command = Box::new(command);
        self.steps.push(Step::Ask { replica, stream: self.stream, command });
    }

    pub fn round(&self) -> u8 {
        self.world.calls[self.stream].as_ref().map_or(0, |call| u8::try_from(call.round).unwrap_or(u8::MAX))
    }

    pub fn vote(&mut self, replica: usize, reviewer: &Person, vote: Vote, digest: u8) {
        let people = People(self.world.people.clone());
        let (reviewer, digest) = (reviewer.clone(), Digest([digest; 32]));
        self.ask(replica, Command::Vote { reviewer, vote, digest, reason: None, once: false, people });
    }

    pub fn approve(&mut self, reviewer: &Person) {
        self.vote(0, reviewer, Vote::Approve, self.round());
    }

    /// A denial that answers no repeat.
    pub fn deny_once(&mut self, replica: usize, reviewer: &Person) {
        let people = People(self.world.people.clone());
        let (reviewer, digest) = (reviewer.clone(), Digest([self.round(); 32]));
        let vote = Vote::Deny;
        self.ask(replica, Command::Vote { reviewer, vote, digest, reason: None, once: true, people });
    }

    pub fn lift(&mut self, replica: usize, by: &Person) {
        self.ask(replica, Command::Lift { by: by.clone(), within: ANSWERS });
    }

    pub fn reconsider(&mut self) {
        self.ask(0, Command::Reconsider { people: People(self.world.people.clone()) });
    }

    pub fn withdraw(&mut self, reviewer: &Person) {
        self.ask(0, Command::WithdrawVote { reviewer: reviewer.clone() });
    }

    pub fn claim(&mut self, replica: usize, attachment: u8) {
        self.claim_on(replica, attachment, self.round());
    }

    pub fn claim_on(&mut self, replica: usize, attachment: u8, digest: u8) {
        let judged = self.world.calls[self.stream].as_ref().map(|call| call.policy.clone());
        let command = Command::Claim {
            by: self.world.replica(replica),
            attachment: Attachment(Uuid::from_u128(attachment.into())),
            digest: Digest([digest; 32]),
            lease: Duration::from_secs(6),
            authority: Authority {
                people: People(self.world.people.clone()),
                policy_unchanged: judged == Some(policy_name(self.world.policy)),
            },
            taken: vec![Used { counter: "spend|ci".into(), window: "day".into(), amount: "2.5".into() }],
        };
        self.ask(replica, command);
    }

    pub fn tick(&mut self, replica: usize) {
        self.ask(replica, self.world.tick(replica));
    }

    pub fn attach(&mut self, replica: usize, kind: AttachKind) {
        let command = Command::Attach {
            attachment: Attachment(Uuid::from_u128(u128::from(self.world.attached) + 1)),
            kind,
            session: None,
            replica: self.world.replica(replica),
        };
        self.ask(replica, command);
    }

    pub fn detach(&mut self, attachment: u8, why: DetachReason) {
        self.ask(0, Command::Detach { attachment: Attachment(Uuid::from_u128(attachment.into())), why });
    }

    pub fn revoke(&mut self, replica: usize, by: By) {
        self.ask(replica, Command::Revoke { by, reason: reason() });
    }

    pub fn cancel(&mut self, replica: usize) {
        self.ask(replica, Command::Cancel { by: By::Agent, reason: Why::default() });
    }

    pub fn complete(&mut self, replica: usize, by: Replica) {
        let command = Command::Complete { by, answer: Commitment([1; 32]), bytes: 2, is_error: false };
        self.ask(replica, command);
    }
}
