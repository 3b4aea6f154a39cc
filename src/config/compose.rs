//! From the file as written to the settings that each module owns.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::{Config, ConfigError, secret};
use crate::{
    broker,
    downstream::DoorSettings,
    identity::GrantSettings,
    notify::{BadTarget, Destination, Endpoint, NotifySettings, Secret, Target},
    oauth::{ClientSettings, ResourceSettings, check_document},
    policy,
    upstream::{ChildLimits, ServerSettings},
};

/// Of `mcp.max_depth`. Reviewers' clients read a call within an answer about it, and many JSON readers go 128
/// levels deep.
const DEEPEST: usize = 100;

/// A certificate chain and its key, PEM files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Everything a broker process is made of, secrets read.
#[derive(Clone, Debug)]
pub struct Composed {
    pub listen: SocketAddr,
    pub public_url: String,
    /// Where the broker's client metadata document is published, if not by itself.
    pub client_metadata_url: Option<String>,
    pub tls: Option<Tls>,
    pub trusted_proxies: Vec<IpAddr>,
    pub broker: broker::Settings,
    pub door: DoorSettings,
    pub servers: BTreeMap<String, ServerSettings>,
    pub grants: Vec<(String, GrantSettings)>,
    pub notify: NotifySettings,
    /// Whose access tokens agents may bring.
    pub issuer: Option<ResourceSettings>,
}

