//! One conversation over a pipe: which child it has, and what is written to it.

use std::{
    sync::{Arc, Mutex, PoisonError, atomic::AtomicUsize},
    time::Duration,
};

use bytes::Bytes;
use http::StatusCode;

use super::{Messages, Reply, SendError, Server, child::Child};
use crate::mcp::{Frame, Limits, Message, answer};

/// A longer back-off than this is answered, not waited for.
const WAITS: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Stdio {
    server: Arc<Server>,
    grant: Arc<str>,
    shared: bool,
    holds: Arc<AtomicUsize>,
    child: Mutex<Option<Arc<Child>>>,
    /// One start at a time.
    starting: tokio::sync::Mutex<()>,
}

/// The child that a message needs.
enum Place {
    Living(Arc<Child>),
    /// A session's child does not come back: its memory of the session is gone.
    Over,
}

impl Stdio {
    pub(super) fn new(server: Arc<Server>, grant: &str, shared: bool, holds: Arc<AtomicUsize>) -> Self {
        Self {
            server,
            grant: grant.into(),
            shared,
            holds,
            child: Mutex::default(),
            starting: tokio::sync::Mutex::default(),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        !self.shared && self.child().is_some_and(|c| !c.is_alive())
    }

    pub(super) async fn prove(&self) -> Result<Arc<Child>, SendError> {
        match self.place().await? {
            Place::Living(child) => Ok(child),
            Place::Over => Err(SendError::NotSent("the session's process has ended".into())),
        }
    }

    pub(super) async fn post(&self, body: Bytes, proven: Option<Arc<Child>>) -> Result<Reply, SendError> {
        let message = one(&body)?;
        let child = match proven {
            Some(child) => child,
            None => match self.place().await? {
                Place::Living(child) => child,
                Place::Over => return Ok(session_over(&message, "process")),
            },
        };
        match &message {
            Message::Request(request) => {
                let asked = match child.request(request).await {
                    // It was retired just now, and nothing was written: a shared pipe has a next one.
                    Err(SendError::NotSent(_)) if self.shared && !child.is_alive() => {
                        match self.place().await? {
                            Place::Living(next) => next.request(request).await,
                            Place::Over => return Ok(session_over(&message, "process")),
                        }
                    }
                    asked => asked,
                };
                Ok(Reply::messages(StatusCode::OK, asked?))
            }
            Message::Notification(notification) => {
                child.notify(notification).await?;
                Ok(Reply::empty(StatusCode::ACCEPTED))
            }
            // Modern servers ask nothing, so there is nothing to answer.
            Message::Response(_) if self.shared => Ok(Reply::empty(StatusCode::ACCEPTED)),
            Message::Response(response) => {
                child.write(response.raw.as_str().as_bytes().to_vec()).await?;
                Ok(Reply::empty(StatusCode::ACCEPTED))
            }
        }
    }

    pub(super) async fn get(&self) -> Result<Reply, SendError> {
        if self.shared {
            return Ok(Reply::empty(StatusCode::METHOD_NOT_ALLOWED));
        }
        match self.place().await? {
            Place::Living(child) => Ok(Reply::messages(StatusCode::OK, child.listen())),
            Place::Over => Ok(Reply::empty(StatusCode::NOT_FOUND)),
        }
    }

    pub(super) async fn close(&self) {
        let child = self.child();
        if let Some(child) = child {
            child.end();
            child.ended().await;
        }
    }

    async fn place(&self) -> Result<Place, SendError> {
        if let Some(child) = self.child().filter(|c| c.is_alive()) {
            return Ok(Place::Living(child));
        }
        let _one = self.starting.lock().await;
        let before = self.child();
        match &before {
            Some(child) if child.is_alive() => return Ok(Place::Living(child.clone())),
            Some(_) if !self.shared => return Ok(Place::Over),
            Some(_) | None => {}
        }
        let child = self.start(before.as_deref()).await?;
        *self.child.lock().unwrap_or_else(PoisonError::into_inner) = Some(child.clone());
        Ok(Place::Living(child))
    }

    async fn start(&self, before: Option<&Child>) -> Result<Arc<Child>, SendError> {
        let wait = match (self.server.child_starts(&self.grant), before) {
            // The one before has its place until it has ended, which may be the only one.
            (Err(_), Some(before)) => {
                before.ended().await;
                self.server.child_starts(&self.grant)
            }
            (wait, _) => wait,
        };
        let wait = wait.map_err(SendError::NotSent)?;
        let reserved = Reserved { server: &self.server, grant: &self.grant, kept: false };
        if wait > WAITS {
            let seconds = wait.as_secs() + 1;
            return Err(SendError::NotSent(format!("the server keeps crashing; next start in {seconds} s")));
        }
        tokio::time::sleep(wait).await;
        match Child::start(&self.server, &self.grant, self.shared, self.holds.clone()) {
            Ok(child) => {
                reserved.keep();
                Ok(child)
            }
            Err(why) => Err(SendError::NotSent(format!("cannot start the server's command: {why}"))),
        }
    }

    fn child(&self) -> Option<Arc<Child>> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Stdio {
    fn drop(&mut self) {
        if let Some(child) = self.child() {
            child.end();
        }
    }
}

/// A place taken for a child, given back unless the child was started.
struct Reserved<'a> {
    server: &'a Server,
    grant: &'a str,
    kept: bool,
}

impl Reserved<'_> {
    fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.server.child_not_started(self.grant);
        }
    }
}

