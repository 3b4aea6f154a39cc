//! `tools/list` without the tools that do not exist for a grant; every other byte stays as it was.
//!
//! What cannot be read cannot be sieved, and is not passed on: a client may read it all the same.

use std::sync::Arc;

use axum::{body::Body, response::Response};
use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, StatusCode, header};

use super::{
    answer::{self, Asker},
    held::{Keeper, Room, of_list},
    http::Visit,
    reply,
    tasks::{EXTENSION, Offered, without_others},
    wait_tool,
};
use crate::{
    broker::{Broker, Rules},
    mcp::{
        Answer, Json, Kind, Message,
        patch::Edits,
        sse::{self, Event, Splitter},
    },
    upstream::{BrokenReply, Reply, ReplyBody, aside},
};

/// How long a client may keep a list that was changed for it, ms.
const FRESH_MS: u64 = 30_000;

/// Bytes of one event of a listening stream.
const LARGEST_EVENT: usize = 16 << 20;

enum Change {
    /// Tools are taken out of a list.
    Hide,
    /// After some tools were taken out, others are marked as ones that can be a task, and ours is added.
    Mark { hides: bool, tasks: Option<Offered>, waits: bool },
    /// `initialize` says that calls may be tasks.
    Greeting(Offered),
    /// `server/discover` says that calls may go on as tasks.
    Discover,
    /// A task of the server's has the name that was given here, as JSON.
    Task(String),
    /// Tasks of other agents are taken out of a list of the server's own.
    Tasks(Broker),
}

/// What is changed, for whom.
pub(super) struct Sieve {
    change: Change,
    rules: Arc<Rules>,
    grant: String,
    server: String,
    modern: bool,
}

impl Sieve {
    /// `None`: nothing is hidden from this grant.
    pub(super) fn of(visit: &Visit, modern: bool) -> Option<Self> {
        let sieve = Self::for_grant(visit, modern);
        let hides = sieve.rules.of(&sieve.grant, &sieve.server).iter().any(|policy| policy.hides_anything());
        hides.then_some(sieve)
    }

    /// For an answer to `tools/list`, which says of a session with tasks what can be one, and may have a tool more.
    pub(super) fn of_list(visit: &Visit, modern: bool) -> Option<Self> {
        let hiding = Self::of(visit, modern);
        let tasks = visit.session.as_ref().map(|session| &session.tasks).filter(|tasks| tasks.is_made());
        let waits = wait_tool::is_offered(visit);
        if tasks.is_none() && !waits {
            return hiding;
        }
        let change = Change::Mark { hides: hiding.is_some(), tasks: tasks.cloned(), waits };
        Some(Self { change, ..Self::for_grant(visit, modern) })
    }

    /// For `initialize`; `None`: no call of this grant at this server can wait.
    pub(super) fn of_greeting(visit: &Visit, tasks: &Offered) -> Option<Self> {
        let sieve = Self::for_grant(visit, false);
        let asks = sieve.rules.of(&sieve.grant, &sieve.server).iter().any(|policy| policy.asks_anyone());
        asks.then(|| Self { change: Change::Greeting(tasks.clone()), ..sieve })
    }

    /// Hides what the policies say.
    fn for_grant(visit: &Visit, modern: bool) -> Self {
        let rules = visit.door.inner.broker.rules();
        let (grant, server) = (visit.grant.name.clone(), visit.server.name().to_owned());
        Self { change: Change::Hide, rules, grant, server, modern }
    }

    /// For `server/discover`; `None`: no call of this grant at this server can wait.
    pub(super) fn of_discover(visit: &Visit) -> Option<Self> {
        let sieve = Self::for_grant(visit, true);
        let asks = sieve.rules.of(&sieve.grant, &sieve.server).iter().any(|policy| policy.asks_anyone());
        asks.then(|| Self { change: Change::Discover, ..sieve })
    }

    /// For what the server says of its own task, which the agent knows by another name.
    pub(super) fn of_task(visit: &Visit, name: &str) -> Self {
        let change = Change::Task(serde_json::Value::from(name).to_string());
        Self { change, ..Self::for_grant(visit, true) }
    }

    /// For an answer to `tasks/list`: the server knows one client, the broker.
    pub(super) fn of_tasks(visit: &Visit) -> Self {
        let change = Change::Tasks(visit.door.inner.broker.clone());
        Self { change, ..Self::for_grant(visit, false) }
    }