impl Config {
    /// What can be said without reading a secret: names, addresses, times.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.check_tls()?;
        self.listen()?;
        self.check_public_url()?;
        self.check_client_metadata_url()?;
        self.store_path()?;
        for name in self.file.servers.keys() {
            let fits = (1..=24).contains(&name.len())
                && !name.contains("__")
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_-".contains(&b));
            if !fits {
                let message = format!("the server name {name:?} is not allowed");
                let hint = "use up to 24 of a-z, 0-9, - and _, without two underscores in a row";
                return Err(self.at(&format!("servers.{name}"), message, hint));
            }
        }
        self.check_servers()?;
        if self.file.mcp.max_depth > DEEPEST {
            let message = format!(
                "max_depth = {} is deeper than a call can be shown to people",
                self.file.mcp.max_depth
            );
            return Err(self.at("mcp.max_depth", message, format!("write at most {DEEPEST}")));
        }
        for (name, grant) in &self.file.grants {
            for server in grant.servers.names() {
                if server != "*" && !self.file.servers.contains_key(&server) {
                    let message =
                        format!("agent {name:?} names the server {server:?}, which is not configured");
                    return Err(self.at(
                        &format!("grants.{name}"),
                        message,
                        format!("add [servers.{server}]"),
                    ));
                }
            }
        }
        self.issuer()?;
        self.broker_settings().map(|_| ())
    }

    /// `[oauth]`: whose access tokens agents may bring.
    fn issuer(&self) -> Result<Option<ResourceSettings>, ConfigError> {
        let Some(oauth) = &self.file.oauth else { return Ok(None) };
        let settings = ResourceSettings {
            issuer: oauth.issuer.clone(),
            audience: oauth.audience.clone(),
            jwks: oauth.jwks.clone(),
            algorithms: oauth.algorithms.clone(),
            claim: oauth.claim.clone(),
            scopes: oauth.scopes.clone(),
            grants: oauth.grants.clone(),
            skew: self.duration("oauth", "skew", &oauth.skew)?,
        };
        settings.check().map_err(|why| {
            let hint = "see [oauth] in the shipped default.toml: issuer, claim, and [oauth.grants]";
            self.at("oauth", format!("[oauth] cannot be used: {why}"), hint)
        })?;
        Ok(Some(settings))
    }

    /// The address to listen on. Off loopback it needs TLS, or a proxy that is trusted to have it.
    fn listen(&self) -> Result<SocketAddr, ConfigError> {
        let written = &self.file.listen;
        let hint = "write an address and a port, such as listen = \"127.0.0.1:8787\"";
        let address: SocketAddr = written
            .replace("localhost:", "127.0.0.1:")
            .parse()
            .map_err(|_| self.at("listen", format!("{written:?} is no address to listen on"), hint))?;
        let covered = self.tls().is_some() || !self.file.trusted_proxies.is_empty();
        if !address.ip().is_loopback() && !covered {
            let message = format!("{address} can be reached from other machines, and there is no TLS");
            let hint = "set tls.cert and tls.key, or trusted_proxies, or listen on 127.0.0.1";
            return Err(self.at("listen", message, hint));
        }
        Ok(address)
    }

    /// With one of the two it would be plain http.
    fn check_tls(&self) -> Result<(), ConfigError> {
        let Some((has, lacks)) = self.file.tls.half() else { return Ok(()) };
        let message = format!("[tls] has `{has}` and no `{lacks}`, and TLS needs both");
        let hint = format!("write {lacks} = \"PATH.pem\" beside it, or take `{has}` out");
        Err(self.at(&format!("tls.{has}"), message, hint))
    }

    fn tls(&self) -> Option<Tls> {
        let tls = &self.file.tls;
        Some(Tls { cert: self.path_of(tls.cert.as_ref()?), key: self.path_of(tls.key.as_ref()?) })
    }

    /// Links, cookies and the Host list come from here.
    fn public_url(&self, listen: SocketAddr) -> String {
        let scheme = if self.tls().is_some() { "https" } else { "http" };
        let own = || format!("{scheme}://{listen}");
        self.file.public_url.clone().unwrap_or_else(own).trim_end_matches('/').to_owned()
    }

    /// Links and cookies are made of it, and routes begin at its root.
    fn check_public_url(&self) -> Result<(), ConfigError> {
        let Some(written) = &self.file.public_url else { return Ok(()) };
        let url: Option<http::Uri> = written.parse().ok();
        let fits = url.is_some_and(|url| {
            let root = matches!(url.path(), "" | "/") && url.query().is_none();
            matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some() && root
        });
        if fits {
            return Ok(());
        }
        let message = format!("public_url = {written:?} is no address that a browser can open the inbox at");
        let hint = "write a scheme and a host, and no path: public_url = \"https://approvals.example\"";
        Err(self.at("public_url", message, hint))
    }

    fn check_client_metadata_url(&self) -> Result<(), ConfigError> {
        let Some(written) = &self.file.client_metadata_url else { return Ok(()) };
        check_document(written).map_err(|why| {
            let message = format!("client_metadata_url = {written:?} cannot be a client id: {why}");
            let hint = "write where the document is published: \"https://HOST/PATH\", or leave it out";
            self.at("client_metadata_url", message, hint)
        })
    }

    fn duration(&self, header: &str, key: &str, written: &str) -> Result<Duration, ConfigError> {
        policy::duration(written).ok_or_else(|| {
            let message = format!("{key} = {written:?} is no duration");
            self.at(
                &format!("{header}.{key}"),
                message,
                "write a number and a unit, such as \"90s\", \"15m\" or \"24h\"",
            )
        })
    }

    fn broker_settings(&self) -> Result<broker::Settings, ConfigError> {
        let (approval, limits, ledger) = (&self.file.approval, &self.file.limits, &self.file.ledger);
        Ok(broker::Settings {
            replica: self.file.name.clone(),
            public_url: self.public_url(self.listen()?),
            detach_grace: self.duration("approval", "detach_grace", &approval.detach_grace)?,
            max_wait: self.duration("approval", "max_wait", &approval.max_wait)?,
            redelivery: self.duration("approval", "redelivery", &approval.redelivery)?,
            pending_per_agent: limits.pending_per_agent,
            pending: limits.pending,
            pending_bytes: limits.pending_bytes,
            kept_answer: limits.kept_answer,
            largest_answer: self.file.upstream.max_body,
            allowed: ledger.allowed,
            allowed_arguments: ledger.allowed_arguments,
            ..broker::Settings::default()
        })
    }

    /// Reads the secrets and hands each module its settings.
    ///
    /// # Errors
    /// A secret that cannot be read, or a proxy address that is none.
    pub fn compose(&self) -> Result<Composed, ConfigError> {
        let listen = self.listen()?;
        let public_url = self.public_url(listen);
        let trusted_proxies = self.file.trusted_proxies.iter().map(|written| {
            written.parse().map_err(|_| {
                let message = format!("{written:?} is no IP address");
                self.at("trusted_proxies", message, "list the addresses that your proxy connects from")
            })
        });
        let mut door = self.file.mcp.clone();
        door.hosts.extend(host_of(&public_url));
        Ok(Composed {
            listen,
            tls: self.tls(),
            trusted_proxies: trusted_proxies.collect::<Result<_, _>>()?,
            broker: self.broker_settings()?,
            door,
            servers: self.servers()?,
            grants: self.grants()?,
            notify: self.notify()?,
            issuer: self.issuer()?,
            client_metadata_url: self.file.client_metadata_url.clone(),
            public_url,
        })
    }

    fn servers(&self) -> Result<BTreeMap<String, ServerSettings>, ConfigError> {
        let mut servers = BTreeMap::new();
        for (name, server) in &self.file.servers {
            let header = format!("servers.{name}");
            let secrets = |table: &str, written: &BTreeMap<String, String>| {
                let read = written.iter().map(|(key, value)| {
                    Ok((key.clone(), secret::read(self, &format!("{header}.{table}.{key}"), value)?))
                });
                read.collect::<Result<BTreeMap<_, _>, ConfigError>>()
            };
            let settings = ServerSettings {
                command: server.command.clone(),
                env: secrets("env", &server.env)?,
                cwd: server.cwd.as_ref().map(|path| self.path_of(path)),
                url: server.url.clone(),
                transport: server.transport,
                headers: secrets("headers", &server.headers)?,
                limits: self.process_limits(name, server)?,
                oauth: self.sign_in(name, server)?,
            };
            servers.insert(name.clone(), settings);
        }
        Ok(servers)
    }

    fn process_limits(&self, name: &str, server: &super::file::Server) -> Result<ChildLimits, ConfigError> {
        let Some(limits) = &server.limits else { return Ok(ChildLimits::default()) };
        let header = format!("servers.{name}.limits");
        let age = limits.age.as_deref().map(|age| self.duration(&header, "age", age)).transpose()?;
        Ok(ChildLimits { children: limits.children, memory: limits.memory, age })
    }

    fn sign_in(
        &self,
        name: &str,
        server: &super::file::Server,
    ) -> Result<Option<ClientSettings>, ConfigError> {
        let Some(oauth) = &server.oauth else { return Ok(None) };
        let header = format!("servers.{name}.oauth");
        let read = |written: &Option<String>| {
            written.as_deref().map(|written| secret::read(self, &header, written)).transpose()
        };
        Ok(Some(ClientSettings {
            scopes: oauth.scopes.clone(),
            client_id: read(&oauth.client_id)?,
            client_secret: read(&oauth.client_secret)?,
            issuer: oauth.issuer.clone(),
        }))
    }

    fn grants(&self) -> Result<Vec<(String, GrantSettings)>, ConfigError> {
        let grant = |(name, grant): (&String, &super::file::Grant)| {
            let header = format!("grants.{name}");
            let token = grant
                .token
                .as_deref()
                .map(|written| secret::read(self, &format!("{header}.token"), written))
                .transpose()?;
            let settings = GrantSettings {
                token,
                servers: grant.servers.names(),
                owner: grant.owner.clone(),
                shared: grant.shared,
                methods: grant.methods.clone(),
                policy: None,
            };
            Ok((name.clone(), settings))
        };
        self.file.grants.iter().map(grant).collect()
    }

    fn notify(&self) -> Result<NotifySettings, ConfigError> {
        let mut settings = NotifySettings::default();
        for (name, slack) in &self.file.notify.slack {
            let name = format!("slack.{name}");
            let target = Target::Slack(self.target(&name, &slack.webhook, Endpoint::parse)?);
            settings.destinations.push(self.destination(name, target, slack.values, &slack.retry_for)?);
        }
        for (name, webhook) in &self.file.notify.webhook {
            let name = format!("webhook.{name}");
            let endpoint = self.target(&name, &webhook.url, Endpoint::parse)?;
            let target = Target::Webhook(endpoint, self.target(&name, &webhook.secret, Secret::parse)?);
            settings.destinations.push(self.destination(name, target, webhook.values, &webhook.retry_for)?);
        }
        Ok(settings)
    }

    fn destination(
        &self,
        name: String,
        target: Target,
        values: bool,
        retry_for: &str,
    ) -> Result<Destination, ConfigError> {
        let retry_for = self.duration(&format!("notify.{name}"), "retry_for", retry_for)?;
        Ok(Destination { name, target, values, retry_for })
    }

    /// A URL or a secret of `[notify.NAME]`; the error does not repeat it.
    fn target<T>(
        &self,
        name: &str,
        written: &str,
        parse: fn(&str) -> Result<T, BadTarget>,
    ) -> Result<T, ConfigError> {
        let header = format!("notify.{name}");
        parse(&secret::read(self, &header, written)?).map_err(|bad| {
            let hint = match bad {
                BadTarget::NoUrl | BadTarget::NotEncrypted => "write env:NAME or file:PATH of an https URL",
                BadTarget::NoSecret => "write env:NAME or file:PATH of a Standard Webhooks secret",
            };
            self.at(&header, format!("[{header}] cannot be used: {bad}"), hint)
        })
    }
}

/// Host, with its port, of a URL.
fn host_of(url: &str) -> Option<String> {
    let uri: http::Uri = url.parse().ok()?;
    uri.authority().map(|authority| authority.as_str().to_owned())
}
