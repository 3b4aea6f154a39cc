//! What a 2026-07-28 server checks of a `tools/call` before it does anything: done here before the call
//! could wait, so that nobody is asked about a request that the server would refuse. And of what the joined
//! endpoint answers itself, which is the server then.

use std::borrow::Cow;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue, header::ACCEPT};

mod placed;

use self::placed::Said;
use super::{answer::code, http::text, params::Mirrors};
use crate::mcp::{Json, Meta, ToolCall, Version, header};

/// Why a request is refused with 400.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub code: i32,
    pub message: String,
    /// The version that is not supported.
    pub requested: Option<String>,
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

/// Header and body of a `tools/call` must say the same; the tool's own `mirrors` are checked beside this. What may
/// pass only if nobody is asked about the call is given back as the fault that it is otherwise.
pub(super) fn check(
    headers: &HeaderMap,
    call: &ToolCall<'_>,
    mirrors: Option<&Mirrors>,
) -> Result<Option<Fault>, Fault> {
    if !check_version(headers, &call.meta)? {
        return Ok(None);
    }
    mirrored(headers, &header::METHOD, "Mcp-Method", "tools/call")?;
    mirrored(headers, &header::NAME, "Mcp-Name", &call.name)?;
    unseen(headers, call.arguments, mirrors)
}

/// The same of a modern request that names nothing: a list, `server/discover`.
pub(super) fn check_nameless(headers: &HeaderMap, meta: &Meta<'_>, method: &str) -> Result<(), Fault> {
    check_version(headers, meta)?;
    mirrored(headers, &header::METHOD, "Mcp-Method", method)
}

/// The version, said twice, and what a client can do; `false`: it is a legacy request, which says neither.
fn check_version(headers: &HeaderMap, meta: &Meta<'_>) -> Result<bool, Fault> {
    let said = text(headers, &header::PROTOCOL_VERSION);
    let inside = meta.protocol_version.as_deref();
    if let Some(unknown) = [said, inside].into_iter().flatten().find(|v| Version::parse(v).is_none()) {
        return Err(match (said, inside) {
            (Some(said), Some(inside)) if said != inside => differs(),
            (_, _) => unsupported(unknown),
        });
    }
    let modern = |said: Option<&str>| said.and_then(Version::parse).is_some_and(Version::is_modern);
    if !modern(said) && !modern(inside) {
        return Ok(false);
    }
    if said.is_none() {
        return Err(mismatch("the header MCP-Protocol-Version is missing".into()));
    }
    if inside.is_none() {
        return Err(missing("io.modelcontextprotocol/protocolVersion"));
    }
    if said != inside {
        return Err(differs());
    }
    if meta.client_capabilities.is_none() {
        return Err(missing("io.modelcontextprotocol/clientCapabilities"));
    }
    Ok(true)
}

/// `Mcp-Param-*` that no argument has, of those that the tool's schema is not known to have. A server checks
/// those it knows and ignores the others, so an allowed call may have them. Nobody would see them on a card,
/// so a call that people are asked about may not; and no policy would have judged one that gives an argument
/// of its name another value, so no call may.
fn unseen(
    headers: &HeaderMap,
    arguments: Option<Json<'_>>,
    mirrors: Option<&Mirrors>,
) -> Result<Option<Fault>, Fault> {
    let mut others = Vec::new();
    let params = headers.iter().filter(|(name, _)| name.as_str().starts_with(header::PARAM));
    for (count, (name, value)) in params.enumerate() {
        if count == MOST {
            return Err(mismatch(format!("a call has at most {MOST} headers `Mcp-Param-*`; send fewer")));
        }
        if !mirrors.is_some_and(|mirrors| mirrors.has(name)) {
            others.push(Said::of(name, value));
        }
    }
    if others.is_empty() {
        return Ok(None);
    }
    arguments.into_iter().for_each(|arguments| placed::look(arguments, &mut others));
    if let Some(said) = others.iter().find(|said| said.differs()) {
        return Err(mismatch(format!("the header {} differs from the argument of that name", said.header)));
    }
    let unseen = others.iter().find(|said| mirrors.is_some() || !said.is_argument());
    Ok(unseen.map(|said| {
        mismatch(format!(
            "the header {} is no argument of the body, and who approves the call would not see it",
            said.header
        ))
    }))
}

/// `Mcp-Param-*` of one call: as many as a tool may have that is known.
pub(super) const MOST: usize = 32;

