//! The store on SQLite: one file, one writing thread with group commit, a few reading connections.

mod audit;
mod export;
mod files;
mod options;
mod prints;
mod projection;
mod query;
mod reader;
mod schema;
mod shared;
mod tail;
mod words;
mod writer;

pub use export::{ReadOnly, Together};
pub use options::OpenOptions;

use std::{
    fs,
    future::ready,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use ed25519_dalek::{SigningKey, VerifyingKey};
use rusqlite::Connection;
use tokio::sync::{Semaphore, oneshot, watch};

use self::{
    prints::Prints,
    reader::Readers,
    shared::Shared,
    writer::{Job, Message, Writer},
};
use super::{Answer, Batch, Boot, Filter, Page, Payload, PayloadKind, Put, Store, StoreError, Write};
use crate::{
    call::{Call, CallId, Fingerprint, StateName, Timestamp},
    ledger::{BrokerEvent, Entry, Fact, Stream, segment::Leaves},
};

/// How many jobs may wait for the writer; more wait outside.
const QUEUE: usize = 4096;

/// A store that this process owns. Dropping it writes what waits, signs the head and lets go.
#[derive(Debug)]
pub struct Sqlite {
    /// `None` only while dropping: closing the channel ends the writer.
    jobs: Option<mpsc::Sender<Message>>,
    writer: Mutex<Option<JoinHandle<()>>>,
    /// Reads the join keys of before; ended by dropping.
    filling: Option<JoinHandle<()>>,
    queue: Arc<Semaphore>,
    shared: Arc<Shared>,
    readers: Arc<Readers>,
    searches: Arc<Readers>,
    /// A search ends after this.
    search: Duration,
    path: PathBuf,
    lacked_head: bool,
    _lock: files::Lock,
}

impl Sqlite {
    /// Does a process own the store at `path` now? Nothing is opened.
    #[must_use]
    pub fn is_owned(path: &Path) -> bool {
        files::Lock::is_held(path)
    }

    /// Opens the store at `path`, making it and its key where there is none. Blocking.
    ///
    /// # Errors
    /// `Locked` while another process owns it, `Damaged` when it is not a store that this version can
    /// read, `Unavailable` when its files cannot be made or written.
    pub fn open(path: &Path, options: OpenOptions) -> Result<Self, StoreError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            fs::create_dir_all(folder)
                .map_err(|error| StoreError::Unavailable(format!("{}: {error}", folder.display())))?;
        }
        let lock = files::Lock::take(path)?;
        files::create_private(path)?;
        let mut connection = Connection::open(path).map_err(schema::opening)?;
        schema::prepare_writer(&connection, options.max_pages)?;
        schema::migrate(&mut connection)?;
        let key = files::signing_key(path)?;
        let fingerprint_key = shared::fingerprint_key(&connection)?;
        let (chain, last_at) = reader::end_of_chain(&connection)?;
        let signed = tail::check(&connection, path, &key.verifying_key(), &chain)?;
        let prints = Arc::new(Prints::new(query::most_calls(&connection)?));
        let shared = Shared::new(path, options.name, key, fingerprint_key, chain.size, Arc::clone(&prints));
        let shared = Arc::new(shared);
        if let Some((size, note)) = signed.last {
            shared.set_signed_head(size, note);
        }
        let (jobs, messages) = mpsc::channel();
        let writer = Writer::new(connection, Arc::clone(&shared), chain, last_at, options.sign_every)
            .start(messages)
            .map_err(|error| StoreError::Unavailable(format!("the writer's thread: {error}")))?;
        let filling =
            prints.fill(path).inspect_err(|error| tracing::warn!(%error, "no thread for join keys"));
        Ok(Self {
            filling: filling.ok(),
            jobs: Some(jobs),
            writer: Mutex::new(Some(writer)),
            queue: Arc::new(Semaphore::new(QUEUE)),
            shared,
            readers: Arc::new(Readers::new(path)),
            searches: Arc::new(Readers::for_searches(path)),
            search: options.search,
            path: path.to_owned(),
            lacked_head: signed.lacks_file,
            _lock: lock,
        })
    }
}

impl Sqlite {
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// False once a write has failed: nothing is durable any more, and it stays so.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.shared.is_open()
    }

    /// The ledger's key: `audit` and `_meta` show its public half.
    #[must_use]
    pub fn signing_key(&self) -> &SigningKey {
        self.shared.signing_key()
    }

    #[must_use]
    pub fn verifying_key(&self) -> VerifyingKey {
        self.shared.signing_key().verifying_key()
    }

    /// The secret under which join keys are made; it never leaves the store's file.
    #[must_use]
    pub fn fingerprint_key(&self) -> &[u8; 32] {
        self.shared.fingerprint_key()
    }

    /// The last signed head; `None` before the first.
    #[must_use]
    pub fn signed_head(&self) -> Option<Arc<str>> {
        self.shared.signed_head()
    }

    /// Was the file of the last signed head missing when this was opened, though there had been one? Then
    /// nothing tells whether an older copy of the store was put in its place.
    #[must_use]
    pub fn lacked_head(&self) -> bool {
        self.lacked_head
    }

    /// For reading all of it: export, verification.
    #[must_use]
    pub fn read_only(&self) -> ReadOnly {
        ReadOnly::new(Arc::clone(&self.readers))
    }

    /// Waits until everything sent before is on the disk under a signed head.
    ///
    /// # Errors
    /// `Unavailable` when the store is closed.
    pub async fn drain(&self) -> Result<(), StoreError> {
        let (answer, answered) = oneshot::channel();
        self.send(Message::Sign(answer))?;
        answered.await.map_err(|_| stopped())?
    }

    fn send(&self, message: Message) -> Result<(), StoreError> {
        let jobs = self.jobs.as_ref().ok_or_else(stopped)?;
        jobs.send(message).map_err(|_| stopped())
    }

    async fn write(&self, batch: Batch, leaves: Option<Vec<u8>>) -> Result<Vec<Entry>, StoreError> {
        let place = Arc::clone(&self.queue).acquire_owned().await.map_err(|_| stopped())?;
        let (answer, answered) = oneshot::channel();
        self.send(Message::Job(Box::new(Job { batch, leaves, answer, place })))?;
        answered.await.map_err(|_| stopped())?
    }
}

