//! `notifications/tasks` (2026-07-28): how tasks of ours stand, told to their agent on the listening stream that
//! names them, from the first word to the last.
//!
//! A task that goes on as one of the server's own is left to the server: its agent asks with `tasks/get`.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_util::{
    Stream, StreamExt as _,
    stream::{self, SelectAll},
};
use serde_json::json;

use super::{asked_again, declares, goes_on_as, taken, told, undeclared, undelivered};
use crate::{
    broker::{Moves, Task},
    call::CallId,
    downstream::{answer::Asker, gate::Refusal, held::Keeper, http::Visit, reply},
    mcp::{self, Json, Message, Meta, patch::Edits, strict},
};

/// Tasks of ours on one stream.
const MOST: usize = 64;

const WANTED: &str = "notifications";
const TASKS: &str = "taskIds";

/// What one stream tells of tasks of ours.
pub(in crate::downstream) struct News {
    agreed: Vec<String>,
    ears: SelectAll<Pin<Box<dyn Stream<Item = Bytes> + Send>>>,
}

impl News {
    /// What a `subscriptions/listen` wants of tasks of ours, and what is left of it for the server, if anything is:
    /// no task of another agent is. `None`: all of it is for the server.
    pub(in crate::downstream) async fn of(
        visit: &Visit,
        body: &Bytes,
        asker: &Asker,
    ) -> Result<Option<(Self, Option<Bytes>)>, Refusal> {
        let Some((names, left)) = named(visit, body, asker)? else { return Ok(None) };
        let visit = Arc::new(visit.clone());
        let mut news = Self { agreed: Vec::new(), ears: SelectAll::new() };
        for name in names.into_iter().take(MOST) {
            let Some(ear) = Ear::new(visit.clone(), name, asker.clone()) else { continue };
            if ear.task().await.is_some_and(|task| goes_on_as(&task).is_none()) {
                news.agreed.push(ear.name.clone());
                news.ears.push(Box::pin(stream::unfold(ear, |mut ear| async move {
                    let told = ear.next().await?;
                    Some((told, ear))
                })));
            }
        }
        Ok(Some((news, left)))
    }

    /// The acknowledgement of a stream that tells nothing else, to which they are added.
    pub(in crate::downstream) fn acknowledged(asker: &Asker) -> Bytes {
        let meta = format!("{{\"io.modelcontextprotocol/subscriptionId\":{}}}", asker.id());
        let params = format!("{{\"{WANTED}\":{{\"{TASKS}\":[]}},\"_meta\":{meta}}}");
        reply::event(&mcp::answer::notification("notifications/subscriptions/acknowledged", Some(&params)))
    }

    /// An acknowledgement, with these tasks; `None`: it is another message.
    pub(in crate::downstream) fn added_to(&self, message: &str) -> Option<String> {
        let Message::Notification(said) = reply::read(message.as_bytes())? else { return None };
        if said.method != "notifications/subscriptions/acknowledged" {
            return None;
        }
        let path = ["params", WANTED, TASKS];
        let mut edits = Edits::of(said.raw);
        for name in &self.agreed {
            let name = json!(name).to_string();
            if !edits.push(&path, &name) {
                edits.set(&path, &format!("[{name}]"));
            }
        }
        String::from_utf8(edits.apply()).ok()
    }

    /// The next event; never the last: a stream goes on when its tasks are over.
    pub(in crate::downstream) fn poll(&mut self, context: &mut Context<'_>) -> Poll<Bytes> {
        match self.ears.poll_next_unpin(context) {
            Poll::Ready(Some(told)) => Poll::Ready(told),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        }
    }
}

type Named = Option<(BTreeSet<String>, Option<Bytes>)>;

