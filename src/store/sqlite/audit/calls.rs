//! Calls, folded entry by entry, against their rows: snapshot, lists, votes, payloads.

use std::collections::{HashMap, HashSet};

use rusqlite::{Connection, OptionalExtension as _};

use crate::{
    call::{Call, CallId, Commitment, Event, evolve},
    ledger::{Bad, Place, Verifier, commitment, commitments},
    store::{
        PayloadKind,
        sqlite::{
            export::place as place_of,
            projection::state_number,
            query::has_voted,
            reader::{self, Read},
        },
    },
};

/// Every call whose last entry has not passed. A row says how many entries its call has, so nothing is
/// kept of a call longer than from its first entry to its last.
pub struct Calls<'a> {
    moment: &'a Connection,
    open: HashMap<CallId, Open>,
    shapes: HashMap<i64, Shape>,
    /// How many rows of each table the entries account for.
    pub rows: u64,
    pub votes: u64,
    pub payloads: u64,
}

struct Shape {
    /// Server, tool, agent.
    names: [String; 3],
    used: bool,
}

struct Open {
    /// Number of its entry that came last.
    number: u64,
    call: Option<Call>,
    row: Row,
    voters: HashSet<String>,
    /// What lies beside, by its proof; read when the first entry proves something.
    payloads: Option<Vec<Beside>>,
}

struct Row {
    version: u64,
    state: i64,
    shape: i64,
    requested_at: i64,
    deadline: Option<i64>,
    short_code: String,
    snapshot: Vec<u8>,
}

struct Beside {
    kind: PayloadKind,
    part: u64,
    proof: Commitment,
    claimed: bool,
}

const ANOTHER: &str = "the entries say something else than the row";

impl<'a> Calls<'a> {
    pub fn new(moment: &'a Connection) -> Read<Self> {
        let mut shapes = moment.prepare("SELECT shape, server, tool, agent FROM shapes")?;
        let shapes = shapes.query_map([], |row| {
            let names = [row.get(1)?, row.get(2)?, row.get(3)?];
            Ok((row.get(0)?, Shape { names, used: false }))
        })?;
        let shapes = shapes.collect::<rusqlite::Result<_>>()?;
        Ok(Self { moment, open: HashMap::new(), shapes, rows: 0, votes: 0, payloads: 0 })
    }

