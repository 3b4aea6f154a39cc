//! A task whose server asks for more (`input_required`, 2026-07-28): what its agent answers, and the call that
//! goes on with it.
//!
//! A server that asks has answered: its call is completed. The next leg is a call of its own, with the same
//! arguments, the agent's answers and the server's state, judged and asked about as if its agent had made it.
//! The agent knows one task; which call that is at lies beside the ledger.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{Mutex, broadcast};

use super::{
    Ask, Broker, End, Inner, Outcome, Submission, Task, compose::json, follows::asking, seal::Seal,
    task::SPACE as TASKS,
};
use crate::{
    call::{AttachKind, CallId, Era, HowDelivered, State, Timestamp},
    identity::Grant,
    mcp::{Json, Message, ToolCall, Version, patch::Edits},
    store::{PayloadKind, Put, Store, StoreError},
    upstream::Server,
};

/// Of the sealed rows beside the ledger, by a task's first call.
const SPACE: &str = "legs";

/// A task that goes on is known for so long after its last step.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
/// Legs of one task: a server that asks for ever is not asked for ever.
const MOST: u32 = 32;
/// What a server may ask at once, and what an agent may answer at once.
pub const MOST_ASKED: usize = 256;
/// Bytes of the answers to one leg.
const LARGEST: usize = 4 << 20;

/// What the tasks share that go on.
#[derive(Debug)]
pub(super) struct Legs {
    /// One step of a task at a time: two answers to the same question make one call. Few tasks share one.
    one: [Mutex<()>; 32],
    /// The first calls of the tasks that moved; often nobody listens.
    moved: broadcast::Sender<CallId>,
}

impl Default for Legs {
    fn default() -> Self {
        Self { one: Default::default(), moved: broadcast::Sender::new(64) }
    }
}

/// Hears when one task goes on, or is ended while its server asks.
#[derive(Debug)]
pub struct Moves {
    first: CallId,
    all: broadcast::Receiver<CallId>,
}

impl Moves {
    /// Waits until it may have moved since this was made or asked last; `None`: it does not any more.
    pub async fn next(&mut self) -> Option<()> {
        loop {
            match self.all.recv().await {
                Ok(moved) if moved != self.first => {}
                Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return Some(()),
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

/// Which call a task is at.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Leg {
    /// `None`: the first.
    call: Option<CallId>,
    /// How many there were before.
    number: u32,
    /// What the agent has answered so far, by the names that it knows.
    answers: BTreeMap<String, Box<RawValue>>,
    /// The agent wants no more of it.
    ended: bool,
    /// When this was written.
    at: Timestamp,
}

impl Legs {
    fn of(&self, first: CallId) -> &Mutex<()> {
        // The last bytes of an id are random.
        &self.one[usize::from(first.0.as_bytes()[15]) % self.one.len()]
    }
}

// ── what a task asks ──────────────────────────────────────────────────

impl Task {
    /// What its server asks of the client and has no answer to: the agent's name for it, and the request as the
    /// server wrote it. None left: it wants to be asked again, and nothing else. `None`: it asks nothing.
    #[must_use]
    pub fn asks(&self) -> Option<Vec<(String, &str)>> {
        let asked = self.asking().filter(|_| !self.leg.ended && !self.asks_for_ever())?;
        let open = self.requests(asked).filter(|(name, ..)| !self.leg.answers.contains_key(name));
        Some(open.map(|(name, _, request)| (name, request.as_str())).collect())
    }

    /// Its agent ended it when its server had asked for more.
    #[must_use]
    pub fn is_ended(&self) -> bool {
        self.leg.ended
    }

    /// Its server asked for more so often, or for so much at once, that it is not asked again.
    #[must_use]
    pub fn asks_for_ever(&self) -> bool {
        let too_much = |asked| self.requests(asked).nth(MOST_ASKED).is_some();
        self.asking().is_some_and(|asked| self.leg.number + 1 >= MOST || too_much(asked))
    }

    /// The server's result, when it asks for more.
    fn asking(&self) -> Option<Json<'_>> {
        let End::Completed { message } = &self.outcome.end else { return None };
        asking(message).filter(|_| self.call.request.era == Era::Modern)
    }

    /// Each request of `asked`: the agent's name for it, the server's as written, and what it says. A server may
    /// use a name again in another leg, and an agent is told each name once in a task's life.
    fn requests<'a>(&self, asked: Json<'a>) -> impl Iterator<Item = (String, Json<'a>, Json<'a>)> + use<'a> {
        let leg = self.leg.number + 1;
        let requests = asked.get("inputRequests").into_iter().flat_map(Json::members);
        requests.map(move |member| (format!("{leg}/{}", member.name), member.name_raw, member.value))
    }

