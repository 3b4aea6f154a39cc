//! Which reader each message of a child belongs to; on a shared pipe, under which id and token it is known.
//!
//! Several agents' requests share a modern server's pipe, and small integers are everyone's favourite id.
//! So each request gets a number of ours on the pipe, and its own id and token back on the way out.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use super::{BrokenReply, Server, messages::Sink};
use crate::mcp::{Frame, Json, Kind, Limits, Message, Notification, Request, Response, patch::Edits, strict};

const TOKEN: &[&str] = &["params", "_meta", "progressToken"];
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";
/// Messages kept for a reader that has not come yet, and their bytes.
const KEPT: usize = 64;
const KEPT_BYTES: usize = 1 << 20;
/// Requests that a pipe may owe an answer: a legacy one whose caller left still counts.
const MOST: usize = 4096;
/// Requests whose readers left, remembered so that their late answers are not taken for lies.
const ABANDONED: usize = 1024;

#[derive(Debug)]
struct Route {
    /// The client's id, raw.
    id: String,
    /// How the pipe knows it.
    key: String,
    /// As the pipe knows it, and as the client wrote it.
    token: Option<(String, String)>,
    listens: bool,
    sink: Sink,
}

/// The requests in flight on one pipe, by the order in which they came.
#[derive(Debug)]
pub(super) struct Routes {
    shared: bool,
    /// Bytes that one reader may leave untaken before notifications for it are dropped.
    patience: usize,
    last: u64,
    requests: BTreeMap<u64, Route>,
    keys: HashMap<String, u64>,
    tokens: HashMap<String, u64>,
    abandoned: HashSet<String>,
    listener: Option<Sink>,
    waiting: VecDeque<Bytes>,
    /// Bytes in `waiting`.
    kept: usize,
}

/// What became of a message from the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Delivery {
    Delivered,
    /// Kept for a reader to come, or for one that left.
    Unread,
    /// Nobody asked for it.
    Stray,
}

impl Routes {
    pub(super) fn new(shared: bool, patience: usize) -> Self {
        Self {
            shared,
            patience,
            last: 0,
            requests: BTreeMap::new(),
            keys: HashMap::new(),
            tokens: HashMap::new(),
            abandoned: HashSet::new(),
            listener: None,
            waiting: VecDeque::new(),
            kept: 0,
        }
    }

    /// The server owes so many answers that nothing more is asked of it.
    pub(super) fn is_full(&self) -> bool {
        self.requests.len() >= MOST
    }

    /// Nothing was asked that is to be answered; who only listens can listen to the next process.
    pub(super) fn is_quiet(&self) -> bool {
        self.requests.values().all(|route| route.listens)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.requests.is_empty() && self.listener.as_ref().is_none_or(Sink::is_closed)
    }

    /// Takes a request in; its number and the bytes for the pipe. `None`: the id is in flight already.
    pub(super) fn register(&mut self, request: &Request<'_>, sink: Sink) -> Option<(u64, Vec<u8>)> {
        let number = self.last + 1;
        let token = request.params.and_then(|p| p.at(&["_meta", "progressToken"]));
        let token = token.filter(|t| matches!(t.kind(), Kind::String | Kind::Number));
        let mut edits = Edits::of(request.raw);
        let (key, token_key) = if self.shared {
            let ours = number.to_string();
            edits.set(&["id"], &ours);
            if token.is_some() {
                edits.set(TOKEN, &ours);
            }
            (ours.clone(), ours)
        } else {
            (key_of(request.id), token.map(key_of).unwrap_or_default())
        };
        if self.keys.contains_key(&key) {
            return None;
        }
        self.last = number;
        self.abandoned.remove(&key);
        self.keys.insert(key.clone(), number);
        let token = token.map(|t| (token_key, t.as_str().to_owned()));
        if let Some((token_key, _)) = &token {
            self.tokens.insert(token_key.clone(), number);
        }
        if !self.shared {
            self.flush_to(&sink);
        }
        let listens = request.method == "subscriptions/listen";
        self.requests.insert(number, Route { id: request.id.as_str().to_owned(), key, token, listens, sink });
        Some((number, edits.apply()))
    }

    /// Forgets a request; how the pipe knew it.
    pub(super) fn remove(&mut self, number: u64) -> Option<String> {
        self.take(number).map(|route| route.key)
    }

