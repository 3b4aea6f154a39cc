//! The send: a pass or a permit is spent, the answer goes to the agent, the outcome on the ledger.
//!
//! Nothing else in countersign calls `forward`. A permitted call is claimed (durable) before its first
//! byte leaves, and runs to its outcome in a task of its own, whatever becomes of the agent.

use std::sync::{Arc, atomic::Ordering};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::{sync::mpsc, time::Instant};

use super::{
    Allowed, Broker, End, Exchange, HttpError, Inner, Live, Outcome, Part, Waiter,
    answers::{Arrival, Arrivals},
    claim::Claimed,
    compose::compose,
    follows::Awaited,
    proof::is_proven,
    record::{Beside, RecordError, alone},
    segments::Recording,
};
use crate::{
    call::{CallId, Command, DetachReason},
    ledger::{Permit, commitment},
    mcp::Passthrough,
    policy::Taken,
    store::{Payload, PayloadKind, Put},
    upstream::{Link, Outbound, Proof, Reply, Right, SendError, aside},
};

/// Upstream messages that may wait for a slow agent, and bytes from which one counts as several.
const PARTS: usize = 32;
const PART: usize = 64 << 10;

/// Why a call failed whose bytes were changed behind the broker's back.
const NOT_THOSE: &str = "its stored arguments are not those in the audit log";

impl Broker {
    /// Forwards an allowed call, once. The recording ends when it is dropped: keep it with the body.
    ///
    /// # Errors
    /// As `Upstreams::forward`; what was taken of a limit is given back when nothing was sent.
    pub fn pass<'a>(
        &'a self,
        allowed: Allowed,
        link: &'a Link,
        outbound: Outbound,
    ) -> impl Future<Output = Result<(Reply, Recording), SendError>> + Send + 'a {
        let Allowed { pass, mut recording, taken } = allowed;
        let sending = self.inner.upstreams.forward(Right::Pass(pass), link, outbound);
        sending.map(move |sent| match sent {
            Ok(reply) => {
                recording.status(reply.status.as_u16());
                Ok((reply, recording))
            }
            Err(error) => {
                if let SendError::NotSent(_) = &error {
                    recording.nothing_sent();
                    self.inner.limits().give_back(taken.unwrap_or_default());
                }
                Err(error)
            }
        })
    }

    /// Everything that is not a `tools/call`.
    ///
    /// # Errors
    /// As `Upstreams::relay`.
    pub async fn relay(
        &self,
        right: Passthrough,
        link: &Link,
        outbound: Outbound,
    ) -> Result<Reply, SendError> {
        self.inner.upstreams.relay(right, link, outbound).await
    }

    /// Claims the permit, sends the stored bytes, and records the outcome whatever becomes of the agent.
    #[must_use]
    pub fn dispatch(&self, waiter: Waiter, link: Link, live: Live) -> Exchange {
        let (sender, parts) = mpsc::channel(PARTS);
        let inner = Arc::clone(&self.inner);
        let under_way = UnderWay::of(&inner);
        let attachment = waiter.attachment;
        self.inner.tasks.spawn(async move {
            let agent = Agent(sender);
            let part = inner.send(waiter, &link, &live, &agent).await;
            drop(under_way);
            agent.tell(part).await;
        });
        Exchange { attachment, parts }
    }
}

/// Counts a dispatch while it lasts: a drain waits for it.
struct UnderWay(Arc<Inner>);

impl UnderWay {
    fn of(inner: &Arc<Inner>) -> Self {
        inner.dispatching.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(inner))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.dispatching.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Why a call that had its permit cannot have run; in the server's own words, if it said so.
struct CannotHaveRun(String, Option<Box<HttpError>>);

/// The agent's end of an exchange, which may be gone.
pub(super) struct Agent(pub(super) mpsc::Sender<Part>);

impl Agent {
    async fn tell(&self, part: Part) {
        // An agent that left is no reason to stop: the outcome is recorded all the same.
        let size = if let Part::Message(message) = &part { message.len() } else { 0 };
        // A large message waits until there is room for as many small ones: a flood stays at its server.
        if let Ok(mut room) = self.0.reserve_many((1 + size / PART).min(PARTS)).await
            && let Some(room) = room.next()
        {
            room.send(part);
        }
    }
}

impl Inner {
    /// As `Broker::dispatch`, in the task of whoever calls it.
    pub(super) async fn serve(
        self: &Arc<Self>,
        waiter: Waiter,
        link: &Link,
        live: &Live,
        agent: &Agent,
    ) -> Part {
        let _under_way = UnderWay::of(self);
        self.send(waiter, link, live, agent).await
    }

