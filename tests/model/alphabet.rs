//! The searches: where each begins, and what may happen in it.
//!
//! One search with every command would be too large to finish, so each looks at one question with
//! all the commands that bear on it.

use std::time::Duration;

use countersign::call::{
    AttachKind, By, Command, Commitment, DetachReason, Digest, HowDelivered, People, Person, Replica,
    Resolution, Timestamp, Verdict, Vote,
};

use crate::{
    asks::{Asks, alice, carol, line, olga, reason, review, rex, submit, task, terms, tom},
    audit::MAX_WAIT,
    world::{IDS, Step, World, policy_name},
};

pub struct Search {
    pub name: &'static str,
    /// Each alternative is one beginning: who is there, and the first request.
    pub start: fn() -> Vec<(Vec<Person>, Command)>,
    pub steps: fn(&World) -> Vec<Step>,
    /// The moments that the clock may stand at, in seconds.
    pub times: &'static [i64],
}

pub const SEARCHES: [Search; 7] = [
    Search { name: "votes", start: start_votes, steps: votes, times: &[0, 9, 10] },
    Search { name: "owner", start: start_owner, steps: owner, times: &[0, 9, 10] },
    Search { name: "rounds", start: start_rounds, steps: rounds, times: &[0, 9, 10, 17] },
    Search { name: "waiting", start: start_waiting, steps: waiting, times: &[0, 4, 8, 10] },
    Search { name: "sent", start: start_sent, steps: sent, times: &[0, 5, 6, 7, 10] },
    Search { name: "race", start: start_race, steps: race, times: &[0, 9, 10] },
    Search { name: "again", start: start_again, steps: again, times: &[0, 10] },
];

fn start_votes() -> Vec<(Vec<Person>, Command)> {
    let people = [alice(), rex(), carol(), olga(), tom()];
    vec![review(&people, &[(Some("sre"), 1), (None, 1)]), review(&people, &[(Some("sre"), 2)])]
}

fn votes(world: &World) -> Vec<Step> {
    let mut asks = Asks::of(world, 0);
    for reviewer in [alice(), rex(), carol(), olga(), tom()] {
        asks.approve(&reviewer);
        asks.withdraw(&reviewer);
    }
    asks.vote(0, &alice(), Vote::Deny, 0);
    asks.vote(0, &olga(), Vote::Deny, 0);
    asks.deny_once(0, &alice());
    asks.lift(0, &carol());
    asks.lift(0, &tom());
    asks.reconsider();
    asks.ask(0, Command::Deliver { how: HowDelivered::Line });
    asks.vote(0, &carol(), Vote::Approve, 9);
    asks.claim(0, 0);
    asks.tick(0);
    asks.steps.push(Step::People(vec![alice(), carol(), olga(), tom()]));
    asks.steps
}

fn start_owner() -> Vec<(Vec<Person>, Command)> {
    let teams = [vec![olga()], vec![olga(), alice()], vec![olga(), tom()], vec![tom()], Vec::new()];
    let one = teams.iter().map(|people| review(people, &[(None, 1)]));
    one.chain([review(&teams[1], &[(None, 2)]), review(&teams[0], &[(Some("sre"), 1)])]).collect()
}

fn owner(world: &World) -> Vec<Step> {
    let mut asks = Asks::of(world, 0);
    asks.approve(&olga());
    asks.approve(&alice());
    asks.vote(0, &olga(), Vote::Deny, 0);
    asks.withdraw(&olga());
    asks.reconsider();
    asks.claim(0, 0);
    asks.tick(0);
    for people in [vec![olga()], vec![olga(), alice()], Vec::new()] {
        asks.steps.push(Step::People(people));
    }
    asks.steps
}

fn start_rounds() -> Vec<(Vec<Person>, Command)> {
    let people = [alice(), carol(), tom()];
    let allow = Verdict::Allow { rule: "/tools/read".into() };
    vec![review(&people, &[(None, 1)]), (people.to_vec(), submit(allow, &people, line()))]
}

fn rounds(world: &World) -> Vec<Step> {
    let mut asks = Asks::of(world, 0);
    let round = asks.round();
    asks.approve(&alice());
    asks.approve(&carol());
    asks.withdraw(&alice());
    if round > 0 {
        asks.claim_on(0, 0, round - 1);
        asks.vote(0, &alice(), Vote::Approve, round - 1);
    }
    let mut repark = |to: u8, quorum| {
        let command = Command::Repark {
            why: "the policy changed".into(),
            digest: Digest([to; 32]),
            terms: terms(&[quorum]),
            policy: policy_name(world.policy),
            people: People(world.people.clone()),
        };
        asks.ask(0, command);
    };
    repark(round, (None, 1));
    if round < 1 {
        repark(round + 1, (None, 2));
        repark(round + 1, (Some("dba"), 1));
    }
    for by in [alice(), tom()] {
        asks.ask(0, Command::Extend { by, extra: Duration::from_secs(6), max_wait: MAX_WAIT });
    }
    asks.revoke(0, By::Stop { person: "alice".into() });
    asks.revoke(0, By::Policy);
    asks.lift(0, &alice());
    asks.claim(0, 0);
    asks.tick(0);
    if world.policy == 0 {
        asks.steps.push(Step::Policy(1));
    }
    asks.steps
}