    /// Forgets a request that the pipe may still answer.
    pub(super) fn abandon(&mut self, number: u64) -> Option<String> {
        let key = self.remove(number)?;
        if self.abandoned.len() < ABANDONED {
            self.abandoned.insert(key.clone());
        }
        Some(key)
    }

    pub(super) fn listen(&mut self, sink: Sink) {
        self.flush_to(&sink);
        self.listener = Some(sink);
    }

    /// A client's `notifications/cancelled` as the pipe must have it. `None`: it names nothing in flight.
    pub(super) fn cancelled(&self, notification: &Notification<'_>) -> Option<Vec<u8>> {
        if !self.shared {
            return Some(notification.raw.as_str().as_bytes().to_vec());
        }
        let id = notification.params?.get("requestId")?.as_str();
        let route = self.requests.values().rev().find(|r| r.id == id)?;
        let mut edits = Edits::of(notification.raw);
        edits.set(&["params", "requestId"], &route.key);
        Some(edits.apply())
    }

    /// Hands a message of the server to its reader.
    pub(super) fn deliver(&mut self, message: &Message<'_>) -> Delivery {
        match message {
            Message::Response(response) => self.answer(response),
            Message::Request(_) if self.shared => Delivery::Stray,
            Message::Request(request) => self.deliver_to_any(request.raw),
            Message::Notification(notification) => self.notify(notification),
        }
    }

    /// The answer to `id` cannot be had.
    pub(super) fn fail(&mut self, id: Option<Json<'_>>, broken: BrokenReply) -> Delivery {
        let number = match id {
            Some(id) => self.keys.get(&key_of(id)).copied(),
            None if self.requests.len() == 1 => self.requests.keys().next().copied(),
            None => None,
        };
        let Some(route) = number.and_then(|n| self.take(n)) else { return Delivery::Stray };
        route.sink.send(Err(broken));
        Delivery::Delivered
    }

    pub(super) fn fail_one(&mut self, number: u64, broken: BrokenReply) {
        if let Some(route) = self.take(number) {
            route.sink.send(Err(broken));
        }
    }

    pub(super) fn fail_all(&mut self, broken: &BrokenReply) {
        for (_, route) in std::mem::take(&mut self.requests) {
            route.sink.send(Err(broken.clone()));
        }
        self.keys.clear();
        self.tokens.clear();
        self.listener = None;
    }

    /// The first reader gets what was said before there was one.
    fn flush_to(&mut self, sink: &Sink) {
        self.kept = 0;
        for message in self.waiting.drain(..) {
            sink.send(Ok(message));
        }
    }

    fn take(&mut self, number: u64) -> Option<Route> {
        let route = self.requests.remove(&number)?;
        self.keys.remove(&route.key);
        if let Some((token, _)) = &route.token
            && self.tokens.get(token) == Some(&number)
        {
            self.tokens.remove(token);
        }
        Some(route)
    }

    fn answer(&mut self, response: &Response<'_>) -> Delivery {
        let key = key_of(response.id);
        let number = self.keys.get(&key).copied().or_else(|| self.spelt_otherwise(response.id));
        let Some(route) = number.and_then(|n| self.take(n)) else {
            return if self.abandoned.remove(&key) { Delivery::Unread } else { Delivery::Stray };
        };
        let mut edits = Edits::of(response.raw);
        if response.id.as_str() != route.id {
            edits.set(&["id"], &route.id);
        }
        if route.listens && self.shared && response.raw.at(&["result", "_meta", SUBSCRIPTION]).is_some() {
            edits.set(&["result", "_meta", SUBSCRIPTION], &route.id);
        }
        if route.sink.send(Ok(edits.apply().into())) { Delivery::Delivered } else { Delivery::Unread }
    }

    /// A server that reads numbers as doubles writes back another `1e2` or 9007199254740993.
    fn spelt_otherwise(&self, id: Json<'_>) -> Option<u64> {
        let meant = |route: &Route| {
            let own = strict::check(route.id.as_bytes(), &Limits::of_servers(usize::MAX));
            own.is_ok_and(|own| own.is_same_id(id))
        };
        // On a shared pipe the ids are ours, and small.
        let mut found = self.requests.iter().filter(|(_, route)| !self.shared && meant(route));
        found.next().map(|(number, _)| *number).filter(|_| found.next().is_none())
    }

