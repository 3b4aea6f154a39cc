//! A page of calls: what is asked, and what is answered.

use crate::call::{Call, StateName};

/// Which calls a page shows. Empty lists mean any.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub states: Vec<StateName>,
    pub server: Option<String>,
    pub tool: Option<String>,
    pub agent: Option<String>,
    pub reviewer: Option<String>,
    /// Part of a tool, server or agent, the beginning of an id or short code, or words of the arguments: whole
    /// ones, in any order. A page looks so far back, and may be empty while `next` goes on.
    pub text: Option<String>,
    /// The last page's `next`.
    pub after: Option<String>,
    /// 1 to 200.
    pub limit: usize,
}

#[derive(Clone, Debug, Default)]
pub struct Page {
    pub calls: Vec<Call>,
    pub next: Option<String>,
    /// Number of the last ledger entry that this page reflects.
    pub head: u64,
}
