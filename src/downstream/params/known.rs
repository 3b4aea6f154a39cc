//! What lists of tools say of `Mcp-Param-*`, by server and tool.
//!
//! It is the server's word and holds for all agents, so that one who never lists is judged by it too. A tool's
//! word is replaced by its server's next one. A list that says less (a page, one with tools hidden) takes nothing
//! from the other tools. Lives in memory only: after a start, nothing is known until a list passes.

use std::{
    collections::HashMap,
    mem,
    pin::Pin,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use axum::{body::Body, response::Response};
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::{MARK, Mirrors};
use crate::{
    downstream::{Door, held::Room, http::Visit, reply},
    mcp::{Answer, Json, Message, sse::Splitter},
};

/// Servers, and tools of one server, that are known; beyond it no new ones.
const MOST_SERVERS: usize = 1_000;
const MOST_TOOLS: usize = 1_000;
/// Characters of a tool's name: no call has a longer one.
const LONGEST_NAME: usize = 256;

type Tools = HashMap<Box<str>, Arc<Mirrors>>;

#[derive(Debug, Default)]
pub(in crate::downstream) struct Params {
    /// Was there ever any? A call asks this first, and mostly nothing else.
    any: AtomicBool,
    /// By the server's identity: one that is elsewhere now is another.
    servers: RwLock<HashMap<Arc<str>, Tools>>,
}

impl Params {
    /// What is known of this tool.
    pub(in crate::downstream) fn of(&self, server: &str, tool: &str) -> Option<Arc<Mirrors>> {
        if !self.any.load(Ordering::Acquire) {
            return None;
        }
        self.read().get(server)?.get(tool).cloned()
    }

    /// Takes in what a server answered to `tools/list`.
    pub(in crate::downstream) fn learn(&self, server: &Arc<str>, message: &[u8]) {
        let says_any = str::from_utf8(message).is_ok_and(|text| text.contains(MARK));
        if !says_any && !self.knows(server) {
            return;
        }
        let Some(Message::Response(response)) = reply::read(message) else { return };
        let Answer::Result(result) = response.answer else { return };
        let Some(tools) = result.get("tools") else { return };
        for tool in tools.elements() {
            let Some(name) = tool.get("name").and_then(Json::string) else { continue };
            match tool.get("inputSchema").and_then(Mirrors::of) {
                Some(mirrors) => self.put(server, &name, mirrors),
                None => self.forget(server, &name),
            }
        }
    }

    fn knows(&self, server: &str) -> bool {
        self.any.load(Ordering::Acquire) && self.read().contains_key(server)
    }

    fn put(&self, server: &Arc<str>, tool: &str, mirrors: Mirrors) {
        let mut servers = self.servers.write().unwrap_or_else(PoisonError::into_inner);
        if servers.len() >= MOST_SERVERS && !servers.contains_key(server) {
            return;
        }
        let tools = servers.entry(server.clone()).or_default();
        if tool.len() > LONGEST_NAME || (tools.len() >= MOST_TOOLS && !tools.contains_key(tool)) {
            return;
        }
        tools.insert(tool.into(), Arc::new(mirrors));
        self.any.store(true, Ordering::Release);
    }

    fn forget(&self, server: &str, tool: &str) {
        if self.of(server, tool).is_none() {
            return;
        }
        let mut servers = self.servers.write().unwrap_or_else(PoisonError::into_inner);
        servers.get_mut(server).and_then(|tools| tools.remove(tool));
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<Arc<str>, Tools>> {
        self.servers.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The answer to a `tools/list`, untouched, but heard on its way. To a server on a pipe no headers go, and an
/// older client has none: their lists say nothing.
pub(in crate::downstream) fn overhear(visit: &Visit, modern: bool, response: Response) -> Response {
    if !modern || visit.is_piped() || !response.status().is_success() {
        return response;
    }
    let kind = response.headers().get(CONTENT_TYPE).map(|kind| kind.as_bytes()).unwrap_or_default();
    let most = visit.server.largest_list();
    let heard = match kind.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream")) {
        true => Heard::Events(Splitter::new(most)),
        false => Heard::Whole(BytesMut::new()),
    };
    let room = visit.door.inner.held.room(Some(visit.server.name()), &visit.grant.name, most);
    let (door, server) = (visit.door.clone(), visit.server.shared_identity());
    response.map(|body| Body::new(Overheard { body, heard, room, door, server }))
}

/// What is kept of an answer until it can be read.
enum Heard {
    Whole(BytesMut),
    Events(Splitter),
    /// It is too large, or no answer.
    Nothing,
}

struct Overheard {
    body: Body,
    heard: Heard,
    /// For what is kept.
    room: Room,
    door: Door,
    server: Arc<str>,
}

impl Overheard {
    /// All of it is known before the last of it goes on: the agent's next call is judged by it.
    fn hear(&mut self, part: &Bytes, is_last: bool) {
        self.heard = match mem::replace(&mut self.heard, Heard::Nothing) {
            Heard::Whole(whole) if whole.is_empty() && is_last => {
                // It came in one piece, as most do: nothing is copied.
                self.learn(part);
                Heard::Nothing
            }
            Heard::Whole(whole) => self.keep(whole, part),
            Heard::Events(splitter) => self.split(splitter, part),
            Heard::Nothing => Heard::Nothing,
        };
        if is_last {
            self.end();
        }
        if matches!(self.heard, Heard::Nothing) {
            // Less always fits.
            let _ = self.room.hold(0);
        }
    }

    fn end(&mut self) {
        if let Heard::Whole(whole) = mem::replace(&mut self.heard, Heard::Nothing) {
            self.learn(&whole);
        }
    }

    fn keep(&mut self, mut whole: BytesMut, part: &Bytes) -> Heard {
        let size = whole.len() + part.len();
        if size > self.room.most() || self.room.hold(size).is_err() {
            return Heard::Nothing;
        }
        whole.extend_from_slice(part);
        Heard::Whole(whole)
    }

    fn split(&mut self, mut splitter: Splitter, part: &Bytes) -> Heard {
        let Ok(events) = splitter.push(part) else { return Heard::Nothing };
        for data in events.iter().filter_map(|event| event.data.as_deref()) {
            self.learn(data.as_bytes());
        }
        if self.room.hold(splitter.rest().len()).is_err() {
            return Heard::Nothing;
        }
        Heard::Events(splitter)
    }

    fn learn(&self, message: &[u8]) {
        self.door.inner.params.learn(&self.server, message);
    }
}

impl HttpBody for Overheard {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(part) = frame.data_ref() {
                    let is_last = self.body.is_end_stream();
                    self.hear(part, is_last);
                }
            }
            Poll::Ready(None) => self.end(),
            // What broke off is no list.
            Poll::Ready(Some(Err(_))) => self.heard = Heard::Nothing,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::{LONGEST_NAME, MOST_TOOLS, Params};
    use std::sync::Arc;

    const MARKED: &str = r#"{"properties":{"region":{"type":"string","x-mcp-header":"Region"}}}"#;

    fn list(tools: &[(String, &str)]) -> String {
        let tools =
            tools.iter().map(|(name, schema)| format!(r#"{{"name":"{name}","inputSchema":{schema}}}"#));
        let tools = tools.collect::<Vec<_>>().join(",");
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"tools":[{tools}]}}}}"#)
    }

    #[test]
    fn the_latest_word_of_a_tool_holds_and_says_nothing_of_the_others() {
        let (params, server) = (Params::default(), Arc::from("here"));
        let learn = |tools: &[(&str, &str)]| {
            let tools: Vec<_> = tools.iter().map(|(name, schema)| ((*name).to_owned(), *schema)).collect();
            params.learn(&server, list(&tools).as_bytes());
        };
        let known = || ["a", "b"].map(|tool| params.of("here", tool).is_some());
        learn(&[("a", "{}")]);
        assert_eq!(known(), [false, false]);
        learn(&[("a", MARKED), ("b", MARKED)]);
        assert_eq!(known(), [true, true]);
        assert!(params.of("elsewhere", "a").is_none());
        learn(&[("b", "{}")]);
        assert_eq!(known(), [true, false]);
        learn(&[("a", &MARKED.replace("string", "number")), ("b", MARKED)]);
        assert_eq!(known(), [false, true]);
        for nothing in
            [r#"{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"x-mcp-header"}}"#, "x-mcp-header", "{"]
        {
            params.learn(&server, nothing.as_bytes());
        }
        assert_eq!(known(), [false, true]);
    }

    #[test]
    fn a_server_with_a_million_tools_does_not_grow_the_broker() {
        let (params, server) = (Params::default(), Arc::from("here"));
        let named = |name: String| (name, MARKED);
        let many: Vec<_> = (0..2 * MOST_TOOLS).map(|n| named(format!("t{n}"))).collect();
        params.learn(&server, list(&[named("x".repeat(LONGEST_NAME + 1))]).as_bytes());
        params.learn(&server, list(&many).as_bytes());
        assert_eq!(params.read()["here"].len(), MOST_TOOLS);
        assert!(params.of("here", "t0").is_some());
        // What is known already is still kept right.
        params.learn(&server, list(&[("t0".to_owned(), "{}"), named("new".to_owned())]).as_bytes());
        assert!(params.of("here", "t0").is_none() && params.of("here", "new").is_some());
        for n in 0..2 * super::MOST_SERVERS {
            params.learn(&Arc::from(n.to_string()), list(&[named("t".to_owned())]).as_bytes());
        }
        assert_eq!(params.read().len(), super::MOST_SERVERS);
    }
}
