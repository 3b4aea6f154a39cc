//! A call comes in: judged, recorded, and passed on, parked or answered.

use std::sync::Arc;

use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Either, Ready, ready},
};

use super::{
    Allowed, Ask, Broker, End, Inner, Outcome, Submission, compose::Parcel, join::Joined, rules::facts,
};
use crate::{
    call::{Call, Reason, State, Terms, Timestamp, Verdict},
    policy::{LimitHit, Reservation, Taken, terms},
};

/// Where a submission goes after the policy spoke.
enum Path {
    Deny(Reason),
    Hide(String),
    Limit(LimitHit),
    Allow {
        pass: Passed,
        durable: bool,
    },
    /// `over`: the limit that is full. It holds for a call of its own; one that joins took its share before.
    Review {
        terms: Terms,
        over: Option<LimitHit>,
    },
}

/// A submission, at once or after what is boxed: an allowed call carries no room for the rest.
pub type Submitted = Either<Ready<Submission>, BoxFuture<'static, Submission>>;

/// What the policy says of a call that it allows.
struct Passed {
    rule: String,
    /// Names the policies that judged it.
    policy: Arc<str>,
    taken: Option<Taken>,
}

impl Broker {
    /// Judges and records one `tools/call`. In doubt nothing is forwarded.
    pub fn submit(&self, ask: Ask) -> Submitted {
        let inner = &self.inner;
        if !inner.is_open() {
            return at_once(Submission::Settled(Outcome::unrecorded(End::Unavailable)));
        }
        if let Some(reason) = inner.stopped(&ask.grant.name, &ask.server) {
            return inner.refused(ask, Verdict::Deny { reason });
        }
        let now = inner.clock.now();
        match inner.judge(&ask, now) {
            Path::Allow { pass, durable: false } if !inner.may_repeat(&ask, now) => {
                inner.admit(ask, pass, now)
            }
            // What is not sent at once may be asked about, now or at the claim.
            Path::Allow { .. } | Path::Review { .. } if ask.unseen => at_once(Submission::Unseen),
            // An agent that closes its connection drops this future. What has begun on the ledger must
            // be told to everyone all the same, and its waiter must leave: hence a task of its own.
            Path::Allow { pass, durable } => {
                let inner = Arc::clone(inner);
                self.whole(async move { inner.allow(ask, pass, durable).await })
            }
            Path::Review { terms, over } => {
                let inner = Arc::clone(inner);
                self.whole(async move { inner.park(ask, terms, over).await })
            }
            Path::Deny(reason) => inner.refused(ask, Verdict::Deny { reason }),
            Path::Hide(rule) => {
                let refused = inner.refused(ask, Verdict::Hide { rule });
                Either::Right(Box::pin(refused.map(|_| Submission::Hidden)))
            }
            Path::Limit(hit) => {
                let inner = Arc::clone(inner);
                self.whole(async move { inner.limit(ask, hit).await })
            }
        }
    }

    fn whole(&self, work: impl Future<Output = Submission> + Send + 'static) -> Submitted {
        let done = self.inner.tasks.spawn(work);
        let gone = |_| Submission::Settled(Outcome::unrecorded(End::Unavailable));
        Either::Right(Box::pin(done.map(move |done| done.unwrap_or_else(gone))))
    }
}

fn at_once(submission: Submission) -> Submitted {
    Either::Left(ready(submission))
}

impl Inner {
    fn may_repeat(&self, ask: &Ask, now: Timestamp) -> bool {
        self.repeats.may_be((&ask.grant.name, &ask.server, &ask.tool), now)
    }

    /// The policy's verdict, with the limits of an allowed call taken.
    fn judge(&self, ask: &Ask, now: Timestamp) -> Path {
        let rules = self.rules.load();
        let facts =
            facts(&ask.grant.name, &ask.server, &ask.tool, ask.arguments(), ask.session.as_deref(), now);
        let (evaluation, policy) = rules.judge(&facts);
        let review = |reason| Path::Review {
            terms: terms(&rules.of(&ask.grant.name, &ask.server), &ask.server, &ask.tool, reason),
            over: None,
        };
        match evaluation.verdict {
            Verdict::Deny { reason } => Path::Deny(reason),
            Verdict::Hide { rule } => Path::Hide(rule),
            Verdict::Review { terms } => {
                let over = self.limits().check(&evaluation.reservations, now).err();
                Path::Review { terms, over: over.filter(|hit| !hit.review) }
            }
            Verdict::Allow { rule } => match self.reserve(&evaluation.reservations, now) {
                Ok((taken, durable)) => {
                    let durable = durable || self.allowed_durably() || ask.as_task;
                    Path::Allow { pass: Passed { rule, policy, taken }, durable }
                }
                Err(hit) if hit.review => review(Reason {
                    rule: hit.rule,
                    text: hit.on_deny.unwrap_or_else(|| "over the limit: a person decides".into()),
                }),
                Err(hit) => Path::Limit(hit),
            },
        }
    }

    /// Takes the limits of a call that is allowed at once; those of a durable one are taken at its claim.
    fn reserve(&self, wanted: &[Reservation], now: Timestamp) -> Result<(Option<Taken>, bool), LimitHit> {
        if wanted.is_empty() {
            return Ok((None, false));
        }
        if wanted.iter().any(|reservation| reservation.durable) {
            return self.limits().check(wanted, now).map(|()| (None, true));
        }
        self.limits().reserve(wanted, now).map(|taken| (Some(taken), false))
    }