/// Room for the headers of one request upstream, those that are added on the way included.
const UP: usize = 12;

/// The headers that a call goes up with. Method and name are those of the body that was judged, so
/// that nothing on the way is told of another call; a legacy server has no such headers.
///
/// `Mcp-Param-*` of a call that waited are those of the request that collects it: it joined because its
/// arguments are the same, and `check` found each value in its place, or at its name or among them where no place is known
/// (or it was refused as `unseen`).
pub(super) fn headers_of_call(headers: &HeaderMap, tool: &str, modern: bool) -> HeaderMap {
    let always =
        [&ACCEPT, &header::PROTOCOL_VERSION, &header::TRACEPARENT, &header::TRACESTATE, &header::BAGGAGE];
    let kept =
        |name: &HeaderName| always.contains(&name) || (modern && name.as_str().starts_with(header::PARAM));
    let mut up = HeaderMap::with_capacity(UP);
    let passing = headers.iter().filter(|(name, _)| kept(name));
    up.extend(passing.map(|(name, value)| (name.clone(), value.clone())));
    if modern && let Ok(tool) = HeaderValue::from_str(tool) {
        up.insert(&header::METHOD, HeaderValue::from_static("tools/call"));
        up.insert(&header::NAME, tool);
    }
    up
}

/// Method and name of a request that is answered here, as its headers say them too.
pub(super) fn check_named(headers: &HeaderMap, method: &str, name: &str) -> Result<(), Fault> {
    mirrored(headers, &header::METHOD, "Mcp-Method", method)?;
    mirrored(headers, &header::NAME, "Mcp-Name", name)
}

fn mirrored(headers: &HeaderMap, name: &HeaderName, shown: &str, body: &str) -> Result<(), Fault> {
    let Some(said) = text(headers, name) else {
        return Err(mismatch(format!("the header {shown} is missing")));
    };
    if decode(said).as_deref() != Some(body) {
        return Err(mismatch(format!("the header {shown} differs from the body")));
    }
    Ok(())
}

/// A header value, or the text inside `=?base64?…?=`.
pub(super) fn decode(value: &str) -> Option<Cow<'_, str>> {
    let Some(inner) = value.strip_prefix("=?base64?").and_then(|v| v.strip_suffix("?=")) else {
        return Some(Cow::Borrowed(value));
    };
    String::from_utf8(BASE64_STANDARD.decode(inner).ok()?).ok().map(Cow::Owned)
}

pub(super) fn mismatch(message: String) -> Fault {
    Fault { code: code::HEADER_MISMATCH, message: format!("Header mismatch: {message}"), requested: None }
}

fn missing(key: &str) -> Fault {
    Fault { code: code::INVALID_PARAMS, message: format!("`_meta` lacks {key}"), requested: None }
}

fn differs() -> Fault {
    mismatch("MCP-Protocol-Version differs from the version in `_meta`".into())
}