/// The one message of a body.
///
/// # Errors
/// There is none, or there are several.
pub(super) fn one(body: &[u8]) -> Result<Message<'_>, SendError> {
    match Frame::parse(body, &Limits::of_servers(usize::MAX)) {
        Ok(Frame::One(message)) => Ok(message),
        Ok(Frame::Batch(_)) => {
            Err(SendError::NotSent("a batch goes down a pipe one message at a time".into()))
        }
        Err(malformed) => Err(SendError::NotSent(malformed.to_string())),
    }
}

/// What a streamable HTTP server says of a session that it no longer knows: the client initializes anew.
pub(super) fn session_over(message: &Message<'_>, what: &str) -> Reply {
    let id = message.id().map_or("null", |id| id.as_str());
    let text = format!("Session not found: the server's {what} has ended");
    let body = answer::error(id, -32001, &text, None);
    Reply::messages(StatusCode::NOT_FOUND, Messages::once(body))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use futures_util::StreamExt as _;

    use super::*;
    use crate::upstream::{ChildLimits, ReplyBody, ServerSettings, UpstreamSettings};

    /// One process at the most; it answers its first request, and takes a moment to end.
    const SERVER: &str =
        r#"while read -r line; do echo '{"jsonrpc":"2.0","id":1,"result":{}}'; done; sleep 0.3"#;
    const PING: Bytes = Bytes::from_static(br#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#);

    fn conversation(shared: bool) -> Stdio {
        let settings = ServerSettings {
            command: Some(["sh", "-c", SERVER].map(String::from).to_vec()),
            limits: ChildLimits { children: NonZeroUsize::new(1), ..ChildLimits::default() },
            ..ServerSettings::default()
        };
        let server = Server::new("it".into(), settings, Arc::new(UpstreamSettings::default()), None);
        Stdio::new(Arc::new(server.unwrap()), "bot", shared, Arc::default())
    }

    /// A child that was retired a moment ago, and has not ended.
    async fn retired(stdio: &Stdio) -> Arc<Child> {
        let child = stdio.prove().await.unwrap();
        child.end();
        while child.is_alive() {
            tokio::task::yield_now().await;
        }
        child
    }

    async fn text(reply: Reply) -> String {
        let ReplyBody::Messages(mut messages) = reply.body else { return format!("{:?}", reply.status) };
        String::from_utf8(messages.next().await.unwrap().unwrap().to_vec()).unwrap()
    }

    #[tokio::test]
    async fn what_a_retired_child_did_not_take_goes_to_the_next_on_a_shared_pipe_alone() {
        let stdio = conversation(true);
        let old = retired(&stdio).await;
        let answer = stdio.post(PING, Some(old.clone())).await.unwrap();
        assert!(text(answer).await.contains("result"));
        assert!(!Arc::ptr_eq(&stdio.prove().await.unwrap(), &old));
        stdio.close().await;

        let stdio = conversation(false);
        let old = retired(&stdio).await;
        assert!(matches!(stdio.post(PING, Some(old)).await, Err(SendError::NotSent(_))));
        assert!(text(stdio.post(PING, None).await.unwrap()).await.contains("Session not found"));
    }
}
