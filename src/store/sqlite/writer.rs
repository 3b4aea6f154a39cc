//! The one thread that writes. It takes everything that waits, commits it as one transaction, and answers
//! after the commit: many callers share one `fsync`.
//!
//! Measured before it was chosen (parked calls appended in batches of 1, 16 and 64, on 2 cores): the same
//! writer on sqlx 0.9.0 does 2.0, 3.0 and 3.4 times fewer appends per second (2,200, 5,000 and 5,600 against
//! 4,200, 15,100 and 19,300) for 2.2 to 3.9 times the CPU of each (145 µs against 38 µs in batches of 64): each
//! statement crosses to a thread of its own and back. So rusqlite, on one thread of ours.
//!
//! The first write that fails closes the store for good: after a failed `fsync` nobody knows what is on
//! the disk, and trying again would only hide it.

use std::{
    collections::HashMap,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use rusqlite::{Connection, TransactionBehavior, params};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::{Shared, prints::Prints, projection, projection::stream_key};
use crate::{
    call::{Event, Timestamp},
    ledger::{Chain, Entry, Fact, Malformed, Stream},
    store::{Batch, Put, StoreError, Write},
};

/// How many jobs share one commit, so that the first of them does not wait for ever.
const JOBS_PER_COMMIT: usize = 512;
/// Streams whose version is remembered; the rest are read from the index.
const REMEMBERED: usize = 16_384;

/// What somebody wants written, with the place in the queue that it holds until it is answered.
pub struct Job {
    pub batch: Batch,
    /// Packed leaves of the segment entry that `batch` appends.
    pub leaves: Option<Vec<u8>>,
    pub answer: oneshot::Sender<Result<Vec<Entry>, StoreError>>,
    pub place: OwnedSemaphorePermit,
}

/// What the channel carries.
pub enum Message {
    Job(Box<Job>),
    /// Sign the head now; answered when it is on the disk.
    Sign(oneshot::Sender<Result<(), StoreError>>),
}

pub struct Writer {
    connection: Connection,
    shared: Arc<Shared>,
    chain: Chain,
    versions: HashMap<Stream, u64>,
    last_at: Timestamp,
    signed_size: u64,
    signed_at: Instant,
    sign_every: Duration,
}

/// An error of the database, or of a fact that cannot be encoded: either way nothing is durable any more.
type Written<T> = Result<T, Broken>;

#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error(transparent)]
    Database(#[from] rusqlite::Error),
    #[error(transparent)]
    Encoding(#[from] serde_json::Error),
    #[error(transparent)]
    Entry(#[from] Malformed),
}

impl Writer {
    pub fn new(
        connection: Connection,
        shared: Arc<Shared>,
        chain: Chain,
        last_at: Timestamp,
        sign_every: Duration,
    ) -> Self {
        let signed_size = shared.signed_size();
        let versions = HashMap::new();
        Self {
            connection,
            shared,
            chain,
            versions,
            last_at,
            signed_size,
            signed_at: Instant::now(),
            sign_every,
        }
    }

    /// # Errors
    /// When the system has no thread to give.
    pub fn start(mut self, messages: mpsc::Receiver<Message>) -> std::io::Result<thread::JoinHandle<()>> {
        thread::Builder::new().name("store-writer".into()).spawn(move || self.run(&messages))
    }

    /// Ends when every sender is gone, with a signed head.
    fn run(&mut self, messages: &mpsc::Receiver<Message>) {
        loop {
            let first = if self.signed_size < self.chain.size {
                match messages.recv_timeout(self.sign_every.saturating_sub(self.signed_at.elapsed())) {
                    Ok(message) => message,
                    Err(mpsc::RecvTimeoutError::Timeout) => {
                        self.commit(Vec::new(), true);
                        continue;
                    }
                    Err(mpsc::RecvTimeoutError::Disconnected) => break,
                }
            } else {
                let Ok(message) = messages.recv() else { break };
                message
            };
            self.take(first, messages);
        }
        if self.signed_size < self.chain.size && self.shared.is_open() {
            self.commit(Vec::new(), true);
        }
    }

    /// Gathers what waits behind `first`, and commits it together.
    fn take(&mut self, first: Message, messages: &mpsc::Receiver<Message>) {
        let (mut jobs, mut signers) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Job(job) => jobs.push(*job),
                Message::Sign(signer) => signers.push(signer),
            }
            next = if jobs.len() < JOBS_PER_COMMIT { messages.try_recv().ok() } else { None };
        }
        let sign = !signers.is_empty() || self.signed_at.elapsed() >= self.sign_every;
        self.commit(jobs, sign);
        for signer in signers {
            let _ = signer.send(self.shared.check_open());
        }
    }

    fn commit(&mut self, jobs: Vec<Job>, sign: bool) {
        if let Err(closed) = self.shared.check_open() {
            let why = closed.to_string();
            for job in jobs {
                let _ = job.answer.send(Err(StoreError::Unavailable(why.clone())));
            }
            return;
        }
        let before = self.chain.size;
        match self.transact(&jobs, sign) {
            Ok(results) => {
                self.shared.remember(
                    jobs.iter().zip(&results).filter(|(_, result)| result.is_ok()).flat_map(|(job, _)| {
                        job.batch.writes.iter().filter_map(|write| write.call.as_deref())
                    }),
                );
                // First the head: whoever has an answer finds their entries below it.
                if self.chain.size > before {
                    self.shared.head.send_replace(self.chain.size);
                }
                for (job, result) in jobs.into_iter().zip(results) {
                    let _ = job.answer.send(result);
                    drop(job.place);
                }
            }
            Err(broken) => {
                let why = broken.to_string();
                self.shared.close(&why);
                for job in jobs {
                    let _ = job.answer.send(Err(StoreError::Unavailable(why.clone())));
                }
            }
        }
    }

    /// One transaction for all jobs; a job that conflicts is left out of it and answered so.
    fn transact(&mut self, jobs: &[Job], sign: bool) -> Written<Vec<Result<Vec<Entry>, StoreError>>> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut sheet = Sheet {
            connection: &transaction,
            chain: &mut self.chain,
            versions: &mut self.versions,
            last_at: &mut self.last_at,
            prints: &self.shared.prints,
        };
        let mut results = Vec::with_capacity(jobs.len());
        for job in jobs {
            results.push(sheet.write(job)?);
        }
        let note = if sign && self.chain.size > self.signed_size {
            let note = self.shared.sign(&self.chain, self.last_at);
            transaction
                .prepare_cached("INSERT OR REPLACE INTO heads (size, note) VALUES (?1, ?2)")?
                .execute(params![self.chain.size, note])?;
            Some(note)
        } else {
            None
        };
        transaction.commit()?;
        if let Some(note) = note {
            self.signed_size = self.chain.size;
            self.signed_at = Instant::now();
            self.shared.keep_signed_head(self.signed_size, note);
        }
        if self.versions.len() > REMEMBERED {
            self.versions.clear();
        }
        Ok(results)
    }
}

