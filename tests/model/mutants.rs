//! Wrong variants of the machine, each with the rule that must catch it in the search that looks.

use crate::wrong::*;
use crate::{
    audit::Violation,
    world::{Decide, Machine, REAL},
};

pub struct Mutant {
    pub name: &'static str,
    pub search: &'static str,
    pub rule: Violation,
    pub machine: Machine,
}

const fn wrong(name: &'static str, search: &'static str, rule: Violation, decide: Decide) -> Mutant {
    Mutant { name, search, rule, machine: Machine { decide, ..REAL } }
}

pub const MUTANTS: &[Mutant] = &[
    wrong("a vote on any digest counts", "votes", "3: voted on the digest that is sent", vote_on_any_digest),
    wrong("a vote after the deadline counts", "votes", "3: voted before the deadline", vote_late),
    wrong("an owner's vote counts", "votes", "2: eligible reviewers", owner_votes),
    wrong("an auditor votes", "votes", "2: eligible reviewers", auditor_votes),
    wrong("groups do not matter", "votes", "2: eligible reviewers", groups_do_not_matter),
    wrong("a person votes twice", "votes", "2: distinct reviewers", vote_twice),
    wrong("one vote fills two quorums", "votes", "2: a quorum of distinct, eligible reviewers", one_quorum),
    wrong("a denial ends nothing", "votes", "2: a denial ends the call at once", deny_ends_nothing),
    wrong("a reviewer who left counts", "votes", "2: the quorum holds when it is sent", left_counts),
    wrong("a quorum of nobody waits", "owner", "2: a denial ends the call at once", waits_for_nobody),
    wrong(
        "an owner's approval looks like any",
        "owner",
        "2: an owner's own approval says so",
        own_vote_hidden,
    ),
    wrong(
        "a policy change is not noticed",
        "rounds",
        "2: the policy that judged it is still in force",
        any_policy,
    ),
    wrong("extensions never end", "rounds", "extended within the maximum wait", extend_for_ever),
    wrong("a new round on the old digest", "rounds", "3: a new round has a new digest", same_digest),
    wrong(
        "other bytes than approved are sent",
        "rounds",
        "3: what is sent is what was approved",
        claim_other,
    ),
    wrong("a denied call is sent", "rounds", "4: nothing after it settled", denied_is_sent),
    wrong("claim after the permit lapsed", "rounds", "3: sent before the permit lapsed", claim_late),
    wrong("claim without a waiter", "waiting", "nothing runs for an agent that has gone", claim_alone),
    wrong(
        "claim for a line of an earlier boot",
        "waiting",
        "nothing runs for an agent that has gone",
        claim_dead,
    ),
    wrong("two wait at once", "waiting", "one waiter at a time", two_wait),
    wrong("leaving is never noticed", "waiting", "the first deadline counts", never_gives_up),
    wrong("a ticket is given up", "waiting", "given up only when the agent has gone", ticket_given_up),
    wrong("a permit never lapses", "sent", "7: a timer leaves nothing overdue", never_lapses),
    wrong("a lost call is sent again", "sent", "1: dispatched at most once", lost_is_sent),
    wrong("claimed twice", "sent", "1: dispatched at most once", claim_twice),
    wrong("another boot completes", "sent", "5: answered by the replica that dispatched", anyone_completes),
    wrong(
        "another loses it within the lease",
        "sent",
        "5: given up by its dispatcher, or after the lease",
        anyone_loses,
    ),
    wrong("what was sent is cancelled", "sent", "4: settled from a state that cannot settle so", cancel_sent),
    wrong("resolved twice", "sent", "4: resolved once, if lost", resolve_twice),
    wrong("two late answers", "sent", "4: answered late once, if lost", late_twice),
    wrong("delivered twice", "sent", "delivered once", deliver_twice),
    wrong("a lease never runs out", "sent", "7: a timer leaves nothing overdue", lease_for_ever),
    wrong("expires too soon", "race", "3: no deadline before its time", early),
    Mutant {
        name: "an append does not compare",
        search: "race",
        rule: "2: voted while it was open",
        machine: Machine { compares: false, ..REAL },
    },
    Mutant {
        name: "votes survive a new round",
        search: "rounds",
        rule: "2: a quorum of distinct, eligible reviewers",
        machine: Machine { evolve: votes_survive, ..REAL },
    },
    Mutant {
        name: "a withdrawn vote gives more time",
        search: "votes",
        rule: "3: voted before the deadline",
        machine: Machine { evolve: withdraw_extends, ..REAL },
    },
    Mutant {
        name: "a withdrawn vote still permits",
        search: "votes",
        rule: "4: settled from a state that cannot settle so",
        machine: Machine { evolve: withdraw_changes_nothing, ..REAL },
    },
    wrong("a denial is lifted twice", "votes", LIFTED, lifts_twice),
    wrong("an auditor lifts a denial", "votes", LIFTED, auditor_lifts),
    wrong("the policy's denial is lifted", "rounds", LIFTED, lifts_any_denial),
    wrong("a denial is lifted that answers no longer", "race", LIFTED, lifts_late),
    wrong(
        "nobody looks when a reviewer leaves",
        "votes",
        "2: nobody waits for people who are not there",
        waits_in_vain,
    ),
    wrong(
        "a failed call keeps what it took",
        "sent",
        "what did not run counts against no limit",
        keeps_what_it_took,
    ),
];

const LIFTED: Violation = "a person's denial is lifted once, by one who decides";