    fn hides(&self) -> bool {
        matches!(self.change, Change::Hide | Change::Mark { hides: true, .. } | Change::Tasks(_))
    }

    /// What the list is of, from which something is hidden.
    fn listed(&self) -> &'static str {
        if matches!(self.change, Change::Tasks(_)) { "tasks" } else { "tools" }
    }

    /// A text without the word cannot hold such a list: an error page, most likely, which says what is wrong.
    fn cannot_list(&self, headers: &HeaderMap, body: &[u8]) -> bool {
        let has = |word: &[u8]| body.windows(word.len()).any(|part| part.eq_ignore_ascii_case(word));
        !is_encoded(headers) && !has(self.listed().as_bytes()) && !has(br"\u")
    }

    /// Does every client find the same tools in it: one `result`, with one array `tools`, or `tasks`, or none?
    fn has_one_list(&self, message: Json<'_>, result: Json<'_>) -> bool {
        let listed = self.listed();
        let results = message.members().filter(|member| member.name == "result").count();
        let mut lists = result.members().filter(|member| member.name.eq_ignore_ascii_case(listed));
        let is_list = lists.next().is_none_or(|list| list.name == listed && list.value.kind() == Kind::Array);
        results == 1 && is_list && lists.next().is_none()
    }

    fn unreadable(&self) -> BrokenReply {
        let why = "are hidden from this agent, and the server's list cannot be read";
        BrokenReply::Broken(format!("{} {why}", self.listed()))
    }

    /// The reply on its way down, sieved whatever its status: a client may read the body of an error too.
    pub(super) async fn pass_on(self, visit: &Visit, reply: Reply, asker: Option<Asker>) -> Response {
        let Reply { status, mut headers, body } = reply;
        reply::note_gone(visit, status);
        headers.remove(header::CONTENT_LENGTH);
        match body {
            ReplyBody::Empty => reply::respond(status, headers, Body::empty()),
            ReplyBody::Messages(messages) => {
                let grace = visit.door.inner.settings.start_grace();
                let sieved = messages.map(move |message| self.message(&message?));
                reply::spell(sieved, (status, headers), asker, grace, Keeper::of(visit)).await
            }
            ReplyBody::Bytes(body) => {
                let mut room = self.room(visit);
                let whole = room.collect(body).await.map_err(|why| self.in_words(why));
                let sieved = whole.and_then(|whole| match self.whole(&headers, &whole) {
                    Err(_) if !status.is_success() && self.cannot_list(&headers, &whole) => Ok(whole),
                    sieved => sieved,
                });
                match sieved {
                    Ok(sieved) => reply::respond(status, headers, Body::from(room.keep(sieved))),
                    Err(why) => refuse(status, asker.as_ref(), &why),
                }
            }
        }
    }

    /// Many may ask at once, so a list may have less than other answers. What a task says may be a call's answer.
    fn room(&self, visit: &Visit) -> Room {
        let is_task = matches!(self.change, Change::Task(_));
        let most = if is_task { visit.server.largest_answer() } else { visit.server.largest_list() };
        visit.door.inner.held.room(Some(&self.server), &self.grant, most)
    }

    fn in_words(&self, why: BrokenReply) -> BrokenReply {
        if matches!(self.change, Change::Task(_)) { why } else { of_list(why) }
    }

    /// A listening stream, on which a server may repeat the answer to an earlier `tools/list`.
    pub(super) fn listen(self, visit: &Visit, reply: Reply) -> Response {
        let Reply { status, headers, body } = reply;
        let body = match body {
            ReplyBody::Empty => Body::empty(),
            ReplyBody::Messages(messages) => {
                let session = visit.session.clone();
                let sieved = messages.map(move |message| {
                    // A session that is listened to is not idle.
                    let _ = &session;
                    self.message(&message?)
                });
                return reply::events(headers, reply::each_as_event(sieved, None, Keeper::of(visit)));
            }
            ReplyBody::Bytes(_) if !is_event_stream(&headers) || is_encoded(&headers) => {
                return answer::refuse(StatusCode::BAD_GATEWAY, &self.unreadable().to_string());
            }
            ReplyBody::Bytes(body) => {
                let mut splitter = Splitter::new(LARGEST_EVENT);
                let mut room = self.room(visit);
                let parts = Body::new(body).into_data_stream();
                Body::from_stream(parts.map(move |part| {
                    let events = splitter.push(&part?).map_err(axum::Error::new)?;
                    room.hold(splitter.rest().len()).map_err(axum::Error::new)?;
                    self.spelt(events).map_err(axum::Error::new)
                }))
            }
        };
        reply::respond(status, headers, body)
    }

    fn whole(&self, headers: &HeaderMap, body: &Bytes) -> Result<Bytes, BrokenReply> {
        if !self.hides() {
            // Nothing is hidden: what cannot be read passes as it is.
            return Ok(self.read(headers, body).unwrap_or_else(|_| body.clone()));
        }
        self.read(headers, body)
    }

    fn read(&self, headers: &HeaderMap, body: &Bytes) -> Result<Bytes, BrokenReply> {
        if is_encoded(headers) {
            return Err(self.unreadable());
        }
        if is_event_stream(headers) {
            let mut splitter = Splitter::new(body.len() + 1);
            let events = splitter.push(body).map_err(|why| BrokenReply::Broken(why.to_string()))?;
            return self.spelt(events);
        }
        self.message(body)
    }

    fn spelt(&self, events: Vec<Event>) -> Result<Bytes, BrokenReply> {
        let mut out = Vec::new();
        for event in events {
            let data = event.data.as_deref().filter(|data| !data.trim_ascii().is_empty());
            match data.map(|data| self.sieved(data.as_bytes())).transpose()?.flatten() {
                Some(sieved) => {
                    let data = str::from_utf8(&sieved).map_err(|_| self.unreadable())?;
                    out.extend(sse::write(event.id.as_deref(), data));
                }
                None => out.extend(event.raw),
            }
        }
        Ok(out.into())
    }

    fn message(&self, message: &Bytes) -> Result<Bytes, BrokenReply> {
        let sieved = match self.sieved(message) {
            Err(_) if !self.hides() => None,
            sieved => sieved?,
        };
        Ok(sieved.map_or_else(|| message.clone(), Bytes::from))
    }

    /// `None`: nothing to change.
    fn sieved(&self, message: &[u8]) -> Result<Option<Vec<u8>>, BrokenReply> {
        aside(message.len(), || self.changed(message))
    }

    fn changed(&self, message: &[u8]) -> Result<Option<Vec<u8>>, BrokenReply> {
        let read = reply::read(message).ok_or_else(|| self.unreadable())?;
        let Message::Response(response) = read else { return Ok(None) };
        let Answer::Result(result) = response.answer else { return Ok(None) };
        let (tasks, waits) = match &self.change {
            Change::Hide => (None, false),
            Change::Mark { tasks, waits, .. } => (tasks.as_ref(), *waits),
            Change::Greeting(tasks) => return Ok(tasks.advertised(response.raw, result)),
            Change::Discover => return Ok(advertised(response.raw, result)),
            Change::Task(name) => return Ok(renamed(response.raw, name)),
            Change::Tasks(_) if !self.has_one_list(response.raw, result) => return Err(self.unreadable()),
            Change::Tasks(broker) => {
                return Ok(without_others(broker, &self.grant, &self.server, response.raw));
            }
        };
        if !self.has_one_list(response.raw, result) {
            return Err(self.unreadable());
        }
        let policies = self.rules.of(&self.grant, &self.server);
        let is_hidden = |tool: Json<'_>| {
            let Some(name) = tool.get("name").and_then(Json::string) else { return true };
            policies.iter().any(|policy| policy.hides(&self.server, &name))
        };
        let mut edits = Edits::of(response.raw);
        edits.retain(&["result", "tools"], |tool| !is_hidden(tool));
        if let Some(tasks) = tasks {
            let asks = |name: &str| policies.iter().any(|policy| policy.may_ask(&self.server, name));
            tasks.mark(&mut edits, asks);
        }
        if waits {
            wait_tool::add(&mut edits, result);
        }
        if self.modern {
            keep_private(&mut edits, result);
        }
        Ok((!edits.is_empty()).then(|| edits.apply()))
    }
}

