//! Who is who: agents by their grants, people by their credentials. The two realms never mix.
//!
//! Every change is an entry on the `agents` or `reviewers` stream, appended together with the hashed
//! credential it is about, at the version that was read; then the snapshot is swapped. So a change that
//! was answered holds for the next request, and a credential never exists without its entry.

mod access;
mod agents;
pub mod audit;
mod directory;
mod page_key;
mod people;
mod rows;
mod sessions;
mod token;

pub use directory::{
    Access, Directory, Grant, GrantSettings, IdentityError, NewSecret, SignedIn, Source, check_name,
};
pub use page_key::page_key;
pub use sessions::{ABSOLUTE, IDLE, LINK_TTL};
pub use token::TokenKind;

use std::sync::Arc;

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Mutex, watch};

use crate::{
    call::{People, Timestamp},
    ledger::{Fact, Stream},
    oauth::Resource,
    store::{Batch, Put, Store, StoreError, Write},
};
use rows::{AgentRow, ReviewerRow};

/// The one place that knows credentials. Tokens are 256 random bits, kept as SHA-256.
pub struct Identity {
    store: Arc<dyn Store>,
    directory: ArcSwap<Directory>,
    /// Wakes those who listen for as long as their grant is what it was.
    moved: watch::Sender<()>,
    /// One change at a time in this process; other processes are held off by the streams' versions.
    /// True once the configuration's grants were given: until then those in the store are not in force.
    writing: Mutex<bool>,
    /// Who checks access tokens, if agents may bring them.
    resource: ArcSwapOption<Resource>,
}

impl Identity {
    /// Loads people and grants of the store; `set_config` adds those of the configuration.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn open(store: Arc<dyn Store>) -> Result<Arc<Self>, IdentityError> {
        let identity = Self {
            store,
            directory: ArcSwap::from_pointee(Directory::default()),
            moved: watch::Sender::default(),
            writing: Mutex::new(false),
            resource: ArcSwapOption::empty(),
        };
        identity.reload().await?;
        Ok(Arc::new(identity))
    }

    /// This moment's snapshot.
    pub fn directory(&self) -> Arc<Directory> {
        self.directory.load_full()
    }

    /// The grant that this bearer token names; a few hundred nanoseconds, no lock, no await.
    pub fn grant(&self, bearer: &str) -> Option<Arc<Grant>> {
        self.directory.load().grants.get(&token::hash(bearer)).cloned()
    }

    /// Resolves when this grant is gone, has another token, or reaches that server (`None`: all the same
    /// which) no more; cancel-safe.
    pub async fn until_void(&self, grant: &Grant, server: Option<&str>) {
        let mut moved = self.moved.subscribe();
        while self.directory.load().holds(grant, server) {
            // The sender lives as long as this, so an error cannot come.
            let _ = moved.changed().await;
        }
    }

    /// Reads everyone again: another process may have written.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn reload(&self) -> Result<(), IdentityError> {
        let configured = self.writing.lock().await;
        self.read(*configured).await
    }

    /// Versions are read first: what changes meanwhile is then newer than the snapshot says, and the
    /// next write at that version conflicts and reads again.
    async fn read(&self, configured: bool) -> Result<(), IdentityError> {
        let agents_version = self.store.version(Stream::Agents).await?;
        let reviewers_version = self.store.version(Stream::Reviewers).await?;
        let mut directory = Directory { agents_version, reviewers_version, ..Directory::default() };
        for (name, row) in rows::list::<AgentRow>(&*self.store, rows::AGENTS).await? {
            if row.source == Source::Store || configured {
                directory.insert(name, row);
            }
        }
        let mut people = Vec::new();
        for (name, row) in rows::list::<ReviewerRow>(&*self.store, rows::REVIEWERS).await? {
            let Some(hash) = token::unkey(&row.hash) else { continue };
            directory.reviewers.insert(hash, name);
            people.push(row.person);
        }
        directory.people = People(people);
        self.directory.store(Arc::new(directory));
        self.moved.send_replace(());
        Ok(())
    }

    /// One entry or more with the rows they are about, at the version that was decided on. Answers after
    /// the commit and the swap; `Conflict` leaves a fresh snapshot, to decide again.
    async fn commit(
        &self,
        (stream, expected): (Stream, u64),
        facts: Vec<Fact>,
        puts: Vec<Put>,
        at: Timestamp,
        configured: bool,
    ) -> Result<(), IdentityError> {
        let write = Write { stream, expected: Some(expected), facts, call: None, deadline: None };
        let batch = Batch { at, writes: vec![write], puts, ..Batch::default() };
        let appended = self.store.append(batch).await;
        match appended {
            Ok(_) | Err(StoreError::Conflict(_)) => self.read(configured).await?,
            Err(_) => {}
        }
        appended.map(|_| ()).map_err(IdentityError::from)
    }
}

impl Directory {
    fn insert(&mut self, name: String, row: AgentRow) {
        let AgentRow { hash, token_id, source, settings } = row;
        let grant = Arc::new(Grant { name: name.clone(), settings, token_id, source });
        if let Some(hash) = hash.as_deref().and_then(token::unkey) {
            self.grants.insert(hash, grant.clone());
        }
        self.agents.insert(name, grant);
    }
}

/// How often a change is decided again when another process was faster.
const ATTEMPTS: usize = 16;

fn is_conflict(error: &IdentityError) -> bool {
    matches!(error, IdentityError::Store(StoreError::Conflict(_)))
}