    /// The message of the next leg: the same call, with the answers and the server's state.
    fn next_leg(&self, stored: &[u8]) -> Option<Vec<u8>> {
        let asked = self.asking()?;
        let said = |(name, theirs, _): (String, Json<'_>, Json<'_>)| {
            let answer = self.leg.answers.get(&name)?;
            Some(format!("{}:{}", theirs.as_str(), answer.get()))
        };
        let said: Vec<String> = self.requests(asked).filter_map(said).collect();
        let said = (!said.is_empty()).then(|| format!("{{{}}}", said.join(",")));
        let state = asked.get("requestState").map(Json::as_str);
        let mut edits = Edits::of(json(stored)?);
        for (name, value) in [("inputResponses", said.as_deref()), ("requestState", state)] {
            match value {
                Some(value) => edits.set(&["params", name], value),
                None => edits.remove(&["params", name]),
            };
        }
        Some(edits.apply())
    }
}

impl Broker {
    /// Takes what an agent answers to its task's server (a JSON object), and makes the call that goes on with it
    /// once nothing is left to answer. What was not asked, or has its answer, is passed over.
    ///
    /// # Errors
    /// What to tell the agent: nothing was taken.
    pub async fn answer_task(
        &self,
        (grant, server): (Arc<Grant>, Arc<Server>),
        name: String,
        answers: Bytes,
    ) -> Result<(), Outcome> {
        let inner = Arc::clone(&self.inner);
        // What has begun is finished, whatever becomes of the connection.
        let done =
            self.inner.tasks.spawn(async move { inner.take_answers(grant, &server, &name, &answers).await });
        match done.await {
            Ok(done) => done,
            Err(_) => Err(Outcome::unrecorded(End::Unavailable)),
        }
    }

    /// What wakes who waits for a task to go on. `None`: this is no task of this grant at this server.
    #[must_use]
    pub fn moves(&self, grant: &str, server: &str, name: &str) -> Option<Moves> {
        let first = self.inner.named(grant, server, name)?;
        Some(Moves { first, all: self.inner.legs.moved.subscribe() })
    }
}

impl Inner {
    /// The task of a first call, at the call that it is at by now. `None`: that is no longer known.
    pub(super) async fn at_its_leg(&self, first: Task) -> Result<Option<Task>, StoreError> {
        if first.asking().is_none() {
            return Ok(Some(first));
        }
        let row = self.store.get(SPACE, first.call.id.to_string()).await?;
        let Some(leg) = row.and_then(|row| opened(&self.seal, &first.call.id.to_string(), &row)) else {
            let old = first.call.settled_at.is_none_or(|at| self.clock.now().since(at) > KEPT);
            return Ok((!old).then(|| first.until_asked()));
        };
        let Some(id) = leg.call else { return Ok(Some(Task { leg, ..first }.until_asked())) };
        let Some(call) = self.store.call(id).await? else { return Ok(None) };
        let now = self.task(first.id, Arc::new(call)).await;
        let until = now.until;
        let now = Task { first: first.first, begun: first.begun, leg, ..now }.until_asked();
        Ok(Some(Task { until: until.or(now.until), ..now }))
    }

