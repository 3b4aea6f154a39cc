//! `COUNTERSIGN_LISTEN=…` sets `listen`; two underscores step into a table: `COUNTERSIGN_LEDGER__ALLOWED`.

use std::ffi::OsString;

use super::{ConfigError, DEFAULTS, File, advice};
use crate::policy::nearest;

const PREFIX: &str = "COUNTERSIGN_";

/// Variables of the command line and of tests, which are no keys of the file.
const NOT_KEYS: [&str; 5] = ["TOKEN", "REVIEWER_TOKEN", "CONFIG", "URL", "LOG"];

/// Only keys of the file's first two levels can be overridden: names of servers and grants cannot be
/// told from their keys.
const KEYS: [&str; 16] = [
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
    "mcp",
    "notify",
    "oauth",
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
                return Err(ConfigError::Override {
                    variable: shown.into_owned(),
                    message: "it is not UTF-8".into(),
                    hint: "unset it, or set it again".into(),
                });
            }
            _ => {}
        }
    }
    Ok(texts)
}

/// Variables of this process that look like ours and name no setting, each with the one that was most likely
/// meant. Those that are like no setting may be anybody's, such as a secret's of the file.
#[must_use]
pub fn misspelt() -> Vec<(String, String)> {
    let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    names.filter_map(|name| meant(&name).map(|meant| (name, meant))).collect()
}

fn meant(variable: &str) -> Option<String> {
    let rest = variable.strip_prefix(PREFIX)?;
    if NOT_KEYS.contains(&rest) || is_key(&path_of(rest)) {
        return None;
    }
    let tables: toml::Table = toml::from_str(DEFAULTS).unwrap_or_default();
    let within = |(table, keys): (&String, &toml::Value)| {
        let keys = keys.as_table().into_iter().flat_map(toml::Table::keys);
        keys.map(|key| format!("{table}__{key}")).collect::<Vec<_>>()
    };
    let whole = KEYS.iter().chain(&NOT_KEYS).map(|name| name.to_lowercase());
    let known: Vec<String> = whole.chain(tables.iter().flat_map(within)).collect();
    let near = nearest(rest, known.iter().map(String::as_str))?;
    Some(format!("{PREFIX}{}", near.to_uppercase()))
}

/// From the file's top.
fn path_of(rest: &str) -> Vec<String> {
    rest.split("__").map(str::to_lowercase).collect()
}

fn is_key(path: &[String]) -> bool {
    path.first().is_some_and(|first| KEYS.contains(&first.as_str()))
}

/// A variable that sets a key of the file.
#[derive(Clone, Debug)]
pub(super) struct Given {
    variable: String,
    /// From the file's top.
    path: Vec<String>,
    value: toml::Value,
}

/// Those that set keys.
pub(super) fn among(variables: impl Iterator<Item = (String, String)>) -> Vec<Given> {
    let given = variables.filter_map(|(variable, value)| {
        let rest = variable.strip_prefix(PREFIX)?;
        let path = path_of(rest);
        let value = parse(&value);
        (is_key(&path) && !NOT_KEYS.contains(&rest)).then_some(Given { variable, path, value })
    });
    given.collect()
}

/// The file's content with these in place of its own.
///
/// # Errors
/// The first variable that is no key of the file, or of another kind.
pub(super) fn applied(table: &toml::Table, file: &File, given: &[&Given]) -> Result<File, ConfigError> {
    let (mut table, mut file) = (table.clone(), file.clone());
    for one in given {
        set(&mut table, &one.path, one.value.clone()).map_err(|message| one.wrong(&message))?;
        file = table.clone().try_into().map_err(|error: toml::de::Error| one.wrong(error.message()))?;
    }
    Ok(file)
}

/// The file alone is fine: the variable that makes it wrong is named; all of them, if no single one does.
pub(super) fn blamed(error: ConfigError, given: &[&Given], fits: impl Fn(&[&Given]) -> bool) -> ConfigError {
    if given.is_empty() || !fits(&[]) {
        return error;
    }
    let without = |skipped: usize| {
        let others = given.iter().enumerate().filter(|(at, _)| *at != skipped);
        others.map(|(_, one)| *one).collect::<Vec<_>>()
    };
    let culprit = (0..given.len()).find(|at| fits(&without(*at))).and_then(|at| given.get(at));
    let all = || given.iter().map(|one| one.variable.as_str()).collect::<Vec<_>>().join(" with ");
    error.blamed_on(culprit.map_or_else(all, |one| one.variable.clone()))
}

impl Given {
    fn wrong(&self, message: &str) -> ConfigError {
        // A step too deep: the key above it has an example.
        let known = self.path.iter().rev().find(|key| advice::shipped(key).is_some());
        let key = known.or(self.path.last()).map(String::as_str).unwrap_or_default();
        let (message, hint) = advice::on(message, &format!("{key} = {}", self.value));
        ConfigError::Override { variable: self.variable.clone(), message, hint }
    }
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
    fn every_key_of_the_file_can_be_overridden() {
        let refused = toml::from_str::<File>("no_such_key = 1").expect_err("no key");
        let (_, expected) = refused.message().split_once("expected one of ").expect("the keys");
        let expected: Vec<&str> = expected.split(", ").map(|key| key.trim_matches('`')).collect();
        assert!(expected.contains(&"listen"), "{expected:?}");
        for key in expected {
            assert!(KEYS.contains(&key), "{key}");
            let variable = (format!("{PREFIX}{}__X", key.to_uppercase()), "1".to_owned());
            assert_eq!(among([variable].into_iter()).len(), 1, "{key}");
        }
    }

    #[test]
    fn a_misspelt_variable_is_told_from_what_is_somebody_elses() {
        for (written, meant_by_it) in [
            ("LSTEN", Some("LISTEN")),
            ("PUBLICURL", Some("PUBLIC_URL")),
            ("LIMITS_PENDING", Some("LIMITS__PENDING")),
            ("LEDGER_ALOWED", Some("LEDGER__ALLOWED")),
            ("REVIEWER_TOKN", Some("REVIEWER_TOKEN")),
            ("LISTEN", None),
            ("TOKEN", None),
            ("LIMITS__PENDNG", None),
            ("BIN", None),
            ("SLACK_WEBHOOK", None),
        ] {
            let meant_by_it = meant_by_it.map(|name| format!("{PREFIX}{name}"));
            assert_eq!(meant(&format!("{PREFIX}{written}")), meant_by_it, "{written}");
        }
        assert_eq!(meant("LSTEN"), None);
    }

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
