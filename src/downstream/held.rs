//! Answers that are held whole, or to the end of an event, before they pass: lists that are sieved or put together,
//! parts of a batch, resources whose URI is changed.
//!
//! Each has a limit of its own. This is the limit of all at once, so that neither a server with large lists nor
//! an agent that asks for many of them and reads none takes the memory of all. One server, and one agent, may
//! have half. What does not fit is refused in words; nobody waits for another to read.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use axum::BoxError;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt as _;
use hyper::body::Body;

use super::http::Visit;
use crate::{identity::Grant, upstream::BrokenReply};

/// A call whose answer this is said of has run: it must not sound as if it might be made again.
const NO_ROOM: &str = "there is no room for it now: too much of large answers is held for this agent, for this \
    server or for all (`max_held` in [mcp])";

/// All that is held. A cheap handle.
#[derive(Clone, Debug)]
pub(super) struct Held {
    taken: Arc<Mutex<Taken>>,
    most: usize,
}

/// Bytes; of servers and grants none is zero.
#[derive(Debug, Default)]
struct Taken {
    all: usize,
    servers: HashMap<String, usize>,
    grants: HashMap<String, usize>,
}

/// What is held of one answer; given back when dropped.
#[derive(Debug)]
pub(super) struct Room {
    held: Held,
    /// `None`: it is put together of several.
    server: Option<String>,
    grant: String,
    bytes: usize,
    /// Bytes of this one.
    most: usize,
}

/// A message of at most so many bytes is not counted: there is one for each connection that is not read.
pub(super) const SMALL: usize = 64 << 10;

/// Counts the messages of one server on their way to one agent.
#[derive(Clone)]
pub(super) struct Keeper {
    held: Held,
    server: Arc<str>,
    grant: Arc<Grant>,
}

/// Bytes that are counted for as long as anybody has them.
struct Kept {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Kept {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Keeper {
    pub(super) fn of(visit: &Visit) -> Self {
        let (held, server) = (visit.door.inner.held.clone(), visit.server.shared_name());
        Self { held, server, grant: visit.grant.clone() }
    }

    pub(super) fn server(&self) -> &str {
        &self.server
    }

    pub(super) fn grant(&self) -> &str {
        &self.grant.name
    }

    /// Room for an answer of at most so many bytes; none is taken yet.
    pub(super) fn room(&self, most: usize) -> Room {
        self.held.room(Some(&self.server), &self.grant.name, most)
    }

    /// The message, counted until nobody has it any more.
    ///
    /// # Errors
    /// There is no room for it.
    pub(super) fn keep(&self, message: Bytes) -> Result<Bytes, BrokenReply> {
        if message.len() <= SMALL {
            return Ok(message);
        }
        let mut room = self.room(usize::MAX);
        room.hold(message.len())?;
        Ok(room.keep(message))
    }
}

impl Held {
    pub(super) fn new(most: usize) -> Self {
        Self { taken: Arc::default(), most }
    }

    /// Room for an answer of this server to this grant, of at most so many bytes; none is taken yet.
    pub(super) fn room(&self, server: Option<&str>, grant: &str, most: usize) -> Room {
        let (server, grant) = (server.map(str::to_owned), grant.to_owned());
        Room { held: self.clone(), server, grant, bytes: 0, most }
    }

    /// Each use is one operation, so a panic elsewhere leaves no half of one.
    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// Bytes that this one may have.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// So many are held now.
    ///
    /// # Errors
    /// There is no room for more; what was held before is.
    pub(super) fn hold(&mut self, bytes: usize) -> Result<(), BrokenReply> {
        let (mut taken, share) = (self.held.taken(), self.held.most.div_ceil(2));
        let more = bytes.saturating_sub(self.bytes);
        let of_server = self.server.as_ref().and_then(|server| taken.servers.get(server));
        let own = of_server.max(taken.grants.get(&self.grant)).copied().unwrap_or_default();
        if more > 0 && (taken.all.saturating_add(more) > self.held.most || own.saturating_add(more) > share) {
            return Err(BrokenReply::Broken(NO_ROOM.into()));
        }
        taken.all = taken.all - self.bytes + bytes;
        if let Some(server) = &self.server {
            change(&mut taken.servers, server, self.bytes, bytes);
        }
        change(&mut taken.grants, &self.grant, self.bytes, bytes);
        drop(taken);
        self.bytes = bytes;
        Ok(())
    }

