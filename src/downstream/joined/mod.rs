//! `/mcp`: one endpoint that joins the servers of a grant.
//!
//! A request for one server (`tools/call`, `prompts/get`, `resources/read` …) has its own name put back and goes
//! through the plain endpoint's gate, with every other byte as it came: policies, ledger and reviewers see
//! server and tool apart. A request for all (`initialize`, lists, `server/discover`) is asked of each, and the
//! answers are put together; a server that is down leaves its part out, and the answer's `_meta` says so.
//!
//! Reads down: `tour` (who knocks) → `sort` (whom it concerns; `whose`: by its name) → `gather` (all) or `carry`
//! (one), `streams`. A batch is taken apart as at the plain endpoint, and HTTP+SSE is the same bridge before it.

mod carry;
mod gather;
mod greeting;
mod names;
mod said;
mod session;
mod skills;
mod sort;
mod streams;
mod subscribe;
mod tour;
mod whose;

pub use names::Separator;
pub(super) use session::Sessions;
