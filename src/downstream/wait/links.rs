//! The link to its page, on the stream of a call that waits or on its client's first return.

use axum::response::Response;

use super::Wait;
use crate::{
    broker::{End, Outcome},
    downstream::elicit::{self, Offer},
};

impl Wait {
    /// A client of 2026-07-28 is asked nothing on a stream: it is sent back with what it is to show.
    pub(super) fn links_on_return(&self) -> bool {
        let returns = self.rungs.laps.is_some_and(|(most, had)| had < most);
        self.asker.modern && returns && self.rungs.link == Offer::Due && self.stage.is_waiting()
    }

    pub(super) async fn come_back_with_link(mut self: Box<Self>) -> Response {
        let outcome = self.give_up().await;
        self.answer_at_once(&outcome)
    }

    /// Once, and only while people are asked.
    pub(super) fn link_is_due(&mut self) -> Option<Vec<u8>> {
        if self.asker.modern || self.rungs.link != Offer::Due || !self.stage.is_waiting() {
            return None;
        }
        self.rungs.link = Offer::Made;
        Some(elicit::request(&self.brief))
    }

    /// Its end is told to who was shown it; a ticket is no end.
    pub(super) fn link_is_done(&self, outcome: &Outcome) -> Option<Vec<u8>> {
        let over = self.rungs.link == Offer::Made && outcome.end != End::Ticket;
        over.then(|| elicit::complete(&self.brief))
    }
}
