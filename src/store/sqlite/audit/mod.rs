//! Proof of a whole store in one walk over its entries: the chain, and every row that follows from it.
//!
//! One thread reads and compares, because all it sees must be of one moment; the bytes are hashed and
//! parsed by a crew beside it. What is kept of a call goes when its last entry has passed.

mod calls;
mod crew;
mod rest;

use rusqlite::Connection;

use self::{calls::Calls, crew::Checked, rest::Rest};
use super::reader::{self, Read};
use crate::ledger::{Bad, BrokerEvent, Fact, Report, Stream, Verifier, export::Line};

/// `moment` is a transaction: all of it is of one moment.
pub fn verify(moment: &Connection, mut verifier: Verifier) -> Read<Report> {
    let mut rows = Rows { moment, calls: Calls::new(moment)?, rest: Rest::default(), bad: None };
    let mut heads = heads(moment)?.into_iter().peekable();
    crew::each_entry(moment, |entry| {
        verifier.seen(&entry.seen);
        rows.take(entry, &mut verifier)?;
        while let Some((_, note)) = heads.next_if(|(size, _)| *size <= entry.number) {
            verifier.take(Line::Head(note));
        }
        Ok(!verifier.is_bad())
    })?;
    // A head of more entries than there are is what shows that some were cut off.
    heads.for_each(|(_, note)| verifier.take(Line::Head(note)));
    if !verifier.is_bad()
        && let Some(bad) = rows.finish()?
    {
        verifier.found(bad);
    }
    Ok(verifier.finish())
}

/// One a second at most: few beside the entries.
fn heads(moment: &Connection) -> Read<Vec<(u64, String)>> {
    let mut heads = moment.prepare("SELECT size, note FROM heads ORDER BY size")?;
    let heads = heads.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(heads.collect::<rusqlite::Result<_>>()?)
}

/// The rows beside the entries. The chain proves the bytes only; what is read every day are these.
struct Rows<'a> {
    moment: &'a Connection,
    calls: Calls<'a>,
    rest: Rest,
    /// The first row that says something else than the entries.
    bad: Option<Bad>,
}

impl Rows<'_> {
    /// What lies beside this entry, for the verifier too.
    fn take(&mut self, entry: &Checked, verifier: &mut Verifier) -> Read<()> {
        let Ok(place) = &entry.seen.place else { return Ok(()) };
        if let Some(column) = entry.changed {
            self.found(entry.number, format!("the {column} that stands beside it is another"));
        }
        match (&place.stream, &place.fact) {
            (Stream::Call(id), Ok(Fact::Call(event))) => {
                let why = self.calls.take(*id, event, place, verifier)?;
                if let Some(why) = why {
                    self.found(entry.number, format!("{why} of its call {id}"));
                }
            }
            (Stream::Call(id), _) => {
                self.found(
                    entry.number,
                    format!("the entries say something else than the row of its call {id}"),
                );
            }
            (_, Ok(Fact::Broker(event))) => {
                self.rest.boot(entry.number, event);
                if let BrokerEvent::AllowedCalls(segment) = event {
                    let leaves = reader::leaves(self.moment, entry.number, segment.count)?;
                    self.rest.segments += u64::from(!leaves.is_empty());
                    for leaf in leaves {
                        verifier.take(Line::Leaf(leaf));
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn found(&mut self, number: u64, why: String) {
        self.bad.get_or_insert(Bad { number, why });
    }

    /// After the last entry: the rows that no entry asked for.
    fn finish(self) -> Read<Option<Bad>> {
        if self.bad.is_some() {
            return Ok(self.bad);
        }
        if let Some(bad) = self.calls.unfinished() {
            return Ok(Some(bad));
        }
        self.rest.finish(self.moment, &self.calls)
    }
}
