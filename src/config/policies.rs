//! The policy files that a configuration names, read and checked.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use super::{Config, ConfigError, GrantServers};
use crate::{
    broker::{GrantRules, Rules},
    policy::{Policy, check},
};

/// A policy file as it lies on the disk.
#[derive(Clone, Debug)]
pub struct LoadedPolicy {
    pub path: PathBuf,
    pub text: String,
    pub policy: Arc<Policy>,
}

/// Every policy in force, and whom each judges.
#[derive(Debug, Default)]
pub struct Policies {
    /// By the name written in the configuration.
    pub files: BTreeMap<String, LoadedPolicy>,
    pub rules: Rules,
}

impl Policies {
    /// Reads every policy file that `config` names.
    ///
    /// # Errors
    /// All problems of the first file that has any, each with file, line, column and hint.
    pub fn load(config: &Config) -> Result<Self, ConfigError> {
        let mut policies = Self::default();
        for (name, server) in &config.file.servers {
            if let Some(path) = &server.policy {
                let policy = policies.file(config, &format!("servers.{name}"), path)?;
                policies.rules.by_server.entry(name.clone()).or_default().push(policy);
            }
        }
        for (name, grant) in &config.file.grants {
            let mut rules = GrantRules::default();
            if let Some(path) = &grant.policy {
                rules.everywhere.push(policies.file(config, &format!("grants.{name}"), path)?);
            }
            if let GrantServers::Each(each) = &grant.servers {
                for (server, own) in each {
                    let Some(path) = &own.policy else { continue };
                    let header = format!("grants.{name}.servers.{server}");
                    let policy = policies.file(config, &header, path)?;
                    rules.by_server.entry(server.clone()).or_default().push(policy);
                }
            }
            policies.rules.by_grant.insert(name.clone(), rules);
        }
        for (name, _) in config.file.grants.iter().filter(|(_, grant)| grant.shared) {
            policies.check_shared(config, name)?;
        }
        Ok(policies)
    }

    /// Several agents use this grant: none of them may take another's place, and with it the answer.
    fn check_shared(&self, config: &Config, grant: &str) -> Result<(), ConfigError> {
        let servers = config.file.servers.keys().filter(|server| {
            let names = config.file.grants.get(grant).map(|grant| grant.servers.names()).unwrap_or_default();
            names.iter().any(|name| name == "*" || name == *server)
        });
        for server in servers {
            let joining = self.rules.of(grant, server).into_iter().find(|policy| policy.joins_by_grant());
            let Some(policy) = joining else { continue };
            let message = format!(
                "grants.{grant} is shared, but its policy {} for {server} says `join: grant`: one agent would \
                 get the answer that another waits for",
                policy.name
            );
            let hint = "leave out `shared`, or write \"join\": \"detached\" or \"never\" in the policy";
            return Err(config.at(&format!("grants.{grant}"), message, hint));
        }
        Ok(())
    }

    /// The policy of a grant that was added by command.
    ///
    /// # Errors
    /// As `file`.
    pub fn grant(&mut self, config: &Config, grant: &str, written: &str) -> Result<(), ConfigError> {
        let policy = self.file(config, &format!("grants.{grant}"), written)?;
        self.rules.by_grant.entry(grant.to_owned()).or_default().everywhere.push(policy);
        Ok(())
    }

    /// One file, read once.
    ///
    /// # Errors
    /// The file cannot be read, or is no policy.
    pub fn file(&mut self, config: &Config, header: &str, written: &str) -> Result<Arc<Policy>, ConfigError> {
        if let Some(loaded) = self.files.get(written) {
            return Ok(Arc::clone(&loaded.policy));
        }
        let path = config.path_of(written);
        let text = std::fs::read_to_string(&path).map_err(|error| {
            let hint = "paths are relative to the configuration file";
            config.at(header, format!("the policy {} cannot be read: {error}", path.display()), hint)
        })?;
        let policy = check(&path.display().to_string(), &text).map_err(|problems| {
            let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
            ConfigError::Policy(lines.join("\n"))
        })?;
        let policy = Arc::new(policy);
        self.files.insert(written.to_owned(), LoadedPolicy { path, text, policy: Arc::clone(&policy) });
        Ok(policy)
    }
}
