//! The params of a `tools/call`, and the `_meta` members that the broker reads on any request.

use std::borrow::Cow;

use super::{Json, Kind, message::is_look_alike};

/// A `tools/call`'s params, borrowed from the message.
#[derive(Clone, Debug)]
pub struct ToolCall<'a> {
    pub name: Cow<'a, str>,
    /// As written; `None` when absent.
    pub arguments: Option<Json<'a>>,
    pub meta: Meta<'a>,
    /// 2025-11-25 tasks.
    pub task: Option<Json<'a>>,
    /// 2026-07-28 multi-round-trip requests.
    pub input_responses: Option<Json<'a>>,
    pub request_state: Option<Json<'a>>,
    /// Every other member of params, in order (without `_meta`).
    pub other: Vec<(Cow<'a, str>, Json<'a>)>,
}

/// The members of `params._meta` that the broker reads.
#[derive(Clone, Debug, Default)]
pub struct Meta<'a> {
    /// The whole `_meta`, when it is an object.
    pub raw: Option<Json<'a>>,
    /// As written: a string or a number.
    pub progress_token: Option<Json<'a>>,
    /// `io.modelcontextprotocol/protocolVersion`
    pub protocol_version: Option<Cow<'a, str>>,
    /// `io.modelcontextprotocol/clientInfo`
    pub client_info: Option<Json<'a>>,
    /// `io.modelcontextprotocol/clientCapabilities`
    pub client_capabilities: Option<Json<'a>>,
    /// Where this try stands in its agent's trace, in the order of `TRACE_KEYS`.
    pub trace: [Option<Json<'a>>; 3],
}

/// Why params are no tool call: a sentence for a −32602 answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid tools/call: {0}")]
pub struct InvalidCall(pub &'static str);

/// Keys of `params._meta` that belong to one try of a call, not to the call.
pub const TRACE_KEYS: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// The params that the broker reads.
const PARAMS: [&str; 6] = ["name", "arguments", "_meta", "task", "inputResponses", "requestState"];

impl<'a> ToolCall<'a> {
    /// # Errors
    /// No params, no name, or a known member of the wrong type.
    pub fn parse(params: Option<Json<'a>>) -> Result<Self, InvalidCall> {
        Self::with_meta(params, Meta::of(params))
    }

    /// The same, when its `_meta` has been read before.
    ///
    /// # Errors
    /// As for `parse`.
    pub fn with_meta(params: Option<Json<'a>>, read: Meta<'a>) -> Result<Self, InvalidCall> {
        let params =
            params.filter(|p| p.kind() == Kind::Object).ok_or(InvalidCall("params must be an object"))?;
        let [mut name, mut arguments, mut meta, mut task, mut input_responses, mut request_state] = [None; 6];
        let mut other = Vec::new();
        for member in params.members() {
            let slot = match &*member.name {
                "name" => &mut name,
                "arguments" => &mut arguments,
                "_meta" => &mut meta,
                "task" => &mut task,
                "inputResponses" => &mut input_responses,
                "requestState" => &mut request_state,
                unknown if is_look_alike(unknown, &PARAMS) => {
                    return Err(InvalidCall("a param's name differs only in case from one that is reserved"));
                }
                _ => {
                    other.push((member.name, member.value));
                    continue;
                }
            };
            *slot = Some(member.value);
        }
        let name = name.and_then(Json::string).ok_or(InvalidCall("`name` must be a string"))?;
        if arguments.is_some_and(|a| !matches!(a.kind(), Kind::Object | Kind::Null)) {
            return Err(InvalidCall("`arguments` must be an object"));
        }
        if meta.is_some_and(|m| m.kind() != Kind::Object) {
            return Err(InvalidCall("`_meta` must be an object"));
        }
        Ok(Self { name, arguments, meta: read, task, input_responses, request_state, other })
    }
}

impl<'a> Meta<'a> {
    /// Of any request's params; empty when there is none.
    #[must_use]
    pub fn of(params: Option<Json<'a>>) -> Self {
        params
            .and_then(|p| p.get("_meta"))
            .filter(|m| m.kind() == Kind::Object)
            .map(Self::read)
            .unwrap_or_default()
    }

    fn read(raw: Json<'a>) -> Self {
        let mut meta = Self { raw: Some(raw), ..Self::default() };
        for member in raw.members() {
            match &*member.name {
                "progressToken" => meta.progress_token = Some(member.value).filter(|t| is_token(*t)),
                "io.modelcontextprotocol/protocolVersion" => meta.protocol_version = member.value.string(),
                "io.modelcontextprotocol/clientInfo" => meta.client_info = Some(member.value),
                "io.modelcontextprotocol/clientCapabilities" => meta.client_capabilities = Some(member.value),
                key => {
                    let part = TRACE_KEYS.iter().zip(&mut meta.trace).find(|(name, _)| **name == key);
                    if let Some((_, place)) = part {
                        *place = Some(member.value);
                    }
                }
            }
        }
        meta
    }

    /// `(name, version)` of `clientInfo`; empty strings when absent.
    #[must_use]
    pub fn client(&self) -> (Cow<'a, str>, Cow<'a, str>) {
        let text =
            |name| self.client_info.and_then(|i| i.get(name)).and_then(Json::string).unwrap_or_default();
        (text("name"), text("version"))
    }
}

fn is_token(json: Json<'_>) -> bool {
    matches!(json.kind(), Kind::String | Kind::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::strict::{Limits, check};

    #[test]
    fn a_call_is_read_without_touching_its_arguments() {
        let text =
            br#"{"name":"a\u0062","arguments": {"n":12345678901234567890.50},"_meta":{"progressToken":1,
            "io.modelcontextprotocol/clientInfo":{"name":"c","version":"2"}},"task":{"ttl":1},"x":[1]}"#;
        let call = ToolCall::parse(Some(check(text, &Limits::default()).unwrap())).unwrap();
        assert_eq!(call.name, "ab");
        assert_eq!(call.arguments.unwrap().as_str(), r#"{"n":12345678901234567890.50}"#);
        assert_eq!(call.meta.progress_token.unwrap().as_str(), "1");
        assert_eq!(call.meta.client(), ("c".into(), "2".into()));
        assert_eq!(call.task.unwrap().as_str(), r#"{"ttl":1}"#);
        assert_eq!(call.other.len(), 1);
    }

    #[test]
    fn params_that_are_no_call_are_refused() {
        for text in
            ["[]", "{}", r#"{"name":1}"#, r#"{"name":"a","arguments":[]}"#, r#"{"name":"a","Arguments":{}}"#]
        {
            assert!(
                ToolCall::parse(Some(check(text.as_bytes(), &Limits::default()).unwrap())).is_err(),
                "{text}"
            );
        }
        assert!(ToolCall::parse(None).is_err());
    }
}
