//! What stands on the ledger beside the calls' own events, and where each entry stands.

use serde::{Deserialize, Serialize};

use crate::call::{CallId, Event, Person, Timestamp};

/// A stream has its own versions; `append` compares and swaps on them.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(tag = "stream", content = "call", rename_all = "snake_case")]
pub enum Stream {
    Call(CallId),
    Agents,
    Reviewers,
    Policies,
    Servers,
    Stops,
    Broker,
}

/// One thing that happened, on whatever stream.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Fact {
    Call(Event),
    Agent(AgentEvent),
    Reviewer(ReviewerEvent),
    Policy(PolicyEvent),
    Server(ServerEvent),
    Stop(StopEvent),
    Broker(BrokerEvent),
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum AgentEvent {
    AgentAdded { agent: String, owner: Option<String>, servers: Vec<String>, token: String, by: String },
    AgentRotated { agent: String, token: String, by: String },
    AgentRevoked { agent: String, by: String },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ReviewerEvent {
    ReviewerAdded { person: Person, by: String },
    ReviewerRevoked { reviewer: String, by: String },
    SignedIn { reviewer: String, token: String },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum PolicyEvent {
    /// A policy is in force from here on.
    PolicyLoaded { name: String, digest: String },
    /// A changed file was refused; the old one stays in force.
    PolicyRefused { name: String, why: String },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum ServerEvent {
    ServerConfigured { server: String, identity: String },
    ServerRemoved { server: String },
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum StopEvent {
    Stopped { scope: StopScope, by: String, reason: String },
    Resumed { scope: StopScope, by: String, reason: String },
}

#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", content = "name", rename_all = "snake_case")]
pub enum StopScope {
    Agent(String),
    Server(String),
    All,
}

#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum BrokerEvent {
    /// A process took the store; its epoch is one more than any before.
    Started {
        replica: String,
        epoch: u64,
        version: String,
    },
    /// The process before this one did not end cleanly: allowed calls of its last window may be missing.
    UncleanStart {
        epoch: u64,
    },
    Drained {
        epoch: u64,
    },
    /// A batch of calls that the policy allowed: a Merkle root, and the leaves beside as payload.
    AllowedCalls(Segment),
}

/// One batch of allowed calls.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Segment {
    pub count: u32,
    /// RFC 6962 Merkle tree hash over the packed leaves, hex.
    pub root: String,
    pub from: Timestamp,
    pub to: Timestamp,
}

/// A fact with its place in the chain.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// 1 for the first.
    pub number: u64,
    pub stream: Stream,
    /// Version of the stream after this entry.
    pub version: u64,
    pub at: Timestamp,
    pub fact: Fact,
    /// RFC 6962 leaf hash of the canonical bytes.
    pub hash: [u8; 32],
}
