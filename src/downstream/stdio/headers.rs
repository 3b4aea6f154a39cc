//! The headers that a 2026-07-28 client over HTTP would have set, from the message itself and, for a tool's
//! arguments, from the lists of tools that this client had. On a pipe it has no reason to look for those.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::{
    downstream::params::{Params, encode},
    mcp::{Message, Meta, Version, header},
};

/// To a bridge there is one: what is behind it says which tool is whose.
pub(super) const SERVER: &str = "";

/// `None` for a legacy message: its headers come from the session.
pub(super) fn of(message: &Message<'_>, params: &Params) -> Option<HeaderMap> {
    let meta = Meta::of(message.params());
    let version = meta.protocol_version?;
    let known = Version::parse(&version);
    if known.is_some_and(|known| !known.is_modern()) {
        return None;
    }
    let mut headers = HeaderMap::new();
    set(&mut headers, &header::PROTOCOL_VERSION, &version);
    let method = message.method()?;
    set(&mut headers, &header::METHOD, method);
    let subject = match method {
        "tools/call" | "prompts/get" => "name",
        "resources/read" => "uri",
        "tasks/get" | "tasks/update" | "tasks/cancel" => "taskId",
        _ => return Some(headers),
    };
    if let Some(name) = message.params().and_then(|params| params.get(subject)?.string()) {
        set(&mut headers, &header::NAME, &name);
        let mirrors = if method == "tools/call" { params.of(SERVER, &name) } else { None };
        let arguments = message.params().and_then(|params| params.get("arguments"));
        headers.extend(mirrors.into_iter().flat_map(|mirrors| mirrors.said(arguments)));
    }
    Some(headers)
}

fn set(headers: &mut HeaderMap, name: &'static HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(&encode(value)) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::{Frame, Limits};

    fn headers(method: &str, params: &str) -> Option<HeaderMap> {
        let text = format!(
            r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}}}}"#
        );
        let Ok(Frame::One(message)) = Frame::parse(text.as_bytes(), &Limits::default()) else {
            panic!("a message")
        };
        of(&message, &Params::default())
    }

    #[test]
    fn a_modern_message_is_mirrored_in_headers() {
        let plain = headers("tools/call", r#""name":"run it","#).unwrap();
        assert_eq!(plain["mcp-protocol-version"], "2026-07-28");
        assert_eq!(plain["mcp-method"], "tools/call");
        assert_eq!(plain["mcp-name"], "run it");
        let coded = headers("resources/read", r#""uri":"file:///ä","#).unwrap();
        assert_eq!(coded["mcp-name"], "=?base64?ZmlsZTovLy/DpA==?=");
        assert!(!headers("tools/list", "").unwrap().contains_key("mcp-name"));
    }

    #[test]
    fn an_argument_is_mirrored_once_a_list_has_said_so() {
        let params = Params::default();
        let list = r#"{"jsonrpc":"2.0","id":1,"result":{"tools":[{"name":"run","inputSchema":{"properties":
            {"region":{"type":"string","x-mcp-header":"Region"}}}}]}}"#;
        let said = |method: &str| {
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"name":"run","arguments":{{"region":"eu"}},
                    "_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}}}}"#
            );
            let Ok(Frame::One(message)) = Frame::parse(text.as_bytes(), &Limits::default()) else {
                panic!("a message")
            };
            of(&message, &params).unwrap().get("mcp-param-region").cloned()
        };
        assert_eq!(said("tools/call"), None);
        params.learn(&SERVER.into(), list.as_bytes());
        assert_eq!(said("tools/call"), Some(HeaderValue::from_static("eu")));
        assert_eq!(said("prompts/get"), None);
    }

    #[test]
    fn a_legacy_message_has_no_headers_of_its_own() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"run"}}"#;
        let Ok(Frame::One(message)) = Frame::parse(text.as_bytes(), &Limits::default()) else {
            panic!("a message")
        };
        assert!(of(&message, &Params::default()).is_none());
    }
}
