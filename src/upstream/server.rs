//! One server: its name, how it is reached, and the identity that digests bind to.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    ServerSettings, SettingsError, Transport, UpstreamSettings,
    http::{Http, Wrong},
    messages::Untaken,
    owners::Owners,
};
use crate::oauth::{Account, Accounts};

/// A server of the registry.
#[derive(Debug)]
pub struct Server {
    name: Arc<str>,
    identity: Arc<str>,
    settings: ServerSettings,
    limits: Arc<UpstreamSettings>,
    /// None: a command.
    http: Option<Http>,
    children: Mutex<Children>,
    strays: AtomicU64,
    /// It was found to speak HTTP+SSE.
    found_sse: AtomicBool,
    /// What it said that nobody has taken.
    untaken: Untaken,
    /// Of its streams, when it speaks HTTP+SSE.
    owners: Owners,
}

#[derive(Debug, Default)]
struct Children {
    /// By grant; none is zero.
    living: HashMap<String, usize>,
    /// Crashes in a row.
    crashes: u32,
    not_before: Option<Instant>,
}

/// A child that lived this long did not crash at its start.
const SETTLED: Duration = Duration::from_secs(60);
const BACK_OFF: Duration = Duration::from_millis(250);
const MAX_BACK_OFF: Duration = Duration::from_secs(30);

impl Server {
    pub(super) fn new(
        name: String,
        settings: ServerSettings,
        limits: Arc<UpstreamSettings>,
        accounts: Option<&Accounts>,
    ) -> Result<Self, SettingsError> {
        if !is_name(&name) {
            return Err(SettingsError::Name(name));
        }
        let http = match (&settings.command, &settings.url) {
            (Some(_), None) if settings.transport.is_some() => return Err(SettingsError::Transport(name)),
            (Some(command), None) if !command.is_empty() => None,
            (None, Some(url)) => match Http::new(
                url,
                &settings,
                limits.clone(),
                accounts.and_then(|accounts| account(accounts, &name, &settings)),
            ) {
                Ok(http) => Some(http),
                Err(Wrong::Url(why)) => return Err(SettingsError::Url(name, why)),
                Err(Wrong::Header(header)) => return Err(SettingsError::Header(name, header)),
                Err(Wrong::Both) => return Err(SettingsError::Both(name)),
            },
            _ => return Err(SettingsError::Kind(name)),
        };
        let identity = settings.identity();
        let (children, strays, found_sse) = (Mutex::default(), AtomicU64::new(0), AtomicBool::new(false));
        let (name, identity) = (name.into(), identity.into());
        let (untaken, owners) = (Untaken::default(), Owners::default());
        Ok(Self { name, identity, settings, limits, http, children, strays, found_sse, untaken, owners })
    }

    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The command line (a JSON array) or the URL: part of each call's digest.
    #[must_use]
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The name, for who keeps it.
    #[must_use]
    pub fn shared_name(&self) -> Arc<str> {
        Arc::clone(&self.name)
    }

    /// The identity, for who keeps it.
    #[must_use]
    pub fn shared_identity(&self) -> Arc<str> {
        Arc::clone(&self.identity)
    }

    /// `stdio`, `http` or `sse`.
    #[must_use]
    pub fn transport(&self) -> &'static str {
        match self.http {
            None => "stdio",
            Some(_) if self.speaks_sse() => "sse",
            Some(_) => "http",
        }
    }

    /// Does it speak HTTP+SSE, by its settings or by what was found?
    #[must_use]
    pub fn speaks_sse(&self) -> bool {
        match self.settings.transport {
            Some(transport) => transport == Transport::Sse,
            None => self.found_sse.load(Ordering::Relaxed),
        }
    }

    /// Is it still to be found out how it speaks?
    pub(super) fn may_speak_sse(&self) -> bool {
        self.settings.transport.is_none()
    }

    /// It opened, or refused, a stream with an endpoint.
    pub(super) fn found_sse(&self, so: bool) {
        self.found_sse.store(so, Ordering::Relaxed);
    }

    pub(super) fn untaken(&self) -> &Untaken {
        &self.untaken
    }

    pub(super) fn owners(&self) -> &Owners {
        &self.owners
    }

    /// Messages that nobody had asked for.
    #[must_use]
    pub fn strays(&self) -> u64 {
        self.strays.load(Ordering::Relaxed)
    }

    pub(super) fn settings(&self) -> &ServerSettings {
        &self.settings
    }

    /// Bytes of the largest answer that is taken from it.
    #[must_use]
    pub fn largest_answer(&self) -> usize {
        self.limits.max_body
    }

    /// Bytes of the largest list of tools that is read to be changed.
    #[must_use]
    pub fn largest_list(&self) -> usize {
        self.limits.max_list.min(self.limits.max_body)
    }

    pub(super) fn limits(&self) -> &UpstreamSettings {
        &self.limits
    }

    /// The broker's sign-in at it, if it wants one.
    #[must_use]
    pub fn account(&self) -> Option<&Account> {
        self.http.as_ref()?.account()
    }

    pub(super) fn http(&self) -> Option<&Http> {
        self.http.as_ref()
    }

    pub(super) fn stray(&self, what: &str) {
        if self.strays.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(
                server.name = &*self.name,
                what,
                "the server sends what nobody asked for; dropped"
            );
        }
    }

    /// Takes a place for one more child; how long to wait before starting it.
    ///
    /// # Errors
    /// All places are taken, or this grant has its half of them.
    pub(super) fn child_starts(&self, grant: &str) -> Result<Duration, String> {
        let mut children = self.children();
        let max = self.settings.limits.children.map_or(self.limits.max_children, usize::from);
        if children.living.values().sum::<usize>() >= max {
            return Err(format!("all {max} processes of this server are in use"));
        }
        let share = max.div_ceil(2);
        let own = children.living.entry(grant.to_owned()).or_default();
        if *own >= share {
            return Err(format!("this agent's {share} processes of this server (half of all) are in use"));
        }
        *own += 1;
        let now = Instant::now();
        Ok(children.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(now)))
    }

    /// Gives the place back of a child that never was.
    pub(super) fn child_not_started(&self, grant: &str) {
        self.children().leave(grant);
    }

    /// Gives the place back. `crashed`: it ended by itself.
    pub(super) fn child_ended(&self, grant: &str, crashed: bool, lived: Duration) {
        let mut children = self.children();
        children.leave(grant);
        if !crashed || lived >= SETTLED {
            children.crashes = 0;
            children.not_before = None;
            return;
        }
        let wait = BACK_OFF.saturating_mul(1 << children.crashes.min(7)).min(MAX_BACK_OFF);
        children.crashes = children.crashes.saturating_add(1);
        children.not_before = Some(Instant::now() + wait);
    }

    fn children(&self) -> std::sync::MutexGuard<'_, Children> {
        self.children.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Children {
    fn leave(&mut self, grant: &str) {
        let Some(own) = self.living.get_mut(grant) else { return };
        *own -= 1;
        if *own == 0 {
            self.living.remove(grant);
        }
    }
}

/// The broker's sign-in at a server that wants one.
fn account(accounts: &Accounts, name: &str, settings: &ServerSettings) -> Option<Account> {
    let (oauth, url) = (settings.oauth.clone()?, settings.url.as_ref()?);
    Some(accounts.account(name, url.parse().ok()?, oauth))
}

/// `[a-z0-9_-]{1,24}`, never `__`: the name is part of tool names and of paths.
fn is_name(name: &str) -> bool {
    (1..=24).contains(&name.len())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
        && !name.contains("__")
}
