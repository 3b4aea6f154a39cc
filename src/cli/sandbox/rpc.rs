//! The sandbox's side of MCP: one message in, at most one out; the handshake's versions and 2026-07-28.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{batches::Batches, tools};
use crate::{call::Timestamp, mcp::Version};

const PARSE_ERROR: i32 = -32700;
const INVALID_REQUEST: i32 = -32600;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const UNSUPPORTED_VERSION: i32 = -32022;

/// Where a 2026-07-28 request says its version.
const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";

#[derive(Deserialize)]
struct Message {
    id: Option<Value>,
    method: Option<String>,
    #[serde(default)]
    params: Value,
}

/// An error's code, words and `data`.
type Fault = (i32, String, Value);

/// The answer to one line; notifications and answers have none.
pub(super) fn answer(line: &str, batches: &mut Batches, now: Timestamp) -> Option<Value> {
    let message: Message = match serde_json::from_str(line) {
        Ok(message) => message,
        Err(error) => return Some(fault(Value::Null, (PARSE_ERROR, error.to_string(), Value::Null))),
    };
    let id = message.id?;
    let Some(method) = message.method else {
        return Some(fault(id, (INVALID_REQUEST, "a request names a method".into(), Value::Null)));
    };
    Some(match request(&method, &message.params, batches, now) {
        Ok(result) => json!({ "jsonrpc": "2.0", "id": id, "result": result }),
        Err(found) => fault(id, found),
    })
}

fn fault(id: Value, (code, message, data): Fault) -> Value {
    let mut error = json!({ "code": code, "message": message });
    if !data.is_null() {
        error["data"] = data;
    }
    json!({ "jsonrpc": "2.0", "id": id, "error": error })
}

fn request(method: &str, params: &Value, batches: &mut Batches, now: Timestamp) -> Result<Value, Fault> {
    let said = params.get("_meta").and_then(|meta| meta.get(VERSION_KEY)).and_then(Value::as_str);
    let is_modern = match said {
        Some(said) if said == Version::LATEST.as_str() => true,
        Some(said) => return Err(unsupported(said)),
        None => false,
    };
    match method {
        "initialize" => Ok(initialize(params)),
        "server/discover" if is_modern => Ok(json!({ "resultType": "complete", "ttlMs": 300_000,
            "cacheScope": "public", "supportedVersions": versions(), "capabilities": { "tools": {} },
            "_meta": { "io.modelcontextprotocol/serverInfo": own_name() } })),
        "ping" if !is_modern => Ok(json!({})),
        "tools/list" if is_modern => Ok(json!({ "tools": tools::list(), "resultType": "complete",
            "ttlMs": 300_000, "cacheScope": "public" })),
        "tools/list" => Ok(json!({ "tools": tools::list() })),
        "tools/call" => tool_call(params, is_modern, batches, now),
        other => Err((METHOD_NOT_FOUND, format!("Method not found: {other}"), Value::Null)),
    }
}

fn versions() -> [&'static str; 5] {
    Version::ALL.map(Version::as_str)
}

fn own_name() -> Value {
    json!({ "name": "countersign-sandbox", "version": env!("CARGO_PKG_VERSION") })
}

/// The version that was asked for, if the handshake has it; else the newest that it has.
fn initialize(params: &Value) -> Value {
    let asked = params.get("protocolVersion").and_then(Value::as_str).and_then(Version::parse);
    let version = asked.filter(|version| !version.is_modern()).unwrap_or(Version::V2025_11_25);
    json!({ "protocolVersion": version.as_str(), "capabilities": { "tools": {} }, "serverInfo": own_name(),
        "instructions": "Batches of pretended workflow runs, for trying out approvals." })
}

fn unsupported(said: &str) -> Fault {
    let data = json!({ "supported": versions(), "requested": said });
    (UNSUPPORTED_VERSION, "Unsupported protocol version".into(), data)
}

fn tool_call(params: &Value, modern: bool, batches: &mut Batches, now: Timestamp) -> Result<Value, Fault> {
    let Some(name) = params.get("name").and_then(Value::as_str) else {
        return Err((INVALID_PARAMS, "`params.name` names the tool".into(), Value::Null));
    };
    let arguments = params.get("arguments").cloned().unwrap_or_else(|| json!({}));
    let Some(done) = tools::call(name, arguments, batches, now) else {
        return Err((INVALID_PARAMS, format!("Unknown tool: {name}"), Value::Null));
    };
    let mut result = match done {
        Ok(content) => json!({ "content": [{ "type": "text", "text": content.to_string() }],
            "structuredContent": content, "isError": false }),
        Err(words) => json!({ "content": [{ "type": "text", "text": words }], "isError": true }),
    };
    if modern {
        result["resultType"] = json!("complete");
    }
    Ok(result)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(batches: &mut Batches, method: &str, params: &Value) -> Value {
        let line = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
        answer(&line, batches, Timestamp(0)).expect("a request is answered")
    }

    #[test]
    fn both_eras_are_spoken() {
        let mut batches = Batches::default();
        let old = ask(&mut batches, "initialize", &json!({ "protocolVersion": "2025-06-18" }));
        assert_eq!(old["result"]["protocolVersion"], "2025-06-18");
        let meta = json!({ "_meta": { VERSION_KEY: "2026-07-28" } });
        assert_eq!(ask(&mut batches, "tools/list", &meta)["result"]["resultType"], "complete");
        let wrong = json!({ "_meta": { VERSION_KEY: "2030-01-01" } });
        assert_eq!(ask(&mut batches, "server/discover", &wrong)["error"]["code"], UNSUPPORTED_VERSION);
    }

    #[test]
    fn an_unknown_batch_and_an_unknown_tool_are_answered_in_words() {
        let mut batches = Batches::default();
        let call = json!({ "name": "CancelAHORunBatch", "arguments": { "batch_id": "9" } });
        let answer = ask(&mut batches, "tools/call", &call);
        assert_eq!(answer["result"]["isError"], true);
        let call = json!({ "name": "Nothing", "arguments": {} });
        assert_eq!(ask(&mut batches, "tools/call", &call)["error"]["code"], INVALID_PARAMS);
        assert!(batches.effects.is_empty());
    }
}