    /// The call's next entry. Answers what beside it is not as the entries make it.
    pub fn take(
        &mut self,
        id: CallId,
        event: &Event,
        place: &Place,
        verifier: &mut Verifier,
    ) -> Read<Option<&'static str>> {
        let open = match self.open.remove(&id) {
            Some(open) => open,
            None if place.version == 1 => match row(self.moment, id)? {
                Some(row) => {
                    self.rows += 1;
                    Open { number: 0, call: None, row, voters: HashSet::new(), payloads: None }
                }
                None => return Ok(Some("there is no row")),
            },
            None => return Ok(Some(ANOTHER)),
        };
        self.fold(id, open, event, place, verifier)
    }

    fn fold(
        &mut self,
        id: CallId,
        mut open: Open,
        event: &Event,
        place: &Place,
        verifier: &mut Verifier,
    ) -> Read<Option<&'static str>> {
        open.number = place.number;
        let Some(call) = evolve(id, open.call.take(), event, place.at) else { return Ok(Some(ANOTHER)) };
        for proof in commitments(event) {
            self.claim(id, &mut open, proof, place_of(event, place.version), verifier)?;
        }
        if let Event::Voted { review } = event
            && open.voters.insert(review.reviewer.name.clone())
        {
            if !has_voted(self.moment, &review.reviewer.name, id)? {
                return Ok(Some("the vote is not among the reviewer's"));
            }
            self.votes += 1;
        }
        if call.version < open.row.version {
            open.call = Some(call);
            self.open.insert(id, open);
            return Ok(None);
        }
        Ok(self.compare(&call, &open.row).or_else(|| {
            let payloads = open.payloads.unwrap_or_default();
            let spare = payloads.iter().any(|payload| !payload.claimed);
            spare.then_some("no entry proves one of the payloads")
        }))
    }

    /// What an entry proves must be what lies beside. What lies in its place instead is shown too.
    fn claim(
        &mut self,
        id: CallId,
        open: &mut Open,
        proof: Commitment,
        place: (PayloadKind, u64),
        verifier: &mut Verifier,
    ) -> Read<()> {
        let payloads = match &mut open.payloads {
            Some(payloads) => payloads,
            none => none.insert(beside(self.moment, id)?),
        };
        let mut proven = payloads.iter_mut().filter(|payload| payload.proof == proof).peekable();
        if proven.peek().is_some() {
            verifier.payload(id, proof);
            // The same words may lie there twice: a denying vote and the denial have one proof.
            for payload in proven {
                self.payloads += u64::from(!payload.claimed);
                payload.claimed = true;
            }
        } else if let Some(other) = payloads.iter().find(|other| (other.kind, other.part) == place) {
            verifier.payload(id, other.proof);
        }
        Ok(())
    }

    fn compare(&mut self, call: &Call, row: &Row) -> Option<&'static str> {
        // Most rows were written by this version: the same call has the same bytes.
        let same_bytes = serde_json::to_vec(call).is_ok_and(|bytes| bytes == row.snapshot);
        if !same_bytes && serde_json::from_slice::<Call>(&row.snapshot).ok().as_ref() != Some(call) {
            return Some(ANOTHER);
        }
        let request = &call.request;
        let shape = self.shapes.get_mut(&row.shape).filter(|shape| {
            shape.names.each_ref().map(String::as_str) == [&*request.server, &request.tool, &request.agent]
        });
        let listed = (row.state, row.requested_at, row.short_code.as_str());
        let due = row.deadline.is_some() && call.state.is_settled();
        let is_listed =
            listed == (state_number(call.state.name()), call.requested_at.0, &*call.digest.short_code());
        let Some(shape) = shape.filter(|_| is_listed && !due) else {
            return Some("the entries say something else than the lists");
        };
        shape.used = true;
        None
    }

    /// Rows that say more than all entries.
    pub fn unfinished(&self) -> Option<Bad> {
        let (id, open) = self.open.iter().min_by_key(|(_, open)| open.number)?;
        Some(Bad { number: open.number, why: format!("{ANOTHER} of its call {id}") })
    }

    /// Names that no call has.
    pub fn unused_shapes(&self) -> usize {
        self.shapes.values().filter(|shape| !shape.used).count()
    }
}

fn row(moment: &Connection, id: CallId) -> Read<Option<Row>> {
    #[derive(serde::Deserialize)]
    struct Version {
        version: u64,
    }
    let row = moment
        .prepare_cached(
            "SELECT state, shape, requested_at, deadline, short_code, snapshot FROM calls WHERE id = ?1",
        )?
        .query_row([id.0.as_bytes()], |row| {
            let snapshot: Vec<u8> = row.get(5)?;
            // A snapshot that is none ends the call here, where it is found to be another.
            let version = serde_json::from_slice::<Version>(&snapshot).map_or(0, |read| read.version);
            Ok(Row {
                version,
                state: row.get(0)?,
                shape: row.get(1)?,
                requested_at: row.get(2)?,
                deadline: row.get(3)?,
                short_code: row.get(4)?,
                snapshot,
            })
        })
        .optional()?;
    Ok(row)
}

fn beside(moment: &Connection, id: CallId) -> Read<Vec<Beside>> {
    let payloads = reader::payloads(moment, id)?.into_iter();
    let beside = payloads.map(|payload| Beside {
        kind: payload.kind,
        part: payload.part,
        proof: commitment(&payload.salt, &payload.bytes),
        claimed: false,
    });
    Ok(beside.collect())
}
