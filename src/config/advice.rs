//! What to write instead, for mistakes that the TOML reader finds: it knows what it expected, not what was
//! meant. Examples are the lines of the shipped defaults.

use super::{DEFAULTS, file::SERVERS_EXPECTED};
use crate::policy::nearest;

/// How an error about a patience begins, as `downstream::Patience` has it.
const PATIENCE_EXPECTED: &str = "how long a client waits is";

/// The reader's words about `line`, made plain, and what to do.
pub(super) fn on(message: &str, line: &str) -> (String, String) {
    if let Some(key) = message.strip_prefix("unknown field ").and_then(first_quoted) {
        return unknown_key(key, message, line);
    }
    if message.starts_with("duplicate key") {
        return (message.to_owned(), "take one of the two out".to_owned());
    }
    let (key, value) = assignment(line).unwrap_or_default();
    if let Some(text) = bare(key, value, message) {
        return ("text stands in quotes".to_owned(), format!("write {key} = {text}"));
    }
    let wrong_word = message.strip_prefix("unknown variant ").and_then(first_quoted);
    let words = || expected(message).map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ");
    let hint = if message.contains("expected struct") {
        "each table here has a name of its own, as in [servers.NAME] or [notify.slack.NAME]".to_owned()
    } else if let Some(wrong) = wrong_word {
        let near = nearest(wrong, expected(message)).map(|word| format!("did you mean \"{word}\"?"));
        near.unwrap_or_else(|| format!("write one of {}", words()))
    } else if let Some(mended) = mended(key, value, message) {
        format!("write {key} = {mended}")
    } else {
        example(key)
    };
    (plain(message), hint)
}

/// Kinds of values, as people call them.
fn plain(message: &str) -> String {
    let number = ["a nonzero usize", "usize", "u64", "u32", "u16"];
    let words = number.map(|kind| (kind, "a whole number"));
    let words = words.into_iter().chain([
        ("a sequence", "a list"),
        ("sequence", "a list"),
        ("type: map", "type: a table"),
    ]);
    words.fold(message.to_owned(), |text, (from, to)| text.replace(from, to))
}

fn unknown_key(key: &str, message: &str, line: &str) -> (String, String) {
    let known: Vec<&str> = expected(message).collect();
    let hint = match nearest(key, known.iter().copied()) {
        // As other programs' configurations have it.
        None if key == "args" => format!(
            "arguments follow the program in one list: command = [\"PROGRAM\", {}]",
            assignment(line)
                .map_or("\"ARGUMENT\"", |(_, value)| value.trim_start_matches('[').trim_end_matches(']'))
        ),
        Some(name) => format!("did you mean `{name}`?"),
        None => format!("known here are {}", known.join(", ")),
    };
    (format!("unknown key `{key}`"), hint)
}

/// What was most likely meant by a value of another kind than the key's.
fn mended(key: &str, value: &str, message: &str) -> Option<String> {
    let inside = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let inside = inside.filter(|text| !text.contains(['"', '\\']));
    if message.contains("expected a sequence") || message.contains(SERVERS_EXPECTED) {
        return inside.map(|text| list(key, text));
    }
    if message.starts_with(PATIENCE_EXPECTED) && !value.starts_with('{') {
        let text = inside.unwrap_or_default();
        let word = nearest(text, ["expiry", "expiry_with_progress"].into_iter());
        let seconds: u64 = text.trim_end_matches(['s', ' ']).parse().unwrap_or(50);
        return Some(word.map_or_else(|| seconds.to_string(), |word| format!("\"{word}\"")));
    }
    if message.contains("sequence, expected a string") {
        let only = value.strip_prefix('[')?.strip_suffix(']')?.trim();
        return (only.matches('"').count() == 2 && !only.contains(',')).then(|| only.to_owned());
    }
    let is_flag = message.contains("expected a boolean");
    inside.filter(|text| is_flag && ["true", "false"].contains(text)).map(str::to_owned)
}

/// A text that was written without quotes, in them.
fn bare(key: &str, value: &str, message: &str) -> Option<String> {
    let is_bare = !value.is_empty() && !value.contains(['"', '\'', '[', ']', '{', '}', ',', '\\']);
    let is_whole = value.parse::<f64>().is_ok() || value.parse::<bool>().is_ok();
    if key.is_empty()
        || !is_bare
        || is_whole
        || message.starts_with("invalid type")
        || message.starts_with("unknown")
    {
        return None;
    }
    Some(if key == "command" { list(key, value) } else { format!("\"{value}\"") })
}

