//! The messages that the broker itself writes. `id`, `result`, `data`, `meta` and tokens are JSON text.

/// What the broker says as a tool's result.
#[derive(Clone, Copy, Debug)]
pub struct ToolText<'a> {
    pub text: &'a str,
    pub is_error: bool,
    /// JSON object for `_meta["countersign/call"]`.
    pub call: Option<&'a str>,
    /// 2026-07-28: adds `resultType: "complete"`.
    pub modern: bool,
}

/// A whole JSON-RPC response with a tool result of one text.
#[must_use]
pub fn tool(id: &str, answer: ToolText<'_>) -> Vec<u8> {
    let _ = (id, answer);
    unimplemented!()
}

/// A whole JSON-RPC response with `result` as given.
#[must_use]
pub fn result(id: &str, result: &str) -> Vec<u8> {
    let _ = (id, result);
    unimplemented!()
}

/// A whole JSON-RPC error response.
#[must_use]
pub fn error(id: &str, code: i32, message: &str, data: Option<&str>) -> Vec<u8> {
    let _ = (id, code, message, data);
    unimplemented!()
}

/// `notifications/progress`. `step`: the n-th beat; the value is n millionths, so that the server's own
/// progress continues above it.
#[must_use]
pub fn progress(token: &str, step: u32, message: &str) -> Vec<u8> {
    let _ = (token, step, message);
    unimplemented!()
}

/// A whole JSON-RPC notification.
#[must_use]
pub fn notification(method: &str, params: Option<&str>) -> Vec<u8> {
    let _ = (method, params);
    unimplemented!()
}