/// What one transaction writes on.
struct Sheet<'a> {
    connection: &'a Connection,
    chain: &'a mut Chain,
    versions: &'a mut HashMap<Stream, u64>,
    last_at: &'a mut Timestamp,
    prints: &'a Prints,
}

impl Sheet<'_> {
    /// All versions are compared before the first row is written: a job is in, or it left no trace.
    fn write(&mut self, job: &Job) -> Written<Result<Vec<Entry>, StoreError>> {
        if let Some(stream) = self.conflict(&job.batch.writes)? {
            return Ok(Err(StoreError::Conflict(stream)));
        }
        let mut entries = Vec::new();
        for write in &job.batch.writes {
            self.append(job.batch.at, write, &mut entries)?;
            if let Some(call) = &write.call {
                projection::put_call(self.connection, call, write.deadline)?;
            }
        }
        if let (Some(leaves), Some(entry)) = (&job.leaves, entries.last()) {
            projection::put_segment(self.connection, entry.number, leaves)?;
        }
        if let Some((call, fingerprint)) = job.batch.fingerprint {
            self.prints.note(fingerprint);
            projection::put_fingerprint(self.connection, call, fingerprint)?;
        }
        for payload in &job.batch.payloads {
            projection::put_payload(self.connection, payload)?;
        }
        for Put { space, key, value } in &job.batch.puts {
            projection::put(self.connection, space, key, value.as_deref())?;
        }
        Ok(Ok(entries))
    }

    /// The first stream that is not where its writer thinks it is. A stream written twice in one batch
    /// is compared as the batch's earlier writes will leave it.
    fn conflict(&mut self, writes: &[Write]) -> Written<Option<Stream>> {
        let mut ahead: HashMap<&Stream, u64> = HashMap::new();
        for write in writes {
            let now = match ahead.get(&write.stream) {
                Some(version) => *version,
                None => self.version(&write.stream)?,
            };
            if write.expected.is_some_and(|expected| expected != now) {
                return Ok(Some(write.stream.clone()));
            }
            ahead.insert(&write.stream, now + write.facts.len() as u64);
        }
        Ok(None)
    }

    fn version(&mut self, stream: &Stream) -> Written<u64> {
        if let Some(version) = self.versions.get(stream) {
            return Ok(*version);
        }
        let version = projection::version(self.connection, stream)?;
        self.versions.insert(stream.clone(), version);
        Ok(version)
    }

    fn append(&mut self, at: Timestamp, write: &Write, entries: &mut Vec<Entry>) -> Written<()> {
        let mut version = self.version(&write.stream)?;
        let key = stream_key(&write.stream);
        for fact in &write.facts {
            version += 1;
            let (entry, bytes) = self.chain.push(at, &write.stream, version, fact.clone())?;
            self.connection
                .prepare_cached(
                    "INSERT INTO entries (number, stream, version, at, bytes, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
                )?
                .execute(params![entry.number, key, version, at.0, bytes, entry.hash])?;
            if let (Stream::Call(call), Fact::Call(Event::Voted { review })) = (&write.stream, fact) {
                projection::put_vote(self.connection, &review.reviewer.name, *call)?;
            }
            if let Fact::Broker(event) = fact {
                projection::put_boot(self.connection, event)?;
            }
            entries.push(entry);
        }
        if !write.facts.is_empty() {
            *self.last_at = at;
            self.versions.insert(write.stream.clone(), version);
        }
        Ok(())
    }
}
