//! The three parties of each story: an agent, the broker, and the MCP server behind it.

mod agent;
mod broker;
mod server;

pub use agent::{Agent, Told};
pub use broker::{House, Plan};
pub use server::{Manner, Server};

use serde_json::{Value, json};

/// A `tools/call`.
pub fn call(id: impl Into<Value>, tool: &str, arguments: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id.into(), "method": "tools/call",
           "params": {"name": tool, "arguments": arguments}})
}

/// The same, asking for progress.
pub fn call_with_token(id: impl Into<Value>, tool: &str, arguments: Value, token: &str) -> Value {
    let mut call = call(id, tool, arguments);
    call["params"]["_meta"] = json!({"progressToken": token});
    call
}

/// The text of a tool's result.
pub fn text(response: &Value) -> &str {
    response["result"]["content"][0]["text"].as_str().unwrap_or_default()
}