    /// From permitted to settled.
    async fn send(self: &Arc<Self>, waiter: Waiter, link: &Link, live: &Live, agent: &Agent) -> Part {
        let id = waiter.call();
        let stored = match self.store.payload(id, PayloadKind::Params, 0).await {
            Ok(Some(stored)) if is_proven(&stored, &[waiter.now().request.params]) => stored,
            Ok(Some(_)) => return self.not_sent(waiter, NOT_THOSE.into()).await,
            Ok(None) => return self.not_sent(waiter, "its arguments were erased".into()).await,
            Err(error) => return Part::End(self.unrecorded(error.into())),
        };
        let Some(body) = compose(&stored.bytes, live) else {
            return self.not_sent(waiter, "its stored arguments are damaged".into()).await;
        };
        let proof = match link.prove().await {
            Ok(proof) => proof,
            Err(error) => return self.not_sent(waiter, error.to_string()).await,
        };
        match self.claim(waiter, &stored).await {
            Claimed::Permit(permit, waiter, taken) => {
                let outbound = Outbound::post(body).with_headers_of(&live.headers);
                let sent = {
                    let (attachment, seat) = (waiter.attachment, waiter.seat.clone());
                    let exchange = self.exchange(id, permit, proof, link, outbound, live, agent);
                    let mut exchange = std::pin::pin!(exchange);
                    tokio::select! {
                        biased;
                        sent = exchange.as_mut() => Some(sent),
                        () = agent.0.closed() => {
                            // The agent left: whoever makes the same call again may take its place, and is given
                            // the answer. So a stream of 2026-07-28 that is closed is not passed on as a cancel:
                            // a server that is told of one gives no answer.
                            drop(waiter);
                            self.detach(id, attachment, DetachReason::Closed).await;
                            Some(exchange.await)
                        }
                        () = self.called_off(id, attachment, seat) => None,
                    }
                };
                Part::End(match sent {
                    Some(Ok(outcome)) => outcome,
                    Some(Err(CannotHaveRun(why, said))) => self.fail(id, why, taken).await.in_words_of(said),
                    // The exchange is over, and its stream closed.
                    None => self.left(id).await,
                })
            }
            Claimed::Reparked(waiter) => Part::Reparked(waiter),
            Claimed::Settled(outcome) => Part::End(outcome),
        }
    }

