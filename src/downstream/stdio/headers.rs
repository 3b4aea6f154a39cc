//! The headers that a 2026-07-28 client over HTTP would have set, from the message itself.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::mcp::{Message, Meta, Version, header};

/// `None` for a legacy message: its headers come from the session.
pub(super) fn of(message: &Message<'_>) -> Option<HeaderMap> {
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
    }
    Some(headers)
}

fn set(headers: &mut HeaderMap, name: &'static HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(&encode(value)) {
        headers.insert(name, value);
    }
}

/// As it is when every byte may stand in a header and nothing would be trimmed; else base64.
fn encode(value: &str) -> String {
    let plain = value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if plain && value.trim() == value && !value.starts_with("=?base64?") {
        return value.to_owned();
    }
    format!("=?base64?{}?=", BASE64_STANDARD.encode(value))
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
        of(&message)
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
    fn a_legacy_message_has_no_headers_of_its_own() {
        let text = r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"run"}}"#;
        let Ok(Frame::One(message)) = Frame::parse(text.as_bytes(), &Limits::default()) else {
            panic!("a message")
        };
        assert!(of(&message).is_none());
    }
}
