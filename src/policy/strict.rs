//! How a review must go when several sections say so: every quorum, the shortest times.

use super::document::{Approval, Join};
use crate::call::{Quorum, Reason, Terms};

/// Approvals of several sections, combined: every quorum, the shortest times.
#[derive(Debug, Default)]
pub(super) struct Strict {
    approval: Approval,
}

impl Strict {
    pub fn add(&mut self, more: &Approval) {
        for quorum in &more.quorums {
            match self.approval.quorums.iter_mut().find(|known| known.group == quorum.group) {
                Some(known) => known.approvals = known.approvals.max(quorum.approvals),
                None => self.approval.quorums.push(quorum.clone()),
            }
        }
        let shortest = |a: Option<_>, b: Option<_>| a.into_iter().chain(b).min();
        self.approval.expires_after = shortest(self.approval.expires_after, more.expires_after);
        self.approval.use_within = shortest(self.approval.use_within, more.use_within);
        // `None` is the least: what is not said weighs nothing.
        self.approval.join = self.approval.join.max(more.join);
    }

    pub fn join(&self) -> Join {
        self.approval.join.unwrap_or_default()
    }

    pub fn terms(self, reason: Reason) -> Terms {
        let mut terms = Terms::standard(reason);
        let Approval { mut quorums, expires_after, use_within, join: _ } = self.approval;
        if !quorums.is_empty() {
            // Sorted, so that the order of the policies does not show.
            quorums.sort_by(|a: &Quorum, b: &Quorum| a.group.cmp(&b.group));
            terms.quorums = quorums;
        }
        terms.expires_after = expires_after.unwrap_or(terms.expires_after);
        terms.use_within = use_within.unwrap_or(terms.use_within);
        terms
    }
}