/// A command's words are told apart by the spaces between them.
fn list(key: &str, text: &str) -> String {
    let words: Vec<&str> = if key == "command" { text.split_whitespace().collect() } else { vec![text] };
    format!("[{}]", words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", "))
}

fn example(key: &str) -> String {
    shipped(key).map_or_else(
        || "the shipped default.toml shows how each is written: [servers.NAME], KEY = \"TEXT\", KEY = [\"TEXT\"]".to_owned(),
        |value| format!("write it as in {key} = {value}"),
    )
}

/// How the shipped defaults write the key.
pub(super) fn shipped(key: &str) -> Option<&'static str> {
    let lines = DEFAULTS.lines().map(|line| line.trim_start_matches(['#', ' ']));
    let keys = lines.filter_map(assignment);
    let mut values = keys.filter(|(name, _)| !key.is_empty() && *name == key).map(|(_, value)| value);
    let first = values.next()?;
    // Two tables may have it, and mean different things.
    values.all(|other| other == first).then_some(first)
}

/// `key = value`, without the comment behind it.
fn assignment(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once('=')?;
    let is_comment = |at: usize| value[..at].matches('"').count() % 2 == 0;
    let end = value.match_indices('#').map(|(at, _)| at).find(|at| is_comment(*at)).unwrap_or(value.len());
    Some((key.trim(), value[..end].trim()))
}

/// The words between backticks behind "expected".
fn expected(message: &str) -> impl Iterator<Item = &str> {
    let known = message.split_once("expected").map_or("", |(_, known)| known);
    known.split('`').skip(1).step_by(2)
}

fn first_quoted(text: &str) -> Option<&str> {
    text.split('`').nth(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_answered_with_what_to_write_instead() {
        for (message, line, hint) in [
            (
                "invalid float, expected nothing",
                "listen = 127.0.0.1:8787",
                "write listen = \"127.0.0.1:8787\"",
            ),
            ("whatever", "command = uvx a b", "write command = [\"uvx\", \"a\", \"b\"]"),
            (
                "invalid type: string \"uvx a\", expected a sequence",
                "command = \"uvx a\" # it",
                "write command = [\"uvx\", \"a\"]",
            ),
            ("invalid type: sequence, expected a string", "url = [\"http://x\"]", "write url = \"http://x\""),
            ("invalid value: integer `-1`, expected u64", "grace_ms = -1", "write it as in grace_ms = 1000"),
            (
                "invalid type: string \"4MB\", expected usize",
                "max_body = \"4MB\"",
                "the shipped default.toml shows how each is written: [servers.NAME], KEY = \"TEXT\", KEY = [\"TEXT\"]",
            ),
            (
                "invalid type: sequence, expected a string",
                "policy = [\"a\", \"b\"]",
                "write it as in policy = \"policies/aws-healthomics.json\"",
            ),
            (
                "invalid type: string \"true\", expected a boolean",
                "wait_tool = \"true\"",
                "write wait_tool = true",
            ),
            (
                "invalid type: integer `5`, expected a string",
                "max_wait = 5",
                "write it as in max_wait = \"24h\"",
            ),
            (
                "invalid basic string, expected `\"`",
                "store = \"x",
                "write it as in store = \"sqlite:countersign.db\"",
            ),
            (
                "unknown variant `batch`, expected `batched` or `durable`",
                "allowed = \"batch\"",
                "write one of \"batched\", \"durable\"",
            ),
            (
                "unknown field `listne`, expected one of `listen`, `store`",
                "listne = 1",
                "did you mean `listen`?",
            ),
            (
                "unknown field `args`, expected one of `command`, `env`",
                "args = [\"-y\", \"b\"]",
                "arguments follow the program in one list: command = [\"PROGRAM\", \"-y\", \"b\"]",
            ),
            (
                "unknown field `nothing`, expected `command` or `env`",
                "nothing = 1",
                "known here are command, env",
            ),
        ] {
            assert_eq!(on(message, line).1, hint, "{line}");
        }
    }
}
