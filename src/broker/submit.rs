//! A call comes in: judged, recorded, and passed on, parked or answered.

use std::{pin::Pin, sync::Arc};

use uuid::Uuid;

use super::{
    Allowed, Ask, Broker, End, Inner, Outcome, Submission, Waiter,
    compose::Parcel,
    join::Joined,
    record::{Beside, RecordError, Recorded},
    rules::facts,
};
use crate::{
    call::{
        AttachKind, Attachment, Call, CallId, Command, DigestParts, Fingerprint, FingerprintParts, Reason,
        Request, State, Terms, Verdict, canonical, digest, fingerprint,
    },
    ledger::commitment,
    policy::{LimitHit, Reservation, Taken, terms},
    store::{Payload, PayloadKind},
};

/// Where a submission goes after the policy spoke.
enum Path {
    Deny(Reason),
    Hide(String),
    Limit(LimitHit),
    Allow { rule: String, taken: Option<Taken>, durable: bool },
    Review(Terms),
}

impl Broker {
    /// Judges and records one `tools/call`. In doubt nothing is forwarded.
    pub async fn submit(&self, ask: Ask) -> Submission {
        let inner = &self.inner;
        if !inner.is_open() {
            return Submission::Settled(Outcome::unrecorded(End::Unavailable));
        }
        if let Some(reason) = inner.stopped(&ask.grant.name, &ask.server) {
            return Box::pin(inner.refuse(ask, Verdict::Deny { reason }, None)).await;
        }
        match inner.judge(&ask) {
            Path::Allow { rule, taken, durable: false } if !inner.suspects(&ask) => {
                inner.admit(ask, rule, taken).await
            }
            // What is not sent at once may be asked about, now or at the claim.
            Path::Allow { .. } | Path::Review(_) if ask.unseen => Submission::Unseen,
            // An agent that closes its connection drops this future. What has begun on the ledger must
            // be told to everyone all the same, and its waiter must leave: hence a task of its own.
            Path::Allow { rule, .. } => {
                let inner = Arc::clone(inner);
                self.whole(Box::pin(async move { inner.allow_durably(ask, rule).await })).await
            }
            Path::Review(terms) => {
                let inner = Arc::clone(inner);
                self.whole(Box::pin(async move { inner.park(ask, terms).await })).await
            }
            Path::Deny(reason) => Box::pin(inner.refuse(ask, Verdict::Deny { reason }, None)).await,
            Path::Hide(rule) => {
                Box::pin(inner.refuse(ask, Verdict::Hide { rule }, None)).await;
                Submission::Hidden
            }
            Path::Limit(hit) => Box::pin(inner.over_limit(ask, hit)).await,
        }
    }
}

impl Broker {
    /// Boxed: an allowed call carries no room for it.
    async fn whole(&self, work: Pin<Box<dyn Future<Output = Submission> + Send>>) -> Submission {
        let done = self.inner.tasks.spawn(work).await;
        done.unwrap_or_else(|_| Submission::Settled(Outcome::unrecorded(End::Unavailable)))
    }
}

impl Inner {
    fn suspects(&self, ask: &Ask) -> bool {
        self.lost.suspects(&ask.grant.name, &ask.server, &ask.tool)
    }

