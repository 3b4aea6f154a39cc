//! What a server entry and the upstream side as a whole may set.

use std::{collections::BTreeMap, num::NonZeroUsize, path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::oauth::ClientSettings;

/// How a server at a URL speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Transport {
    /// Streamable HTTP (2025-03-26 and later).
    Http,
    /// HTTP+SSE (2024-11-05): answers come on one stream.
    Sse,
}

/// How to reach one server: a command (stdio) or a URL; exactly one of them.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// Program and arguments.
    pub command: Option<Vec<String>>,
    /// The child's environment, beside a few variables of the broker's (PATH, HOME and their like).
    pub env: BTreeMap<String, String>,
    pub cwd: Option<PathBuf>,
    /// `http://` or `https://`.
    pub url: Option<String>,
    /// How the server at the URL speaks; found out when left out.
    pub transport: Option<Transport>,
    /// Sent with each request; secrets already resolved.
    pub headers: BTreeMap<String, String>,
    /// Of a command's processes.
    #[serde(skip)]
    pub limits: ChildLimits,
    /// The broker signs in at it.
    #[serde(skip)]
    pub oauth: Option<ClientSettings>,
}

/// What the processes of one command may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChildLimits {
    /// At a time, instead of `UpstreamSettings::max_children`; one grant may have half of them.
    pub children: Option<NonZeroUsize>,
    /// Resident bytes of one, with what it started; looked at every 2 s. Past them it is ended.
    pub memory: Option<u64>,
    /// One that is older is ended as soon as no request of it is in flight.
    pub age: Option<Duration>,
}

/// Limits and times of the upstream side.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpstreamSettings {
    pub connect_timeout_ms: u64,
    /// From the request's last byte to the response's headers; tools may run long, so none by default.
    pub header_timeout_ms: Option<u64>,
    /// Between two chunks of a response's body.
    pub body_idle_timeout_ms: Option<u64>,
    /// Bytes of one JSON response or one event of a stream.
    pub max_body: usize,
    /// Bytes of one list of tools, or of another answer that is read whole before it passes.
    pub max_list: usize,
    /// Bytes of one line from a child.
    pub max_line: usize,
    /// A conversation without a message ends after this.
    pub idle_end_s: u64,
    /// Children of one server at a time; one grant may have half of them.
    pub max_children: usize,
    /// Idle connections kept per HTTP server.
    pub max_idle_connections: usize,
    /// How long a connection may lie idle: less than the 5 s after which common servers close theirs, so
    /// that a request rarely meets a connection that is being closed.
    pub idle_connection_ms: u64,
}

impl Default for UpstreamSettings {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 10_000,
            header_timeout_ms: None,
            body_idle_timeout_ms: None,
            max_body: 64 << 20,
            max_list: 8 << 20,
            max_line: 16 << 20,
            idle_end_s: 600,
            max_children: 64,
            max_idle_connections: 256,
            idle_connection_ms: 4_000,
        }
    }
}

impl ServerSettings {
    /// What digests bind to: the command line as a JSON array, or the URL.
    pub(super) fn identity(&self) -> String {
        match (&self.command, &self.url) {
            (Some(command), _) => serde_json::json!(command).to_string(),
            (None, url) => url.clone().unwrap_or_default(),
        }
    }
}

/// What is wrong with a server's settings.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SettingsError {
    #[error("server name {0:?} must match [a-z0-9_-]{{1,24}} and not contain `__`")]
    Name(String),
    #[error("server {0:?} needs exactly one of `command` and `url`")]
    Kind(String),
    #[error("server {0:?}: `transport` says how a `url` speaks; a command has none")]
    Transport(String),
    #[error("server {0:?}: `url` must be http:// or https:// with a host: {1}")]
    Url(String, String),
    #[error("server {0:?}: header {1:?} is not a valid header")]
    Header(String, String),
    #[error("server {0:?} has both an Authorization header and `oauth`: leave one out")]
    Both(String),
}
