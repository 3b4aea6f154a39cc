//! What the policy says of a request. Pure.

mod evaluate;

pub use evaluate::{Evaluation, Facts, Policy, Reservation, Scope, Window, evaluate};