/// The answer to `server/discover`, with the extension that the door serves; `None`: the server has it too.
fn advertised(message: Json<'_>, result: Json<'_>) -> Option<Vec<u8>> {
    let path = ["result", "capabilities", "extensions", EXTENSION];
    let mut edits = Edits::of(message);
    if message.at(&path).is_some() || !edits.set(&path, "{}") {
        return None;
    }
    keep_private(&mut edits, result);
    Some(edits.apply())
}

fn renamed(message: Json<'_>, name: &str) -> Option<Vec<u8>> {
    let path = ["result", "taskId"];
    message.at(&path)?;
    let mut edits = Edits::of(message);
    edits.set(&path, name).then(|| edits.apply())
}

/// It is this grant's alone, and only as long as its policy: no cache gives it to another.
fn keep_private(edits: &mut Edits<'_>, result: Json<'_>) {
    edits.set(&["result", "cacheScope"], "\"private\"");
    let fresh = result.get("ttlMs").and_then(|ttl| ttl.as_str().parse::<f64>().ok());
    if fresh.is_none_or(|ms| ms > FRESH_MS as f64) {
        edits.set(&["result", "ttlMs"], &FRESH_MS.to_string());
    }
}

/// In the place of what cannot be read. The status of an error stays: it says what a client does next.
fn refuse(status: StatusCode, asker: Option<&Asker>, why: &BrokenReply) -> Response {
    let status = if status.is_success() { StatusCode::BAD_GATEWAY } else { status };
    match asker {
        Some(asker) => answer::json_with(status, reply::broken(asker, why).into()),
        None => answer::refuse(status, &why.to_string()),
    }
}

