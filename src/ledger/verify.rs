//! Offline proof of an export: with a public key and nothing else.
//!
//! Entries are read once, in order. Where a link of the chain is broken, what follows says on which side:
//! an entry that a later one (or a signed head) confirms is whole, so the other was changed.

use std::collections::HashMap;

use ed25519_dalek::VerifyingKey;

use super::{
    BrokerEvent, Fact, Head, Malformed, Seen, Segment, Stream, ZERO, commitment, commitments, export::Line,
    seen::Place, segment::root_text,
};
use crate::call::{CallId, Commitment};

/// What was found, and what was not looked at.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Entries read, up to the first bad one.
    pub entries: u64,
    /// Signed heads that hold.
    pub heads: u64,
    /// Number of the last entry under a signed head that holds.
    pub proven: u64,
    pub payloads: u64,
    pub leaves: u64,
    pub bad: Option<Bad>,
    /// What this run could not prove, one sentence each.
    pub unproven: Vec<String>,
}

/// The first entry that is not as it was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bad {
    pub number: u64,
    pub why: String,
}

/// Takes lines one by one; after the first bad entry it takes no more.
#[derive(Debug)]
pub struct Verifier {
    key: Option<VerifyingKey>,
    since: Option<Head>,
    report: Report,
    head: [u8; 32],
    versions: HashMap<Stream, u64>,
    /// The link between this entry and the next does not hold, and it is not clear yet which was changed.
    suspect: Option<u64>,
    /// What the last entry proves and has not come yet, and of which call.
    owed: Option<(CallId, Vec<Commitment>)>,
    missing_payloads: u64,
    /// The segment whose leaves come now, and those that came.
    segment: Option<(Segment, Vec<String>)>,
    segments_without_leaves: u64,
    signed_elsewhere: u64,
}

impl Verifier {
    /// Without a key, signatures are not checked. `since`: a head that somebody kept.
    #[must_use]
    pub fn new(key: Option<VerifyingKey>, since: Option<Head>) -> Self {
        Self {
            key,
            since,
            report: Report::default(),
            head: ZERO,
            versions: HashMap::new(),
            suspect: None,
            owed: None,
            missing_payloads: 0,
            segment: None,
            segments_without_leaves: 0,
            signed_elsewhere: 0,
        }
    }

    /// One line of an export, without its line feed.
    pub fn line(&mut self, line: &[u8]) {
        match Line::read(line) {
            Ok(line) => self.take(line),
            Err(Malformed(why)) => self.behind(&format!("a line behind it cannot be read: {why}")),
        }
    }

    /// The same, for whoever has the line unwritten.
    pub fn take(&mut self, line: Line) {
        if self.is_bad() {
            return;
        }
        match line {
            Line::Entry(bytes) => self.seen(&Seen::of(&bytes)),
            Line::Head(note) => self.head(&note),
            Line::Leaf(leaf) => self.leaf(leaf),
            Line::Payload { call, salt, bytes } => self.payload(call, commitment(&salt, &bytes)),
        }
    }

    /// What whoever holds more than an export found to be changed, beside the entry with this number.
    pub fn found(&mut self, Bad { number, why }: Bad) {
        self.bad(number, why);
    }

    /// Has anything been found that is not as it was written?
    #[must_use]
    pub fn is_bad(&self) -> bool {
        self.report.bad.is_some()
    }

    /// After the last line.
    #[must_use]
    pub fn finish(mut self) -> Report {
        self.end_segment();
        self.end_payloads();
        if let Some(suspect) = self.suspect {
            self.bad(suspect, format!("its hash is not what entry {} says", suspect + 1));
        }
        let size = self.report.entries;
        if let Some(since) = self.since.take().filter(|since| since.size > size) {
            self.bad(size + 1, format!("cut off: the head that was kept says {} entries", since.size));
        } else if self.report.bad.is_none() {
            self.say_what_is_not_proven(size);
        }
        self.report
    }

    fn say_what_is_not_proven(&mut self, size: u64) {
        let Report { proven, unproven, heads, .. } = &mut self.report;
        if self.key.is_none() {
            unproven
                .push("who wrote it: without the public key (--key) no signature could be checked".into());
        } else if *heads == 0 && size > 0 {
            unproven.push(format!(
                "who wrote entries 1 to {size}: no signed head is here, so anyone may have written them"
            ));
        } else if *proven < size {
            let from = *proven + 1;
            unproven.push(format!("who wrote entries {from} to {size}: they are under no signed head yet"));
        }
        if self.segments_without_leaves > 0 {
            let many = self.segments_without_leaves;
            unproven.push(format!(
                "what {many} of the batches of allowed calls held: their calls were not kept, or not exported"
            ));
        }
        if self.missing_payloads > 0 {
            let many = self.missing_payloads;
            unproven.push(format!(
                "what {many} of the texts said (arguments, answers, reasons): erased, never kept, or not exported"
            ));
        }
        if self.signed_elsewhere > 0 {
            let many = self.signed_elsewhere;
            unproven.push(format!(
                "what {many} of the signed heads sign: they stand behind another entry than theirs"
            ));
        }
        unproven.push(format!(
            "that entry {size} was the last: a head that `audit checkpoint` gave, and that was kept elsewhere, shows \
             with --since what was cut off after it"
        ));
    }

