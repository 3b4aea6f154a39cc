//! The claim: the authority of this moment is proved again, and may only tighten.

use std::sync::Arc;

use super::{
    End, Inner, Outcome, Waiter,
    compose::json,
    counters,
    join::waits_as_task,
    proof::is_proven,
    record::{RecordError, Recorded, alone},
    rules::facts,
    submit::no_stricter,
};
use crate::{
    call::{
        Authority, By, Call, CallId, Command, Digest, DigestParts, Reason, Refusal, Terms, Verdict, digest,
    },
    ledger::Permit,
    policy::{Evaluation, LimitHit, Taken},
    store::{Payload, PayloadKind},
};

/// How often a claim is tried again while the authority changes under it.
const TRIES: usize = 8;

pub(super) enum Claimed {
    /// The waiter keeps its place while the call is under way.
    /// What it took of its limits goes back if it cannot have run.
    Permit(Permit, Box<Waiter>, Taken),
    /// Asked again on a new round; wait on.
    Reparked(Box<Waiter>),
    Settled(Outcome),
}

/// What the policies of this moment say of a call that waited.
struct Judgement {
    evaluation: Evaluation,
    policy: String,
    granted: bool,
}

impl Inner {
    /// Appends `dispatched`, or finds out why not. `stored` is the whole message.
    pub(super) async fn claim(self: &Arc<Self>, mut waiter: Waiter, stored: &Payload) -> Claimed {
        let id = waiter.call();
        for _ in 0..TRIES {
            let call = waiter.now();
            let judgement = self.judge_again(&call, stored);
            let taken = match self.take(&judgement) {
                Ok(taken) => taken,
                Err(hit) => return self.full(waiter, hit).await,
            };
            let claim = self.try_claim(&waiter, &call, &judgement, taken.as_ref()).await;
            let permit = claim.as_ref().ok().and_then(|done| done.entries.iter().find_map(Permit::of));
            let taken = taken.unwrap_or_default();
            if let Some(permit) = permit {
                waiter.spend();
                return Claimed::Permit(permit, Box::new(waiter), taken);
            }
            self.limits().give_back(taken);
            match claim {
                // Stopped meanwhile: denied instead.
                Ok(recorded) => {
                    waiter.spend();
                    return Claimed::Settled(self.outcome(&recorded.call).await);
                }
                Err(RecordError::Refused(Refusal::PolicyChanged | Refusal::QuorumGone)) => {
                    if let Err(error) = self.tighten(&call, judgement, stored).await {
                        return Claimed::Settled(self.unrecorded(error.into()));
                    }
                }
                Err(RecordError::Refused(_)) => {
                    tokio::task::yield_now().await;
                }
                Err(error) => return Claimed::Settled(self.unrecorded(error)),
            }
            let call = self.newest(id, &waiter).await;
            if call.state.is_settled() {
                waiter.spend();
                return Claimed::Settled(self.outcome(&call).await);
            }
            if !matches!(call.state, crate::call::State::Permitted { .. }) {
                return Claimed::Reparked(Box::new(waiter));
            }
        }
        Claimed::Reparked(Box::new(waiter))
    }

    async fn newest(&self, id: CallId, waiter: &Waiter) -> Arc<Call> {
        match self.store.call(id).await {
            Ok(Some(call)) => Arc::new(call),
            Ok(None) | Err(_) => waiter.now(),
        }
    }

    async fn try_claim(
        &self,
        waiter: &Waiter,
        call: &Call,
        judgement: &Judgement,
        taken: Option<&Taken>,
    ) -> Result<Recorded, RecordError> {
        let unchanged = judgement.granted
            && (judgement.policy == call.policy || no_stricter(&judgement.evaluation.verdict, call));
        let (attachment, digest) = (waiter.attachment, call.digest);
        self.record(
            call.id,
            |_, directory| match self.stopped(&call.request.agent, &call.request.server) {
                Some(reason) => Command::Revoke { by: By::Policy, reason },
                None => Command::Claim {
                    by: self.replica.clone(),
                    attachment,
                    digest,
                    lease: self.settings.lease,
                    authority: Authority { people: directory.people.clone(), policy_unchanged: unchanged },
                    taken: counters::used(taken),
                },
            },
            alone,
        )
        .await
    }

    /// Would the policies of this moment let this very call go with nobody asked, if it came now?
    pub(super) async fn allows_outright(&self, call: &Call) -> bool {
        let Ok(Some(stored)) = self.store.payload(call.id, PayloadKind::Params, 0).await else {
            return false;
        };
        if !is_proven(&stored, &[call.request.params]) {
            return false;
        }
        let Judgement { evaluation, granted, .. } = self.judge_again(call, &stored);
        let has_room = || self.limits().check(&evaluation.reservations, self.clock.now()).is_ok();
        granted && matches!(evaluation.verdict, Verdict::Allow { .. }) && has_room()
    }

