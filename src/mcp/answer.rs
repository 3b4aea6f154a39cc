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
    let kind = if answer.modern { "\"resultType\":\"complete\"," } else { "" };
    let text = quoted(answer.text);
    let is_error = answer.is_error;
    let meta =
        answer.call.map(|call| format!(",\"_meta\":{{\"countersign/call\":{call}}}")).unwrap_or_default();
    let content = format!("\"content\":[{{\"type\":\"text\",\"text\":{text}}}]");
    result(id, &format!("{{{kind}{content},\"isError\":{is_error}{meta}}}"))
}

/// A whole JSON-RPC response with `result` as given.
#[must_use]
pub fn result(id: &str, result: &str) -> Vec<u8> {
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"result\":{result}}}").into_bytes()
}

/// The end of a `subscriptions/listen` (2026-07-28) that the broker ends: the subscription's id is the
/// request's.
#[must_use]
pub fn end_of_subscription(id: &str) -> Vec<u8> {
    let meta = format!("{{\"io.modelcontextprotocol/subscriptionId\":{id}}}");
    result(id, &format!("{{\"resultType\":\"complete\",\"_meta\":{meta}}}"))
}

/// A whole JSON-RPC error response.
#[must_use]
pub fn error(id: &str, code: i32, message: &str, data: Option<&str>) -> Vec<u8> {
    let message = quoted(message);
    let data = data.map(|data| format!(",\"data\":{data}")).unwrap_or_default();
    let error = format!("{{\"code\":{code},\"message\":{message}{data}}}");
    format!("{{\"jsonrpc\":\"2.0\",\"id\":{id},\"error\":{error}}}").into_bytes()
}

/// `notifications/progress`. `step`: the n-th beat; the value is n millionths, so that the server's own
/// progress continues above it.
#[must_use]
pub fn progress(token: &str, step: u32, message: &str) -> Vec<u8> {
    let (whole, millionths) = (step / 1_000_000, step % 1_000_000);
    let message = quoted(message);
    let params =
        format!("{{\"progressToken\":{token},\"progress\":{whole}.{millionths:06},\"message\":{message}}}");
    notification("notifications/progress", Some(&params))
}

/// A whole JSON-RPC notification.
#[must_use]
pub fn notification(method: &str, params: Option<&str>) -> Vec<u8> {
    let method = quoted(method);
    let params = params.map(|params| format!(",\"params\":{params}")).unwrap_or_default();
    format!("{{\"jsonrpc\":\"2.0\",\"method\":{method}{params}}}").into_bytes()
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_tool_text_has_the_form_of_its_era() {
        let answer = ToolText { text: "no \"x\"", is_error: true, call: Some("{\"id\":1}"), modern: false };
        let body = r#""content":[{"type":"text","text":"no \"x\""}],"isError":true,"_meta":{"countersign/call":{"id":1}}"#;
        assert_eq!(
            text(tool("7", answer)),
            format!("{{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{{{body}}}}}")
        );
        let modern = ToolText { modern: true, ..answer };
        assert!(text(tool("7", modern)).contains("{\"resultType\":\"complete\",\"content\""));
    }

    #[test]
    fn errors_and_progress_are_valid_messages() {
        assert_eq!(
            text(error("\"a\"", -32601, "no", Some("[1]"))),
            r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32601,"message":"no","data":[1]}}"#
        );
        assert_eq!(
            text(progress("\"t\"", 12, "w")),
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":0.000012,"message":"w"}}"#
        );
    }
}
