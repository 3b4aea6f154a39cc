//! The servers behind us. Two doors lead to them, `forward` and `relay`; nothing is ever sent twice.
//!
//! A send is spent: what may have left this process is never sent again, and an error says which of the
//! two it was (`SendError::NotSent`, `SendError::Unknown`).

mod aside;
mod body;
mod child;
mod endpoint;
mod http;
mod lines;
mod link;
mod messages;
mod outbound;
mod owners;
mod pool;
mod process;
mod reply;
mod right;
mod routes;
mod server;
mod settings;
mod sse;
mod stdio;
mod yielding;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use arc_swap::ArcSwap;
use futures_util::TryFutureExt as _;

pub(crate) use aside::aside;
pub use body::BytesBody;
pub use link::{Conversation, FAREWELL, Hold, Link, Proof};
pub use messages::Messages;
pub use outbound::{Outbound, Verb};
pub(crate) use pool::tls_config;
pub use reply::{BrokenReply, Reply, ReplyBody, SendError, cannot_have_run};
pub use right::Right;
pub use server::Server;
pub use settings::{ChildLimits, ServerSettings, SettingsError, Transport, UpstreamSettings};

use crate::{mcp::Passthrough, oauth::Accounts};

/// The servers behind us, by name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstreams(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    limits: Arc<UpstreamSettings>,
    /// Sign-ins at servers that want one.
    accounts: Option<Accounts>,
    servers: ArcSwap<BTreeMap<String, Arc<Server>>>,
    links: Mutex<Links>,
}

#[derive(Debug, Default)]
struct Links {
    /// By server, then by grant.
    shared: HashMap<String, HashMap<String, Link>>,
    /// Held by the downstream sessions; known here for the drain.
    sessions: Vec<Weak<link::Inner>>,
}

impl Upstreams {
    #[must_use]
    pub fn new(settings: UpstreamSettings) -> Self {
        Self::of(settings, None)
    }

    /// The same, with servers at which the broker signs in.
    #[must_use]
    pub fn with_accounts(settings: UpstreamSettings, accounts: Accounts) -> Self {
        Self::of(settings, Some(accounts))
    }

    fn of(settings: UpstreamSettings, accounts: Option<Accounts>) -> Self {
        let (limits, servers) = (Arc::new(settings), ArcSwap::default());
        Self(Arc::new(Inner { limits, accounts, servers, links: Mutex::default() }))
    }

    #[must_use]
    pub fn accounts(&self) -> Option<&Accounts> {
        self.0.accounts.as_ref()
    }

    /// Replaces the set of servers. Links of servers whose settings are unchanged live on; the others'
    /// conversations go on until they end, and new ones are opened with the new settings.
    ///
    /// # Errors
    /// The first server whose name or settings are wrong; nothing is replaced then.
    pub fn replace(&self, servers: BTreeMap<String, ServerSettings>) -> Result<(), SettingsError> {
        let before = self.0.servers.load();
        let mut after = BTreeMap::new();
        for (name, settings) in servers {
            let server = match before.get(&name) {
                Some(same) if *same.settings() == settings => same.clone(),
                Some(_) | None => {
                    let (limits, accounts) = (self.0.limits.clone(), self.0.accounts.as_ref());
                    Arc::new(Server::new(name.clone(), settings, limits, accounts)?)
                }
            };
            after.insert(name, server);
        }
        let lives =
            |link: &Link| after.get(link.server().name()).is_some_and(|s| Arc::ptr_eq(s, link.server()));
        for links in self.links().shared.values_mut() {
            links.retain(|_, link| lives(link));
        }
        self.0.servers.store(Arc::new(after));
        Ok(())
    }

    /// In order of name.
    #[must_use]
    pub fn servers(&self) -> Vec<Arc<Server>> {
        self.0.servers.load().values().cloned().collect()
    }

    #[must_use]
    pub fn server(&self, name: &str) -> Option<Arc<Server>> {
        self.0.servers.load().get(name).cloned()
    }

    /// A conversation with `server`. `Session` is new each time; `Shared` is the one of that grant.
    /// Nothing is started or connected until the first send.
    #[must_use]
    pub fn link(&self, server: &Arc<Server>, conversation: Conversation<'_>) -> Link {
        let mut links = self.links();
        match conversation {
            Conversation::Session { grant } => {
                let link = Link::new(server.clone(), grant, false);
                if links.sessions.len() == links.sessions.capacity() {
                    links.sessions.retain(|known| known.strong_count() > 0);
                }
                links.sessions.push(Arc::downgrade(&link.0));
                link
            }
            Conversation::Shared { grant } => {
                let known = links.shared.get(server.name()).and_then(|links| links.get(grant));
                if let Some(link) = known.filter(|link| Arc::ptr_eq(link.server(), server)) {
                    return link.clone();
                }
                let link = Link::new(server.clone(), grant, true);
                let links = links.shared.entry(server.name().to_owned()).or_default();
                links.insert(grant.to_owned(), link.clone());
                link
            }
        }
    }

    /// Sends a `tools/call`, once. Called by `broker::dispatch` only.
    ///
    /// # Errors
    /// See `SendError`; an HTTP status of the server is a `Reply`, not an error.
    pub fn forward<'a>(
        &self,
        right: Right,
        link: &'a Link,
        outbound: Outbound,
    ) -> impl Future<Output = Result<Reply, SendError>> + Send + 'a {
        let proof = match right {
            Right::Permit(_permit, proof) => Some(proof),
            Right::Pass(_pass) => None,
        };
        // A call begins no session, whatever its server says.
        link.send(outbound, proof).map_ok(Reply::without_session)
    }

    /// Sends anything else: other requests, notifications, answers to the server, GET (listen), DELETE.
    ///
    /// # Errors
    /// As `forward`.
    pub async fn relay(
        &self,
        _passthrough: Passthrough,
        link: &Link,
        outbound: Outbound,
    ) -> Result<Reply, SendError> {
        let Some(account) = link.server().account() else { return link.send(outbound, None).await };
        let (before, again) = (account.serial(), outbound.again());
        match link.send(outbound, None).await {
            // The one thing that is sent again: no call, refused for its token, and there is a new token.
            Err(SendError::NotSent(_)) if account.serial() != before => link.send(again, None).await,
            sent => sent,
        }
    }

    /// Ends every conversation: children cleanly, HTTP sessions by DELETE.
    pub async fn drain(&self) {
        let links: Vec<Link> = {
            let mut links = self.links();
            let sessions = links.sessions.drain(..).filter_map(|known| known.upgrade()).map(Link);
            let sessions: Vec<Link> = sessions.collect();
            links.shared.drain().flat_map(|(_, links)| links.into_values()).chain(sessions).collect()
        };
        futures_util::future::join_all(links.iter().map(Link::close)).await;
        if let Some(accounts) = &self.0.accounts {
            accounts.drain().await;
        }
    }

    fn links(&self) -> std::sync::MutexGuard<'_, Links> {
        self.0.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