    /// The whole body.
    ///
    /// # Errors
    /// It broke off, is larger than this may be, or there is no room for it.
    pub(super) async fn collect<B>(&mut self, mut body: B) -> Result<Bytes, BrokenReply>
    where
        B: Body<Data = Bytes> + Unpin,
        B::Error: Into<BoxError>,
    {
        let mut whole = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let Ok(part) = frame.map_err(|why| broken(why.into()))?.into_data() else { continue };
            let size = whole.len() + part.len();
            if size > self.most {
                return Err(BrokenReply::TooLarge(self.most));
            }
            self.hold(size)?;
            if whole.is_empty() && body.is_end_stream() {
                return Ok(part);
            }
            whole.extend_from_slice(&part);
        }
        Ok(whole.freeze())
    }

    /// What became of it, counted until nobody has it any more.
    pub(super) fn keep(mut self, bytes: Bytes) -> Bytes {
        // It was made of what is counted: a little more of it is no reason to refuse all.
        let _ = self.hold(bytes.len());
        Bytes::from_owner(Kept { bytes, _room: self })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // Less always fits.
        let _ = self.hold(0);
    }
}

fn change(of: &mut HashMap<String, usize>, name: &str, from: usize, to: usize) {
    let now = of.get(name).copied().unwrap_or_default() - from + to;
    match of.get_mut(name) {
        _ if now == 0 => drop(of.remove(name)),
        Some(known) => *known = now,
        None => drop(of.insert(name.to_owned(), now)),
    }
}

/// In the words of whoever said it first.
fn broken(mut why: BoxError) -> BrokenReply {
    loop {
        why = match why.downcast::<axum::Error>() {
            Ok(outer) => outer.into_inner(),
            Err(inner) => {
                let words = inner.to_string();
                return inner.downcast().map_or(BrokenReply::Broken(words), |why| *why);
            }
        };
    }
}

/// The same, for what is a list: its limit has a name, and it may be asked for again.
pub(super) fn of_list(why: BrokenReply) -> BrokenReply {
    match why {
        BrokenReply::TooLarge(most) => BrokenReply::Broken(format!(
            "a list of more than {most} bytes is not read; `max_list` in [upstream] allows more"
        )),
        BrokenReply::Broken(why) if why == NO_ROOM => {
            BrokenReply::Broken(format!("{NO_ROOM}; ask again in a moment"))
        }
        why @ (BrokenReply::Idle(_) | BrokenReply::Broken(_)) => why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(held: &Held, server: &str, grant: &str) -> Room {
        held.room(Some(server), grant, usize::MAX)
    }

    #[test]
    fn one_server_and_one_agent_have_half_and_all_have_no_more_than_there_is() {
        let held = Held::new(100);
        let mut first = room(&held, "a", "bot");
        first.hold(40).unwrap();
        assert!(first.hold(51).is_err(), "more than half");
        assert!(room(&held, "a", "eve").hold(11).is_err(), "the server has its half");
        assert!(room(&held, "b", "bot").hold(11).is_err(), "the agent has its half");
        first.hold(50).unwrap();
        let mut second = room(&held, "b", "eve");
        second.hold(45).unwrap();
        assert!(room(&held, "c", "ann").hold(6).is_err(), "there is no more");
        // Put together of what several servers said, it is no server's.
        let mut joined = held.room(None, "ann", usize::MAX);
        joined.hold(5).unwrap();
        first.hold(10).unwrap();
        room(&held, "a", "eve").hold(5).unwrap();
        drop((first, second, joined));
        let taken = held.taken();
        assert_eq!((taken.all, taken.servers.len(), taken.grants.len()), (0, 0, 0));
    }

    #[tokio::test]
    async fn what_is_kept_counts_until_nobody_has_it() {
        let held = Held::new(100);
        let mut one = held.room(Some("a"), "bot", 40);
        let whole = one.collect(axum::body::Body::from("x".repeat(40))).await.unwrap();
        let kept = one.keep(whole);
        let part = kept.slice(1..2);
        drop(kept);
        assert!(room(&held, "a", "bot").hold(11).is_err());
        drop(part);
        assert!(room(&held, "a", "bot").hold(11).is_ok());
        let mut small = held.room(Some("a"), "bot", 4);
        let large = small.collect(axum::body::Body::from("12345")).await;
        assert_eq!(large, Err(BrokenReply::TooLarge(4)));
    }
}