fn unsupported(requested: &str) -> Fault {
    Fault {
        code: code::UNSUPPORTED_VERSION,
        message: "Unsupported protocol version".into(),
        requested: Some(requested.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;
    use crate::mcp::{Frame, Limits, Message};

    const META: &str = r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}"#;

    fn checked(headers: &[(&'static str, &'static str)], params: &str) -> Result<Option<i32>, i32> {
        let map: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        let text =
            format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"run",{params}}}}}"#);
        let Ok(Frame::One(message @ Message::Request(_))) = Frame::parse(text.as_bytes(), &Limits::default())
        else {
            panic!("a request")
        };
        let unseen =
            check(&map, &ToolCall::parse(message.params()).unwrap(), None).map_err(|fault| fault.code)?;
        Ok(unseen.map(|fault| fault.code))
    }

    #[test]
    fn headers_and_body_of_a_modern_call_agree() {
        let version = ("mcp-protocol-version", "2026-07-28");
        let method = ("mcp-method", "tools/call");
        let name = ("mcp-name", "run");
        assert_eq!(checked(&[version, method, name], META), Ok(None));
        assert_eq!(checked(&[version, method, ("mcp-name", "=?base64?cnVu?=")], META), Ok(None));
        assert_eq!(checked(&[version, method, ("mcp-name", "walk")], META), Err(-32020));
        assert_eq!(checked(&[version, method, ("mcp-name", "=?base64?!?=")], META), Err(-32020));
        assert_eq!(checked(&[version, name], META), Err(-32020));
        assert_eq!(checked(&[method, name], META), Err(-32020));
        assert_eq!(checked(&[("mcp-protocol-version", "2025-06-18"), method, name], META), Err(-32020));
        assert_eq!(checked(&[version, method, name], r#""arguments":{}"#), Err(-32602));
        let unknown = ("mcp-protocol-version", "2030-01-01");
        assert_eq!(checked(&[unknown, method, name], META), Err(-32020), "they differ");
        assert_eq!(checked(&[unknown, method, name], &META.replace("2026-07-28", "2030-01-01")), Err(-32022));
        assert_eq!(checked(&[unknown], r#""arguments":{}"#), Err(-32022));
    }

    #[test]
    fn a_mirrored_argument_is_one_of_the_bodys() {
        let call =
            [("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"), ("mcp-name", "run")];
        let params = format!(r#"{META},"arguments":{{"where":{{"region":"eu"}},"n":1.0}}"#);
        let with = |name, value| checked(&[&call[..], &[(name, value)]].concat(), &params);
        assert_eq!(with("mcp-param-region", "eu"), Ok(None));
        assert_eq!(with("mcp-param-n", "1"), Ok(None));
        assert_eq!(with("mcp-param-region", "=?base64?ZXU=?="), Ok(None));
        assert_eq!(with("mcp-param-region", "us"), Err(-32020));
        assert_eq!(with("mcp-param-where", "us"), Err(-32020));
        assert_eq!(with("mcp-param-region", "=?base64?!?="), Err(-32020));
        assert_eq!(with("mcp-param-new", "us"), Ok(Some(-32020)), "no argument has that name");
        assert_eq!(with("mcp-param-new", "eu"), Ok(None), "it may be this argument's by another name");
        assert_eq!(with("mcp-param-where", "eu"), Err(-32020), "an object has no header");
        let params =
            format!(r#"{META},"arguments":{{"region":"us","note":"eu","in":[{{"n":1}},{{"N":2}}]}}"#);
        let with = |said: &[_]| checked(&[&call[..], said].concat(), &params);
        assert_eq!(with(&[("mcp-param-region", "eu")]), Err(-32020), "the value of another argument");
        assert_eq!(with(&[("mcp-param-region", "us"), ("mcp-param-region", "eu")]), Err(-32020));
        assert_eq!(with(&[("mcp-param-n", "2"), ("mcp-param-x", "eu")]), Ok(None), "one of that name");
    }

    #[test]
    fn headers_of_arguments_have_a_number() {
        let mut map = HeaderMap::new();
        for n in 0..MOST {
            let name = HeaderName::try_from(format!("mcp-param-z{n}")).unwrap();
            map.insert(name, HeaderValue::from_static("q"));
        }
        let told = |map: &HeaderMap| unseen(map, None, None).map(|unseen| unseen.is_some());
        assert_eq!(told(&map), Ok(true));
        map.append("mcp-param-z0", HeaderValue::from_static("q"));
        let fault = told(&map).unwrap_err();
        assert_eq!(fault.code, -32020);
        assert!(fault.message.contains("at most 32 headers"), "{}", fault.message);
    }

    #[test]
    fn a_calls_headers_are_made_of_its_body() {
        let headers = |names: &[&'static str]| -> HeaderMap {
            names.iter().map(|n| (HeaderName::from_static(n), HeaderValue::from_static("x"))).collect()
        };
        let said = headers(&["mcp-method", "mcp-name", "mcp-param-a", "accept", "cookie"]);
        let legacy = headers_of_call(&said, "run", false);
        assert_eq!(legacy.keys().map(|name| name.as_str()).collect::<Vec<_>>(), ["accept"]);
        let modern = headers_of_call(&said, "run", true);
        assert_eq!(
            (&modern["mcp-method"], &modern["mcp-name"]),
            (&"tools/call".parse().unwrap(), &"run".parse().unwrap())
        );
        assert!(modern.contains_key("mcp-param-a"));
    }

    #[test]
    fn a_legacy_call_is_not_judged_by_headers_it_does_not_have() {
        assert_eq!(checked(&[], r#""arguments":{}"#), Ok(None));
        assert_eq!(
            checked(&[("mcp-protocol-version", "2025-06-18"), ("mcp-name", "x")], r#""arguments":{}"#),
            Ok(None)
        );
    }
}
