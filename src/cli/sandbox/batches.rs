//! The sandbox's batches: what they are at a moment follows from when they were started and cancelled.
//!
//! Pure: time comes in as a value, so a batch goes on running while nobody looks.

use std::{collections::BTreeMap, time::Duration};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::call::Timestamp;

/// Between the starts of two runs of a batch.
const STAGGER: Duration = Duration::from_secs(1);

/// Every batch, and every change that was made, in order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::cli) struct Batches {
    next: u64,
    pub batches: BTreeMap<String, Batch>,
    pub effects: Vec<Effect>,
}

/// Something that a tool did, once per entry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(in crate::cli) struct Effect {
    pub at: Timestamp,
    pub tool: String,
    pub batch_id: String,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::cli) struct Batch {
    pub id: String,
    pub name: String,
    pub workflow_id: String,
    pub runs: u32,
    pub seconds_per_run: u64,
    pub started_at: Timestamp,
    pub cancelled_at: Option<Timestamp>,
}

/// Of a batch or of one of its runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(in crate::cli) enum State {
    Queued,
    Running,
    Completed,
    Cancelled,
}

/// What a new batch is made of.
pub(super) struct Plan {
    pub name: String,
    pub workflow_id: String,
    pub runs: u32,
    pub seconds_per_run: u64,
}

impl Batches {
    pub(super) fn start(&mut self, plan: Plan, now: Timestamp) -> &Batch {
        self.next += 1;
        let id = format!("{:07}", 4_831_000 + self.next);
        let Plan { name, workflow_id, runs, seconds_per_run } = plan;
        self.done("StartAHORunBatch", &id, now);
        self.batches.entry(id.clone()).or_insert(Batch {
            id,
            name,
            workflow_id,
            runs,
            seconds_per_run,
            started_at: now,
            cancelled_at: None,
        })
    }

    /// Ends every run that has not ended by itself.
    pub(super) fn cancel(&mut self, id: &str, now: Timestamp) -> Result<&Batch, String> {
        let batch = self.batches.get_mut(id).ok_or_else(|| unknown(id))?;
        match batch.state(now) {
            State::Cancelled => return Err(format!("Batch {id} is already cancelled.")),
            State::Completed => return Err(format!("Batch {id} is completed; there is nothing to cancel.")),
            State::Queued | State::Running => batch.cancelled_at = Some(now),
        }
        self.done("CancelAHORunBatch", id, now);
        self.get(id)
    }

    pub(super) fn delete(&mut self, id: &str, now: Timestamp) -> Result<Batch, String> {
        let batch = self.get(id)?;
        if matches!(batch.state(now), State::Queued | State::Running) {
            return Err(format!("Batch {id} is still running: cancel it first."));
        }
        let batch = self.batches.remove(id).ok_or_else(|| unknown(id))?;
        self.done("DeleteAHORunBatch", id, now);
        Ok(batch)
    }

    pub(super) fn get(&self, id: &str) -> Result<&Batch, String> {
        self.batches.get(id).ok_or_else(|| unknown(id))
    }

    fn done(&mut self, tool: &str, id: &str, at: Timestamp) {
        self.effects.push(Effect { at, tool: tool.to_owned(), batch_id: id.to_owned() });
    }

    /// How often `tool` has changed batch `id`.
    pub(in crate::cli) fn times(&self, tool: &str, id: &str) -> usize {
        self.effects.iter().filter(|effect| effect.tool == tool && effect.batch_id == id).count()
    }
}

fn unknown(id: &str) -> String {
    format!("There is no batch {id:?}. ListAHORunBatches shows the batches there are.")
}

impl Batch {
    /// As far as its runs are.
    pub(in crate::cli) fn state(&self, now: Timestamp) -> State {
        let states: Vec<State> = (0..self.runs).map(|run| self.run(run, now)).collect();
        let all = |wanted: State| states.iter().all(|state| *state == wanted);
        if all(State::Completed) {
            State::Completed
        } else if self.cancelled_at.is_some() {
            State::Cancelled
        } else if all(State::Queued) {
            State::Queued
        } else {
            State::Running
        }
    }

    fn run(&self, run: u32, now: Timestamp) -> State {
        let start = self.started_at.plus(STAGGER * run);
        let end = start.plus(Duration::from_secs(self.seconds_per_run));
        match self.cancelled_at {
            Some(at) if at < end => State::Cancelled,
            Some(_) | None if now >= end => State::Completed,
            Some(_) | None if now >= start => State::Running,
            Some(_) | None => State::Queued,
        }
    }

    /// Of a run, in percent.
    fn progress(&self, run: u32, now: Timestamp) -> u64 {
        let until = self.cancelled_at.map_or(now, |at| at.min(now));
        let spent = until.since(self.started_at.plus(STAGGER * run)).as_millis();
        let whole = u128::from(self.seconds_per_run.max(1)) * 1000;
        u64::try_from((spent * 100 / whole).min(100)).unwrap_or(100)
    }

    /// In one line.
    pub(super) fn summary(&self, now: Timestamp) -> Value {
        json!({ "batchId": self.id, "name": self.name, "status": self.state(now), "totalRuns": self.runs,
            "creationTime": self.started_at })
    }

    /// With each run.
    pub(super) fn details(&self, now: Timestamp) -> Value {
        let run = |run: u32| {
            json!({ "runId": format!("{}-{}", self.id, run + 1), "status": self.run(run, now),
                "percentComplete": self.progress(run, now) })
        };
        let mut details = self.summary(now);
        details["workflowId"] = json!(self.workflow_id);
        details["runs"] = (0..self.runs).map(run).collect();
        if let Some(at) = self.cancelled_at {
            details["stopTime"] = json!(at);
        }
        details
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan() -> Plan {
        Plan { name: "n".into(), workflow_id: "w".into(), runs: 2, seconds_per_run: 10 }
    }

    #[test]
    fn a_batch_runs_to_its_end_while_nobody_looks() {
        let mut batches = Batches::default();
        let (start, after) = (Timestamp(0), |s| Timestamp(0).plus(Duration::from_secs(s)));
        let batch = batches.start(plan(), start);
        assert_eq!(batch.state(start), State::Running);
        assert_eq!(batch.details(after(5))["runs"][1]["percentComplete"], 40);
        assert_eq!(batch.state(after(10)), State::Running);
        assert_eq!(batch.state(after(11)), State::Completed);
    }

    #[test]
    fn cancelling_ends_what_runs_once_and_leaves_what_has_ended() {
        let mut batches = Batches::default();
        let id = batches.start(plan(), Timestamp(0)).id.clone();
        let cancelled = batches.cancel(&id, Timestamp(10_500)).expect("it runs").clone();
        assert_eq!(cancelled.details(Timestamp(60_000))["runs"][0]["status"], "COMPLETED");
        assert_eq!(cancelled.details(Timestamp(60_000))["runs"][1]["status"], "CANCELLED");
        assert!(batches.cancel(&id, Timestamp(11_000)).is_err());
        assert_eq!(batches.times("CancelAHORunBatch", &id), 1);
    }

    #[test]
    fn a_running_batch_cannot_be_deleted_and_a_deleted_one_is_gone() {
        let mut batches = Batches::default();
        let id = batches.start(plan(), Timestamp(0)).id.clone();
        assert!(batches.delete(&id, Timestamp(1)).is_err());
        batches.delete(&id, Timestamp(20_000)).expect("it has ended");
        assert!(batches.get(&id).expect_err("gone").contains("ListAHORunBatches"));
    }
}
