//! The params of a `tools/call`, and the `_meta` members that the broker reads on any request.

use std::borrow::Cow;

use super::Json;

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
}

/// Why params are no tool call: a sentence for a −32602 answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("invalid tools/call: {0}")]
pub struct InvalidCall(pub &'static str);

impl<'a> ToolCall<'a> {
    /// # Errors
    /// No params, no name, or a known member of the wrong type.
    pub fn parse(params: Option<Json<'a>>) -> Result<Self, InvalidCall> {
        let _ = params;
        unimplemented!()
    }
}

impl<'a> Meta<'a> {
    /// Of any request's params; empty when there is none.
    #[must_use]
    pub fn of(params: Option<Json<'a>>) -> Self {
        let _ = params;
        unimplemented!()
    }

    /// `(name, version)` of `clientInfo`; empty strings when absent.
    #[must_use]
    pub fn client(&self) -> (Cow<'a, str>, Cow<'a, str>) {
        unimplemented!()
    }
}