    /// The policy's verdict, with the limits of an allowed call taken.
    fn judge(&self, ask: &Ask) -> Path {
        let now = self.clock.now();
        let rules = self.rules.load();
        let facts =
            facts(&ask.grant.name, &ask.server, &ask.tool, ask.arguments(), ask.session.as_deref(), now);
        let evaluation = rules.judge(&facts);
        let review = |reason| {
            Path::Review(terms(&rules.of(&ask.grant.name, &ask.server), &ask.server, &ask.tool, reason))
        };
        match evaluation.verdict {
            Verdict::Deny { reason } => Path::Deny(reason),
            Verdict::Hide { rule } => Path::Hide(rule),
            Verdict::Review { terms } => match self.limits().check(&evaluation.reservations, now) {
                Err(hit) if !hit.review => Path::Limit(hit),
                Ok(()) | Err(_) => Path::Review(terms),
            },
            Verdict::Allow { rule } => match self.reserve(&evaluation.reservations) {
                Ok((taken, durable)) => {
                    Path::Allow { rule, taken, durable: durable || self.allowed_durably() }
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
    fn reserve(&self, wanted: &[Reservation]) -> Result<(Option<Taken>, bool), LimitHit> {
        if wanted.is_empty() {
            return Ok((None, false));
        }
        let now = self.clock.now();
        if wanted.iter().any(|reservation| reservation.durable) {
            return self.limits().check(wanted, now).map(|()| (None, true));
        }
        self.limits().reserve(wanted, now).map(|taken| (Some(taken), false))
    }

    /// Allowed: a place in the next segment, and off it goes.
    async fn admit(&self, ask: Ask, rule: String, taken: Option<Taken>) -> Submission {
        let id = self.new_id();
        let policy = self.rules.load().digest(&ask.grant.name, &ask.server);
        match self.segments.admit(id, ask, rule, policy, &self.clock).await {
            Some((pass, recording)) => Submission::Allowed(Allowed { pass, recording, taken }),
            None => Submission::Settled(Outcome::unrecorded(End::Unavailable)),
        }
    }

    /// Allowed, but on the ledger before it runs: a long limit, or the repeat of a lost call.
    async fn allow_durably(self: &Arc<Self>, ask: Ask, rule: String) -> Submission {
        if self.suspects(&ask) {
            let key = self.fingerprint(&ask);
            let same = self.store.same(key).await.unwrap_or_default();
            if same.iter().any(|call| matches!(call.state, State::Lost { resolved: None, .. })) {
                let text = "the same call was sent before and its outcome is unknown".into();
                let reason = Reason { rule: "(lost before)".into(), text };
                let terms = {
                    let rules = self.rules.load();
                    terms(&rules.of(&ask.grant.name, &ask.server), &ask.server, &ask.tool, reason)
                };
                return self.park(ask, terms).await;
            }
        }
        self.enter(ask, Verdict::Allow { rule }, None).await
    }

    async fn over_limit(self: &Arc<Self>, ask: Ask, hit: LimitHit) -> Submission {
        let text = hit.on_deny.unwrap_or_else(|| "the limit for this tool is reached".into());
        let retry_at = hit.retry_at.unwrap_or_else(|| self.clock.now());
        let end = End::Limit { text: text.clone(), retry_at };
        self.refuse(ask, Verdict::Deny { reason: Reason { rule: hit.rule, text } }, Some(end)).await
    }

    /// A refusal is on the ledger before the agent hears of it.
    async fn refuse(self: &Arc<Self>, ask: Ask, verdict: Verdict, end: Option<End>) -> Submission {
        let parcel = Parcel::of(ask, self.nonce());
        let submission = self.submit_as(&parcel, &verdict, None, None).await;
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
    async fn park(self: &Arc<Self>, ask: Ask, terms: Terms) -> Submission {
        match self.join(&ask).await {
            Ok(Joined::Seat(waiter)) => Submission::Waiting(waiter),
            Ok(Joined::Owed(outcome)) => Submission::Recalled(*outcome, Box::new(ask)),
            Ok(Joined::New { twin }) => {
                if let Some(text) = self.parked.full(&ask.grant.name, ask.body.len(), &self.settings) {
                    return Submission::Settled(Outcome::unrecorded(End::Refused { text }));
                }
                self.enter(ask, Verdict::Review { terms }, twin).await
            }
            Err(error) => Submission::Settled(self.unrecorded(error.into())),
        }
    }

    /// A new call with its first waiter.
    async fn enter(self: &Arc<Self>, ask: Ask, verdict: Verdict, twin: Option<CallId>) -> Submission {
        let waiter = (Attachment(Uuid::from_bytes(rand::random())), ask.kind);
        let parcel = Parcel::of(ask, self.nonce());
        match self.submit_as(&parcel, &verdict, Some(waiter), twin).await {
            Ok(recorded) => match self.waiter(waiter.0, recorded) {
                Some(waiter) => Submission::Waiting(Box::new(waiter)),
                None => Submission::Settled(Outcome::unrecorded(End::Unavailable)),
            },
            Err(error) => Submission::Settled(self.unrecorded(error)),
        }
    }

    async fn submit_as(
        &self,
        parcel: &Parcel,
        verdict: &Verdict,
        waiter: Option<(Attachment, AttachKind)>,
        twin: Option<CallId>,
    ) -> Result<Recorded, RecordError> {
        let ask = &parcel.ask;
        let id = self.new_id();
        let policy = self.rules.load().digest(&ask.grant.name, &ask.server);
        let follows = self.followed(ask).await;
        let request = Request { twin, follows, ..parcel.request(policy) };
        let digest = self.digest(parcel, rule_of(verdict), &request.policy, 0);
        let key = self.fingerprint(ask);
        self.parked.weigh(id, ask.body.len());
        let recorded = self
            .record_first(
                id,
                |_, directory| Command::Submit {
                    request: Box::new(request.clone()),
                    digest,
                    // A stop that came while this was on its way counts.
                    verdict: match self.stopped(&ask.grant.name, &ask.server) {
                        Some(reason) => Verdict::Deny { reason },
                        None => verdict.clone(),
                    },
                    people: directory.people.clone(),
                    waiter: waiter.map(|(attachment, kind)| (attachment, kind, self.replica.clone())),
                },
                |_, _| Beside {
                    payloads: vec![parcel.payload(id)],
                    fingerprint: Some(key),
                    ..Beside::default()
                },
            )
            .await;
        if recorded.is_err() {
            self.parked.unweigh(id);
        }
        recorded
    }

    /// The waiter of an attachment that was just recorded.
    pub(super) fn waiter(self: &Arc<Self>, attachment: Attachment, recorded: Recorded) -> Option<Waiter> {
        let seat = recorded.seat?;
        let settled = recorded.call.state.is_settled();
        Some(Waiter {
            brief: self.brief(&recorded.call),
            inner: Arc::clone(self),
            attachment,
            seat,
            seen: recorded.call.version,
            attached: !settled,
        })
    }

    pub(super) fn digest(
        &self,
        parcel: &Parcel,
        rule: &str,
        policy: &str,
        round: u32,
    ) -> crate::call::Digest {
        let ask = &parcel.ask;
        digest(&DigestParts {
            nonce: &parcel.nonce,
            server_identity: &ask.server_identity,
            tool: &ask.tool,
            definition: None,
            arguments: ask.arguments(),
            other_params: &parcel.other_params(),
            agent: &ask.grant.name,
            rule,
            policy,
            round,
        })
    }

    pub(super) fn fingerprint(&self, ask: &Ask) -> Fingerprint {
        let arguments = canonical(ask.arguments()).unwrap_or_else(|| ask.arguments().to_vec());
        fingerprint(
            &self.fingerprint_key,
            &FingerprintParts {
                agent: &ask.grant.name,
                server: &ask.server,
                tool: &ask.tool,
                arguments: &arguments,
                input_responses: ask.input_responses(),
            },
        )
    }

    pub(super) fn unrecorded(&self, error: RecordError) -> Outcome {
        tracing::error!(?error, "a call could not be recorded; it was not forwarded");
        Outcome::unrecorded(End::Unavailable)
    }

    fn nonce(&self) -> [u8; 32] {
        rand::random()
    }

    pub(super) fn new_id(&self) -> CallId {
        let now = u64::try_from(self.clock.now().0).unwrap_or(0);
        CallId(uuid::Builder::from_unix_timestamp_millis(now, &rand::random()).into_uuid())
    }
}

fn rule_of(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Allow { rule } | Verdict::Hide { rule } => rule,
        Verdict::Review { terms } => &terms.reason.rule,
        Verdict::Deny { reason } => &reason.rule,
    }
}

impl Parcel {
    fn payload(&self, call: CallId) -> Payload {
        Payload { call, kind: PayloadKind::Params, part: 0, salt: self.nonce, bytes: self.ask.body.to_vec() }
    }

    fn request(&self, policy: String) -> Request {
        let ask = &self.ask;
        Request {
            agent: ask.grant.name.clone(),
            owner: ask.grant.settings.owner.clone(),
            server: ask.server.to_string(),
            tool: ask.tool.clone(),
            session: ask.session.as_deref().map(str::to_owned),
            era: ask.era,
            client: ask.client.clone(),
            argument_names: self.argument_names(),
            policy,
            params: commitment(&self.nonce, &ask.body),
            follows: None,
            twin: None,
        }
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
