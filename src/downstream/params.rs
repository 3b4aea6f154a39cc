//! `Mcp-Param-*` of 2026-07-28: the schema of a tool may say of an argument that a header repeats it, for those
//! on the way who read no bodies. Whoever reads both must find them equal.
//!
//! Which header repeats which argument is learned from the lists of tools that pass (`known`). Where it is known,
//! a call is checked by it as its server would check it, and goes up with the headers that its own body says.
//! Where it is not, `modern` has the rule for headers that nobody can place.

mod doubted;
mod known;

use std::{borrow::Cow, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{HeaderMap, HeaderName, HeaderValue};

pub(super) use self::{
    doubted::{Refreshes, ask_again},
    known::{Params, overhear},
};
use super::{
    http::Visit,
    modern::{MOST, decode},
};
use crate::mcp::{Json, Kind, header};

/// What a schema marks an argument with.
const MARK: &str = "x-mcp-header";

/// Names on the way to all arguments of one tool that headers repeat (at most `MOST`), and bytes of both. A tool
/// that has more is one of which nothing is known.
const MOST_STEPS: usize = 64;
const MOST_BYTES: usize = 4096;
/// Objects within objects that are looked into.
const DEEPEST: usize = 16;
/// Beyond it two integers may be one double: such are the same only when they are written so.
const EXACT: f64 = 9_007_199_254_740_991.0;

/// What is known of the headers of this tool. Of one that is hidden from the agent nothing is, or a refusal would
/// tell that it exists.
pub(super) fn of(visit: &Visit, tool: &str) -> Option<Arc<Mirrors>> {
    let known = visit.door.inner.params.of(visit.server.identity(), tool)?;
    let (rules, server) = (visit.door.inner.broker.rules(), visit.server.name());
    let is_hidden = rules.of(&visit.grant.name, server).iter().any(|policy| policy.hides(server, tool));
    (!is_hidden).then_some(known)
}

/// In the place of what the request said; most calls have none.
pub(super) fn put(headers: &mut HeaderMap, said: Vec<(HeaderName, HeaderValue)>) {
    for (name, value) in said {
        headers.insert(name, value);
    }
}

/// An argument that a header repeats.
#[derive(Debug, PartialEq, Eq)]
struct Mirror {
    header: HeaderName,
    path: Box<[Box<str>]>,
}

/// All of one tool's, at least one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mirrors(Box<[Mirror]>);

impl Mirrors {
    /// `None`: the schema marks nothing, or marks what no client may follow: then a client does not have the tool
    /// at all, and a server does not check it.
    fn of(schema: Json<'_>) -> Option<Self> {
        let mut found = Vec::new();
        let mut path = Vec::new();
        walk(schema, &mut path, &mut found)?;
        let steps: usize = found.iter().map(|mirror| mirror.path.len()).sum();
        let bytes: usize = found.iter().map(Mirror::size).sum();
        let fits = found.len() <= MOST && steps <= MOST_STEPS && bytes <= MOST_BYTES;
        (fits && !found.is_empty()).then(|| Self(found.into()))
    }

    pub(super) fn has(&self, header: &HeaderName) -> bool {
        self.0.iter().any(|mirror| mirror.header == header)
    }

    /// Does each header say what its argument is, and is there one for each argument?
    ///
    /// # Errors
    /// What is wrong, in words.
    pub(super) fn check(&self, headers: &HeaderMap, arguments: Option<Json<'_>>) -> Result<(), String> {
        for mirror in &self.0 {
            let argument = mirror.argument(arguments);
            let (header, said) = (&mirror.header, headers.get(&mirror.header));
            let wrong = match (said, argument) {
                (None, None) => continue,
                // No header can say an object or an array: what its server makes of it is the server's to tell.
                (None, Some(argument)) if spelt(argument).is_none() => continue,
                (None, Some(_)) => "is missing, and repeats",
                (Some(_), None) => "is there without a value of",
                (Some(said), Some(argument)) if said.to_str().is_ok_and(|said| says(said, argument)) => {
                    continue;
                }
                (Some(_), Some(_)) => "differs from",
            };
            let path = mirror.path.join(".");
            return Err(format!(
                "the header {header} {wrong} the argument `{path}`; list the tools again if their schema changed"
            ));
        }
        Ok(())
    }

    /// The headers of a call with these arguments.
    pub(super) fn said(&self, arguments: Option<Json<'_>>) -> Vec<(HeaderName, HeaderValue)> {
        let said = |mirror: &Mirror| {
            let value = spelt(mirror.argument(arguments)?)?;
            Some((mirror.header.clone(), HeaderValue::from_str(&encode(&value)).ok()?))
        };
        self.0.iter().filter_map(said).collect()
    }
}

impl Mirror {
    fn size(&self) -> usize {
        self.header.as_str().len() + self.path.iter().map(|name| name.len()).sum::<usize>()
    }

    /// Its value in this call; null is none.
    fn argument<'a>(&self, arguments: Option<Json<'a>>) -> Option<Json<'a>> {
        let found = self.path.iter().try_fold(arguments?, |json, name| json.get(name));
        found.filter(|value| value.kind() != Kind::Null)
    }
}

