//! The same little MCP server as a command that is spoken to over a pipe.

use countersign::upstream::ServerSettings;

const CHILD: &str = r#"
import json, os, sys, time
def say(message): sys.stdout.write(json.dumps(message) + "\n"); sys.stdout.flush()
calls, cancelled = 0, 0
for line in sys.stdin:
    m = json.loads(line); p = m.get("params", {}); method = m.get("method")
    def answer(result): say({"jsonrpc": "2.0", "id": m["id"], "result": result})
    if method == "notifications/initialized":
        say({"jsonrpc": "2.0", "method": "notifications/message", "params": {"data": "hello"}})
    elif "id" not in m: cancelled += method == "notifications/cancelled"
    elif method == "initialize":
        answer({"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "child", "version": "1"}})
    elif method == "tools/list": answer({"tools": [{"name": n, "inputSchema": {}} for n in ["look", "secret", "cancel"]]})
    elif method == "tools/call":
        calls += 1
        token = p.get("_meta", {}).get("progressToken")
        if token is not None:
            say({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": token, "progress": 1}})
        until = p.get("arguments", {}).get("until")
        while until and not os.path.exists(until): time.sleep(0.01)
        text = "%d cancelled" % cancelled if p["name"] == "cancelled" else "%s ran, call %d" % (p["name"], calls)
        answer({"content": [{"type": "text", "text": text}]})
    else: say({"jsonrpc": "2.0", "id": m["id"], "error": {"code": -32601, "message": "no " + method}})
"#;

/// How to start it.
pub fn child() -> ServerSettings {
    let command = ["python3", "-u", "-c", CHILD].map(String::from).to_vec();
    ServerSettings { command: Some(command), ..ServerSettings::default() }
}
