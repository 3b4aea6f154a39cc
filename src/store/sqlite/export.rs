//! Reading the whole ledger, beside a running broker or without one: export, and verification in place.

use std::{io, path::Path, sync::Arc};

use ed25519_dalek::VerifyingKey;
use rusqlite::Connection;

use super::{
    audit, files,
    reader::{self, Read, Readers, Unread},
    schema,
};
use crate::{
    call::{Commitment, Event},
    ledger::{
        BrokerEvent, Entry, Fact, Head, Malformed, Report, Stream, Verifier, commitment, commitments,
        export::Line, read_fact,
    },
    store::{Payload, PayloadKind, StoreError},
};

/// A store's history for whoever may only look. Its methods block.
#[derive(Debug)]
pub struct ReadOnly(Arc<Readers>);

impl ReadOnly {
    /// Takes no lock: a broker may be running, and what it commits meanwhile is not seen by one export.
    ///
    /// # Errors
    /// `Damaged` or `Unavailable` when there is no store to read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        if !path.is_file() {
            return Err(StoreError::Unavailable(format!("there is no store at {}", path.display())));
        }
        let readers = Readers::new(path);
        readers.run(|connection| Ok(schema::check(connection)))??;
        Ok(Self::new(Arc::new(readers)))
    }

    pub(super) fn new(readers: Arc<Readers>) -> Self {
        Self(readers)
    }

    /// Hands each line of the export to `sink`, without a line feed. Payloads and the single allowed
    /// calls only when asked for: they hold what agents and people wrote.
    ///
    /// # Errors
    /// What reading or the sink failed with.
    pub fn export(
        &self,
        payloads: bool,
        mut sink: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), StoreError> {
        self.0.run(|connection| {
            let moment = connection.unchecked_transaction()?;
            walk(&moment, payloads, &mut |line| {
                let line = line.write().map_err(|Malformed(why)| Unread::Content(why))?;
                sink(&line).map_err(|error| Unread::Sink(error.to_string()))
            })
        })
    }

    /// Proves the ledger as it lies in the file: as an export of it, with payloads, would be proven; then
    /// the rows beside the entries.
    ///
    /// # Errors
    /// What reading failed with; what was found to be changed is in the report.
    pub fn verify(&self, key: Option<VerifyingKey>, since: Option<Head>) -> Result<Report, StoreError> {
        self.0.run(|connection| {
            let moment = connection.unchecked_transaction()?;
            audit::verify(&moment, Verifier::new(key, since))
        })
    }

    /// These streams and these spaces of small values, all of one moment, in the order asked for.
    ///
    /// # Errors
    /// As every read; `Damaged` for a stream that was changed.
    pub fn together(&self, streams: &[Stream], spaces: &[&str]) -> Result<Together, StoreError> {
        self.0.run(|connection| {
            let moment = connection.unchecked_transaction()?;
            let streams =
                streams.iter().map(|stream| reader::stream(&moment, stream)).collect::<Read<_>>()?;
            let spaces = spaces.iter().map(|space| reader::list(&moment, space)).collect::<Read<_>>()?;
            Ok((streams, spaces))
        })
    }

    /// The head in the file beside the store, which an older copy of the store does not have; `None` where
    /// there is none.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn kept_head(&self) -> Result<Option<String>, StoreError> {
        files::kept_head(self.0.path())
    }

    /// The last signed head in the file.
    ///
    /// # Errors
    /// As every read.
    pub fn signed_head(&self) -> Result<Option<String>, StoreError> {
        let head = self.0.run(|connection| Ok(reader::last_head(connection)))??;
        Ok(head.map(|(_, note)| note))
    }
}

/// Entries of streams, and keys and values of spaces.
pub type Together = (Vec<Vec<Entry>>, Vec<Vec<(String, Vec<u8>)>>);

type Sink<'a> = &'a mut dyn FnMut(Line) -> Read<()>;

/// `moment` is a transaction: all of it is of one moment.
fn walk(moment: &Connection, payloads: bool, sink: Sink<'_>) -> Read<()> {
    let mut entries = moment.prepare("SELECT number, bytes, version FROM entries ORDER BY number")?;
    let mut heads = moment.prepare("SELECT size, note FROM heads ORDER BY size")?;
    let mut heads = heads.query_map([], |row| Ok((row.get::<_, u64>(0)?, row.get::<_, String>(1)?)))?;
    let mut head = heads.next().transpose()?;
    let mut rows = entries.query([])?;
    while let Some(row) = rows.next()? {
        let number: u64 = row.get(0)?;
        let bytes: Vec<u8> = row.get(1)?;
        let version = u64::try_from(row.get::<_, i64>(2)?).unwrap_or_default();
        let beside = if payloads { beside(moment, number, version, &bytes)? } else { Vec::new() };
        sink(Line::Entry(bytes))?;
        beside.into_iter().try_for_each(&mut *sink)?;
        while let Some((_, note)) = head.take_if(|(size, _)| *size <= number) {
            sink(Line::Head(note))?;
            head = heads.next().transpose()?;
        }
    }
    // A head of more entries than there are is what shows that some were cut off.
    while let Some((_, note)) = head {
        sink(Line::Head(note))?;
        head = heads.next().transpose()?;
    }
    Ok(())
}

/// What lies beside this entry. Bytes that are no entry have nothing beside them; the verifier names them.
fn beside(connection: &Connection, number: u64, version: u64, bytes: &[u8]) -> Read<Vec<Line>> {
    let Ok((stream, fact)) = read_fact(bytes) else { return Ok(Vec::new()) };
    if let (Stream::Call(call), Fact::Call(event)) = (&stream, &fact) {
        let proofs = commitments(event);
        if proofs.is_empty() {
            return Ok(Vec::new());
        }
        let payloads = reader::payloads(connection, *call)?;
        let lines = proofs.iter().filter_map(|proof| behind(*proof, place(event, version), &payloads));
        return Ok(lines.collect());
    }
    if let Fact::Broker(BrokerEvent::AllowedCalls(segment)) = &fact {
        return Ok(reader::leaves(connection, number, segment.count)?.into_iter().map(Line::Leaf).collect());
    }
    Ok(Vec::new())
}

/// The payload that the proof is of. What lies in its place instead comes too: a reader of the export
/// must see that it is another.
fn behind(proof: Commitment, place: (PayloadKind, u64), payloads: &[Payload]) -> Option<Line> {
    let proven = payloads.iter().find(|payload| commitment(&payload.salt, &payload.bytes) == proof);
    let payload = proven.or_else(|| payloads.iter().find(|payload| (payload.kind, payload.part) == place))?;
    Some(Line::Payload { call: payload.call, salt: payload.salt, bytes: payload.bytes.clone() })
}

/// Where the payload of an event lies.
pub(super) fn place(event: &Event, version: u64) -> (PayloadKind, u64) {
    match event {
        Event::Submitted { .. } => (PayloadKind::Params, 0),
        Event::Completed { .. } | Event::LateAnswer { .. } => (PayloadKind::Answer, 0),
        Event::Denied { .. } | Event::Cancelled { .. } => (PayloadKind::Text, 0),
        Event::Attached { .. }
        | Event::Detached { .. }
        | Event::Voted { .. }
        | Event::VoteWithdrawn { .. }
        | Event::Extended { .. }
        | Event::Reparked { .. }
        | Event::Permitted { .. }
        | Event::Dispatched { .. }
        | Event::Failed { .. }
        | Event::Lost { .. }
        | Event::Expired { .. }
        | Event::Delivered { .. }
        | Event::Resolved { .. }
        | Event::Lifted { .. } => (PayloadKind::Text, version),
    }
}