    /// Permitted, but it cannot be sent: claimed and failed, so that the ledger tells it.
    async fn not_sent(self: &Arc<Self>, waiter: Waiter, why: String) -> Part {
        let id = waiter.call();
        let stored = match self.store.payload(id, PayloadKind::Params, 0).await {
            Ok(stored) => stored.filter(|stored| is_proven(stored, &[waiter.now().request.params])),
            Err(error) => return Part::End(self.unrecorded(error.into())),
        };
        match self.claim(waiter, &stored.unwrap_or_else(|| empty(id))).await {
            Claimed::Permit(.., taken) => Part::End(self.fail(id, why, taken).await),
            Claimed::Reparked(waiter) => Part::Reparked(waiter),
            Claimed::Settled(outcome) => Part::End(outcome),
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one send has this many sides; each is used once")]
    async fn exchange(
        self: &Arc<Self>,
        id: CallId,
        permit: Permit,
        proof: Proof,
        link: &Link,
        outbound: Outbound,
        live: &Live,
        agent: &Agent,
    ) -> Result<Outcome, CannotHaveRun> {
        let right = Right::Permit(permit, proof);
        let reply = match self.upstreams.forward(right, link, outbound).await {
            Ok(reply) => reply,
            Err(SendError::NotSent(why)) => return Err(CannotHaveRun(why, None)),
            Err(SendError::Unknown(why)) => return Ok(self.lose(id, why).await),
        };
        // After its lease the call is lost on the ledger.
        let until = Instant::now() + self.settings.lease;
        let mut arrivals = Arrivals::of(reply, live.id.clone(), self.settings.largest_answer);
        loop {
            match arrivals.next().await {
                Arrival::Message(message) => agent.tell(Part::Message(message)).await,
                Arrival::Response { message, is_error } => {
                    return Ok(self.complete(id, message, is_error).await);
                }
                Arrival::Refused(why, said) => return Err(CannotHaveRun(why, said)),
                Arrival::Lost(why, said) => return Ok(self.lose(id, why).await.in_words_of(said)),
                Arrival::HungUp(place) => match self.rest(link, live, place, until).await {
                    Ok(reply) => arrivals.go_on(reply),
                    Err(why) => return Ok(self.lose(id, why).await),
                },
            }
        }
    }

    /// The answer is on the disk before the agent hears of it.
    async fn complete(&self, id: CallId, message: Bytes, is_error: bool) -> Outcome {
        let salt = rand::random();
        let answer = aside(message.len(), || commitment(&salt, &message));
        let bytes = message.len() as u64;
        let command = Command::Complete { by: self.replica.clone(), answer, bytes, is_error };
        let kept = message.len() <= self.settings.kept_answer;
        let awaited = self.awaits_more(id, &message).await;
        let server_tasks = self.as_server_task(id, &message).await;
        let beside = |_: &[_], _| {
            let payload =
                Payload { call: id, kind: PayloadKind::Answer, part: 0, salt, bytes: message.to_vec() };
            let payloads = kept.then_some(payload).into_iter().collect();
            Beside {
                payloads,
                puts: awaited.iter().map(Awaited::put).chain(server_tasks.clone()).collect(),
                ..Beside::default()
            }
        };
        match self.record(id, |_, _| command.clone(), beside).await {
            Ok(recorded) => {
                Outcome { call: Some(self.brief(&recorded.call)), end: End::Completed { message } }
            }
            Err(RecordError::Refused(refusal)) => {
                tracing::error!(call.id = %id, ?refusal, "an answer came that the audit log does not take");
                let puts = server_tasks.clone();
                self.late_answer(id, Command::AnswerLate { answer, bytes, is_error }, puts).await
            }
            Err(error) => self.unrecorded(error),
        }
    }

    /// The call was given up as lost before its answer came. The server has made a task of it all the same.
    async fn late_answer(&self, id: CallId, command: Command, server_tasks: Vec<Put>) -> Outcome {
        let beside = |_: &[_], _| Beside { puts: server_tasks.clone(), ..Beside::default() };
        match self.record(id, |_, _| command.clone(), beside).await {
            Ok(recorded) => self.outcome(&recorded.call).await,
            Err(error) => self.unrecorded(error),
        }
    }

    /// It cannot have run: what it took of its limits is given back.
    async fn fail(&self, id: CallId, why: String, taken: Taken) -> Outcome {
        self.limits().give_back(taken);
        let command = Command::Fail { by: self.replica.clone(), why };
        match self.record(id, |_, _| command.clone(), alone).await {
            Ok(recorded) => self.outcome(&recorded.call).await,
            Err(error) => self.unrecorded(error),
        }
    }

    async fn lose(&self, id: CallId, why: String) -> Outcome {
        let command = Command::Lose { by: self.replica.clone(), why };
        match self.record(id, |_, _| command.clone(), alone).await {
            Ok(recorded) => self.outcome(&recorded.call).await,
            Err(error) => self.unrecorded(error),
        }
    }
}

fn empty(call: CallId) -> Payload {
    Payload { call, kind: PayloadKind::Params, part: 0, salt: [0; 32], bytes: Vec::new() }
}
