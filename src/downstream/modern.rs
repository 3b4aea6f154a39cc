//! What a 2026-07-28 server checks of a `tools/call` before it does anything: done here before the call
//! could wait, so that nobody is asked about a request that the server would refuse.

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::HeaderMap;
use serde_json::json;

use super::{answer::code, http::text};
use crate::mcp::{Meta, Version, header};

/// Why a request is refused with 400.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub code: i32,
    pub message: String,
    pub data: Option<String>,
}

/// The protocol version that a message is judged by: the header's, else the one in `_meta`, else the
/// oldest that HTTP has. One that we do not know counts as the nearest era.
pub(super) fn version(said: Option<&str>, meta: &Meta<'_>) -> Version {
    let said = said.or(meta.protocol_version.as_deref());
    match said.map(|said| (said, Version::parse(said))) {
        None => Version::UNSAID,
        Some((_, Some(version))) => version,
        Some((said, None)) if said > Version::V2025_11_25.as_str() => Version::LATEST,
        Some((_, None)) => Version::UNSAID,
    }
}

/// Header and body of a `tools/call` must say the same.
pub(super) fn check(headers: &HeaderMap, meta: &Meta<'_>, tool: &str) -> Result<(), Fault> {
    let said = text(headers, header::PROTOCOL_VERSION);
    let inside = meta.protocol_version.as_deref();
    for version in [said, inside].into_iter().flatten() {
        if Version::parse(version).is_none() {
            return Err(unsupported(version));
        }
    }
    let modern = |said: Option<&str>| said.and_then(Version::parse).is_some_and(Version::is_modern);
    if !modern(said) && !modern(inside) {
        return Ok(());
    }
    if said.is_none() {
        return Err(mismatch("the header MCP-Protocol-Version is missing".into()));
    }
    if inside.is_none() {
        return Err(missing("io.modelcontextprotocol/protocolVersion"));
    }
    if said != inside {
        return Err(mismatch("MCP-Protocol-Version differs from the version in `_meta`".into()));
    }
    if meta.client_capabilities.is_none() {
        return Err(missing("io.modelcontextprotocol/clientCapabilities"));
    }
    mirrored(headers, header::METHOD, "Mcp-Method", "tools/call")?;
    mirrored(headers, header::NAME, "Mcp-Name", tool)
}

fn mirrored(headers: &HeaderMap, name: &str, shown: &str, body: &str) -> Result<(), Fault> {
    let Some(said) = text(headers, name) else {
        return Err(mismatch(format!("the header {shown} is missing")));
    };
    if decode(said).as_deref() != Some(body) {
        return Err(mismatch(format!("the header {shown} differs from the body")));
    }
    Ok(())
}

/// A header value, or the text inside `=?base64?…?=`.
fn decode(value: &str) -> Option<String> {
    let Some(inner) = value.strip_prefix("=?base64?").and_then(|v| v.strip_suffix("?=")) else {
        return Some(value.to_owned());
    };
    String::from_utf8(BASE64_STANDARD.decode(inner).ok()?).ok()
}

fn mismatch(message: String) -> Fault {
    Fault { code: code::HEADER_MISMATCH, message: format!("Header mismatch: {message}"), data: None }
}

fn missing(key: &str) -> Fault {
    Fault { code: code::INVALID_PARAMS, message: format!("`_meta` lacks {key}"), data: None }
}

fn unsupported(requested: &str) -> Fault {
    let supported = Version::ALL.map(Version::as_str);
    let data = json!({"supported": supported, "requested": requested}).to_string();
    Fault {
        code: code::UNSUPPORTED_VERSION,
        message: "Unsupported protocol version".into(),
        data: Some(data),
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::mcp::{Frame, Limits, Message};

    const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    fn checked(headers: &[(&'static str, &'static str)], params: &str) -> Result<(), i32> {
        let map: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let text = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{params}}}}}"#);
        let Ok(Frame::One(message @ Message::Request(_))) = Frame::parse(text.as_bytes(), &Limits::default())
        else {
            panic!("a request")
        };
        check(&map, &Meta::of(message.params()), "run").map_err(|fault| fault.code)
    }

    #[test]
    fn headers_and_body_of_a_modern_call_agree() {
        let version = ("mcp-protocol-version", "2026-07-28");
        let method = ("mcp-method", "tools/call");
        let name = ("mcp-name", "run");
        assert_eq!(checked(&[version, method, name], META), Ok(()));
        assert_eq!(checked(&[version, method, ("mcp-name", "=?base64?cnVu?=")], META), Ok(()));
        assert_eq!(checked(&[version, method, ("mcp-name", "walk")], META), Err(-32020));
        assert_eq!(checked(&[version, method, ("mcp-name", "=?base64?!?=")], META), Err(-32020));
        assert_eq!(checked(&[version, name], META), Err(-32020));
        assert_eq!(checked(&[method, name], META), Err(-32020));
        assert_eq!(checked(&[("mcp-protocol-version", "2025-06-18"), method, name], META), Err(-32020));
        assert_eq!(checked(&[version, method, name], r#""name":"run""#), Err(-32602));
        assert_eq!(checked(&[("mcp-protocol-version", "2030-01-01"), method, name], META), Err(-32022));
    }

    #[test]
    fn a_legacy_call_is_not_judged_by_headers_it_does_not_have() {
        assert_eq!(checked(&[], r#""name":"run""#), Ok(()));
        assert_eq!(
            checked(&[("mcp-protocol-version", "2025-06-18"), ("mcp-name", "x")], r#""name":"run""#),
            Ok(())
        );
    }
}
