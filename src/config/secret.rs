//! Secrets are written as where they lie: `env:NAME` or `file:PATH`.

use super::{Config, ConfigError};

/// What stands in a secret's place in the file. An empty one is a mistake somewhere else: it is refused.
pub(super) fn read(config: &Config, header: &str, written: &str) -> Result<String, ConfigError> {
    let secret = look(config, header, written)?;
    if secret.is_empty() && !written.is_empty() {
        return Err(config.at(header, format!("the secret {written} is empty"), "put the secret there"));
    }
    Ok(secret)
}

fn look(config: &Config, header: &str, written: &str) -> Result<String, ConfigError> {
    if let Some(name) = written.strip_prefix("env:") {
        return std::env::var(name).map_err(|_| {
            config.at(
                header,
                format!("the environment variable {name} is not set"),
                format!("set {name} before starting, or write file:PATH"),
            )
        });
    }
    let Some(path) = written.strip_prefix("file:") else { return Ok(written.to_owned()) };
    let read = std::fs::read_to_string(config.path_of(path));
    read.map(|text| text.trim_end().to_owned()).map_err(|error| {
        config.at(
            header,
            format!("the secret's file {path} cannot be read: {error}"),
            "check its path and owner",
        )
    })
}