    async fn take_answers(
        self: &Arc<Self>,
        grant: Arc<Grant>,
        server: &Arc<Server>,
        name: &str,
        answers: &[u8],
    ) -> Result<(), Outcome> {
        let broker = Broker { inner: Arc::clone(self) };
        let answers = json(answers).into_iter().flat_map(Json::members);
        let answers = answers.filter_map(|member| {
            Some((member.name.into_owned(), RawValue::from_string(member.value.as_str().to_owned()).ok()?))
        });
        let answers: Vec<_> = answers.collect();
        let Some(first) = self.named(&grant.name, server.name(), name) else { return Ok(()) };
        let _one = self.legs.of(first).lock().await;
        let task = broker.task(&grant.name, server.name(), name).await.map_err(|error| unread(&error))?;
        // Answered meanwhile, or gone: nobody waits for these.
        let Some(mut task) = task else { return Ok(()) };
        let Some(open) = task.asks() else { return Ok(()) };
        let mut open: HashSet<String> = open.into_iter().map(|(name, _)| name).collect();
        let asked = open.len();
        for (name, answer) in answers {
            if open.remove(&name) {
                task.leg.answers.insert(name, answer);
            }
        }
        if task.leg.answers.values().map(|answer| answer.get().len()).sum::<usize>() > LARGEST {
            return Err(refused(format!(
                "the answers to one question of a server have at most {LARGEST} bytes"
            )));
        }
        if !open.is_empty() {
            let news = open.len() < asked;
            return if news { self.put_leg(&task, Vec::new()).await } else { Ok(()) };
        }
        let gone_on = self.go_on(grant, server, task).await;
        let _ = self.legs.moved.send(first);
        gone_on
    }

    /// Makes the call of the next leg, which waits as this task.
    async fn go_on(
        self: &Arc<Self>,
        grant: Arc<Grant>,
        server: &Arc<Server>,
        task: Task,
    ) -> Result<(), Outcome> {
        let broker = Broker { inner: Arc::clone(self) };
        let call = &task.call;
        let headers = self.store.get(TASKS, call.id.to_string()).await.map_err(|error| unread(&error))?;
        let headers = headers.and_then(|row| self.headers_as_stored(call.id, &row));
        let stored = self.proven(call.id, PayloadKind::Params, 0, &[call.request.params]).await;
        let stored = stored.map_err(|error| unread(&error))?;
        let body = stored.and_then(|stored| task.next_leg(&stored)).map(Bytes::from);
        let ask = body.and_then(|body| ask_of(grant, server, &task, body));
        let (Some(headers), Some(ask)) = (headers, ask) else {
            return Err(refused("what the call was made with is no longer kept; make it again".into()));
        };
        // Who answers has read the question.
        broker.delivered(call.id, HowDelivered::Task).await;
        let told = match broker.submit(ask).await {
            Submission::Waiting(waiter) => {
                let next = task.at(waiter.call());
                let puts = self.leg_row(&next).into_iter().chain([forgotten(call.id)]).collect();
                match self.begin_task(*waiter, &headers, puts).await {
                    Ok(_) => return Ok(()),
                    Err(outcome) => outcome,
                }
            }
            Submission::Settled(outcome) | Submission::Recalled(outcome, _) => outcome,
            Submission::Hidden => return Err(refused(format!("Unknown tool: {}", call.request.tool))),
            Submission::Allowed(_) | Submission::Unseen => Outcome::unrecorded(End::Unavailable),
        };
        match (&told.call, &told.end) {
            // The task stays where it is, and may be answered again.
            (None, _) | (_, End::Limit { .. } | End::Unavailable) => Err(told),
            (Some(brief), _) => {
                let next = task.at(brief.id);
                self.put_leg(&next, vec![forgotten(call.id)]).await
            }
        }
    }

    /// Its server asks for more, and its agent does not want to be asked.
    pub(super) async fn ask_no_more(self: &Arc<Self>, task: &Task) {
        let broker = Broker { inner: Arc::clone(self) };
        let _one = self.legs.of(task.first).lock().await;
        let request = &task.call.request;
        let Ok(Some(mut task)) = broker.task(&request.agent, &request.server, &task.id).await else { return };
        if task.asks().is_none() {
            self.withdraw(&task.call).await;
            return;
        }
        (task.leg.ended, task.leg.answers) = (true, BTreeMap::new());
        if self.put_leg(&task, vec![forgotten(task.call.id)]).await.is_err() {
            tracing::error!(call.id = %task.call.id, "a task could not be cancelled");
        }
        let _ = self.legs.moved.send(task.first);
    }