    /// The next entry, read already; in order.
    pub fn seen(&mut self, seen: &Seen) {
        self.end_segment();
        self.end_payloads();
        if self.is_bad() {
            return;
        }
        let number = self.report.entries + 1;
        let place = match &seen.place {
            Ok(place) => place,
            Err(Malformed(why)) => return self.bad(self.suspect.unwrap_or(number), why.clone()),
        };
        if place.number != number {
            let why = format!("it is missing: number {} stands in its place", place.number);
            return self.bad(self.suspect.unwrap_or(number), why);
        }
        if let Some(suspect) = self.suspect {
            return self.settle(suspect, place.prev == self.head);
        }
        let version = self.versions.entry(place.stream.clone()).or_default();
        if place.prev != self.head {
            if number == 1 {
                return self.bad(1, "it is not the first entry of a chain".into());
            }
            self.suspect = Some(number - 1);
        } else if place.version != *version + 1 {
            let why = format!("its stream goes from version {version} to {}", place.version);
            return self.bad(number, why);
        }
        *version = place.version;
        self.report.entries = number;
        self.head = seen.hash;
        self.expect_beside(place);
        self.compare_with_kept_head();
    }

    /// The link between `suspect` and the entry after it is broken. Is that later entry confirmed?
    fn settle(&mut self, suspect: u64, later_is_whole: bool) {
        if later_is_whole {
            self.bad(suspect, format!("its hash is not what entry {} says", suspect + 1));
        } else {
            self.bad(suspect + 1, format!("it does not follow entry {suspect}"));
        }
    }

    fn compare_with_kept_head(&mut self) {
        let size = self.report.entries;
        let Some(since) = self.since.as_ref().filter(|since| since.size == size) else { return };
        let holds = since.hash == self.head;
        if let Some(suspect) = self.suspect {
            self.settle(suspect, holds);
        } else if !holds {
            self.rewritten(size, "the head that was kept");
        }
    }

    fn head(&mut self, note: &str) {
        let size = self.report.entries;
        let Some(key) = &self.key else { return };
        let head = match Head::open(note, key) {
            Ok(head) => head,
            Err(error) => return self.behind(&format!("the head behind it does not hold: {error}")),
        };
        if head.size > size {
            return self.bad(size + 1, format!("it is missing: a signed head says {} entries", head.size));
        }
        if head.size < size {
            self.signed_elsewhere += 1;
            return;
        }
        let holds = head.hash == self.head;
        if let Some(suspect) = self.suspect {
            self.settle(suspect, holds);
        } else if holds {
            self.report.heads += 1;
            self.report.proven = size;
        } else {
            self.rewritten(size, "the signed head behind it");
        }
    }

    /// The chain is whole in itself and leads elsewhere: its last entry was changed, or it was written
    /// anew from an entry before.
    fn rewritten(&mut self, size: u64, witness: &str) {
        let proven = self.report.proven;
        let from = if proven + 1 < size {
            format!("; entries from {} on may be others", proven + 1)
        } else {
            String::new()
        };
        self.bad(size, format!("{witness} says another hash{from}"));
    }

    /// What may stand behind this entry.
    fn expect_beside(&mut self, place: &Place) {
        match (&place.stream, &place.fact) {
            (Stream::Call(call), Ok(Fact::Call(event))) => {
                let owed = commitments(event);
                self.owed = (!owed.is_empty()).then_some((*call, owed));
            }
            (_, Ok(Fact::Broker(BrokerEvent::AllowedCalls(segment)))) => {
                self.segment = Some((segment.clone(), Vec::new()));
            }
            _ => {}
        }
    }

    /// A payload behind the last entry, by its proof.
    pub fn payload(&mut self, of: CallId, proof: Commitment) {
        let owed = self.owed.as_mut().filter(|(call, _)| *call == of).map(|(_, owed)| owed);
        let place = owed.as_ref().and_then(|owed| owed.iter().position(|other| *other == proof));
        if let (Some(owed), Some(place)) = (owed, place) {
            owed.swap_remove(place);
            self.report.payloads += 1;
        } else {
            self.behind("a payload behind it is not the one that it proves");
        }
    }

    fn end_payloads(&mut self) {
        let missing = self.owed.take().map_or(0, |(_, owed)| owed.len());
        self.missing_payloads += missing as u64;
    }

    fn leaf(&mut self, leaf: String) {
        match &mut self.segment {
            Some((_, leaves)) => leaves.push(leaf),
            None => self.behind("a call stands behind it that no batch has"),
        }
    }

    /// All leaves of the batch are here, or none.
    fn end_segment(&mut self) {
        let Some((segment, leaves)) = self.segment.take() else { return };
        if leaves.is_empty() && segment.count > 0 {
            self.segments_without_leaves += 1;
        } else if leaves.len() == segment.count as usize && root_text(&leaves) == segment.root {
            self.report.leaves += leaves.len() as u64;
        } else if !self.is_bad() {
            self.behind("the calls behind it are not those that it proves");
        }
    }

    /// What stands behind the last entry is not what it should be.
    fn behind(&mut self, why: &str) {
        self.bad(self.report.entries.max(1), why.into());
    }

    /// Only the first counts.
    fn bad(&mut self, number: u64, why: String) {
        self.report.bad.get_or_insert(Bad { number, why });
    }
}
