//! The load: agents that call, lose their patience and come back as real clients do, and people who decide.

use std::time::Duration;

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

use super::{
    claims::{Claims, Kept, Stage, Told},
    http::{Reply, Target},
};

const TRIES: usize = 12;
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";

pub struct Agent {
    pub number: usize,
    pub modern: bool,
    pub target: Target,
    pub stage: Stage,
    pub random: StdRng,
}

/// What became of one request.
enum Tried {
    Told(Told),
    /// Ticket, restart, or an unknown session: the same again.
    Again,
    /// The connection broke, or the agent left.
    Unheard,
}

impl Agent {
    pub async fn work(mut self) {
        let mut session = None;
        for turn in 0.. {
            let marker = format!("a{}-{turn}", self.number);
            let tool = match self.random.random_range(0..10) {
                0 => "look",
                1..=2 => "brief",
                3 => "both",
                _ => "wipe",
            };
            self.call(&marker, tool, &mut session).await;
            self.nap(0..20).await;
        }
    }

    /// One call to its end, or until the agent gives it up.
    async fn call(&mut self, marker: &str, tool: &str, session: &mut Option<String>) {
        for attempt in 0..TRIES {
            self.stage.wait_until_up().await;
            if attempt > 0 {
                Claims::count(&self.stage.claims.repeats);
            }
            match self.attempt(marker, tool, session).await {
                Tried::Told(told) => return self.stage.claims.tell(told),
                // What is allowed at once runs again when it is asked for again.
                Tried::Unheard if tool == "look" || self.random.random_bool(0.15) => return,
                Tried::Again | Tried::Unheard => self.nap(5..120).await,
            }
        }
    }

    async fn attempt(&mut self, marker: &str, tool: &str, session: &mut Option<String>) -> Tried {
        let Some(target) = self.connected(tool, session).await else { return Tried::Again };
        let mut params = json!({"name": tool, "arguments": {"marker": marker}});
        if self.modern {
            params["_meta"] = json!({VERSION: "2026-07-28", CAPABILITIES: {}});
        }
        let id = self.random.random_range(1..1_000_000);
        let message = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        let patience = if self.random.random_bool(0.2) { 30..400 } else { 10_000..10_001 };
        let patience = Duration::from_millis(self.random.random_range(patience));
        match tokio::time::timeout(patience, target.post(&message)).await {
            Ok(Ok(reply)) => {
                if reply.status == 404 {
                    *session = None;
                }
                heard(&reply, marker)
            }
            Ok(Err(_)) => {
                Claims::count(&self.stage.claims.broken);
                *session = None;
                Tried::Unheard
            }
            Err(_) => {
                Claims::count(&self.stage.claims.departures);
                Tried::Unheard
            }
        }
    }

    /// Legacy agents have a session first; modern ones say who they are each time.
    async fn connected(&self, tool: &str, session: &mut Option<String>) -> Option<Target> {
        if self.modern {
            let target = self.target.clone().with("mcp-protocol-version", "2026-07-28");
            return Some(target.with("mcp-method", "tools/call").with("mcp-name", tool));
        }
        if session.is_none() {
            let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
                "protocolVersion": "2025-06-18", "capabilities": {},
                "clientInfo": {"name": "crash", "version": "1"}}});
            let reply = self.target.post(&hello).await.ok()?;
            *session = Some(reply.session?);
        }
        let target = self.target.clone().with("mcp-protocol-version", "2025-06-18");
        Some(target.with("mcp-session-id", session.as_ref()?))
    }

    async fn nap(&mut self, ms: std::ops::Range<u64>) {
        tokio::time::sleep(Duration::from_millis(self.random.random_range(ms))).await;
    }
}

fn heard(reply: &Reply, marker: &str) -> Tried {
    let Some(response) = reply.response().filter(|_| reply.status == 200) else { return Tried::Again };
    let result = &response["result"];
    let call = &result["_meta"]["countersign/call"];
    let told = |state: &str| {
        let call = call["id"].as_str().map(str::to_owned);
        Told { marker: marker.into(), call, state: state.into() }
    };
    match (call["state"].as_str(), result["content"][0]["text"].as_str()) {
        (None, Some(text)) if text == format!("ran {marker}") => Tried::Told(told("completed")),
        (Some("pending" | "permitted" | "dispatched"), _) | (None, _) => Tried::Again,
        (Some(state), _) => Tried::Told(told(state)),
    }
}

pub struct Reviewer {
    pub name: &'static str,
    pub target: Target,
    pub stage: Stage,
    pub random: StdRng,
}

impl Reviewer {
    pub async fn work(mut self) {
        loop {
            self.stage.wait_until_up().await;
            let ms = self.random.random_range(5..60);
            tokio::time::sleep(Duration::from_millis(ms)).await;
            let Ok(reply) = self.target.at("/api/v1/calls?state=pending&limit=50").get().await else {
                continue;
            };
            for call in reply.json()["calls"].as_array().into_iter().flatten() {
                if self.random.random_bool(0.3) {
                    self.decide(call).await;
                }
            }
        }
    }

    async fn decide(&mut self, call: &Value) {
        let id = call["id"].as_str().unwrap_or_default().to_owned();
        let vote = |vote| json!({"vote": vote, "digest": call["digest"], "reason": "as I see it"});
        let (verb, event, voted, ask) = match self.random.random_range(0..100) {
            0..65 => ("reviews", "voted", Some("approve"), vote("approve")),
            65..85 => ("reviews", "voted", Some("deny"), vote("deny")),
            85..88 => ("cancel", "cancelled", None, json!({"reason": "not now"})),
            88..92 => ("extend", "extended", None, json!({"by": "2s"})),
            92..94 => ("withdraw", "vote_withdrawn", None, json!({})),
            _ => return,
        };
        let reply = self.target.at(&format!("/api/v1/calls/{id}/{verb}")).post(&ask).await;
        if reply.is_ok_and(|reply| reply.status.is_success()) {
            self.stage.claims.keep(Kept { call: id, event, by: self.name.into(), vote: voted });
        }
    }
}

pub fn random(seed: u64, party: u64) -> StdRng {
    StdRng::seed_from_u64(seed.wrapping_mul(1_000_003).wrapping_add(party))
}