/// What can be reached through `properties` alone; a mark elsewhere has no one place among the arguments. `None`:
/// a mark that no client may follow.
fn walk(schema: Json<'_>, path: &mut Vec<Box<str>>, found: &mut Vec<Mirror>) -> Option<()> {
    let Some(properties) = schema.get("properties").filter(|_| path.len() < DEEPEST) else { return Some(()) };
    for property in properties.members() {
        // No argument of an agent has a name that is no text.
        let Some(name) = property.name_raw.string() else { continue };
        path.push(Box::from(&*name));
        if let Some(mark) = property.value.get(MARK) {
            let header = header_of(&mark.string()?)?;
            let is_new = found.iter().all(|mirror| mirror.header != header);
            if found.len() > MOST || !is_new || !is_primitive(property.value) {
                return None;
            }
            found.push(Mirror { header, path: path.clone().into() });
        }
        walk(property.value, path, found)?;
        path.pop();
    }
    Some(())
}

fn header_of(mark: &str) -> Option<HeaderName> {
    let short = (1..=MOST_BYTES).contains(&mark.len());
    short.then(|| HeaderName::from_bytes(format!("{}{mark}", header::PARAM).as_bytes()).ok())?
}

/// Strings, integers and booleans; an array may say that there may also be none.
fn is_primitive(schema: Json<'_>) -> bool {
    let among = |kind: Json<'_>, kinds: &[&str]| kind.string().is_some_and(|kind| kinds.contains(&&*kind));
    let primitive = |kind| among(kind, &["string", "integer", "boolean"]);
    schema.get("type").is_some_and(|kind| match kind.kind() {
        Kind::Array => {
            kind.elements().any(primitive) && kind.elements().all(|k| primitive(k) || among(k, &["null"]))
        }
        Kind::Null | Kind::Bool | Kind::Number | Kind::String | Kind::Object => primitive(kind),
    })
}

/// Does a header with this value say this argument?
fn says(said: &str, argument: Json<'_>) -> bool {
    let Some(said) = decode(said) else { return false };
    match argument.kind() {
        Kind::String => argument.string().is_some_and(|text| text == said),
        Kind::Number => {
            let double = |text: &str| text.parse::<f64>().ok().filter(|number| number.abs() <= EXACT);
            argument.as_str() == said
                || double(argument.as_str()).is_some_and(|number| double(&said) == Some(number))
        }
        Kind::Bool => argument.as_str() == said,
        Kind::Null | Kind::Object | Kind::Array => false,
    }
}