impl Drop for Sqlite {
    fn drop(&mut self) {
        self.jobs = None;
        self.shared.prints.end();
        if let Some(filling) = self.filling.take() {
            let _ = filling.join();
        }
        let writer = self.writer.get_mut().ok().and_then(Option::take);
        if let Some(writer) = writer {
            let _ = writer.join();
        }
    }
}

fn stopped() -> StoreError {
    StoreError::Unavailable("the writer has stopped".into())
}

impl Store for Sqlite {
    fn append(&self, batch: Batch) -> Answer<'_, Vec<Entry>> {
        Box::pin(self.write(batch, None))
    }

    fn append_segment(
        &self,
        at: Timestamp,
        leaves: Leaves,
        from: Timestamp,
        to: Timestamp,
    ) -> Answer<'_, Entry> {
        Box::pin(async move {
            let (segment, packed) = leaves.seal(from, to);
            let facts = vec![Fact::Broker(BrokerEvent::AllowedCalls(segment))];
            let write = Write { stream: Stream::Broker, expected: None, facts, call: None, deadline: None };
            let batch = Batch { at, writes: vec![write], ..Batch::default() };
            let mut entries = self.write(batch, Some(packed)).await?;
            entries.pop().ok_or_else(stopped)
        })
    }

    fn call(&self, id: CallId) -> Answer<'_, Option<Call>> {
        if let Some(call) = self.shared.recent(id) {
            return Box::pin(async move { Ok(Some(Call::clone(&call))) });
        }
        Box::pin(self.readers.read(move |connection| query::call(connection, id)))
    }

    fn calls(&self, filter: Filter) -> Answer<'_, Page> {
        // What people look for may take long; what the broker itself asks for does not wait for it.
        let is_search = filter.text.is_some() || filter.reviewer.is_some();
        let page = move |connection: &Connection| query::calls(connection, &filter);
        if is_search {
            Box::pin(self.searches.read_within(self.search, page))
        } else {
            Box::pin(self.readers.read(page))
        }
    }

    fn counts(&self) -> Answer<'_, Vec<(StateName, u64)>> {
        Box::pin(self.readers.read(query::counts))
    }

    fn same(&self, fingerprint: Fingerprint) -> Answer<'_, Vec<Call>> {
        if !self.shared.prints.may_have(fingerprint) {
            return Box::pin(ready(Ok(Vec::new())));
        }
        Box::pin(self.readers.read(move |connection| query::same(connection, fingerprint)))
    }

    fn due(&self, until: Timestamp, limit: usize) -> Answer<'_, Vec<CallId>> {
        Box::pin(self.readers.read(move |connection| query::due(connection, until, limit)))
    }

    fn payload(&self, call: CallId, kind: PayloadKind, part: u64) -> Answer<'_, Option<Payload>> {
        Box::pin(self.readers.read(move |connection| reader::payload(connection, call, kind, part)))
    }

    fn entries(&self, after: u64, limit: usize) -> Answer<'_, Vec<Entry>> {
        Box::pin(self.readers.read(move |connection| reader::entries(connection, after, limit)))
    }

    fn taken(&self, from: Timestamp, to: Timestamp) -> Answer<'_, Vec<Entry>> {
        Box::pin(self.readers.read(move |connection| reader::taken(connection, from, to)))
    }

    fn stream(&self, stream: Stream) -> Answer<'_, Vec<Entry>> {
        Box::pin(self.readers.read(move |connection| reader::stream(connection, &stream)))
    }

    fn version(&self, stream: Stream) -> Answer<'_, u64> {
        Box::pin(self.readers.read(move |connection| Ok(projection::version(connection, &stream)?)))
    }

    fn tools(&self) -> Answer<'_, Vec<[String; 3]>> {
        Box::pin(self.readers.read(query::tools))
    }

    fn last_boot(&self) -> Answer<'_, Option<Boot>> {
        Box::pin(self.readers.read(reader::boot))
    }

    fn get(&self, space: &'static str, key: String) -> Answer<'_, Option<Vec<u8>>> {
        Box::pin(self.readers.read(move |connection| reader::get(connection, space, &key)))
    }

    fn list(&self, space: &'static str) -> Answer<'_, Vec<(String, Vec<u8>)>> {
        Box::pin(self.readers.read(move |connection| reader::list(connection, space)))
    }

    fn put(&self, puts: Vec<Put>) -> Answer<'_, ()> {
        Box::pin(async move {
            self.write(Batch { puts, ..Batch::default() }, None).await?;
            Ok(())
        })
    }

    fn head(&self) -> watch::Receiver<u64> {
        self.shared.head.subscribe()
    }
}
