//! `COUNTERSIGN_LISTEN=…` sets `listen`; two underscores step into a table: `COUNTERSIGN_LEDGER__ALLOWED`.

use std::ffi::OsString;

use super::ConfigError;

const PREFIX: &str = "COUNTERSIGN_";

/// Variables of the command line and of tests, which are no keys of the file.
const NOT_KEYS: [&str; 5] = ["TOKEN", "REVIEWER_TOKEN", "CONFIG", "URL", "LOG"];

/// Only keys of the file's first two levels can be overridden: names of servers and grants cannot be
/// told from their keys.
const KEYS: [&str; 13] = [
    "listen",
    "public_url",
    "client_metadata_url",
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

/// The variables of this process. What is not UTF-8 is none of ours, unless its name says so.
///
/// # Errors
/// A `COUNTERSIGN_…` variable that is not UTF-8: what it was to change is not known.
pub fn environment() -> Result<Vec<(String, String)>, ConfigError> {
    texts(std::env::vars_os())
}

fn texts(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Vec<(String, String)>, ConfigError> {
    let mut texts = Vec::new();
    for (name, value) in variables {
        match (name.to_str(), value.to_str()) {
            (Some(name), Some(value)) => texts.push((name.to_owned(), value.to_owned())),
            _ if name.as_encoded_bytes().starts_with(PREFIX.as_bytes()) => {
                let shown = name.to_string_lossy();
                return Err(ConfigError::Override(format!(
                    "{shown}: it is not UTF-8; unset it, or set it again"
                )));
            }
            _ => {}
        }
    }
    Ok(texts)
}

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

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn what_is_not_text_is_passed_over_unless_it_is_ours() {
        let odd = || OsString::from_vec(vec![b'a', 0xff]);
        let mine = |name: &str| (OsString::from(name), odd());
        let plain = || (OsString::from("COUNTERSIGN_STORE"), OsString::from("sqlite:x.db"));
        let read = texts([mine("PATH"), (odd(), odd()), plain()].into_iter()).expect("read");
        assert_eq!(read, [("COUNTERSIGN_STORE".to_owned(), "sqlite:x.db".to_owned())]);
        let refused = texts([plain(), mine("COUNTERSIGN_LISTEN")].into_iter()).expect_err("refused");
        assert!(refused.to_string().contains("COUNTERSIGN_LISTEN: it is not UTF-8"), "{refused}");
    }
}