    fn judge_again(&self, call: &Call, stored: &Payload) -> Judgement {
        let request = &call.request;
        let arguments = json(&stored.bytes).and_then(|message| message.at(&["params", "arguments"]));
        let arguments = arguments.map(crate::mcp::Json::as_str).unwrap_or_default();
        let rules = self.rules.load();
        let facts = facts(
            &request.agent,
            &request.server,
            &request.tool,
            arguments.as_bytes(),
            request.session.as_deref(),
            self.clock.now(),
        );
        let directory = self.identity.directory();
        let granted =
            directory.agents.get(&request.agent).is_some_and(|grant| grant.reaches(&request.server));
        let (evaluation, policy) = rules.judge(&facts);
        Judgement { evaluation, policy: policy.to_string(), granted }
    }

    /// The limits of a call that was approved (or allowed durably).
    fn take(&self, judgement: &Judgement) -> Result<Option<Taken>, LimitHit> {
        let wanted = &judgement.evaluation.reservations;
        if wanted.is_empty() {
            return Ok(None);
        }
        self.limits().reserve_approved(wanted, self.clock.now()).map(Some)
    }

    /// The limit is full: the call stays permitted, and the agent hears when to come back.
    async fn full(&self, waiter: Waiter, hit: LimitHit) -> Claimed {
        let brief = waiter.brief.clone();
        let attachment = waiter.attachment;
        let mut waiter = waiter;
        waiter.spend();
        // A task goes on waiting; who holds a line is told to call again.
        if !waits_as_task(&waiter.now()) {
            self.detach(brief.id, attachment, crate::call::DetachReason::Ticket).await;
        }
        let text = hit.on_deny.unwrap_or_else(|| "the limit for this tool is reached".into());
        let retry_at = hit.retry_at.unwrap_or_else(|| self.clock.now());
        Claimed::Settled(Outcome { call: Some(brief), end: End::Limit { text, retry_at } })
    }

    /// The policy or the people changed: refuse it, or ask again on a new round.
    async fn tighten(
        &self,
        call: &Call,
        judgement: Judgement,
        stored: &Payload,
    ) -> Result<(), crate::store::StoreError> {
        if !judgement.granted {
            let reason = Reason { rule: "(grant revoked)".into(), text: "the agent was revoked".into() };
            return self.revoke(call.clone(), &By::Policy, &reason).await;
        }
        let terms = match judgement.evaluation.verdict {
            Verdict::Deny { reason } => return self.revoke(call.clone(), &By::Policy, &reason).await,
            Verdict::Hide { rule } => {
                let reason = Reason { rule, text: "the tool is no longer offered".into() };
                return self.revoke(call.clone(), &By::Policy, &reason).await;
            }
            Verdict::Review { terms } => terms,
            Verdict::Allow { .. } => match &call.terms {
                Some(terms) => terms.clone(),
                None => return Ok(()),
            },
        };
        self.repark(call, terms, judgement.policy, stored).await
    }

    async fn repark(
        &self,
        call: &Call,
        terms: Terms,
        policy: String,
        stored: &Payload,
    ) -> Result<(), crate::store::StoreError> {
        let digest = self.next_digest(call, &terms, &policy, stored);
        let why = if policy == call.policy { "a vote no longer counts" } else { "the policy changed" };
        let repark = |_: Option<&Call>, directory: &crate::identity::Directory| Command::Repark {
            why: why.into(),
            digest,
            terms: terms.clone(),
            policy: policy.clone(),
            people: directory.people.clone(),
        };
        match self.record(call.id, repark, alone).await {
            Ok(_) | Err(RecordError::Refused(_)) => Ok(()),
            Err(RecordError::Store(error)) => Err(error),
        }
    }

    /// The digest of the round after this one, of the same stored bytes.
    fn next_digest(&self, call: &Call, terms: &Terms, policy: &str, stored: &Payload) -> Digest {
        let message = json(&stored.bytes);
        let arguments = message.and_then(|message| message.at(&["params", "arguments"]));
        let identity = self.upstreams.server(&call.request.server);
        digest(&DigestParts {
            nonce: &stored.salt,
            server_identity: identity.as_ref().map_or("", |server| server.identity()),
            tool: &call.request.tool,
            definition: None,
            arguments: arguments.map(crate::mcp::Json::as_str).unwrap_or_default().as_bytes(),
            other_params: &super::compose::other_params(&stored.bytes),
            agent: &call.request.agent,
            rule: &terms.reason.rule,
            policy,
            round: call.round + 1,
        })
    }
}
