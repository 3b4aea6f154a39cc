//! What the policy says of a request. Pure.
//!
//! A document is read once (`check`), with every mistake named by line and column, and compiled;
//! `evaluate` weighs a call against all policies that apply; `Limits` counts what they allow.

mod cases;
mod document;
mod evaluate;
mod explain;
mod glob;
mod limits;
mod matcher;
mod number;
mod parse;
mod path;
mod problem;
mod reader;
mod rules;
mod scale;
mod strict;
mod tree;
mod window;

pub use cases::{CaseResult, run_cases};
pub use document::{Class, Join, Policy, Reads, Risk, Severity};
pub use evaluate::{Evaluation, Facts, evaluate, joins, terms};
pub use explain::{Explanation, Look, explain, explain_all, verdict_name, verdict_rule};
pub use limits::{LimitHit, Limits, Reservation, Scope, Taken, Use};
pub use parse::check;
pub use problem::{Problem, nearest};
pub use window::{Window, duration};
