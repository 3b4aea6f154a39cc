//! The broker's sign-ins at the servers behind it: who is signed in, and sign-ins under way.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use reqwest::Url;
use tokio_util::task::TaskTracker;

use super::{
    Account, ClientSettings, Fetch, Introduction, Standing,
    login::{Pending, Progress},
    vault::Vault,
};
use crate::call::Timestamp;

/// The present moment.
pub type Now = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The tokens that servers behind us want. Cheap to clone.
#[derive(Clone)]
pub struct Accounts(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub vault: Vault,
    pub us: Introduction,
    now: Now,
    fetch: OnceLock<Fetch>,
    make: fn() -> Result<Fetch, String>,
    /// By the server's name: its tokens are renewed by one at a time.
    renewing: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
    /// Sign-ins under way, by `state`.
    pub pending: Mutex<HashMap<String, Pending>>,
    /// What became of sign-ins, by their name, for whoever began them.
    pub progress: Mutex<HashMap<String, Progress>>,
    /// What must not be cut off in the middle: a refresh token is good once.
    tasks: TaskTracker,
}

impl std::fmt::Debug for Accounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Accounts")
    }
}

impl Accounts {
    /// Those kept beside `store`. `make` is called when an authorization server is first spoken to.
    ///
    /// # Errors
    /// In words: files that are there and cannot be read.
    pub fn open(
        store: &Path,
        us: Introduction,
        now: Now,
        make: fn() -> Result<Fetch, String>,
    ) -> Result<Self, String> {
        Ok(Self(Arc::new(Inner {
            vault: Vault::open(store)?,
            us,
            now,
            fetch: OnceLock::new(),
            make,
            renewing: Mutex::default(),
            pending: Mutex::default(),
            progress: Mutex::default(),
            tasks: TaskTracker::new(),
        })))
    }

    /// The sign-in at the server `name`.
    #[must_use]
    pub fn account(&self, name: &str, url: Url, settings: ClientSettings) -> Account {
        let renewing = Arc::clone(lock(&self.0.renewing).entry(name.to_owned()).or_default());
        Account { name: name.to_owned(), url, settings, accounts: self.clone(), renewing }
    }

    /// Who the broker says it is.
    #[must_use]
    pub fn us(&self) -> &Introduction {
        &self.0.us
    }

    /// Ends the sign-in at `server`: its tokens are gone from the disk. False: there was none.
    ///
    /// # Errors
    /// In words; it is as it was then.
    pub async fn forget(&self, server: &str) -> Result<bool, String> {
        let renewing = Arc::clone(lock(&self.0.renewing).entry(server.to_owned()).or_default());
        // A renewal that is under way would put them back.
        let _one = renewing.lock().await;
        self.0.vault.forget(server)
    }

    /// What is under way ends whole.
    pub async fn drain(&self) {
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    pub(super) fn now(&self) -> Timestamp {
        (self.0.now)()
    }

    pub(super) fn fetch(&self) -> Result<&Fetch, String> {
        match self.0.fetch.get() {
            Some(fetch) => Ok(fetch),
            None => {
                let made = (self.0.make)()?;
                Ok(self.0.fetch.get_or_init(|| made))
            }
        }
    }

    /// Runs to its end whatever becomes of the caller.
    pub(super) async fn whole<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, String>> + Send + 'static,
    ) -> Result<T, String> {
        self.0.tasks.spawn(work).await.unwrap_or_else(|_| Err("the sign-in was cut off".into()))
    }
}

/// How a broker that kept its sign-ins beside `store` stands with these servers, by name, at these addresses.
///
/// # Errors
/// In words: files that are there and cannot be read.
pub fn standings_beside(
    store: &Path,
    servers: BTreeMap<String, Url>,
    now: Timestamp,
) -> Result<BTreeMap<String, Standing>, String> {
    let vault = Vault::open(store)?;
    let standing = |name: &str, url: Url| {
        let held = vault.get(name).filter(|held| held.server == url.as_str());
        held.map_or_else(Standing::needed, |held| held.standing(now))
    };
    Ok(servers.into_iter().map(|(name, url)| (name.clone(), standing(&name, url))).collect())
}

/// As `Accounts::forget`, where no broker runs: of the sign-ins that are kept beside `store`.
///
/// # Errors
/// In words; it is as it was then.
pub fn forget_beside(store: &Path, server: &str) -> Result<bool, String> {
    Vault::open(store)?.forget(server)
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
