//! The servers behind us. Two doors lead to them, `forward` and `relay`; nothing is ever sent twice.
//!
//! A send is spent: what may have left this process is never sent again, and an error says which of the
//! two it was (`SendError::NotSent`, `SendError::Unknown`).

mod link;
mod outbound;
mod reply;
mod server;
mod settings;

use std::sync::Arc;

pub use link::{Conversation, Link, Proof};
pub use outbound::{Outbound, Verb};
pub use reply::{BrokenReply, BytesBody, Messages, Reply, ReplyBody, SendError, cannot_have_run};
pub use server::Server;
pub use settings::{ServerSettings, SettingsError, UpstreamSettings};

use crate::{
    ledger::{Pass, Permit},
    mcp::Passthrough,
};

/// The right to send one `tools/call`, spent by sending.
#[derive(Debug)]
pub enum Right {
    /// A call that waited: sent over the connection that `Link::prove` opened before the claim.
    Permit(Permit, Proof),
    /// A call that the policy allowed at once.
    Pass(Pass),
}

/// The servers behind us, by name. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Upstreams(Arc<()>);

impl Upstreams {
    #[must_use]
    pub fn new(settings: UpstreamSettings) -> Self {
        let _ = settings;
        Self(Arc::new(()))
    }

    /// Replaces the set of servers. Links of servers whose settings are unchanged live on; the others'
    /// conversations go on until they end, and new ones are opened with the new settings.
    ///
    /// # Errors
    /// The first server whose name or settings are wrong; nothing is replaced then.
    pub fn replace(
        &self,
        servers: std::collections::BTreeMap<String, ServerSettings>,
    ) -> Result<(), SettingsError> {
        let _ = servers;
        unimplemented!()
    }

    /// In order of name.
    #[must_use]
    pub fn servers(&self) -> Vec<Arc<Server>> {
        unimplemented!()
    }

    #[must_use]
    pub fn server(&self, name: &str) -> Option<Arc<Server>> {
        let _ = name;
        unimplemented!()
    }

    /// A conversation with `server`. `Session` is new each time; `Shared` is the one of that grant.
    /// Nothing is started or connected until the first send.
    #[must_use]
    pub fn link(&self, server: &Arc<Server>, conversation: Conversation) -> Link {
        let _ = (server, conversation);
        unimplemented!()
    }

    /// Sends a `tools/call`, once. Called by `broker::dispatch` only.
    ///
    /// # Errors
    /// See `SendError`; an HTTP status of the server is a `Reply`, not an error.
    pub async fn forward(&self, right: Right, link: &Link, outbound: Outbound) -> Result<Reply, SendError> {
        let _ = (right, link, outbound);
        unimplemented!()
    }

    /// Sends anything else: other requests, notifications, answers to the server, GET (listen), DELETE.
    ///
    /// # Errors
    /// As `forward`.
    pub async fn relay(
        &self,
        passthrough: Passthrough,
        link: &Link,
        outbound: Outbound,
    ) -> Result<Reply, SendError> {
        let _ = (passthrough, link, outbound);
        unimplemented!()
    }

    /// Ends every conversation: children cleanly, HTTP sessions by DELETE.
    pub async fn drain(&self) {}
}
