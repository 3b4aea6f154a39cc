//! The servers behind us, over real sockets and real processes: what is sent once is never sent twice.

pub mod http;
mod sse;
mod stdio;
mod tls;

use std::collections::BTreeMap;

use bytes::Bytes;
use countersign::{
    ledger::Pass,
    mcp::Passthrough,
    upstream::{
        Link, Outbound, Reply, ReplyBody, Right, SendError, ServerSettings, UpstreamSettings, Upstreams,
    },
};
use futures_util::StreamExt as _;

/// A registry with one server, `it`.
fn upstreams(server: ServerSettings, settings: UpstreamSettings) -> Upstreams {
    let upstreams = Upstreams::new(settings);
    upstreams.replace(BTreeMap::from([("it".into(), server)])).unwrap();
    upstreams
}

fn session(upstreams: &Upstreams) -> Link {
    session_of(upstreams, "g")
}

fn session_of(upstreams: &Upstreams, grant: &str) -> Link {
    let conversation = countersign::upstream::Conversation::Session { grant };
    upstreams.link(&upstreams.server("it").unwrap(), conversation)
}

fn shared(upstreams: &Upstreams) -> Link {
    let conversation = countersign::upstream::Conversation::Shared { grant: "g" };
    upstreams.link(&upstreams.server("it").unwrap(), conversation)
}

fn post(body: &str) -> Outbound {
    Outbound::post(Bytes::copy_from_slice(body.as_bytes()))
}

/// Sends as an allowed call.
async fn call(upstreams: &Upstreams, link: &Link, body: &str) -> Result<Reply, SendError> {
    upstreams.forward(Right::Pass(Pass::reserved()), link, post(body)).await
}

async fn relay(upstreams: &Upstreams, link: &Link, outbound: Outbound) -> Result<Reply, SendError> {
    upstreams.relay(Passthrough::without_body(), link, outbound).await
}

/// The whole body; a pipe's messages joined by line feeds; the error's words after `!`.
async fn text(reply: Reply) -> String {
    match reply.body {
        ReplyBody::Empty => String::new(),
        ReplyBody::Bytes(body) => match body.collect().await {
            Ok(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Err(error) => format!("!{error}"),
        },
        ReplyBody::Messages(messages) => {
            let lines = messages
                .map(|m| m.map_or_else(|e| format!("!{e}"), |m| String::from_utf8(m.to_vec()).unwrap()));
            lines.collect::<Vec<_>>().await.join("\n")
        }
    }
}
