//! The world that is searched: a store, two replicas that race on it, people, a policy, a clock.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    rc::Rc,
};

use countersign::call::{
    Call, CallId, Command, Event, Person, Refusal, Replica, State, StateName, Timestamp, decide, evolve,
    next_deadline,
};

use crate::audit::{Audit, Entry, GRACE, Ledger, SKEW, Violation, invariants};

pub type Decide = fn(Option<&Call>, &Command, Timestamp) -> Decided;
pub type Decided = Result<Vec<Event>, Refusal>;
pub type Evolve = fn(CallId, Option<Call>, &Event, Timestamp) -> Option<Call>;

/// What is searched: the real functions, or a mutant of them.
#[derive(Clone, Copy)]
pub struct Machine {
    pub decide: Decide,
    pub evolve: Evolve,
    /// The store refuses an append on another version than the one that was read.
    pub compares: bool,
}

pub const REAL: Machine = Machine { decide, evolve, compares: true };

pub const IDS: [CallId; 2] =
    [CallId(uuid::Uuid::from_u128(0xca11_0001)), CallId(uuid::Uuid::from_u128(0xca11_0002))];

#[derive(Clone, PartialEq, Eq, Hash)]
pub struct World {
    pub now: Timestamp,
    pub calls: [Option<Rc<Call>>; 2],
    pub people: Vec<Person>,
    pub policy: u8,
    /// Boot epochs of the replicas `a` and `b`.
    pub epochs: [u64; 2],
    /// What each replica has read of the first call and not yet written on.
    pub held: [Option<Option<Rc<Call>>>; 2],
    pub attached: u8,
    pub audit: Audit,
}

#[derive(Clone, Debug)]
pub enum Step {
    Advance(Timestamp),
    /// The replica is killed and starts again.
    Boot(usize),
    People(Vec<Person>),
    Policy(u8),
    Load(usize),
    /// A replica decides and appends, on what it read before if it holds something.
    Ask {
        replica: usize,
        stream: usize,
        command: Box<Command>,
    },
}

/// A world that a step leads to, and what the step wrote.
pub type Next = (World, Ledger);

impl World {
    pub fn new(people: Vec<Person>) -> Self {
        let audit = invariants(&start(&people)).expect("an empty ledger breaks nothing");
        Self {
            now: Timestamp(0),
            calls: [None, None],
            people,
            policy: 0,
            epochs: [1, 1],
            held: [None, None],
            attached: 0,
            audit,
        }
    }

    pub fn replica(&self, index: usize) -> Replica {
        Replica { name: ["a", "b"][index].into(), epoch: self.epochs[index] }
    }

    /// What tells two worlds apart. How many events a call has does not: only whether what a replica
    /// holds is the latest.
    pub fn key(&self) -> u64 {
        let mut world = self.clone();
        let latest = version(&self.calls[0]);
        let fresh = self.held.each_ref().map(|held| held.as_ref().map(|held| version(held) == latest));
        let calls = world.calls.iter_mut().chain(world.held.iter_mut().flatten());
        for call in calls.flatten() {
            Rc::make_mut(call).version = 0;
        }
        let mut hasher = DefaultHasher::new();
        (world, fresh).hash(&mut hasher);
        hasher.finish()
    }

    /// Nothing more can happen but what must be refused.
    pub fn over(&self) -> bool {
        let settled = self.calls.iter().flatten().all(|call| call.state.is_settled());
        settled && self.held == [None, None]
    }

