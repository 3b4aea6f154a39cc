//! Counts votes as an auditor does: by trying every assignment.

use countersign::call::{Person, Quorum, Role};

pub fn fits(quorum: &Quorum, person: &Person, people: &[Person], owner: Option<&str>) -> bool {
    let owns = owner == Some(person.name.as_str());
    let others = people.iter().filter(|other| owner != Some(other.name.as_str()));
    let alone = others.filter(|other| other.role == Role::Reviewer).count() == 0;
    person.role == Role::Reviewer
        && quorum.group.as_ref().map_or(!owns || alone, |group| !owns && person.groups.contains(group))
}

/// Fills every place of every quorum with another person, by trying them all.
pub fn enough(quorums: &[Quorum], voters: &[Person], people: &[Person], owner: Option<&str>) -> bool {
    let places = quorums.iter().flat_map(|quorum| (0..quorum.approvals).map(move |_| quorum));
    fill(&places.collect::<Vec<_>>(), voters, &|quorum, person| fits(quorum, person, people, owner))
}

fn fill(places: &[&Quorum], voters: &[Person], fits: &dyn Fn(&Quorum, &Person) -> bool) -> bool {
    let Some((place, rest)) = places.split_first() else { return true };
    (0..voters.len()).any(|index| {
        let mut others = voters.to_vec();
        let person = others.remove(index);
        fits(place, &person) && fill(rest, &others, fits)
    })
}
