//! Countersign: the human-in-the-loop approval broker for AI agents' tool calls (MCP). This page is the map.
//!
//! An agent calls a tool; the call comes here instead of to the server. A policy allows it, denies it, or says
//! that people must agree first. Then it waits, reviewers read every argument and decide, and it is sent once.
//! **The ledger is the only write; everything else follows it.** Slack, the pages, the waiting agent, the
//! timers and the counters read the same sequence of entries, each from its own place. The audit log is not a
//! copy of the truth that may drift from it: it is the truth.
//!
//! # The life of a call
//!
//! ```text
//! submit ─ policy ─┬─ Deny ───────────────────────► DENIED■
//!                  ├─ Allow ───────────────┐
//!                  └─ Review ─► PENDING ─quorum─► PERMITTED ─claim─► DISPATCHED ─► COMPLETED■
//!                               │ deny   ► DENIED■    │ lapse  ► EXPIRED■   ├─ not sent ► FAILED■
//!                               │ time   ► EXPIRED■   │ cancel ► CANCELLED■ └─ no answer► LOST■
//!                               └ cancel ► CANCELLED■ └ deny, stop ► DENIED■
//! ```
//!
//! ■ is settled: nothing follows, but a person's word about a LOST call (done, or not done). A pending or
//! permitted call may go back to PENDING in a new round, where the votes begin again. Who waits for the answer
//! is on the ledger too: attached, detached, delivered. Leaving is not withdrawing: an agent that comes back
//! with the same call finds its card and its votes.
//!
//! [`call::decide`] says which events follow from a command, or why not; [`call::evolve`] folds an event in. Both
//! are pure, and `tests/model` walks through every history that two racing processes can make of them.
//!
//! # The path of a call
//!
//! Reads down, never back up. `═►` is always one function, `broker/record.rs`.
//!
//! ```text
//!  agent ──► downstream/http, sse, stdio who knocks: grant, server, session, protocol version
//!              └► downstream/gate       what it is: only a tools/call asks; the rest is relayed or refused
//!              └► downstream/submit     the call is brought before the broker, and its answer to the agent
//!                   └► broker/submit    stopped? limits? policy::evaluate → Verdict
//!                        │   Allow  ─► broker/segments: a place in the next batch → Pass ─► forward
//!                        │   Deny   ═► the ledger, then the answer
//!                        └── Review ─► broker/enter ═► the ledger: entry N        the only write
//!                               ▲ downstream/wait holds the agent's line: beats, progress, a ticket in the end
//!       followers of the ledger, each with its own place; none calls another
//!       ├► notify                       "pending": a message with a link
//!       ├► api/live ─► the pages        the inbox moves
//!       ├► broker/deadlines ═►          expire, lapse, give up
//!       └► the waiter's seat            "permitted": broker/claim proves the authority of this moment
//!              └► broker/dispatch ═► Dispatched → Permit ─► upstream::forward(permit) ─► the server
//!                        └► the answer ═► Completed ─► downstream/answer ─► agent
//!       a call that waits as a task has no seat: broker/task follows it, and dispatches it so too
//!
//!  reviewer ──► api/verbs, or the command line through it ─► broker/people ═► a vote, on the digest that was read
//! ```
//!
//! To know how a call lives, read these four after this page: `downstream/gate.rs`, `broker/submit.rs`,
//! `call/decide/mod.rs`, `broker/dispatch.rs`.
//!
//! # Who may use whom
//!
//! A module uses modules of a lower rank, and itself. No lower module calls an upper one back: the upper one
//! follows. `tests/tidy.rs` holds this table, and everything else here that can be read off the sources.
//!
//! | rank | modules | |
//! |---|---|---|
//! | 0 | call, mcp, telemetry | the life of a call · the words of the protocol · logs and metrics |
//! | 1 | risk, ledger | how dangerous a tool is (to come) · how history is chained and proven |
//! | 2 | policy | what the policy says of a request |
//! | 3 | card, oauth | what a reviewer is shown: hidden characters made visible, what a call sends beside its arguments · access tokens, of agents and for servers |
//! | 4 | store, upstream | where history is kept · the servers behind us |
//! | 5 | identity | who is who: agents by grants, people by credentials |
//! | 6 | broker | the one conductor |
//! | 7 | downstream, api, notify | the doors: for agents, for people, to where people are |
//! | 8 | config | each module owns its settings; here they are composed |
//! | 9 | serve | from a configuration to open doors, and back to a clean end |
//! | 10 | cli | the command line |
//!
//! `call`, `mcp`, `policy`, `risk`, `card` and `ledger` are pure: no I/O, no clock, no chance, no tasks.
//!
//! # What always holds
//!
//! Each is an assertion over the ledger alone; what cannot be checked there, no auditor could have checked.
//!
//! 1. A call is dispatched at most once, and `Dispatched` is on the disk before the first byte leaves.
//! 2. Only after `Allow`, or a quorum of distinct, eligible reviewers of whom none denied.
//! 3. Every vote that counts is on the digest that is sent, and before the deadline, even if the timer is late.
//! 4. A call is settled at most once; after that nothing is accepted.
//! 5. Only the process that dispatched completes; another may say `Lost`, after the lease.
//! 6. Folding a call's events gives the stored call.
//! 7. With every deadline past and no people, timers alone settle every call.
//!
//! Held by types and by `tests/tidy.rs`: `append` is called in `broker/record.rs` (and for people and agents in
//! `identity`); `forward` in `broker/dispatch.rs` only, and it spends a [`ledger::Permit`], made from the
//! appended entry, or a [`ledger::Pass`], made with a place in a segment. In doubt nothing is sent: a store that
//! cannot write closes the gate, a policy that cannot be read keeps the old one or does not start.
//!
//! # Where to change what
//!
//! | to change | look at |
//! |---|---|
//! | what may happen to a call | `call/decide/`, `call/evolve.rs`; then let `tests/model` say what you missed |
//! | a word that an agent reads | `downstream/answer.rs` |
//! | what a waiting call goes on as (a task, a return, a code), and shows meanwhile | `downstream/tasks.rs` and `tasks/`, `elicit.rs`, `broker/task.rs`, `server_tasks.rs`, `owners.rs`, `legs.rs`, `withdraw.rs`, `ways.rs`, `lap.rs`, `collect.rs` |
//! | whether the same call, made again, asks again | `broker/join.rs`, `call/repeat.rs`, `broker/repeats.rs` |
//! | who has had an answer, and streams that break | `downstream/delivery.rs`, `peer.rs`, `wait/thread.rs`; a server's: `broker/rest.rs` |
//! | signs of life, and who went without a word | `downstream/beats.rs`, `beating.rs`; `serve/accept.rs` |
//! | a word that a person reads | `api/problem.rs`; of a call: `web/assets/words.js`, `cli/calls/words.rs`, `notify/slack.rs`, and `StateName::word` |
//! | what a mistake in the configuration is answered with | `config/advice.rs`; of a server's table `config/servers.rs`, of a variable's name `config/overrides.rs` |
//! | a key of a policy | `policy/document.rs`, `policy/rules.rs`; cases in `tests/policy` |
//! | how servers are joined at `/mcp` | `downstream/joined/` |
//! | what of MCP passes unasked | `mcp/methods.rs` |
//! | a protocol version | `mcp/version.rs`, `downstream/modern.rs` |
//! | HTTP+SSE of 2024-11-05 | `upstream/sse.rs` for servers, `downstream/sse.rs` for agents |
//! | what counts as "not sent" | `upstream/reply.rs` |
//! | a command's processes: their start, limits and end | `upstream/stdio.rs`, `child.rs`, `process.rs` |
//! | how much one server or agent may take of the broker | `upstream/body.rs`, `routes.rs`, `yielding.rs`, `aside.rs`; `broker/parked.rs`; `downstream/held.rs`, `listeners.rs` |
//! | a table, a query | `store/sqlite/schema.rs`, `query.rs`, `words.rs`; the contract in `tests/store` |
//! | what verification compares | `ledger/verify.rs` for the chain, `store/sqlite/audit/`, `identity/audit.rs` |
//! | a route for people | `api/router.rs`; the OpenAPI document follows, `tests/api` compares |
//! | whose access tokens open what | `oauth/resource.rs`, `downstream/access.rs` |
//! | how the broker signs in at a server | `oauth/login.rs`, `introduce.rs`; renewal: `account.rs`; more scopes: `scopes.rs` |
//! | a setting | the settings of its module, its default in `config/default.toml` |
//! | a command | `cli/` |
//! | a page | `web/`: no build step, values enter as text |

// An error is a value: the broker goes on, the caller hears why.
#![warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::exit)]
#![cfg_attr(not(test), warn(clippy::unreachable))]
// Stdout is data and has its two places; words of the command line go to stderr.
#![warn(clippy::print_stdout)]
// A new state, event or refusal does not compile until everybody has thought of it.
#![warn(clippy::wildcard_enum_match_arm)]
// The clock, chance and tasks come in as values: clippy.toml says what is meant.
#![warn(clippy::disallowed_methods)]

pub mod api;
pub mod broker;
pub mod call;
pub mod card;
pub mod cli;
pub mod config;
pub mod downstream;
pub mod identity;
pub mod ledger;
pub mod mcp;
pub mod notify;
pub mod oauth;
pub mod policy;
pub mod serve;
pub mod store;
pub mod telemetry;
pub mod upstream;
