//! Who counts: a quorum is distinct, eligible people on one digest.
//!
//! A vote counts for one quorum only, so people are matched to the quorums' places (Kuhn's
//! augmenting paths; the numbers are those of a team, not of a database).

use super::{Call, People, Person, Quorum, Request, Role, Terms, Vote};

/// How far a call's quorums are.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Per quorum of the terms, in order: approvals that count, and how many are needed.
    pub counts: Vec<(u32, u32)>,
    pub met: bool,
}

/// Counts the votes of the present round by people who are eligible now.
#[must_use]
pub fn tally(call: &Call, people: &People) -> Tally {
    let Some(terms) = &call.terms else { return Tally::default() };
    let mut names: Vec<&str> = Vec::new();
    let approvals = call.reviews.iter().filter(|review| {
        let name = review.reviewer.name.as_str();
        let counts = review.vote == Vote::Approve && review.digest == call.digest && !names.contains(&name);
        names.push(name);
        counts
    });
    // Both what they were when they voted and what they are now must suffice: authority only tightens.
    let fits = approvals
        .map(|review| {
            let now = people.named(&review.reviewer.name);
            places(terms, |quorum| {
                fits(quorum, &review.reviewer, &call.request, people)
                    && now.is_some_and(|person| fits(quorum, person, &call.request, people))
            })
        })
        .collect::<Vec<_>>();
    matched(&terms.quorums, &fits)
}

/// Could the people there are meet these terms at all?
#[must_use]
pub fn can_be_met(terms: &Terms, request: &Request, people: &People) -> bool {
    shortfall(terms, request, people).is_none()
}

/// Who is missing for these terms, in words; `None` when they can be met.
pub(super) fn shortfall(terms: &Terms, request: &Request, people: &People) -> Option<String> {
    let everyone = people
        .0
        .iter()
        .map(|person| places(terms, |quorum| fits(quorum, person, request, people)))
        .collect::<Vec<_>>();
    let tally = matched(&terms.quorums, &everyone);
    if tally.met {
        return None;
    }
    let missing = terms.quorums.iter().zip(&tally.counts).filter(|(_, (have, need))| have < need);
    let missing = missing.map(|(quorum, (have, need))| {
        let who = quorum.group.as_ref().map_or("any reviewer".to_owned(), |group| format!("group {group}"));
        format!("{need} of {who} needed, {have} could vote")
    });
    Some(format!("the quorum cannot be met: {}", missing.collect::<Vec<_>>().join("; ")))
}

/// The person called `name` as they are now, if their vote could count for some quorum.
pub(super) fn eligible<'a>(
    terms: &Terms,
    request: &Request,
    people: &'a People,
    name: &str,
) -> Result<&'a Person, String> {
    let Some(person) = people.named(name) else { return Err(format!("{name} is not a reviewer here")) };
    if terms.quorums.iter().any(|quorum| fits(quorum, person, request, people)) {
        return Ok(person);
    }
    Err(match person.role {
        Role::Auditor => format!("{name} may look, not decide"),
        Role::Reviewer if request.owner.as_deref() == Some(name) => {
            format!("{name} owns the agent; somebody else must decide")
        }
        Role::Reviewer => format!("{name} is in none of the groups that decide"),
    })
}

/// A named group keeps owners out always; else an owner counts only when nobody else could vote.
fn fits(quorum: &Quorum, person: &Person, request: &Request, people: &People) -> bool {
    if person.role != Role::Reviewer {
        return false;
    }
    let owns = |name: &str| request.owner.as_deref() == Some(name);
    match &quorum.group {
        Some(group) => person.groups.contains(group) && !owns(&person.name),
        None if owns(&person.name) => {
            !people.0.iter().any(|other| other.role == Role::Reviewer && !owns(&other.name))
        }
        None => true,
    }
}

/// The quorums, by index, that one person's vote fits; those of a group first, since anybody may take the others.
fn places(terms: &Terms, fits: impl Fn(&Quorum) -> bool) -> Vec<usize> {
    let quorums = || terms.quorums.iter().enumerate().filter(|(_, quorum)| fits(quorum));
    let of_group = quorums().filter(|(_, quorum)| quorum.group.is_some());
    let of_anybody = quorums().filter(|(_, quorum)| quorum.group.is_none());
    of_group.chain(of_anybody).map(|(index, _)| index).collect()
}

/// Fills the quorums' places with as many people as possible. Terms that need nobody are never met.
fn matched(quorums: &[Quorum], people: &[Vec<usize>]) -> Tally {
    let mut seats: Vec<Vec<usize>> = vec![Vec::new(); quorums.len()];
    for person in 0..people.len() {
        seat(person, people, quorums, &mut seats, &mut vec![false; quorums.len()]);
    }
    let taken = seats.iter().map(|seat| u32::try_from(seat.len()).unwrap_or(u32::MAX));
    let counts = taken.zip(quorums.iter().map(|quorum| quorum.approvals)).collect::<Vec<_>>();
    let met = counts.iter().any(|(_, need)| *need > 0) && counts.iter().all(|(have, need)| have >= need);
    Tally { counts, met }
}

