//! The promises, asserted on the ledger, the upstream's file and what the outside world was told.

use std::collections::{BTreeMap, HashMap};

use countersign::{ledger::export::Line, store::sqlite::ReadOnly};
use serde_json::Value;

use super::{broker::Broker, claims::Claims};

const SETTLED: [&str; 6] = ["completed", "failed", "lost", "denied", "expired", "cancelled"];

/// One event of a call, as it stands on the ledger.
pub struct Told {
    pub number: u64,
    pub fact: Value,
}

impl Told {
    pub fn name(&self) -> &str {
        self.fact["event"].as_str().unwrap_or_default()
    }
}

/// The life of one call, from the ledger alone.
#[derive(Default)]
pub struct Life {
    pub marker: String,
    pub events: Vec<Told>,
}

impl Life {
    fn first(&self, names: &[&str]) -> Option<&Told> {
        self.events.iter().find(|told| names.contains(&told.name()))
    }

    pub fn has(&self, name: &str) -> bool {
        self.first(&[name]).is_some()
    }

    pub fn settled(&self) -> Option<&Told> {
        self.first(&SETTLED)
    }

    pub fn is_under_way(&self) -> bool {
        self.has("dispatched") && self.settled().is_none()
    }

    /// When it expires, while nobody has decided.
    pub fn expires_at(&self) -> Option<&str> {
        let undecided = self.settled().is_none() && !self.has("permitted") && !self.has("dispatched");
        let last = self.events.iter().filter_map(|told| told.fact["expires_at"].as_str()).next_back();
        last.filter(|_| undecided)
    }
}

/// Every reviewed call by its id.
pub type Lives = BTreeMap<String, Life>;

/// Reads the whole ledger, of a dead broker or beside a running one.
pub fn read(broker: &Broker) -> Lives {
    let mut lives = Lives::new();
    let store = ReadOnly::open(&broker.store()).unwrap();
    let exported = store.export(true, |line| {
        take(Line::read(line).unwrap(), &mut lives);
        Ok(())
    });
    exported.unwrap();
    lives
}

fn take(line: Line, lives: &mut Lives) {
    match line {
        Line::Entry(entry) => {
            let mut entry: Value = serde_json::from_slice(&entry).unwrap();
            let Some(call) = entry["call"].as_str().map(str::to_owned) else { return };
            let told = Told { number: entry["n"].as_u64().unwrap(), fact: entry["fact"].take() };
            lives.entry(call).or_default().events.push(told);
        }
        Line::Payload { call, bytes, .. } => {
            let message: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            if let Some(marker) = message["params"]["arguments"]["marker"].as_str() {
                lives.entry(call.to_string()).or_default().marker = marker.into();
            }
        }
        Line::Head(_) | Line::Leaf(_) => {}
    }
}

/// Everything that must hold at any moment; what does not, in words.
pub fn broken_promises(lives: &Lives, reached: &[String], claims: &Claims) -> Vec<String> {
    let mut broken = Vec::new();
    for (id, life) in lives {
        order_of(id, life, &mut broken);
    }
    against_upstream(lives, reached, &mut broken);
    against_people(lives, claims, &mut broken);
    against_agents(lives, reached, claims, &mut broken);
    broken
}

/// Sent once at most, and never after the call was settled.
fn order_of(id: &str, life: &Life, broken: &mut Vec<String>) {
    let sent: Vec<_> = life.events.iter().filter(|told| told.name() == "dispatched").collect();
    if sent.len() > 1 {
        broken.push(format!("{id} was dispatched {} times", sent.len()));
    }
    let (Some(settled), Some(sent)) = (life.settled(), sent.first()) else { return };
    if settled.number < sent.number {
        broken.push(format!("{id} was dispatched after it was {}", settled.name()));
    }
}

/// Each record upstream has its own durable `dispatched`; a repeat does not run what runs or ran.
fn against_upstream(lives: &Lives, reached: &[String], broken: &mut Vec<String>) {
    let mut dispatched: HashMap<&str, Vec<&Life>> = HashMap::new();
    let mut looked: HashMap<&str, usize> = HashMap::new();
    for life in lives.values().filter(|life| life.has("dispatched")) {
        dispatched.entry(&life.marker).or_default().push(life);
    }
    for marker in reached {
        *looked.entry(marker).or_default() += 1;
    }
    for (marker, times) in looked {
        let known = dispatched.get(marker).map_or(0, Vec::len);
        let reviewed = lives.values().any(|life| life.marker == marker);
        // An allowed call may be behind the disk: only that it ran once can be asked of it.
        if times > if reviewed { known } else { 1 } {
            broken.push(format!("{marker} reached the server {times} times, {known} dispatches are known"));
        }
    }
    for (marker, lives) in dispatched {
        for pair in lives.windows(2) {
            if !may_follow(pair[0], pair[1]) {
                broken.push(format!("{marker} was sent again by a repeat that should have joined"));
            }
        }
    }
}

/// A second call of the same content is right beside a waiting one, and after an answer that was had.
fn may_follow(before: &Life, after: &Life) -> bool {
    let Some(submitted) = after.first(&["submitted"]) else { return false };
    let is_twin = submitted.fact["request"].get("twin").is_some_and(|twin| !twin.is_null());
    let had = before.first(&["delivered"]).is_some_and(|told| told.number < submitted.number);
    is_twin || had
}

/// No acknowledged vote, cancellation or extension is lost.
fn against_people(lives: &Lives, claims: &Claims, broken: &mut Vec<String>) {
    for kept in claims.kept() {
        let by = |fact: &Value| {
            let person = [&fact["review"]["reviewer"], &fact["by"]["person"], &fact["by"], &fact["reviewer"]];
            person.iter().any(|person| person["name"] == *kept.by)
        };
        let is_it = |told: &&Told| {
            let vote = kept.vote.is_none_or(|vote| told.fact["review"]["vote"] == vote);
            told.name() == kept.event && vote && by(&told.fact)
        };
        let found = lives.get(&kept.call).is_some_and(|life| life.events.iter().any(|told| is_it(&told)));
        if !found {
            broken.push(format!("acknowledged, and not on the ledger: {kept:?}"));
        }
    }
}

/// What an agent was told is how its call ended.
fn against_agents(lives: &Lives, reached: &[String], claims: &Claims, broken: &mut Vec<String>) {
    for told in claims.told() {
        let of_marker = |life: &&Life| life.marker == told.marker;
        let holds = match (&told.call, told.state.as_str()) {
            (Some(call), state) => lives.get(call).is_some_and(|life| life.has(state)),
            (None, "completed") if reached.contains(&told.marker) => {
                let mut of_it = lives.values().filter(of_marker).peekable();
                of_it.peek().is_none() || of_it.any(|life| life.has("completed"))
            }
            (None, _) => false,
        };
        if !holds {
            broken.push(format!("an agent was told what is not so: {told:?}"));
        }
    }
}
