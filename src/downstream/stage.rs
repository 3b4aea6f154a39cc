//! Where a waiting call stands, as its line sees it, and how it goes on.

use bytes::Bytes;

use super::{Door, lines::Line};
use crate::{
    broker::{Brief, End, Exchange, Live, Outcome, Part, Turn, Waiter},
    call::{Attachment, CallId},
    upstream::Link,
};

pub(super) enum Stage {
    /// For people.
    Waiting(Box<Waiter>),
    /// The permit is being spent, or the server works on it.
    Running(Exchange),
    /// The answer was given; this call's delivery is to be watched.
    Answered(Option<CallId>),
}

/// What happened to the call.
pub(super) enum Moved {
    /// The server's own message.
    Message(Bytes),
    /// Votes, more time, a new round.
    Changed(Brief),
    End(Outcome),
    /// The agent cancelled just before the call would have been sent.
    Left,
}

impl Stage {
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self, Self::Waiting(_))
    }

    /// Who sits at the call, while it is not over.
    pub(super) fn attachment(&self) -> Option<Attachment> {
        match self {
            Self::Waiting(waiter) => Some(waiter.attachment()),
            Self::Running(exchange) => Some(exchange.attachment),
            Self::Answered(_) => None,
        }
    }

    /// The waiter, if it still waits: nothing more is heard of the call.
    pub(super) fn leave(&mut self) -> Option<Box<Waiter>> {
        match std::mem::replace(self, Self::Answered(None)) {
            Self::Waiting(waiter) => Some(waiter),
            Self::Running(_) | Self::Answered(_) => None,
        }
    }

    /// Goes on until there is something to say; cancel-safe.
    pub(super) async fn advance(&mut self, door: &Door, live: &Live, link: &Link, line: &Line) -> Moved {
        loop {
            match self {
                Self::Waiting(waiter) => match door.inner.broker.turn(waiter).await {
                    Turn::Changed(brief) => return Moved::Changed(brief),
                    Turn::Settled(outcome) => return Moved::End(outcome),
                    Turn::Permitted if line.sent() => self.claim(door, live, link),
                    Turn::Permitted => return Moved::Left,
                },
                Self::Running(exchange) => match exchange.next().await {
                    Some(Part::Message(message)) => return Moved::Message(message),
                    Some(Part::Reparked(waiter)) => {
                        line.waits_again();
                        let brief = waiter.brief.clone();
                        *self = Self::Waiting(waiter);
                        return Moved::Changed(brief);
                    }
                    Some(Part::End(outcome)) => return Moved::End(outcome),
                    None => return Moved::End(abandoned()),
                },
                // Nobody asks after the end.
                Self::Answered(_) => std::future::pending::<()>().await,
            }
        }
    }

    fn claim(&mut self, door: &Door, live: &Live, link: &Link) {
        if let Some(waiter) = self.leave() {
            *self = Self::Running(door.inner.broker.dispatch(*waiter, link.clone(), live.clone()));
        }
    }
}

fn abandoned() -> Outcome {
    let why = "the broker stopped following it".to_owned();
    Outcome { call: None, end: End::Lost { why } }
}
