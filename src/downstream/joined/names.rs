//! How one endpoint names what several servers have, so that no two names are ever the same.
//!
//! A tool `look` of the server `files` is `files__look`; its resource `file:///a` is `joined:files:file:///a`.
//! The server stands first and its name cannot hold what follows it, so the first separator is the right one.

use serde::Deserialize;

use crate::mcp::{Json, Kind, Limits, strict};

/// Stands between a server's name and its tool's or prompt's: 1 to 8 characters that a tool's name may have.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub struct Separator(String);

impl Default for Separator {
    fn default() -> Self {
        Self("__".to_owned())
    }
}

impl TryFrom<String> for Separator {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-' | b'/');
        if (1..=8).contains(&text.len()) && text.bytes().all(fits) {
            return Ok(Self(text));
        }
        Err("a separator has 1 to 8 characters, each of A-Z a-z 0-9 `_` `.` `-` `/`")
    }
}

impl Separator {
    /// Can a name that begins with this server's be split again? `a_` cannot be told from `a` before `__`.
    pub(super) fn fits(&self, server: &str) -> bool {
        format!("{server}{}", self.0).find(&self.0) == Some(server.len())
    }

    pub(super) fn name(&self, server: &str, own: &str) -> String {
        format!("{server}{}{own}", self.0)
    }

    /// The server, and its own name of the thing.
    pub(super) fn split<'n>(&self, name: &'n str) -> Option<(&'n str, &'n str)> {
        name.split_once(&self.0).filter(|(server, own)| !server.is_empty() && !own.is_empty())
    }
}

/// Begins each URI of the joined endpoint.
const SCHEME: &str = "joined:";

/// The URI (or template) of a server's resource.
pub(super) fn uri(server: &str, own: &str) -> String {
    format!("{SCHEME}{server}:{own}")
}

/// The server, and its own URI; `None`: it names no server.
pub(super) fn split_uri(uri: &str) -> Option<(&str, &str)> {
    uri.strip_prefix(SCHEME)?.split_once(':')
}

/// The id of a request that a server makes of the agent, or its progress token, as a JSON string.
pub(super) fn asked(server: &str, id: Json<'_>) -> String {
    quoted(&format!("{server}:{}", id.as_str()))
}

/// The server that asked, and the id as it wrote it.
pub(super) fn split_asked(id: Json<'_>) -> Option<(String, String)> {
    let text = id.string()?;
    let (server, own) = text.split_once(':')?;
    let json = strict::check(own.as_bytes(), &Limits::default()).ok()?;
    let plain = matches!(json.kind(), Kind::String | Kind::Number | Kind::Null);
    plain.then(|| (server.to_owned(), own.to_owned()))
}

/// The id of an event on a server's stream.
pub(super) fn event(server: &str, own: &str) -> String {
    format!("{server}:{own}")
}

pub(super) fn split_event(id: &str) -> Option<(&str, &str)> {
    id.split_once(':')
}

/// `text` as JSON.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_servers_can_have_the_same_name_for_a_tool() {
        let tools = ["x", "_x", "__x", "-x", "a__x", ".x", "_", "b-x"];
        for separator in ["__", "_", "-", ".", "/", "a", "a_a"].map(|s| Separator(s.to_owned())) {
            let servers = ["a", "a_", "_a", "b", "a-b", "a-", "-", "_", "a_b", "aa"];
            for server in servers.into_iter().filter(|server| separator.fits(server)) {
                for tool in tools {
                    let name = separator.name(server, tool);
                    assert_eq!(separator.split(&name), Some((server, tool)), "{name} by {separator:?}");
                }
            }
        }
        let usual = Separator::default();
        assert!(usual.fits("a_b-1") && !usual.fits("a_"));
        assert!(!Separator("-".into()).fits("a-b"));
        assert_eq!(usual.split("look"), None);
    }

    #[test]
    fn a_separator_is_of_the_characters_of_a_tools_name() {
        for bad in ["", "123456789", " ", "é", ":"] {
            assert!(Separator::try_from(bad.to_owned()).is_err(), "{bad:?}");
        }
        assert!(Separator::try_from(".".to_owned()).is_ok());
    }

    #[test]
    fn a_uri_and_an_id_come_back_as_they_were_written() {
        assert_eq!(split_uri(&uri("files", "joined:b:x")), Some(("files", "joined:b:x")));
        assert_eq!(split_uri("file:///a"), None);
        for id in ["1", "1.0", "\"1\"", "\"a:\\u0062\"", "null"] {
            let written = strict::check(id.as_bytes(), &Limits::default()).unwrap();
            let text = asked("files", written);
            let asked = strict::check(text.as_bytes(), &Limits::default()).unwrap();
            assert_eq!(split_asked(asked), Some(("files".to_owned(), id.to_owned())));
        }
        for odd in ["1", "\"files\"", "\"files:{}\"", "\"files:1 2\""] {
            assert_eq!(
                split_asked(strict::check(odd.as_bytes(), &Limits::default()).unwrap()),
                None,
                "{odd}"
            );
        }
    }
}
