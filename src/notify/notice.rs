//! What there is to tell of one ledger entry, before it is put into any destination's words.

use std::time::Duration;

use bytes::Bytes;

use super::bookmarks::Bookmarks;
use crate::{
    broker::{Broker, CallView, Step},
    call::{By, Call, CallId, Event, Person, Resolution, State, Timestamp, Vote},
    card::names_beside,
    ledger::{Entry, Fact},
    policy::Risk,
    store::StoreError,
};

/// One message to be.
pub(super) struct Notice {
    pub topic: Topic,
    pub at: Timestamp,
    /// The call as it is now.
    pub call: Call,
    pub risk: Option<Risk>,
    /// The whole request, where the destination may show values.
    pub message: Option<Bytes>,
    /// Names of what is sent beside the arguments; values stand on the page only.
    pub beside: Vec<String>,
    /// A person's words about it, or the policy's.
    pub words: Option<String>,
    /// The call's page.
    pub link: String,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Topic {
    /// A person is asked.
    Pending,
    /// What was approved is not what would be sent: they are asked again.
    Reparked {
        why: String,
    },
    Settled,
}

impl Topic {
    /// What the entry is about; `None` for what nobody is told of.
    pub(super) fn of(entry: &Entry) -> Option<(CallId, Self)> {
        let crate::ledger::Stream::Call(id) = entry.stream else { return None };
        let Fact::Call(event) = &entry.fact else { return None };
        let topic = match event {
            Event::Submitted { terms: Some(_), .. } => Self::Pending,
            Event::Reparked { why, .. } => Self::Reparked { why: why.clone() },
            Event::Completed { .. }
            | Event::Failed { .. }
            | Event::Lost { .. }
            | Event::Denied { .. }
            | Event::Expired { .. }
            | Event::Cancelled { .. } => Self::Settled,
            Event::Submitted { terms: None, .. }
            | Event::Attached { .. }
            | Event::Detached { .. }
            | Event::Voted { .. }
            | Event::VoteWithdrawn { .. }
            | Event::Extended { .. }
            | Event::Permitted { .. }
            | Event::Dispatched { .. }
            | Event::Delivered { .. }
            | Event::Resolved { .. }
            | Event::LateAnswer { .. }
            | Event::Lifted { .. } => return None,
        };
        Some((id, topic))
    }

    /// The message's type on the wire.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Pending => "call.pending",
            Self::Reparked { .. } => "call.reparked",
            Self::Settled => "call.settled",
        }
    }
}

/// What to say of `topic` now; `None` when it is no longer worth saying: nobody needs to look at a call
/// that is settled, and its end is told only to those who were told of its beginning.
///
/// # Errors
/// The store cannot be read.
pub(super) async fn notice(
    broker: &Broker,
    bookmarks: &Bookmarks,
    (id, topic): (CallId, Topic),
    at: Timestamp,
    values: bool,
) -> Result<Option<Notice>, StoreError> {
    let Some(call) = broker.store().call(id).await? else { return Ok(None) };
    let (call, words) = match topic {
        Topic::Pending | Topic::Reparked { .. } if call.state.is_settled() => return Ok(None),
        Topic::Pending | Topic::Reparked { .. } => {
            let words = call.terms.as_ref().map(|terms| terms.reason.text.clone());
            (call, words)
        }
        Topic::Settled if !bookmarks.told(id).await? => return Ok(None),
        Topic::Settled => {
            let Some(view) = broker.view(id).await? else { return Ok(None) };
            let words = last_words(&view);
            (view.call, words)
        }
    };
    let message = broker.message(id).await?;
    let beside = message.as_deref().map(names_beside).unwrap_or_default();
    let message = message.filter(|_| values);
    let rules = broker.rules();
    let policies = rules.of(&call.request.agent, &call.request.server);
    let risk =
        policies.iter().filter_map(|policy| policy.risk(&call.request.server, &call.request.tool)).max();
    let link = format!("{}/c/{id}", broker.settings().public_url);
    let words = words.filter(|words| !words.is_empty());
    Ok(Some(Notice { topic, at, call, risk, message, beside, words, link }))
}

/// The words of who ended it; where its approval ended well or badly, of the last who approved it.
fn last_words(view: &CallView) -> Option<String> {
    let ended = matches!(view.call.state, State::Denied { .. } | State::Cancelled { .. });
    let spoken = |step: &&Step| match &step.entry.fact {
        Fact::Call(Event::Denied { .. } | Event::Cancelled { .. }) => true,
        Fact::Call(Event::Voted { review }) => !ended && review.vote == Vote::Approve,
        Fact::Call(_)
        | Fact::Agent(_)
        | Fact::Reviewer(_)
        | Fact::Policy(_)
        | Fact::Server(_)
        | Fact::Stop(_)
        | Fact::Broker(_) => false,
    };
    view.timeline.iter().rev().find(spoken).and_then(|step| step.text.clone())
}

impl Notice {
    /// Who ended it, in one word; `None` where the server's answer did.
    pub(super) fn settled_by(&self) -> Option<String> {
        match &self.call.state {
            State::Denied { by, .. } | State::Cancelled { by, .. } => Some(who(by)),
            State::Expired { .. } => Some(who(&By::Timer)),
            State::Pending { .. }
            | State::Permitted { .. }
            | State::Dispatched { .. }
            | State::Completed { .. }
            | State::Failed { .. }
            | State::Lost { .. } => None,
        }
    }

    /// Who voted for it, in the present round.
    pub(super) fn approvers(&self) -> impl Iterator<Item = &Person> {
        let approvals = self.call.reviews.iter().filter(|review| review.vote == Vote::Approve);
        approvals.map(|review| &review.reviewer)
    }

    /// From the request to its end.
    pub(super) fn took(&self) -> Option<Duration> {
        self.call.settled_at.map(|end| end.since(self.call.requested_at))
    }

    /// Undecided at this moment is expired.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        match &self.call.state {
            State::Pending { expires_at } | State::Permitted { expires_at, .. } => Some(*expires_at),
            State::Dispatched { .. }
            | State::Completed { .. }
            | State::Failed { .. }
            | State::Lost { .. }
            | State::Denied { .. }
            | State::Expired { .. }
            | State::Cancelled { .. } => None,
        }
    }
}

fn who(by: &By) -> String {
    match by {
        By::Policy => "the policy".to_owned(),
        By::Reviewer { person } => person.name.clone(),
        By::Stop { person } => person.clone(),
        By::Agent => "the agent".to_owned(),
        By::Timer => "the timer".to_owned(),
    }
}

/// What a person said became of a lost call.
pub(super) fn resolution(resolved: Option<Resolution>) -> Option<&'static str> {
    resolved.map(|resolution| match resolution {
        Resolution::Done => "done",
        Resolution::NotDone => "not_done",
    })
}