    /// Is the call of a settled task still to be gone on with?
    pub(super) async fn may_go_on(&self, id: CallId) -> Result<bool, StoreError> {
        let Some(call) = self.store.call(id).await? else { return Ok(false) };
        let fresh = call.settled_at.is_some_and(|at| self.clock.now().since(at) <= KEPT);
        let modern = call.request.era == Era::Modern;
        if !fresh || !modern || !matches!(call.state, State::Completed { .. }) {
            return Ok(false);
        }
        let end = self.outcome(&call).await.end;
        Ok(matches!(end, End::Completed { message } if asking(&message).is_some()))
    }

    /// `None` cannot come: see `Seal::seal`.
    fn leg_row(&self, task: &Task) -> Option<Put> {
        let key = task.first.to_string();
        let leg = Leg { at: self.clock.now(), ..task.leg.clone() };
        let sealed = self.seal.seal(&[SPACE, &key], &serde_json::to_vec(&leg).ok()?)?;
        Some(Put { space: SPACE, key, value: Some(sealed.into_bytes()) })
    }

    async fn put_leg(&self, task: &Task, mut puts: Vec<Put>) -> Result<(), Outcome> {
        puts.extend(self.leg_row(task));
        self.store.put(puts).await.map_err(|error| unread(&error))
    }
}

impl Task {
    /// The same task, one leg further.
    fn at(&self, call: CallId) -> Self {
        let leg = Leg { call: Some(call), number: self.leg.number + 1, ..Leg::default() };
        Self { leg, ..self.clone() }
    }

    fn until_asked(self) -> Self {
        let at = self.call.settled_at.filter(|_| self.asking().is_some());
        Self { until: at.map(|at| at.plus(KEPT)), ..self }
    }
}

/// The next leg as its agent would have made it.
fn ask_of(grant: Arc<Grant>, server: &Server, task: &Task, body: Bytes) -> Option<Ask> {
    let message = Message::of(json(&body)?).ok()?;
    let call = ToolCall::parse(message.params()).ok()?;
    let span = |part: Option<Json<'_>>| part.and_then(|json| json.span_in(&body));
    let (arguments, input_responses) = (span(call.arguments), span(call.input_responses));
    Some(Ask {
        grant,
        server: server.shared_name(),
        server_identity: server.shared_identity(),
        session: None,
        era: Era::Modern,
        protocol: task.call.request.protocol.as_deref().and_then(Version::parse),
        client: Arc::new(task.call.request.client.clone()),
        tool: task.call.request.tool.clone(),
        arguments,
        input_responses,
        // The headers are those of the first leg, whose arguments are the same.
        unseen: false,
        kind: AttachKind::Line,
        as_task: true,
        body: body.clone(),
    })
}

fn opened(seal: &Seal, key: &str, row: &[u8]) -> Option<Leg> {
    let plain = seal.open(&[SPACE, key], std::str::from_utf8(row).ok()?)?;
    serde_json::from_slice(&plain).ok()
}

fn forgotten(id: CallId) -> Put {
    Put { space: TASKS, key: id.to_string(), value: None }
}

fn refused(text: String) -> Outcome {
    Outcome::unrecorded(End::Refused { text })
}

fn unread(error: &StoreError) -> Outcome {
    tracing::error!(%error, "a task could not go on");
    Outcome::unrecorded(End::Unavailable)
}

/// Tasks that nobody asks about any more are cleared away.
pub(super) async fn forget_old(store: &dyn Store, seal: &Seal, now: Timestamp) -> Result<(), StoreError> {
    let is_old = |key: &str, row: &[u8]| opened(seal, key, row).is_none_or(|leg| now.since(leg.at) > KEPT);
    let rows = store.list(SPACE).await?.into_iter().filter(|(key, row)| is_old(key, row));
    let puts: Vec<Put> = rows.map(|(key, _)| Put { space: SPACE, key, value: None }).collect();
    if puts.is_empty() { Ok(()) } else { store.put(puts).await }
}