/// Seats `person`, moving others to another of their quorums where that makes room.
fn seat(
    person: usize,
    people: &[Vec<usize>],
    quorums: &[Quorum],
    seats: &mut [Vec<usize>],
    tried: &mut [bool],
) -> bool {
    for &quorum in &people[person] {
        if std::mem::replace(&mut tried[quorum], true) {
            continue;
        }
        if u32::try_from(seats[quorum].len()).is_ok_and(|taken| taken < quorums[quorum].approvals) {
            seats[quorum].push(person);
            return true;
        }
        for place in 0..seats[quorum].len() {
            let other = seats[quorum][place];
            if seat(other, people, quorums, seats, tried) {
                seats[quorum][place] = person;
                return true;
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{matched, places, shortfall};
    use crate::call::{
        ClientInfo, Commitment, Era, People, Person, Quorum, Reason, Request, Role, Terms, can_be_met,
    };

    fn request(owner: Option<&str>) -> Request {
        Request {
            agent: "ci".into(),
            owner: owner.map(str::to_owned),
            server: "omics".into(),
            tool: "cancel".into(),
            session: None,
            era: Era::Legacy,
            protocol: None,
            client: ClientInfo::default(),
            argument_names: Vec::new(),
            policy: String::new(),
            params: Commitment([0; 32]),
            follows: None,
            twin: None,
        }
    }

    fn people(groups: &[(&str, &str)]) -> People {
        let person = |(name, groups): &(&str, &str)| Person {
            name: (*name).into(),
            groups: groups.split(' ').map(str::to_owned).collect(),
            role: Role::Reviewer,
            token: String::new(),
        };
        People(groups.iter().map(person).collect())
    }

    fn quorum(group: Option<&str>, approvals: u32) -> Quorum {
        Quorum { group: group.map(str::to_owned), approvals }
    }

    fn terms(quorums: &[Quorum]) -> Terms {
        Terms { quorums: quorums.to_vec(), ..Terms::standard(Reason::default()) }
    }

    #[test]
    fn a_vote_counts_for_one_quorum_only() {
        let terms = terms(&[quorum(Some("sre"), 1), quorum(Some("dba"), 1)]);
        let both = [("alice", "sre dba")];
        assert!(!can_be_met(&terms, &request(None), &people(&both)));
        assert!(can_be_met(&terms, &request(None), &people(&[both[0], ("bob", "sre")])));
    }

    #[test]
    fn people_make_room_for_each_other() {
        // The first could take either place; the second and third take only one each.
        let quorums = [quorum(Some("a"), 1), quorum(Some("b"), 2)];
        let tally = matched(&quorums, &[vec![0, 1], vec![0, 1], vec![0]]);
        assert!(tally.met, "{tally:?}");
        let tally = matched(&quorums, &[vec![0, 1], vec![0], vec![0]]);
        assert_eq!(tally.counts, [(1, 1), (1, 2)]);
    }

    #[test]
    fn one_of_a_group_counts_for_it_where_anybody_may_take_the_other_place() {
        let terms = terms(&[quorum(None, 1), quorum(Some("dba"), 1)]);
        assert_eq!(places(&terms, |_| true), [1, 0]);
        assert_eq!(matched(&terms.quorums, &[places(&terms, |_| true)]).counts, [(0, 1), (1, 1)]);
    }

    #[test]
    fn owners_count_only_when_alone_and_never_for_a_group() {
        let (any, sre) = (terms(&[quorum(None, 1)]), terms(&[quorum(Some("sre"), 1)]));
        let olga = people(&[("olga", "sre")]);
        assert!(can_be_met(&any, &request(Some("olga")), &olga));
        assert!(!can_be_met(&sre, &request(Some("olga")), &olga));
        let two = people(&[("olga", "sre"), ("bob", "ops")]);
        assert!(!can_be_met(&terms(&[quorum(None, 2)]), &request(Some("olga")), &two));
    }

    #[test]
    fn who_is_missing_is_said_in_words() {
        let terms = terms(&[quorum(Some("sre"), 2), quorum(None, 1)]);
        let words = shortfall(&terms, &request(None), &people(&[("alice", "sre"), ("bob", "ops")]));
        assert_eq!(words.as_deref(), Some("the quorum cannot be met: 2 of group sre needed, 1 could vote"));
    }

    #[test]
    fn terms_that_need_nobody_are_never_met() {
        assert!(!can_be_met(&terms(&[]), &request(None), &people(&[("alice", "")])));
        assert!(!can_be_met(&terms(&[quorum(None, 0)]), &request(None), &people(&[("alice", "")])));
    }
}