pub(super) fn is_event_stream(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.as_bytes().get(..17));
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
}

pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_ENCODING).is_some_and(|coding| coding != "identity")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Policy;

    const LIST: &str = r#"{"id":1,"result":{"tools":[{"name":"look"},{"name":"secret"}]}}"#;

    fn sieve() -> Sieve {
        let text = r#"{"version": "1", "default": "allow", "hide": ["secret"]}"#;
        let policies = vec![Arc::new(Policy::parse("a.json", text).unwrap())];
        let rules = Rules { by_server: [("it".to_owned(), policies)].into(), ..Rules::default() };
        Sieve {
            change: Change::Hide,
            rules: rules.into(),
            grant: "bot".into(),
            server: "it".into(),
            modern: false,
        }
    }

    fn whole(kind: &'static str, body: &str) -> Result<String, BrokenReply> {
        let headers = [(header::CONTENT_TYPE, http::HeaderValue::from_static(kind))].into_iter().collect();
        let out = sieve().whole(&headers, &Bytes::copy_from_slice(body.as_bytes()))?;
        Ok(String::from_utf8_lossy(&out).into_owned())
    }

    #[test]
    fn a_list_is_sieved_however_its_kind_is_written() {
        for kind in ["Text/Event-Stream; charset=utf-8", "text/event-stream"] {
            let sieved = whole(kind, &format!("id: 7\ndata:\n\ndata: {LIST}\n\n")).unwrap();
            assert!(sieved.contains("look") && !sieved.contains("secret"), "{sieved}");
            assert!(sieved.starts_with("id: 7\ndata:\n\n"), "{sieved}");
        }
        let deep = format!(r#"{}{}"#, "[".repeat(500), "]".repeat(500));
        let deep = LIST.replace(r#"{"name":"look"}"#, &format!(r#"{{"name":"look","x":{deep}}}"#));
        assert!(!whole("application/json", &deep).unwrap().contains("secret"));
    }

    #[test]
    fn a_list_that_cannot_be_read_is_not_passed_on() {
        let tool = r#"[{"name":"secret"}]"#;
        for odd in [
            format!("\u{feff}{LIST}"),
            format!("[{LIST}]"),
            format!("{LIST}{LIST}"),
            LIST.replace("tools", "Tools"),
            format!(r#"{{"id":1,"result":{{"tools":{tool},"tools":[]}}}}"#),
            format!(r#"{{"id":1,"result":{{"tools":{tool}}},"result":{{}}}}"#),
            r#"{"id":1,"result":{"tools":{"0":{"name":"secret"}}}}"#.to_owned(),
            "\u{1f}\u{8b}zipped".to_owned(),
        ] {
            assert!(whole("application/json", &odd).is_err(), "{odd}");
            assert!(whole("text/event-stream", &format!("data: {odd}\n\n")).is_err(), "{odd}");
        }
        let zipped = [(header::CONTENT_ENCODING, http::HeaderValue::from_static("gzip"))];
        assert!(sieve().whole(&zipped.into_iter().collect(), &Bytes::from(LIST)).is_err());
    }
}
