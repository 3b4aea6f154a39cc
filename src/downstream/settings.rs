//! What the agents' door may be told: who may knock, how large, and how long an agent is kept waiting.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;

use super::{Separator, elicit::Offer};
use crate::call::ClientInfo;

/// `[mcp]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DoorSettings {
    /// Names (with or without a port) that a request's Host may have.
    pub hosts: Vec<String>,
    /// Origins of web pages that may speak to the door, beside those of `hosts`.
    pub origins: Vec<String>,
    /// Largest request body, bytes.
    pub max_body: usize,
    /// Largest arguments of a `tools/call`, bytes.
    pub max_arguments: usize,
    /// Nested arrays and objects of a request.
    pub max_depth: usize,
    /// How long headers are held for a fast decision, ms.
    pub grace_ms: u64,
    /// The same for other requests to a server that is a command, which may have to start first, ms.
    pub start_grace_ms: u64,
    /// Between two signs of life on a stream that waits, or is listened to and silent, ms; those that wait are jittered
    /// by a fifth.
    pub heartbeat_ms: u64,
    /// A peer that stays this long after its answer has it, ms.
    pub delivery_ms: u64,
    /// How long a legacy stream that broke may be taken up again, ms; then its agent has left.
    pub resume_grace_ms: u64,
    /// A waiting stream is closed after this, for its client to come back with GET (2025-11-25), s; 0: never.
    pub poll_after_s: u64,
    /// Legacy sessions at a time; one grant may have half of them.
    pub max_sessions: usize,
    /// Streams without an end of their own at a time (GET, `subscriptions/listen`, HTTP+SSE); one grant may have half
    /// of them.
    pub max_streams: usize,
    /// Bytes of lists, of parts of batches and of other answers that are held whole at a time; one grant, and one
    /// server, may have half of them.
    pub max_held: usize,
    /// A legacy session without a message ends after this, s.
    pub session_idle_s: u64,
    /// On the joined endpoint, between a server's name and its tool's or prompt's.
    pub joined_separator: Separator,
    /// How long a client is kept waiting before it is told to call again, by `clientInfo.name`.
    pub patience: BTreeMap<String, Patience>,
    /// The same by the agent's grant; wins over the name, which a gateway in between may pass on.
    pub grant_patience: BTreeMap<String, Patience>,
    /// For every other client, s.
    pub default_patience_s: u64,
    /// A client that hung up twice after about the same wait, of at least this, is told to call again before that the
    /// next time, ms; 0: never.
    pub learn_from_ms: u64,
    /// How often a client of 2026-07-28 is told to come back by itself before it is told to call again;
    /// 0: never.
    pub laps: u8,
    /// Clients that are not, by `clientInfo.name`: their clocks run on meanwhile.
    pub no_laps: Vec<String>,
    /// Clients, by `clientInfo.name` (`*`: all), that are asked to show a link to the call's page to the person
    /// before them, if they say that they can.
    pub show_link: Vec<String>,
    /// Agents have a tool of the broker's own, `countersign_wait {code}`, to go on waiting without the arguments.
    pub wait_tool: bool,
}

/// How one call may go on waiting when its line ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Rungs {
    /// As a task.
    pub task: bool,
    /// So many returns are left, after so many.
    pub laps: Option<(u8, u8)>,
    /// And a link to its page is shown meanwhile.
    pub link: Offer,
}

/// How long one client's own clock lets a call wait.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "how long a client waits is a number of seconds, \"expiry\" or \"expiry_with_progress\""
)]
pub enum Patience {
    Seconds(u64),
    Until(Until),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Until {
    /// Until the call is decided or expires.
    Expiry,
    /// The same for a request with a progress token; the default for one without.
    ExpiryWithProgress,
}

impl Default for DoorSettings {
    fn default() -> Self {
        let patience = [
            ("codex-mcp-client", Patience::Seconds(270)),
            ("claude-code", Patience::Until(Until::ExpiryWithProgress)),
            ("mcp", Patience::Until(Until::Expiry)),
            ("Visual Studio Code", Patience::Seconds(240)),
        ];
        Self {
            hosts: ["localhost", "127.0.0.1", "[::1]"].map(String::from).into(),
            origins: Vec::new(),
            max_body: 4 << 20,
            max_arguments: 256 << 10,
            max_depth: 64,
            grace_ms: 1_000,
            start_grace_ms: 30_000,
            heartbeat_ms: 12_000,
            delivery_ms: 2_000,
            resume_grace_ms: 30_000,
            poll_after_s: 0,
            max_sessions: 20_000,
            max_streams: 20_000,
            max_held: 256 << 20,
            session_idle_s: 3_600,
            joined_separator: Separator::default(),
            patience: patience.map(|(name, patience)| (name.to_owned(), patience)).into(),
            grant_patience: BTreeMap::new(),
            default_patience_s: 50,
            learn_from_ms: 10_000,
            laps: 8,
            no_laps: vec!["codex-mcp-client".into()],
            show_link: Vec::new(),
            wait_tool: false,
        }
    }
}

impl DoorSettings {
    /// How long this client of this grant is kept waiting; `None`: until the call is decided or expires.
    #[must_use]
    pub fn patience(&self, grant: &str, client: &ClientInfo, has_progress_token: bool) -> Option<Duration> {
        let default = Some(Duration::from_secs(self.default_patience_s));
        let named = self.grant_patience.get(grant).or_else(|| self.patience.get(&client.name));
        let named = named.or_else(|| self.patience.get(behind_bridge(&client.name)));
        match named {
            None => default,
            Some(Patience::Seconds(seconds)) => Some(Duration::from_secs(*seconds)),
            Some(Patience::Until(Until::Expiry)) => None,
            Some(Patience::Until(Until::ExpiryWithProgress)) if has_progress_token => None,
            Some(Patience::Until(Until::ExpiryWithProgress)) => default,
        }
    }

