//! One server: its name, how it is reached, and the identity that digests bind to.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    ServerSettings, SettingsError, UpstreamSettings,
    http::{Http, Wrong},
};

/// A server of the registry.
#[derive(Debug)]
pub struct Server {
    name: String,
    identity: String,
    settings: ServerSettings,
    limits: Arc<UpstreamSettings>,
    /// None: a command.
    http: Option<Http>,
    children: Mutex<Children>,
    strays: AtomicU64,
}

#[derive(Debug, Default)]
struct Children {
    living: usize,
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
    ) -> Result<Self, SettingsError> {
        if !is_name(&name) {
            return Err(SettingsError::Name(name));
        }
        let http = match (&settings.command, &settings.url) {
            (Some(command), None) if !command.is_empty() => None,
            (None, Some(url)) => match Http::new(url, &settings, limits.clone()) {
                Ok(http) => Some(http),
                Err(Wrong::Url(why)) => return Err(SettingsError::Url(name, why)),
                Err(Wrong::Header(header)) => return Err(SettingsError::Header(name, header)),
            },
            _ => return Err(SettingsError::Kind(name)),
        };
        let identity = settings.identity();
        let (children, strays) = (Mutex::default(), AtomicU64::new(0));
        Ok(Self { name, identity, settings, limits, http, children, strays })
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

    /// `stdio` or `http`.
    #[must_use]
    pub fn transport(&self) -> &'static str {
        if self.http.is_some() { "http" } else { "stdio" }
    }

    /// Messages that nobody had asked for.
    #[must_use]
    pub fn strays(&self) -> u64 {
        self.strays.load(Ordering::Relaxed)
    }

    pub(super) fn settings(&self) -> &ServerSettings {
        &self.settings
    }

    pub(super) fn limits(&self) -> &UpstreamSettings {
        &self.limits
    }

    pub(super) fn http(&self) -> Option<&Http> {
        self.http.as_ref()
    }

    pub(super) fn stray(&self, what: &str) {
        if self.strays.fetch_add(1, Ordering::Relaxed) == 0 {
            tracing::warn!(server.name = self.name, what, "the server sends what nobody asked for; dropped");
        }
    }

    /// Takes a place for one more child; how long to wait before starting it.
    ///
    /// # Errors
    /// All places are taken.
    pub(super) fn child_starts(&self) -> Result<Duration, String> {
        let mut children = self.children();
        let max = self.limits.max_children;
        if children.living >= max {
            return Err(format!("all {max} processes of this server are in use"));
        }
        children.living += 1;
        let now = Instant::now();
        Ok(children.not_before.map_or(Duration::ZERO, |at| at.saturating_duration_since(now)))
    }

    /// Gives the place back of a child that never was.
    pub(super) fn child_not_started(&self) {
        let mut children = self.children();
        children.living = children.living.saturating_sub(1);
    }

    /// Gives the place back. `crashed`: it ended by itself.
    pub(super) fn child_ended(&self, crashed: bool, lived: Duration) {
        let mut children = self.children();
        children.living = children.living.saturating_sub(1);
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

/// `[a-z0-9_-]{1,24}`, never `__`: the name is part of tool names and of paths.
fn is_name(name: &str) -> bool {
    (1..=24).contains(&name.len())
        && name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
        && !name.contains("__")
}