    /// Allowed: a place in the next segment, and off it goes.
    fn admit(&self, ask: Ask, pass: Passed, now: Timestamp) -> Submitted {
        let Passed { rule, policy, taken } = pass;
        let allowed = |admitted| match admitted {
            Some((pass, recording)) => Submission::Allowed(Allowed { pass, recording, taken }),
            None => Submission::Settled(Outcome::unrecorded(End::Unavailable)),
        };
        match self.segments.admit(ask, now, (rule, policy), (&self.clock, self.settings.allowed_arguments)) {
            Either::Left(admitted) => at_once(allowed(admitted)),
            Either::Right(waiting) => Either::Right(Box::pin(waiting.map(allowed))),
        }
    }

    /// Allowed, and perhaps the same call as one before; or on the ledger before it runs, for a long limit.
    async fn allow(self: &Arc<Self>, ask: Ask, pass: Passed, durable: bool) -> Submission {
        let (ask, twin) = match self.join(ask).await {
            Joined::New { ask, twin } => (ask, twin),
            Joined::Same(submission) => {
                self.give_back(pass.taken);
                return submission;
            }
        };
        if self.was_lost(&ask).await {
            self.give_back(pass.taken);
            let text = "the same call was sent before and its outcome is unknown".into();
            let reason = Reason { rule: "(lost before)".into(), text };
            let rules = self.rules.load();
            let terms = terms(&rules.of(&ask.grant.name, &ask.server), &ask.server, &ask.tool, reason);
            drop(rules);
            return self.enter(self.new_id(), ask, Verdict::Review { terms }, twin).await;
        }
        if durable {
            // They are taken at its claim.
            self.give_back(pass.taken);
            let id = self.new_id();
            // A connection is no measure of a call that no connection waits for.
            if ask.as_task
                && let Err(text) = self.parked.admit(id, &ask.grant.name, ask.body.len(), &self.settings)
            {
                return Submission::Settled(Outcome::unrecorded(End::Refused { text }));
            }
            self.enter(id, ask, Verdict::Allow { rule: pass.rule }, twin).await
        } else {
            self.admit(ask, pass, self.clock.now()).await
        }
    }

    fn give_back(&self, taken: Option<Taken>) {
        if let Some(taken) = taken {
            self.limits().give_back(taken);
        }
    }

    /// In doubt it was: then a person is asked.
    async fn was_lost(&self, ask: &Ask) -> bool {
        let unresolved = |call: &Call| matches!(call.state, State::Lost { resolved: None, .. });
        self.store.same(self.fingerprint(ask)).await.map_or(true, |same| same.iter().any(unresolved))
    }

    /// Over a limit, unless it is the same call as one that took its share before.
    async fn limit(self: &Arc<Self>, ask: Ask, hit: LimitHit) -> Submission {
        if !self.may_repeat(&ask, self.clock.now()) {
            return self.over_limit(ask, hit).await;
        }
        match self.join(ask).await {
            Joined::New { ask, .. } => self.over_limit(ask, hit).await,
            Joined::Same(submission) => submission,
        }
    }

    async fn over_limit(self: &Arc<Self>, ask: Ask, hit: LimitHit) -> Submission {
        let text = hit.on_deny.unwrap_or_else(|| "the limit for this tool is reached".into());
        let retry_at = hit.retry_at.unwrap_or_else(|| self.clock.now());
        let end = End::Limit { text: text.clone(), retry_at };
        self.refuse(ask, Verdict::Deny { reason: Reason { rule: hit.rule, text } }, Some(end)).await
    }

    fn refused(self: &Arc<Self>, ask: Ask, verdict: Verdict) -> Submitted {
        let inner = Arc::clone(self);
        Either::Right(Box::pin(async move { inner.refuse(ask, verdict, None).await }))
    }

    /// A refusal is on the ledger before the agent hears of it.
    async fn refuse(self: &Arc<Self>, ask: Ask, verdict: Verdict, end: Option<End>) -> Submission {
        let parcel = Parcel::of(ask, self.nonce());
        let submission = self.submit_as(self.new_id(), &parcel, &verdict, None, None).await;
        let outcome = match submission {
            Ok(recorded) => {
                let outcome = self.outcome(&recorded.call).await;
                Outcome { end: end.unwrap_or(outcome.end), call: outcome.call }
            }
            Err(error) => self.unrecorded(error),
        };
        Submission::Settled(outcome)
    }

    /// A person decides: joins the same call if it waits already, else a new card.
    async fn park(self: &Arc<Self>, ask: Ask, terms: Terms, over: Option<LimitHit>) -> Submission {
        let (ask, twin) = match self.join(ask).await {
            Joined::New { ask, twin } => (ask, twin),
            Joined::Same(submission) => return submission,
        };
        if let Some(hit) = over {
            return self.over_limit(ask, hit).await;
        }
        let id = self.new_id();
        if let Err(text) = self.parked.admit(id, &ask.grant.name, ask.body.len(), &self.settings) {
            return Submission::Settled(Outcome::unrecorded(End::Refused { text }));
        }
        self.enter(id, ask, Verdict::Review { terms }, twin).await
    }
}

/// For the claim: is what the policy says now no stricter than what was approved?
pub(super) fn no_stricter(now: &Verdict, call: &Call) -> bool {
    match (now, &call.terms) {
        (Verdict::Allow { .. }, _) => true,
        (Verdict::Review { terms }, Some(approved)) => terms.quorums == approved.quorums,
        (Verdict::Review { .. }, None) | (Verdict::Deny { .. } | Verdict::Hide { .. }, _) => false,
    }
}