fn named(visit: &Visit, body: &Bytes, asker: &Asker) -> Result<Named, Refusal> {
    let broker = &visit.door.inner.broker;
    let ours = |name: Json<'_>| name.string().filter(|name| broker.is_ours(name)).map(Cow::into_owned);
    let Ok(message) = strict::check(body, &visit.door.limits()) else { return Ok(None) };
    let Some(wanted) = message.at(&["params", WANTED]) else { return Ok(None) };
    let all = || wanted.get(TASKS).into_iter().flat_map(Json::elements);
    // A server's own task of another agent is as one that is not there.
    let (grant, server) = (&visit.grant.name, visit.server.name());
    let anothers =
        |name: Json<'_>| name.string().is_some_and(|name| broker.is_anothers_task(grant, server, &name));
    let names: BTreeSet<String> = all().filter_map(ours).collect();
    if names.is_empty() && !all().any(anothers) {
        return Ok(None);
    }
    if !declares(&Meta::of(message.get("params"))) {
        return Err(undeclared(asker).into());
    }
    let is_theirs = |name: Json<'_>| ours(name).is_none() && !anothers(name);
    let theirs = all().any(is_theirs);
    let others = wanted.members().any(|member| member.name != TASKS && member.value.as_str() != "false");
    let mut edits = Edits::of(message);
    if theirs {
        edits.retain(&["params", WANTED, TASKS], is_theirs);
    } else {
        edits.remove(&["params", WANTED, TASKS]);
    }
    Ok(Some((names, (theirs || others).then(|| edits.apply().into()))))
}

/// Hears of one task.
struct Ear {
    visit: Arc<Visit>,
    name: String,
    asker: Asker,
    moves: Moves,
    last: Last,
}

/// What was told last. No outcome is kept: there may be many of these, and it may be large.
enum Last {
    Nothing,
    /// It has no outcome yet.
    Open(Box<Task>),
    /// At this call, which has its outcome; was it ended?
    At(CallId, bool),
    /// Nothing follows; the call whose outcome it was, if it was told for the first time.
    Over(Option<CallId>),
}

impl Ear {
    fn new(visit: Arc<Visit>, name: String, asker: Asker) -> Option<Self> {
        let moves = visit.door.inner.broker.moves(&visit.grant.name, visit.server.name(), &name)?;
        Some(Self { visit, name, asker, moves, last: Last::Nothing })
    }

    async fn task(&self) -> Option<Task> {
        let broker = &self.visit.door.inner.broker;
        broker.task(&self.visit.grant.name, self.visit.server.name(), &self.name).await.ok()?
    }

    /// The next word of it, as an event; `None`: there is none any more.
    async fn next(&mut self) -> Option<Bytes> {
        let now = match std::mem::replace(&mut self.last, Last::Nothing) {
            Last::Nothing => self.task().await?,
            Last::Over(call) => {
                // The connection asks for more: it has taken the outcome.
                taken(&self.visit, call);
                return None;
            }
            Last::Open(task) => self.changed(*task).await?,
            Last::At(call, ended) => self.moved(call, ended).await?,
        };
        let (task, _) = asked_again(&self.visit, now).await;
        if goes_on_as(&task).is_some() {
            return None;
        }
        let now = self.visit.door.inner.broker.clock().now();
        let (message, is_last) = told::news(&task, &self.asker, now);
        // No room for it now: its agent asks with `tasks/get`.
        let event = Keeper::of(&self.visit).keep(reply::event(&message)).ok()?;
        self.last = match is_last {
            true => Last::Over(undelivered(&task)),
            false if task.call.state.is_settled() => Last::At(task.call.id, task.is_ended()),
            false => Last::Open(Box::new(task)),
        };
        Some(event)
    }

    /// The task after the next change of its call; `None`: so many hear of it that nobody else can.
    async fn changed(&self, before: Task) -> Option<Task> {
        let broker = &self.visit.door.inner.broker;
        let mut waiter = broker.listen(&before).await?;
        broker.turn(&mut waiter).await;
        self.task().await
    }

    /// The task once it is at another call, or ended.
    async fn moved(&mut self, call: CallId, ended: bool) -> Option<Task> {
        loop {
            self.moves.next().await?;
            let now = self.task().await?;
            if (now.call.id, now.is_ended()) != (call, ended) {
                return Some(now);
            }
        }
    }
}
