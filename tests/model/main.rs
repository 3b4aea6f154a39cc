//! Every history of a call: a breadth-first search over two replicas that race on a store.
//!
//! Each world that the commands of a search can lead to is visited once; the invariants are read
//! from its ledger by code that knows nothing of `decide`. Hand-made mutants show that they bite.

mod alphabet;
mod asks;
mod audit;
mod count;
mod frozen;
mod mutants;
mod world;
mod wrong;

use std::collections::{BTreeSet, HashSet, VecDeque};

use alphabet::{SEARCHES, Search, advance};
use audit::{ANSWERS, Entry, Ledger, Violation, invariants};
use countersign::call::{Call, Event, StateName, Timestamp, denial_answers, fold};
use world::{IDS, Machine, Next, REAL, Step, World, start};

/// A search that grows beyond this has lost its focus.
const MAX_WORLDS: usize = 60_000;

/// What a search has seen.
#[derive(Default)]
struct Seen {
    worlds: usize,
    states: BTreeSet<StateName>,
}

/// A broken rule, and the ledger that breaks it.
struct Caught {
    rule: Violation,
    ledger: Ledger,
}

/// What looks at each world and its ledger.
type Visit<'a> = dyn FnMut(&World, &[(Entry, Timestamp)]) + 'a;

/// The ledgers of all worlds, each as its parent and what it adds.
#[derive(Default)]
struct Histories(Vec<(Option<usize>, Ledger)>);

impl Histories {
    fn add(&mut self, parent: Option<usize>, written: Ledger) -> usize {
        self.0.push((parent, written));
        self.0.len() - 1
    }

    fn ledger(&self, node: usize) -> Ledger {
        let mut nodes = vec![node];
        while let Some(parent) = nodes.last().and_then(|node| self.0[*node].0) {
            nodes.push(parent);
        }
        nodes.iter().rev().flat_map(|node| self.0[*node].1.clone()).collect()
    }
}

fn search(search: &Search, machine: &Machine, visit: &mut Visit<'_>) -> Result<Seen, Caught> {
    let mut seen = Seen::default();
    let mut keys = HashSet::new();
    let mut histories = Histories::default();
    let mut queue = VecDeque::new();
    for (people, request) in (search.start)() {
        let world = World::new(people.clone());
        let node = histories.add(None, start(&people));
        let request = Step::Ask { replica: 0, stream: 0, command: Box::new(request) };
        let next = world.step(&request, machine).map_err(|rule| Caught { rule, ledger: start(&people) })?;
        let (world, written) = next.expect("a first request is never refused");
        queue.push_back((histories.add(Some(node), written), world));
    }
    while let Some((node, world)) = queue.pop_front() {
        seen.worlds += 1;
        seen.states.extend(world.states());
        assert!(seen.worlds <= MAX_WORLDS, "{} grows too large", search.name);
        let caught = |rule| Caught { rule, ledger: histories.ledger(node) };
        world.settles_by_timers(machine).map_err(caught)?;
        visit(&world, &histories.ledger(node));
        let steps = (search.steps)(&world).into_iter().chain(advance(&world, search.times));
        for step in steps {
            if world.over() && !matches!(step, Step::Ask { .. }) {
                continue;
            }
            let next = world.step(&step, machine).map_err(|rule| {
                let mut ledger = histories.ledger(node);
                ledger.push((Entry::Policy(format!("then: {step:?}")), world.now));
                Caught { rule, ledger }
            })?;
            let Some((next, written)): Option<Next> = next else { continue };
            if keys.insert(next.key()) {
                queue.push_back((histories.add(Some(node), written), next));
            }
        }
    }
    Ok(seen)
}

#[test]
fn every_history_keeps_the_invariants() {
    let mut states = BTreeSet::new();
    let mut names = BTreeSet::new();
    let mut calls = HashSet::<Call>::new();
    for one in &SEARCHES {
        let mut visit = |world: &World, ledger: &[(Entry, Timestamp)]| {
            assert_eq!(invariants(ledger).as_ref(), Ok(&world.audit), "one reading, whole or in steps");
            if let Some((Entry::Call { event, .. }, _)) = ledger.last() {
                names.insert(event.name());
            }
            for (stream, call) in world.calls.iter().enumerate() {
                let Some(call) = call else { continue };
                let answers = world.audit.denial_answers(stream, world.now);
                assert_eq!(denial_answers(call, ANSWERS, world.now), answers, "what a repeat is told");
                assert_eq!(
                    fold(IDS[stream], events(ledger, stream)).as_ref(),
                    Some(&**call),
                    "6: the fold is the state"
                );
                if calls.insert((**call).clone()) {
                    survives_json(call, ledger);
                }
            }
            world.deadlines_are_exact();
        };
        let found = search(one, &REAL, &mut visit);
        let seen =
            found.unwrap_or_else(|caught| panic!("{}: {}\n{:#?}", one.name, caught.rule, caught.ledger));
        states.extend(seen.states);
    }
    assert_eq!(states, BTreeSet::from(StateName::ALL), "every state is reached");
    assert_eq!(names.len(), 19, "every event ends some ledger: {names:?}");
}

#[test]
fn every_mutant_is_caught() {
    for mutant in mutants::MUTANTS {
        let one = SEARCHES.iter().find(|search| search.name == mutant.search).expect("a search of that name");
        let caught = search(one, &mutant.machine, &mut |_, _| ()).err();
        assert_eq!(caught.map(|caught| caught.rule), Some(mutant.rule), "{}", mutant.name);
    }
}

fn events(ledger: &[(Entry, Timestamp)], of: usize) -> Vec<(&Event, Timestamp)> {
    let events = ledger.iter().filter_map(|(entry, at)| match entry {
        Entry::Call { stream, event } if *stream == of => Some((event, *at)),
        Entry::Call { .. } | Entry::People(_) | Entry::Policy(_) => None,
    });
    events.collect()
}

/// A call and its events come back from JSON as they were.
fn survives_json(call: &Call, ledger: &[(Entry, Timestamp)]) {
    let text = serde_json::to_string(call).expect("a call is JSON");
    assert_eq!(serde_json::from_str::<Call>(&text).expect("a call reads back"), *call);
    if let Some((Entry::Call { event, .. }, _)) = ledger.last() {
        let text = serde_json::to_string(event).expect("an event is JSON");
        assert_eq!(serde_json::from_str::<Event>(&text).expect("an event reads back"), *event);
    }
}
