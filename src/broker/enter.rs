//! A new call enters the ledger: its request, its payload, the digest that votes bind to, its join key.

use std::sync::Arc;

use uuid::Uuid;

use super::{
    Ask, End, Inner, Outcome, Submission, Waiter,
    compose::{Parcel, json},
    record::{Beside, RecordError, Recorded},
};
use crate::{
    call::{
        AttachKind, Attachment, CallId, Command, DigestParts, Era, Fingerprint, FingerprintParts, Request,
        Timestamp, Verdict, canonical, digest, fingerprint,
    },
    ledger::commitment,
    mcp::Json,
    store::{Payload, PayloadKind},
};

impl Inner {
    /// A new call with its first waiter, under the id that it has its place by.
    pub(super) async fn enter(
        self: &Arc<Self>,
        id: CallId,
        ask: Ask,
        verdict: Verdict,
        twin: Option<CallId>,
    ) -> Submission {
        let waiter = (Attachment(Uuid::from_bytes(rand::random())), ask.kind);
        let parcel = Parcel::of(ask, self.nonce());
        match self.submit_as(id, &parcel, &verdict, Some(waiter), twin).await {
            Ok(recorded) => match self.waiter(waiter.0, recorded) {
                Some(waiter) => Submission::Waiting(Box::new(waiter)),
                None => Submission::Settled(Outcome::unrecorded(End::Unavailable)),
            },
            Err(error) => Submission::Settled(self.unrecorded(error)),
        }
    }

    pub(super) async fn submit_as(
        &self,
        id: CallId,
        parcel: &Parcel,
        verdict: &Verdict,
        waiter: Option<(Attachment, AttachKind)>,
        twin: Option<CallId>,
    ) -> Result<Recorded, RecordError> {
        let ask = &parcel.ask;
        let policy = self.rules.load().digest(&ask.grant.name, &ask.server);
        let follows = self.followed(ask).await;
        let request = Request { twin, follows, ..parcel.request(policy.to_string()) };
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
                input_responses: &self.input_responses(ask),
            },
        )
    }

    /// What the client answers to the server's questions, and the server's state that they belong to, each in one
    /// spelling. Where they mean nothing they make no other call of it: a denial holds for every way to write the
    /// same thing. A state of our own is no server's.
    fn input_responses(&self, ask: &Ask) -> Vec<u8> {
        if ask.era == Era::Legacy {
            return Vec::new();
        }
        let said = ask.input_responses();
        let mut said = canonical(said).unwrap_or_else(|| said.to_vec());
        if matches!(&*said, b"null" | b"{}") {
            said.clear();
        }
        let state = json(&ask.body).and_then(|message| message.at(&["params", "requestState"]));
        let is_ours = |state: Json<'_>| state.string().is_some_and(|state| self.seal.is_ours(&state));
        if let Some(state) = state.filter(|state| state.as_str() != "null" && !is_ours(*state)) {
            let state = state.as_str().as_bytes();
            // No JSON has this byte.
            said.push(0);
            said.extend(canonical(state).unwrap_or_else(|| state.to_vec()));
        }
        said
    }

    pub(super) fn unrecorded(&self, error: RecordError) -> Outcome {
        tracing::error!(?error, "a call could not be recorded; it was not forwarded");
        Outcome::unrecorded(End::Unavailable)
    }

    pub(super) fn nonce(&self) -> [u8; 32] {
        rand::random()
    }

    pub(super) fn new_id(&self) -> CallId {
        id_at(self.clock.now())
    }
}

/// Fresh, and in the order of time.
pub(super) fn id_at(now: Timestamp) -> CallId {
    let now = u64::try_from(now.0).unwrap_or(0);
    CallId(uuid::Builder::from_unix_timestamp_millis(now, &rand::random()).into_uuid())
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
            protocol: ask.protocol.map(|version| version.as_str().to_owned()),
            client: (*ask.client).clone(),
            argument_names: self.argument_names(),
            policy,
            params: commitment(&self.nonce, &ask.body),
            follows: None,
            twin: None,
        }
    }
}