/// As its header says it, before that is encoded.
fn spelt(argument: Json<'_>) -> Option<Cow<'_, str>> {
    let raw = argument.as_str();
    match argument.kind() {
        Kind::String => argument.string(),
        Kind::Bool => Some(raw.into()),
        // 42.0 and 4.2e1 are the integer 42.
        Kind::Number => Some(match raw.parse::<f64>() {
            Ok(number) if number.fract() == 0.0 && number.abs() <= EXACT => format!("{number:.0}").into(),
            Ok(_) | Err(_) => raw.into(),
        }),
        Kind::Null | Kind::Object | Kind::Array => None,
    }
}

/// As it is when every byte may stand in a header and nothing would be trimmed; else base64.
pub(super) fn encode(value: &str) -> String {
    let plain = value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if plain && value.trim() == value && !value.starts_with("=?base64?") {
        return value.to_owned();
    }
    format!("=?base64?{}?=", BASE64_STANDARD.encode(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::{Limits, strict};

    fn json(text: &str) -> Json<'_> {
        strict::check(text.as_bytes(), &Limits::of_servers(usize::MAX)).unwrap()
    }

    fn mirrors(properties: &str) -> Option<Mirrors> {
        Mirrors::of(json(&format!(r#"{{"type":"object","properties":{properties}}}"#)))
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value));
        pairs.iter().copied().map(pair).collect()
    }

    #[test]
    fn a_header_says_its_own_argument_and_no_other() {
        let known = mirrors(
            r#"{"region":{"type":"string","x-mcp-header":"Region"},
                "where":{"type":"object","properties":{"limit":{"type":"integer","x-mcp-header":"LIMIT"}}},
                "sure":{"type":["boolean","null"],"x-mcp-header":"Sure"},"note":{"type":"string"}}"#,
        )
        .unwrap();
        let (region, limit, sure) = ("mcp-param-region", "mcp-param-limit", "mcp-param-sure");
        for (said, arguments, right) in [
            (&[(region, "eu")][..], r#"{"region":"eu","note":"us"}"#, true),
            (&[(region, "=?base64?ZXU=?=")], r#"{"region":"eu"}"#, true),
            (&[(region, "eu")], r#"{"region":"us","note":"eu"}"#, false),
            (&[(region, "eu")], r#"{"note":"eu"}"#, false),
            (&[(region, "eu")], r#"{"region":null,"note":"eu"}"#, false),
            (&[(region, "=?base64?!?=")], r#"{"region":"=?base64?!?="}"#, false),
            (&[(region, "EU")], r#"{"region":"eu"}"#, false),
            (&[], r#"{"region":"eu"}"#, false),
            (&[], r#"{"region":null,"sure":null,"where":{}}"#, true),
            (&[], r#"{"region":["eu"],"where":7}"#, true),
            (&[(region, "eu")], r#"{"region":["eu"]}"#, false),
            (&[(limit, "42.0")], r#"{"where":{"limit":42}}"#, true),
            (&[(limit, "42")], r#"{"where":{"limit":4.2e1}}"#, true),
            (&[(limit, "42")], r#"{"where":{"limit":43},"limit":42}"#, false),
            (&[(limit, "9007199254740993")], r#"{"where":{"limit":9007199254740992}}"#, false),
            (&[(limit, "inf")], r#"{"where":{"limit":1e999}}"#, false),
            (&[(sure, "true")], r#"{"sure":true}"#, true),
            (&[(sure, "True")], r#"{"sure":true}"#, false),
        ] {
            let checked = known.check(&headers(said), Some(json(arguments)));
            assert_eq!(checked.is_ok(), right, "{said:?} {arguments}: {checked:?}");
        }
        assert!(known.check(&headers(&[]), None).is_ok());
        assert!(known.check(&headers(&[(region, "eu")]), None).is_err());
    }

    #[test]
    fn what_no_client_may_follow_is_not_known() {
        let of =
            |name: &str, kind: &str| mirrors(&format!(r#"{{"a":{{"type":{kind},"x-mcp-header":{name}}}}}"#));
        assert!(of("\"A\"", "\"string\"").is_some());
        for name in [
            "\"\"",
            "\"a b\"",
            "\"a\\r\\nb\"",
            "\"ä\"",
            "\"a:b\"",
            "7",
            "null",
            &format!("{:?}", "x".repeat(5000)),
        ] {
            assert_eq!(of(name, "\"string\""), None, "{name}");
        }
        for kind in ["\"number\"", "\"object\"", "\"array\"", "null", "[\"null\"]", "[\"string\",\"number\"]"]
        {
            assert_eq!(of("\"A\"", kind), None, "{kind}");
        }
        let twice = r#"{"a":{"type":"string","x-mcp-header":"A"},"b":{"type":"string","x-mcp-header":"a"}}"#;
        assert_eq!(mirrors(twice), None);
        let elsewhere = r#"{"a":{"type":"array","items":{"type":"string","x-mcp-header":"A"}}}"#;
        assert_eq!(mirrors(elsewhere), None);
        assert_eq!(mirrors(r#"{"x-mcp-header":{"type":"string"}}"#), None, "an argument of that name");
    }

    #[test]
    fn a_tool_with_too_many_is_not_known() {
        let many = |n: usize| {
            let one = |n| format!(r#""p{n}":{{"type":"string","x-mcp-header":"P{n}"}}"#);
            mirrors(&format!("{{{}}}", (0..n).map(one).collect::<Vec<_>>().join(",")))
        };
        assert!(many(MOST).is_some());
        assert_eq!(many(MOST + 1), None);
        let long =
            |n: usize| mirrors(&format!(r#"{{"{}":{{"type":"string","x-mcp-header":"A"}}}}"#, "x".repeat(n)));
        assert!(long(4000).is_some());
        assert_eq!(long(MOST_BYTES), None);
    }

    #[test]
    fn headers_are_said_of_the_body() {
        let known = mirrors(
            r#"{"a":{"type":"string","x-mcp-header":"A"},"n":{"type":"integer","x-mcp-header":"N"},
                "b":{"type":"boolean","x-mcp-header":"B"}}"#,
        )
        .unwrap();
        for (arguments, said) in [
            (r#"{"a":"eu","n":42.0,"b":false}"#, &[("a", "eu"), ("n", "42"), ("b", "false")][..]),
            (r#"{"a":"ä","n":-0}"#, &[("a", "=?base64?w6Q=?="), ("n", "-0")]),
            (r#"{"a":" x","n":9007199254740993}"#, &[("a", "=?base64?IHg=?="), ("n", "9007199254740993")]),
            (r#"{"a":"=?base64?x?=","b":null}"#, &[("a", "=?base64?PT9iYXNlNjQ/eD89?=")]),
            (r#"{"a":{},"other":"eu"}"#, &[]),
        ] {
            let told = known.said(Some(json(arguments)));
            let told: Vec<_> =
                told.iter().map(|(name, value)| (&name.as_str()[10..], value.to_str().unwrap())).collect();
            assert_eq!(told, said, "{arguments}");
            let own: HeaderMap = known.said(Some(json(arguments))).into_iter().collect();
            assert_eq!(known.check(&own, Some(json(arguments))), Ok(()), "{arguments}");
        }
    }
}
