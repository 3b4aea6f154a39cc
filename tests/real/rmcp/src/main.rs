//! rmcp's client as an agent: makes one call, and makes it again for as long as it gets a ticket.
//!
//! `rmcp-agent '{"url":…,"token":…,"mode":…,"insist":[tool,arguments,tickets]}'`; prints `{"version", "attempts"}` as
//! `fastmcp_client.py` does.

use std::time::{Duration, Instant};

use rmcp::{
    ClientLifecycleMode, ClientServiceExt, RoleClient,
    model::{CallToolRequestParams, ClientConfig, Implementation, ProtocolVersion},
    service::RunningService,
    transport::{StreamableHttpClientTransport, streamable_http_client::StreamableHttpClientTransportConfig},
};
use serde_json::{Value, json};

type Failure = Box<dyn std::error::Error>;
type Client = RunningService<RoleClient, ClientConfig>;

const MOST: usize = 12;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let job = std::env::args().nth(1).ok_or("usage: rmcp-agent JOB")?;
    let job: Value = serde_json::from_str(&job)?;
    let word = |name: &str| job[name].as_str().unwrap_or_default().to_owned();
    let config = StreamableHttpClientTransportConfig::with_uri(word("url")).auth_header(word("token"));
    let mut me = ClientConfig::default();
    me.client_info = Implementation::new("rmcp-agent", "0");
    let modern = job["mode"] != "legacy";
    let mode = if modern {
        let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
        ClientLifecycleMode::Auto { preferred_versions, legacy_version: None }
    } else {
        ClientLifecycleMode::Initialize
    };
    let client = me.serve_with_lifecycle(StreamableHttpClientTransport::from_config(config), mode).await?;
    let attempts = insist(&client, &job["insist"]).await?;
    let server = client.peer_info().map(|server| server.protocol_version.to_string());
    println!("{}", json!({ "version": server, "attempts": attempts }));
    client.cancel().await?;
    Ok(())
}

/// `wanted`: the tool, its arguments, and how a ticket begins.
async fn insist(client: &Client, wanted: &Value) -> Result<Vec<Value>, Failure> {
    let mut call = CallToolRequestParams::new(wanted[0].as_str().ok_or("no tool is named")?.to_owned());
    call.arguments = wanted[1].as_object().cloned();
    let tickets: Vec<&str> = wanted[2].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut attempts = Vec::new();
    loop {
        let started = Instant::now();
        let (word, text) = match client.call_tool(call.clone()).await {
            Ok(result) => ("text", text_of(&serde_json::to_value(result)?)),
            Err(error) => ("error", error.to_string()),
        };
        let again = word == "error" || tickets.iter().any(|ticket| text.starts_with(ticket));
        attempts.push(json!({ "seconds": started.elapsed().as_secs_f64(), word: text }));
        if !again || attempts.len() == MOST {
            return Ok(attempts);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn text_of(result: &Value) -> String {
    result["content"][0]["text"].as_str().unwrap_or_default().to_owned()
}