fn start_waiting() -> Vec<(Vec<Person>, Command)> {
    let people = [alice()];
    let verdict = || Verdict::Review { terms: terms(&[(None, 1)]) };
    [line(), task(), None].map(|waiter| (people.to_vec(), submit(verdict(), &people, waiter))).into()
}

fn waiting(world: &World) -> Vec<Step> {
    let mut asks = Asks::of(world, 0);
    asks.approve(&alice());
    if world.attached < 2 {
        asks.attach(0, AttachKind::Line);
        asks.attach(1, AttachKind::Line);
        asks.attach(1, AttachKind::Task);
    }
    for attachment in 0..=world.attached {
        for why in [DetachReason::Ticket, DetachReason::Restart] {
            asks.detach(attachment, why);
        }
        asks.claim(0, attachment);
        asks.claim(1, attachment);
    }
    asks.cancel(0);
    asks.tick(0);
    asks.tick(1);
    asks.ask(0, Command::Deliver { how: HowDelivered::Line });
    if world.epochs[0] < 2 {
        asks.steps.push(Step::Boot(0));
    }
    asks.steps
}

fn start_sent() -> Vec<(Vec<Person>, Command)> {
    let people = [alice()];
    let allow = Verdict::Allow { rule: "/tools/read".into() };
    let deny = Verdict::Deny { reason: reason() };
    let hide = Verdict::Hide { rule: "/hide/0".into() };
    [allow, deny, hide].map(|verdict| (people.to_vec(), submit(verdict, &people, line()))).into()
}

fn sent(world: &World) -> Vec<Step> {
    let mut asks = Asks::of(world, 0);
    let earlier = Replica { name: "a".into(), epoch: 1 };
    for (replica, by) in [(0, world.replica(0)), (0, earlier), (1, world.replica(1))] {
        asks.complete(replica, by.clone());
        asks.ask(replica, Command::Fail { by: by.clone(), why: "refused".into() });
        asks.ask(replica, Command::Lose { by, why: "cut".into() });
        asks.claim(replica, 0);
        asks.tick(replica);
    }
    asks.detach(0, DetachReason::Closed);
    asks.cancel(0);
    asks.revoke(0, By::Policy);
    for outcome in [Resolution::Done, Resolution::NotDone] {
        asks.ask(0, Command::Resolve { by: alice(), outcome, note: None });
    }
    asks.ask(0, Command::AnswerLate { answer: Commitment([1; 32]), bytes: 2, is_error: false });
    asks.ask(0, Command::Deliver { how: HowDelivered::Recall });
    for replica in 0..2 {
        if world.epochs[replica] < 2 {
            asks.steps.push(Step::Boot(replica));
        }
    }
    asks.steps
}

/// A task, so that both replicas may claim.
fn start_race() -> Vec<(Vec<Person>, Command)> {
    let people = [alice(), carol()];
    let verdict = Verdict::Review { terms: terms(&[(None, 1)]) };
    vec![(people.to_vec(), submit(verdict, &people, task()))]
}

fn race(world: &World) -> Vec<Step> {
    let mut asks = Asks::of(world, 0);
    for replica in 0..2 {
        if world.held[replica].is_none() {
            asks.steps.push(Step::Load(replica));
            continue;
        }
        asks.vote(replica, &alice(), Vote::Approve, 0);
        asks.vote(replica, &carol(), Vote::Deny, 0);
        asks.lift(replica, &alice());
        asks.claim(replica, 0);
        asks.cancel(replica);
        asks.complete(replica, world.replica(replica));
        asks.ask(replica, Command::Lose { by: world.replica(replica), why: "cut".into() });
        asks.tick(replica);
        if world.epochs[replica] < 2 {
            asks.steps.push(Step::Boot(replica));
        }
    }
    asks.steps
}

fn start_again() -> Vec<(Vec<Person>, Command)> {
    vec![review(&[alice()], &[(None, 1)])]
}

/// The agent makes the same call again: it joins a call that nobody waits for, else it is a twin.
fn again(world: &World) -> Vec<Step> {
    let mut first = Asks::of(world, 0);
    for replica in 0..2 {
        if world.held[replica].is_none() {
            first.steps.push(Step::Load(replica));
        } else if world.attached < 1 {
            first.attach(replica, AttachKind::Line);
        }
    }
    first.approve(&alice());
    first.detach(0, DetachReason::Cancelled);
    first.detach(1, DetachReason::Closed);
    for attachment in 0..=world.attached {
        first.claim(0, attachment);
        first.claim(1, attachment);
    }
    first.tick(0);
    let mut second = Asks::of(world, 1);
    if world.calls[1].is_none() && world.calls[0].as_ref().is_some_and(|call| call.waiter.is_some()) {
        let Command::Submit { mut request, digest, verdict, people, waiter } =
            review(&world.people, &[(None, 1)]).1
        else {
            return first.steps;
        };
        request.twin = Some(IDS[0]);
        second.ask(0, Command::Submit { request, digest, verdict, people, waiter });
    }
    second.approve(&alice());
    second.claim(0, 0);
    second.tick(0);
    first.steps.into_iter().chain(second.steps).collect()
}

/// The next moment of the clock, if there is one.
pub fn advance(world: &World, times: &[i64]) -> Option<Step> {
    let moments = times.iter().map(|seconds| Timestamp(seconds * 1_000));
    moments.into_iter().find(|moment| *moment > world.now).map(Step::Advance)
}