    /// `None` when the step changes nothing.
    pub fn step(&self, step: &Step, machine: &Machine) -> Result<Option<Next>, Violation> {
        let mut next = self.clone();
        let mut written = Vec::new();
        match step {
            Step::Advance(to) => next.now = *to,
            Step::Boot(replica) => {
                next.epochs[*replica] += 1;
                next.held[*replica] = None;
            }
            Step::Load(replica) => next.held[*replica] = Some(self.calls[0].clone()),
            Step::People(people) => {
                next.people.clone_from(people);
                written.push((Entry::People(people.clone()), self.now));
            }
            Step::Policy(policy) => {
                next.policy = *policy;
                written.push((Entry::Policy(policy_name(*policy)), self.now));
            }
            Step::Ask { replica, stream, command } => {
                let held = if *stream == 0 { next.held[*replica].take() } else { None };
                let read = held.unwrap_or_else(|| self.calls[*stream].clone());
                let decided = (machine.decide)(read.as_deref(), command, self.now);
                let ticked = matches!(**command, Command::Tick { .. });
                let reconsidered = matches!(**command, Command::Reconsider { .. });
                let Ok(events) = decided else {
                    if ticked && read == self.calls[*stream] {
                        self.audit.nothing_overdue(*stream, self.now)?;
                    }
                    if reconsidered && read == self.calls[*stream] {
                        self.audit.nobody_waits_in_vain(*stream, self.now)?;
                    }
                    return Ok(None);
                };
                if machine.compares && version(&read) != version(&self.calls[*stream]) {
                    return Ok(None);
                }
                next.append(*stream, events, &mut written, machine);
                next.attached += u8::from(matches!(**command, Command::Attach { .. }));
            }
        }
        for (entry, at) in &written {
            next.audit.read(entry, *at)?;
        }
        next.audit.complete()?;
        Ok(Some((next, written)))
    }

    fn append(&mut self, stream: usize, events: Vec<Event>, written: &mut Ledger, machine: &Machine) {
        for event in events {
            let call = self.calls[stream].take().map(|call| (*call).clone());
            self.calls[stream] = (machine.evolve)(IDS[stream], call, &event, self.now).map(Rc::new);
            written.push((Entry::Call { stream, event }, self.now));
        }
    }

    /// With every deadline past and no human, timers alone settle every call.
    pub fn settles_by_timers(&self, machine: &Machine) -> Result<(), Violation> {
        let mut world = self.clone();
        world.now = self.now.plus(std::time::Duration::from_secs(3_600));
        world.held = [None, None];
        for stream in 0..2 {
            let step = Step::Ask { replica: 1, stream, command: Box::new(world.tick(1)) };
            for _ in 0..3 {
                if let Some((next, _)) = world.step(&step, machine)? {
                    world = next;
                }
            }
            let settled = world.calls[stream].as_ref().is_none_or(|call| call.state.is_settled());
            if !settled {
                return Err("7: timers alone settle every call");
            }
        }
        Ok(())
    }

    /// `next_deadline` is the first moment at which a tick has something to do.
    /// So it is for a broker that did not restart: a stranger, or the one that the agent waits at.
    pub fn deadlines_are_exact(&self) {
        let stranger = Replica { name: "z".into(), epoch: 1 };
        for call in self.calls.iter().flatten() {
            let Some(at) = next_deadline(call, GRACE, SKEW) else {
                assert!(call.state.is_settled());
                continue;
            };
            let own = call.waiter.as_ref().filter(|_| !matches!(call.state, State::Dispatched { .. }));
            let by = own.map_or(&stranger, |waiter| &waiter.replica).clone();
            let tick = Command::Tick { by, detach_grace: GRACE, skew: SKEW };
            assert!(decide(Some(call), &tick, at).is_ok(), "nothing due at {at}: {call:?}");
            let before = decide(Some(call), &tick, Timestamp(at.0 - 1));
            assert_eq!(before, Err(Refusal::Nothing), "due before {at}: {call:?}");
        }
    }

    pub fn tick(&self, replica: usize) -> Command {
        Command::Tick { by: self.replica(replica), detach_grace: GRACE, skew: SKEW }
    }

    pub fn states(&self) -> impl Iterator<Item = StateName> {
        self.calls.iter().flatten().map(|call| call.state.name())
    }
}

/// What stands on the ledger before the first call.
pub fn start(people: &[Person]) -> Ledger {
    vec![(Entry::People(people.to_vec()), Timestamp(0)), (Entry::Policy(policy_name(0)), Timestamp(0))]
}

pub fn policy_name(policy: u8) -> String {
    format!("policy-{policy}")
}

fn version(call: &Option<Rc<Call>>) -> u64 {
    call.as_ref().map_or(0, |call| call.version)
}
