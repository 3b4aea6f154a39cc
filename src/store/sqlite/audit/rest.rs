//! What is left when all entries have passed: rows that none of them asked for, and which boot this is.

use rusqlite::Connection;

use super::calls::Calls;
use crate::{
    ledger::{Bad, BrokerEvent},
    store::{
        Boot,
        sqlite::{
            projection::boot_of,
            reader::{self, Read},
        },
    },
};

#[derive(Default)]
pub struct Rest {
    /// The last that the ledger says, with the entry that says it.
    boot: Option<(u64, Boot)>,
    /// Batches of allowed calls whose rows an entry asked for.
    pub segments: u64,
}

impl Rest {
    pub fn boot(&mut self, number: u64, event: &BrokerEvent) {
        if let Some(boot) = boot_of(event) {
            self.boot = Some((number, boot));
        }
    }

    /// The first table that holds more than the entries account for.
    pub fn finish(self, moment: &Connection, calls: &Calls<'_>) -> Read<Option<Bad>> {
        let last: u64 =
            moment.query_row("SELECT ifnull(max(number), 1) FROM entries", [], |row| row.get(0))?;
        let said = self.boot.map(|(_, boot)| boot);
        // A row that cannot be read is another, too.
        if reader::boot(moment).ok() != Some(said) {
            let number = self.boot.map_or(last, |(number, _)| number);
            return Ok(Some(Bad { number, why: "the row of the last boot says something else".into() }));
        }
        let (rows, payloads) = (("calls", calls.rows), ("payloads", calls.payloads));
        for (table, known) in [rows, payloads, ("votes", calls.votes), ("segments", self.segments)] {
            let many: u64 =
                moment.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))?;
            if many > known {
                let why = format!(
                    "{} rows of {table} stand beside the audit log and belong to no entry",
                    many - known
                );
                return Ok(Some(Bad { number: last, why }));
            }
        }
        let unused = calls.unused_shapes();
        Ok((unused > 0).then(|| Bad {
            number: last,
            why: format!("{unused} rows of shapes stand beside the audit log and belong to no call"),
        }))
    }
}
