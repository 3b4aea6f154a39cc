//! `COUNTERSIGN_LISTEN=…` sets `listen`; two underscores step into a table: `COUNTERSIGN_LEDGER__ALLOWED`.

use super::ConfigError;

const PREFIX: &str = "COUNTERSIGN_";

/// Variables of the command line and of tests, which are no keys of the file.
const NOT_KEYS: [&str; 5] = ["TOKEN", "REVIEWER_TOKEN", "CONFIG", "URL", "LOG"];

/// Only keys of the file's first two levels can be overridden: names of servers and grants cannot be
/// told from their keys.
const KEYS: [&str; 12] = [
    "listen",
    "public_url",
    "store",
    "name",
    "tls",
    "trusted_proxies",
    "approval",
    "limits",
    "ledger",
    "upstream",
    "servers",
    "grants",
];

pub(super) fn apply(
    table: &mut toml::Table,
    variables: impl Iterator<Item = (String, String)>,
) -> Result<(), ConfigError> {
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let path: Vec<String> = rest.split("__").map(str::to_lowercase).collect();
        if NOT_KEYS.contains(&rest) || !path.first().is_some_and(|first| KEYS.contains(&first.as_str())) {
            continue;
        }
        set(table, &path, parse(&value)).map_err(|why| ConfigError::Override(format!("{name}: {why}")))?;
    }
    Ok(())
}

/// A number, a boolean or a list as TOML writes them; everything else is a string.
fn parse(value: &str) -> toml::Value {
    let line: Result<toml::Table, _> = toml::from_str(&format!("value = {value}"));
    let parsed = line.ok().and_then(|mut table| table.remove("value"));
    parsed.unwrap_or_else(|| toml::Value::String(value.to_owned()))
}

fn set(table: &mut toml::Table, path: &[String], value: toml::Value) -> Result<(), String> {
    let Some((key, rest)) = path.split_first() else { return Ok(()) };
    if rest.is_empty() {
        table.insert(key.clone(), value);
        return Ok(());
    }
    let next = table.entry(key.clone()).or_insert_with(|| toml::Value::Table(toml::Table::new()));
    let toml::Value::Table(next) = next else { return Err(format!("`{key}` is no table")) };
    set(next, rest, value)
}