    fn notify(&mut self, notification: &Notification<'_>) -> Delivery {
        let raw = notification.raw;
        let token = notification.params.and_then(|p| p.get("progressToken")).map(key_of);
        if let Some(route) = token.and_then(|t| self.tokens.get(&t)).and_then(|n| self.requests.get(n)) {
            let back = route.token.as_ref().map(|(_, back)| back.as_str()).filter(|_| self.shared);
            return self.deliver_to(route, raw, back.map(|b| (["params", "progressToken"].as_slice(), b)));
        }
        if !self.shared {
            return self.deliver_to_any(raw);
        }
        let subscription = notification.params.and_then(|p| p.at(&["_meta", SUBSCRIPTION])).map(key_of);
        if let Some(key) = subscription {
            let route = self.keys.get(&key).and_then(|n| self.requests.get(n));
            let Some(route) = route.filter(|r| r.listens) else { return Delivery::Stray };
            return self.deliver_to(route, raw, Some((&["params", "_meta", SUBSCRIPTION], &route.id)));
        }
        match self.requests.values().rev().find(|r| !r.listens) {
            Some(route) => self.deliver_to(route, raw, None),
            None => Delivery::Stray,
        }
    }

    fn deliver_to(&self, route: &Route, raw: Json<'_>, edit: Option<(&[&str], &str)>) -> Delivery {
        if route.sink.is_full(self.patience) {
            return Delivery::Unread;
        }
        let mut edits = Edits::of(raw);
        if let Some((path, value)) = edit {
            edits.set(path, value);
        }
        if route.sink.send(Ok(edits.apply().into())) { Delivery::Delivered } else { Delivery::Unread }
    }

    /// To the listening stream, else onto the newest reply, else kept.
    fn deliver_to_any(&mut self, raw: Json<'_>) -> Delivery {
        let message = Bytes::copy_from_slice(raw.as_str().as_bytes());
        if self.listener.as_ref().is_some_and(Sink::is_closed) {
            self.listener = None;
        }
        let newest = self.requests.values().rev().map(|r| &r.sink).find(|s| !s.is_closed());
        if let Some(sink) = self.listener.as_ref().or(newest) {
            if !sink.is_full(self.patience) && sink.send(Ok(message)) {
                return Delivery::Delivered;
            }
        } else if self.waiting.len() < KEPT && self.kept + raw.as_str().len() <= KEPT_BYTES {
            self.kept += message.len();
            self.waiting.push_back(message);
        }
        Delivery::Unread
    }
}

/// Hands what a server said to its readers: one message, or a batch of them.
pub(super) fn take_in(routes: &Mutex<Routes>, server: &Server, text: &[u8]) {
    let messages = match Frame::parse(text, &Limits::of_servers(usize::MAX)) {
        Ok(Frame::One(message)) => vec![message],
        Ok(Frame::Batch(messages)) => messages,
        Err(malformed) => {
            tracing::warn!(server.name = server.name(), %malformed, "what is no message was skipped");
            if strict::beginning(&String::from_utf8_lossy(text)).is_some_and(|j| j.get("jsonrpc").is_some()) {
                refuse(routes, text, BrokenReply::Broken(malformed.to_string()));
            }
            return;
        }
    };
    for message in &messages {
        match lock(routes).deliver(message) {
            Delivery::Delivered | Delivery::Unread => {}
            Delivery::Stray => server.stray(kind_of(message)),
        }
    }
}

/// The request that `head` began to answer is not left waiting for ever.
pub(super) fn refuse(routes: &Mutex<Routes>, head: &[u8], broken: BrokenReply) {
    let head = String::from_utf8_lossy(head);
    let id = strict::beginning(&head).and_then(|json: Json<'_>| json.get("id"));
    lock(routes).fail(id, broken);
}

fn kind_of(message: &Message<'_>) -> &'static str {
    match message {
        Message::Request(_) => "a request of the server",
        Message::Notification(_) => "a notification",
        Message::Response(_) => "an answer to nothing that was asked",
    }
}

fn lock(routes: &Mutex<Routes>) -> MutexGuard<'_, Routes> {
    routes.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ids that mean the same, however they are written: `1` and `1.0`, `"a"` and `"\u0061"`.
fn key_of(id: Json<'_>) -> String {
    if let Some(text) = id.string() {
        return format!("\"{text}");
    }
    let number = id.as_str();
    // A string that is no text (see `Json::string`) is nobody's.
    let prefix = if number.starts_with('"') { "?" } else { "" };
    [prefix, number.strip_suffix(".0").unwrap_or(number)].concat()
}
