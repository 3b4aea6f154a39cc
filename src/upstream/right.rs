//! The right to send a call: whoever has none has nothing to hand to `forward`.

use super::Proof;
use crate::ledger::{Pass, Permit};

/// The right to send one `tools/call`, spent by sending.
#[derive(Debug)]
pub enum Right {
    /// A call that waited: sent over the connection that `Link::prove` opened before the claim.
    Permit(Permit, Proof),
    /// A call that the policy allowed at once.
    Pass(Pass),
}
