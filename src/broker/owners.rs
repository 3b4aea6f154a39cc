//! Whose the tasks are that servers made of calls. A server knows one client, the broker; whoever has a task's name
//! could ask about it, read its outcome and end it. Only the agents whose calls it came of do.
//!
//! All of it lies in memory, and beside the ledger for the next start.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::call::Fingerprint;

/// Tasks of one agent that are known at once, of calls that nobody was asked about. Of the oldest it is forgotten then
/// whose they are; other agents' stay known.
const MOST: usize = 4096;

#[derive(Debug, Default)]
pub(super) struct Owners(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// More than one has a task where each has a process of the server's, and these use a name again.
    agents: HashMap<Fingerprint, Vec<Arc<str>>>,
    /// Those that may be forgotten, oldest first.
    tasks: HashMap<Arc<str>, VecDeque<Fingerprint>>,
}

/// Whose a task is, as one agent asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Whose {
    Own,
    Anothers,
    /// It was made before anybody looked, or so long ago that it is forgotten.
    Unknown,
}

/// What changes with one more task.
#[derive(PartialEq, Eq, Debug)]
pub(super) enum Noted {
    Before,
    /// And this one of the same agent is forgotten.
    Now(Option<Fingerprint>),
}

impl Known {
    /// False: it was so before.
    fn add(&mut self, task: Fingerprint, agent: &Arc<str>) -> bool {
        let agents = self.agents.entry(task).or_default();
        let is_new = !agents.contains(agent);
        if is_new {
            agents.push(agent.clone());
        }
        is_new
    }

    fn remove(&mut self, task: Fingerprint, agent: &Arc<str>) {
        let Some(agents) = self.agents.get_mut(&task) else { return };
        agents.retain(|known| known != agent);
        if agents.is_empty() {
            self.agents.remove(&task);
        }
    }
}

impl Owners {
    /// The task came of a call of this agent.
    pub(super) fn note(&self, task: Fingerprint, agent: &str) -> Noted {
        let (mut known, agent) = (self.known(), agent.into());
        if !known.add(task, &agent) {
            return Noted::Before;
        }
        let tasks = known.tasks.entry(agent.clone()).or_default();
        tasks.push_back(task);
        let oldest = if tasks.len() > MOST { tasks.pop_front() } else { None };
        if let Some(oldest) = oldest {
            known.remove(oldest, &agent);
        }
        Noted::Now(oldest)
    }

    /// The same, of a call that people were asked about: it is not forgotten for others. Else an agent could have it
    /// forgotten by making more of those that need nobody.
    pub(super) fn keep(&self, task: Fingerprint, agent: &str) {
        let (mut known, agent) = (self.known(), agent.into());
        if !known.add(task, &agent)
            && let Some(tasks) = known.tasks.get_mut(&agent)
        {
            tasks.retain(|noted| *noted != task);
        }
    }

    pub(super) fn whose(&self, task: Fingerprint, agent: &str) -> Whose {
        match self.known().agents.get(&task) {
            None => Whose::Unknown,
            Some(agents) if agents.iter().any(|known| **known == *agent) => Whose::Own,
            Some(_) => Whose::Anothers,
        }
    }

    /// Each use is one operation, so a panic elsewhere leaves no half of one.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(number: usize) -> Fingerprint {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&(number as u64).to_be_bytes());
        Fingerprint(bytes)
    }

    #[test]
    fn a_task_is_that_of_the_agents_whose_calls_it_came_of() {
        let owners = Owners::default();
        assert_eq!(owners.whose(task(1), "bot"), Whose::Unknown);
        assert_eq!(owners.note(task(1), "bot"), Noted::Now(None));
        assert_eq!(owners.note(task(1), "bot"), Noted::Before);
        assert_eq!(owners.whose(task(1), "bot"), Whose::Own);
        assert_eq!(owners.whose(task(1), "eve"), Whose::Anothers);
        // Each has a process of the server's, which counts from one.
        assert_eq!(owners.note(task(1), "ann"), Noted::Now(None));
        assert_eq!((owners.whose(task(1), "bot"), owners.whose(task(1), "ann")), (Whose::Own, Whose::Own));
    }

    #[test]
    fn an_agent_with_too_many_forgets_its_own_oldest() {
        let owners = Owners::default();
        owners.note(task(0), "ann");
        for number in 0..MOST {
            assert_eq!(owners.note(task(number), "bot"), Noted::Now(None));
        }
        assert_eq!(owners.note(task(MOST), "bot"), Noted::Now(Some(task(0))));
        assert_eq!(owners.whose(task(0), "ann"), Whose::Own);
        assert_eq!(owners.note(task(MOST + 1), "bot"), Noted::Now(Some(task(1))));
        assert_eq!(owners.whose(task(1), "bot"), Whose::Unknown);
        assert_eq!(owners.whose(task(2), "bot"), Whose::Own);
    }

    #[test]
    fn what_people_were_asked_about_is_not_forgotten_for_what_needs_nobody() {
        let owners = Owners::default();
        owners.keep(task(0), "bot");
        owners.note(task(1), "bot");
        owners.keep(task(1), "bot");
        for number in 2..MOST + 2 {
            assert_eq!(owners.note(task(number), "bot"), Noted::Now(None));
        }
        assert_eq!(owners.note(task(MOST + 2), "bot"), Noted::Now(Some(task(2))));
        assert_eq!((owners.whose(task(0), "bot"), owners.whose(task(1), "bot")), (Whose::Own, Whose::Own));
    }
}
