//! Where people are told, and with how much patience. A URL is a secret here: only its host is ever shown.

use std::{fmt, net::IpAddr, time::Duration};

use reqwest::Url;

/// Every destination, in order of name.
#[derive(Clone, Debug, Default)]
pub struct NotifySettings {
    pub destinations: Vec<Destination>,
    pub pace: Pace,
}

/// One place that is told of calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Destination {
    /// `slack.NAME` or `webhook.NAME`: in logs, metrics, and as the name of its cursor.
    pub name: String,
    pub target: Target,
    /// Argument values are shown, not only their names.
    pub values: bool,
    /// How long one message is tried before it becomes a dead letter.
    pub retry_for: Duration,
}

impl Destination {
    pub const RETRY_FOR: Duration = Duration::from_secs(24 * 3600);
}

/// How a destination is spoken to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Target {
    /// An incoming webhook.
    Slack(Endpoint),
    /// Signed as Standard Webhooks.
    Webhook(Endpoint, Secret),
}

impl Target {
    pub(super) fn endpoint(&self) -> &Endpoint {
        match self {
            Self::Slack(endpoint) | Self::Webhook(endpoint, _) => endpoint,
        }
    }
}

/// A URL that messages may be sent to: https, or http to this very machine.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

/// Why something written as an endpoint or a secret is none; never repeats what was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadTarget {
    #[error("it is no URL")]
    NoUrl,
    #[error("it is not https, and its host is not this machine")]
    NotEncrypted,
    #[error("the secret is not whsec_ followed by base64")]
    NoSecret,
}

impl Endpoint {
    /// # Errors
    /// No URL, or one that would carry what agents do over the network in the clear.
    pub fn parse(written: &str) -> Result<Self, BadTarget> {
        let url: Url = written.trim().parse().map_err(|_| BadTarget::NoUrl)?;
        let host = url.host_str().ok_or(BadTarget::NoUrl)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let own = host == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        match url.scheme() {
            "https" => Ok(Self(url)),
            "http" if own => Ok(Self(url)),
            "http" => Err(BadTarget::NotEncrypted),
            _ => Err(BadTarget::NoUrl),
        }
    }

    /// The part that may be shown.
    pub(super) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Does `text` tell a part of what is secret: the path, the query, the credentials?
    pub(super) fn is_repeated_in(&self, text: &str) -> bool {
        let text = text.to_lowercase();
        let rest = self.0.path().split('/').chain(self.0.query().unwrap_or_default().split(['&', '=']));
        let parts = rest.chain([self.0.username(), self.0.password().unwrap_or_default()]);
        parts.filter(|part| part.len() >= 6).any(|part| text.contains(&part.to_lowercase()))
    }

    pub(super) fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/…", self.0.scheme(), self.host())
    }
}

/// The key of a webhook's signatures.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// # Errors
    /// Not `whsec_` and base64 of at least one byte.
    pub fn parse(written: &str) -> Result<Self, BadTarget> {
        let written = written.trim();
        let key = written.strip_prefix("whsec_").filter(|key| !key.is_empty()).ok_or(BadTarget::NoSecret)?;
        standardwebhooks::Webhook::new(key).map_err(|_| BadTarget::NoSecret)?;
        Ok(Self(written.to_owned()))
    }

    pub(super) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// How fast and how patiently; the same for every destination.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Pace {
    /// A whole request, connecting included.
    pub timeout: Duration,
    /// The wait after the first failure; it doubles with each.
    pub first_wait: Duration,
    pub longest_wait: Duration,
    /// How often a request that the receiver calls wrong is made at all.
    pub refused_tries: u32,
    /// Slack takes one message per second and webhook.
    pub slack_interval: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(600),
            refused_tries: 3,
            slack_interval: Duration::from_secs(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_or_this_machine_is_an_endpoint() {
        for fine in [
            "https://hooks.slack.com/services/T/B/x",
            "http://127.0.0.1:9/x",
            "http://[::1]:9/",
            "http://localhost/",
        ] {
            assert!(Endpoint::parse(fine).is_ok(), "{fine}");
        }
        for (bad, why) in [
            ("http://siem.example/hook", BadTarget::NotEncrypted),
            ("http://127.0.0.1.evil.example/", BadTarget::NotEncrypted),
            ("http://localhost.evil.example/", BadTarget::NotEncrypted),
            ("ftp://siem.example/", BadTarget::NoUrl),
            ("siem.example", BadTarget::NoUrl),
        ] {
            assert_eq!(Endpoint::parse(bad).err(), Some(why), "{bad}");
        }
    }

    #[test]
    fn what_is_secret_is_not_in_the_debug_form() {
        let endpoint =
            Endpoint::parse("https://me:pass@hooks.slack.com/services/T/B/secret?k=v").expect("fits");
        let secret = Secret::parse("whsec_c2VjcmV0").expect("fits");
        let shown = format!("{:?}", Target::Webhook(endpoint, secret));
        assert_eq!(shown, "Webhook(https://hooks.slack.com/…, Secret(…))");
        assert!(Secret::parse("c2VjcmV0").is_err() && Secret::parse("whsec_***").is_err());
    }
}