    /// What a waiting call of this client may go on as. Who is not kept waiting at all is not told to come back.
    pub(super) fn rungs(&self, client: &ClientInfo, modern: bool, patience: Option<Duration>) -> Rungs {
        let comes_back = modern
            && patience.is_some_and(|patience| !patience.is_zero())
            && !self.no_laps.iter().any(|name| *name == client.name || name == behind_bridge(&client.name));
        let laps = (comes_back && self.laps > 0).then_some((self.laps, 0));
        Rungs { task: false, laps, link: Offer::None }
    }

    pub(super) fn shows_links(&self, client: &ClientInfo) -> bool {
        self.show_link.iter().any(|name| name == "*" || *name == client.name)
    }

    /// May a request name this Host? A listed name without a port stands for all its ports.
    #[must_use]
    pub fn accepts_host(&self, authority: &str) -> bool {
        let name = without_port(authority);
        self.hosts.iter().any(|host| host.eq_ignore_ascii_case(authority) || host.eq_ignore_ascii_case(name))
    }

    /// May a page of this origin speak to the door?
    #[must_use]
    pub fn accepts_origin(&self, origin: &str) -> bool {
        if self.origins.iter().any(|listed| listed.eq_ignore_ascii_case(origin)) {
            return true;
        }
        origin.split_once("://").is_some_and(|(_, authority)| self.accepts_host(authority))
    }

    pub(super) fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }

    pub(super) fn start_grace(&self) -> Duration {
        Duration::from_millis(self.start_grace_ms)
    }

    pub(super) fn heartbeat(&self) -> Duration {
        Duration::from_millis(self.heartbeat_ms)
    }
}

/// The client itself: mcp-remote adds its own name to the client's, and has no clock of its own.
fn behind_bridge(name: &str) -> &str {
    name.split_once(" (via mcp-remote ").map_or(name, |(client, _)| client)
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => name,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(name: &str) -> ClientInfo {
        ClientInfo { name: name.into(), version: String::new() }
    }

    #[test]
    fn patience_is_the_clients_own() {
        let settings = DoorSettings::default();
        assert_eq!(settings.patience("bot", &client("nobody"), true), Some(Duration::from_secs(50)));
        assert_eq!(
            settings.patience("bot", &client("codex-mcp-client"), true),
            Some(Duration::from_secs(270))
        );
        assert_eq!(settings.patience("bot", &client("claude-code"), true), None);
        assert_eq!(settings.patience("bot", &client("claude-code"), false), Some(Duration::from_secs(50)));
        assert_eq!(settings.patience("bot", &client("claude-code (via mcp-remote 0.15.1)"), true), None);
        assert_eq!(settings.patience("bot", &client("mcp"), false), None);
    }

    #[test]
    fn patience_of_a_grant_wins_over_the_clients() {
        let mut settings = DoorSettings::default();
        settings.grant_patience.insert("gateway".into(), Patience::Seconds(50));
        settings.grant_patience.insert("night".into(), Patience::Until(Until::Expiry));
        assert_eq!(settings.patience("gateway", &client("mcp"), true), Some(Duration::from_secs(50)));
        assert_eq!(settings.patience("night", &client("nobody"), false), None);
        assert_eq!(settings.patience("bot", &client("mcp"), true), None);
    }

    #[test]
    fn who_has_a_clock_of_its_own_is_not_told_to_come_back() {
        let settings = DoorSettings::default();
        let laps = |name| settings.rungs(&client(name), true, Some(Duration::from_secs(1))).laps;
        assert_eq!(laps("nobody"), Some((8, 0)));
        assert_eq!(laps("codex-mcp-client"), None);
        assert_eq!(laps("codex-mcp-client (via mcp-remote 0.15.1)"), None);
    }

    #[test]
    fn a_host_is_accepted_by_name_whatever_its_port() {
        let settings = DoorSettings::default();
        for good in ["localhost", "LOCALHOST:8787", "127.0.0.1:1", "[::1]:8787", "[::1]"] {
            assert!(settings.accepts_host(good), "{good}");
        }
        for bad in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "[::2]"] {
            assert!(!settings.accepts_host(bad), "{bad}");
        }
    }

    #[test]
    fn an_origin_is_accepted_by_its_host() {
        let settings = DoorSettings { origins: vec!["https://ui.example".into()], ..DoorSettings::default() };
        assert!(settings.accepts_origin("http://localhost:3000"));
        assert!(settings.accepts_origin("https://ui.example"));
        assert!(!settings.accepts_origin("https://evil.example"));
        assert!(!settings.accepts_origin("null"));
    }
}
