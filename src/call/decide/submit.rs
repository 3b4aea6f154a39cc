//! A call begins: the policy's verdict decides what its first events are.

use crate::call::{
    AttachKind, Attachment, By, Digest, Event, People, Reason, Replica, Request, Terms, Timestamp, Verdict,
    Why, tally,
};

type Waits = (Attachment, AttachKind, Replica);

/// Never refused: every request of an agent is on the ledger, with what became of it.
pub(super) fn submit(
    request: &Request,
    digest: Digest,
    verdict: &Verdict,
    people: &People,
    waiter: Option<&Waits>,
    now: Timestamp,
) -> Vec<Event> {
    let submitted = |rule: &str, terms: Option<&Terms>, expires_at| Event::Submitted {
        request: Box::new(request.clone()),
        digest,
        rule: rule.to_owned(),
        terms: terms.cloned(),
        expires_at,
    };
    match verdict {
        Verdict::Allow { rule } => {
            let use_by = now.plus(Terms::USE_WITHIN);
            let mut events = vec![submitted(rule, None, use_by)];
            events.extend(attached(request, waiter));
            events.push(Event::Permitted { use_by });
            events
        }
        Verdict::Review { terms } => {
            let mut events = vec![submitted(&terms.reason.rule, Some(terms), now.plus(terms.expires_after))];
            match tally::shortfall(terms, request, people) {
                None => events.extend(attached(request, waiter)),
                Some(text) => events.push(denied(&terms.reason.rule, text)),
            }
            events
        }
        Verdict::Deny { reason } => {
            vec![submitted(&reason.rule, None, now), denied(&reason.rule, reason.text.clone())]
        }
        Verdict::Hide { rule } => {
            vec![submitted(rule, None, now), denied(rule, "this tool is hidden from this agent".into())]
        }
    }
}

fn attached(request: &Request, waiter: Option<&Waits>) -> Option<Event> {
    waiter.map(|(attachment, kind, replica)| Event::Attached {
        attachment: *attachment,
        kind: *kind,
        session: request.session.clone(),
        replica: replica.clone(),
    })
}

/// Denied by policy, under the rule that decided.
pub(super) fn denied(rule: &str, text: String) -> Event {
    let reason = Reason { rule: rule.to_owned(), text };
    Event::Denied { by: By::Policy, reason: Why { reason: Some(reason), text: None } }
}
