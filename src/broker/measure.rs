//! What is counted as it is recorded.

use super::Inner;
use crate::{
    call::{By, Call, Event},
    ledger::{Entry, Fact},
};

impl Inner {
    /// The entries of one command on `call`.
    pub(super) fn measure(&self, call: &Call, entries: &[Entry]) {
        let metrics = &self.metrics;
        metrics.pending.set(i64::try_from(self.parked.count()).unwrap_or(i64::MAX));
        for entry in entries {
            let Fact::Call(event) = &entry.fact else { continue };
            match event {
                Event::Submitted { terms, .. } => {
                    let verdict = match terms {
                        Some(_) => "review",
                        None if call.state.is_settled() => "deny",
                        None => "allow",
                    };
                    let _ = metrics.verdicts(&call.request.server, verdict).inc();
                }
                Event::Permitted { .. } if call.terms.is_some() => {
                    metrics.decided(entry.at.since(call.requested_at));
                }
                Event::Denied { by: By::Reviewer { .. }, .. } => {
                    metrics.decided(entry.at.since(call.requested_at));
                    let _ = metrics.outcomes(&call.request.server, event.name()).inc();
                }
                Event::Completed { .. }
                | Event::Failed { .. }
                | Event::Lost { .. }
                | Event::Denied { .. }
                | Event::Expired { .. }
                | Event::Cancelled { .. } => {
                    let _ = metrics.outcomes(&call.request.server, event.name()).inc();
                }
                Event::Attached { .. }
                | Event::Detached { .. }
                | Event::Voted { .. }
                | Event::VoteWithdrawn { .. }
                | Event::Extended { .. }
                | Event::Reparked { .. }
                | Event::Permitted { .. }
                | Event::Dispatched { .. }
                | Event::Delivered { .. }
                | Event::Resolved { .. }
                | Event::LateAnswer { .. }
                | Event::Lifted { .. } => {}
            }
        }
    }
}
