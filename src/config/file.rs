//! The configuration file as it is written; `default.toml` beside this file documents each key.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::{
    broker::AllowedLedger,
    downstream::DoorSettings,
    oauth::Algorithm,
    upstream::{Transport, UpstreamSettings},
};

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    pub listen: String,
    pub public_url: Option<String>,
    pub client_metadata_url: Option<String>,
    pub store: String,
    pub name: String,
    pub tls: Tls,
    pub trusted_proxies: Vec<String>,
    pub servers: BTreeMap<String, Server>,
    pub grants: BTreeMap<String, Grant>,
    pub approval: Approval,
    pub limits: Limits,
    pub ledger: Ledger,
    pub upstream: UpstreamSettings,
    /// The agents' door.
    pub mcp: DoorSettings,
    pub notify: Notify,
    /// Access tokens that agents may bring.
    pub oauth: Option<Oauth>,
}

impl Default for File {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:8787".into(),
            public_url: None,
            client_metadata_url: None,
            store: "sqlite:countersign.db".into(),
            name: "countersign".into(),
            tls: Tls::default(),
            trusted_proxies: Vec::new(),
            servers: BTreeMap::new(),
            grants: BTreeMap::new(),
            approval: Approval::default(),
            limits: Limits::default(),
            ledger: Ledger::default(),
            upstream: UpstreamSettings::default(),
            mcp: DoorSettings::default(),
            notify: Notify::default(),
            oauth: None,
        }
    }
}

impl File {
    /// The keys and tables that differ from those of `running` and are read at the start only.
    #[must_use]
    pub fn waits_for_restart(&self, running: &Self) -> Vec<&'static str> {
        let both = [self, running].map(|file| {
            let one = |key, value: &dyn std::fmt::Debug| (key, format!("{value:?}"));
            [
                one("listen", &file.listen),
                one("public_url", &file.public_url),
                one("client_metadata_url", &file.client_metadata_url),
                one("store", &file.store),
                one("name", &file.name),
                one("tls", &file.tls),
                one("trusted_proxies", &file.trusted_proxies),
                one("approval", &file.approval),
                one("limits", &file.limits),
                one("ledger", &file.ledger),
                one("upstream", &file.upstream),
                one("mcp", &file.mcp),
            ]
        });
        let [now, before] = both;
        now.into_iter().zip(before).filter(|(now, before)| now != before).map(|((key, _), _)| key).collect()
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    pub cert: Option<String>,
    pub key: Option<String>,
}

impl Tls {
    /// The key that is there and the one that is missing, when only one is.
    pub(super) fn half(&self) -> Option<(&'static str, &'static str)> {
        match (&self.cert, &self.key) {
            (Some(_), None) => Some(("cert", "key")),
            (None, Some(_)) => Some(("key", "cert")),
            (Some(_), Some(_)) | (None, None) => None,
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    pub command: Option<Vec<String>>,
    pub env: BTreeMap<String, String>,
    pub cwd: Option<String>,
    pub url: Option<String>,
    pub transport: Option<Transport>,
    pub headers: BTreeMap<String, String>,
    pub oauth: Option<SignIn>,
    pub policy: Option<String>,
    pub limits: Option<ProcessLimits>,
}

/// Of a command's processes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProcessLimits {
    pub children: Option<std::num::NonZeroUsize>,
    /// Bytes.
    pub memory: Option<u64>,
    pub age: Option<String>,
}

/// The broker signs in at the server.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SignIn {
    pub scopes: Vec<String>,
    pub client_id: Option<String>,
    pub client_secret: Option<String>,
    pub issuer: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grant {
    pub token: Option<String>,
    pub servers: GrantServers,
    pub policy: Option<String>,
    pub owner: Option<String>,
    pub shared: bool,
    pub methods: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Oauth {
    pub issuer: String,
    pub audience: Vec<String>,
    pub jwks: Option<String>,
    pub algorithms: Vec<Algorithm>,
    pub claim: String,
    pub scopes: Vec<String>,
    pub grants: BTreeMap<String, String>,
    pub skew: String,
}

impl Default for Oauth {
    fn default() -> Self {
        Self {
            issuer: String::new(),
            audience: Vec::new(),
            jwks: None,
            algorithms: Algorithm::ALL.to_vec(),
            claim: "client_id".into(),
            scopes: Vec::new(),
            grants: BTreeMap::new(),
            skew: "60s".into(),
        }
    }
}

/// What `servers` of a grant may be; as the attribute below has it.
pub(super) const SERVERS_EXPECTED: &str = "a list of servers' names";

/// `servers = ["a", "b"]`, or `[grants.NAME.servers.a]` with a policy of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged, expecting = "`servers` is a list of servers' names, or a table for each of them")]
pub enum GrantServers {
    Names(Vec<String>),
    Each(BTreeMap<String, GrantServer>),
}

impl Default for GrantServers {
    fn default() -> Self {
        Self::Names(Vec::new())
    }
}

impl GrantServers {
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Names(names) => names.clone(),
            Self::Each(each) => each.keys().cloned().collect(),
        }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrantServer {
    pub policy: Option<String>,
}

/// Times are written as in policies: `"90s"`, `"15m"`, `"24h"`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Approval {
    pub detach_grace: String,
    pub max_wait: String,
    pub redelivery: String,
}

impl Default for Approval {
    fn default() -> Self {
        Self { detach_grace: "2m".into(), max_wait: "24h".into(), redelivery: "10m".into() }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    pub pending_per_agent: usize,
    pub pending: usize,
    pub pending_bytes: usize,
    pub kept_answer: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { pending_per_agent: 1_000, pending: 100_000, pending_bytes: 1 << 30, kept_answer: 1 << 20 }
    }
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ledger {
    pub allowed: AllowedLedger,
    pub allowed_arguments: usize,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Notify {
    pub slack: BTreeMap<String, Slack>,
    pub webhook: BTreeMap<String, Webhook>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slack {
    pub webhook: String,
    /// Show argument values, not only names.
    pub values: bool,
    /// How long one message is tried.
    pub retry_for: String,
}

impl Default for Slack {
    fn default() -> Self {
        Self { webhook: String::new(), values: false, retry_for: "24h".into() }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Webhook {
    pub url: String,
    /// Standard Webhooks secret, `whsec_…`.
    pub secret: String,
    pub values: bool,
    pub retry_for: String,
}

impl Default for Webhook {
    fn default() -> Self {
        Self { url: String::new(), secret: String::new(), values: false, retry_for: "24h".into() }
    }
}
