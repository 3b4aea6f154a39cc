//! The three parties of each story: an agent, the broker, and the MCP server behind it.

mod agent;
mod broker;
mod child;
mod old;
mod server;

pub use agent::{Agent, Answer, Told};
pub use broker::{House, Plan, ann};
pub use child::child;
pub use old::Old;
pub use server::{Manner, Script, Server};

use serde_json::{Value, json};

const TOKEN: &str = "a-token-that-only-this-test-knows";

/// A request of a legacy version.
pub fn request(id: u64, method: &str, params: Value) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params})
}

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

/// The name of a task.
pub fn task_id(task: &Value) -> &str {
    task["taskId"].as_str().unwrap_or_else(|| panic!("a task: {task}"))
}

/// A 2026-07-28 request.
pub fn modern(id: impl Into<Value>, method: &str, mut params: Value) -> Value {
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = json!("2026-07-28");
    params["_meta"]["io.modelcontextprotocol/clientCapabilities"] = json!({});
    json!({"jsonrpc": "2.0", "id": id.into(), "method": method, "params": params})
}

/// An agent's headers for a modern request.
pub fn mirrored(agent: Agent, method: &str, name: Option<&str>) -> Agent {
    let agent = agent.with("mcp-protocol-version", "2026-07-28").with("mcp-method", method);
    match name {
        Some(name) => agent.with("mcp-name", name),
        None => agent,
    }
}

/// The broker as `serve` starts it, in front of this server alone, allowing all; an agent of it, and its folder.
pub async fn served(server: &Server) -> (countersign::serve::Running, Agent, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("countersign.toml");
    std::fs::write(folder.path().join("p.json"), r#"{"version": "1", "default": "allow"}"#).unwrap();
    let text = format!(
        "listen = \"127.0.0.1:0\"\nstore = \"sqlite:store.db\"\n[servers.rig]\nurl = \"{}\"\npolicy = \"p.json\"\n\
         [grants.bot]\ntoken = \"{TOKEN}\"\nservers = [\"rig\"]\n",
        server.url
    );
    std::fs::write(&path, text).unwrap();
    let config = countersign::config::Config::load(&path).unwrap();
    let running = countersign::serve::start(&config).await.unwrap();
    let agent = Agent::new(running.address, "rig", TOKEN);
    (running, agent, folder)
}
