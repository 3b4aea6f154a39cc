//! What is digested, stored and sent: the client's own bytes, with only what belongs to one try replaced.

use std::str;

use bytes::Bytes;

use super::{Ask, Live};
use crate::mcp::{Json, Limits, TRACE_KEYS, patch::Edits, strict};

/// A request with the nonce of its digest.
#[derive(Debug)]
pub(super) struct Parcel {
    pub ask: Ask,
    pub nonce: [u8; 32],
}

impl Parcel {
    pub(super) fn of(ask: Ask, nonce: [u8; 32]) -> Self {
        Self { ask, nonce }
    }

    pub(super) fn other_params(&self) -> Vec<u8> {
        other_params(&self.ask.body)
    }

    /// Names of the top-level arguments.
    pub(super) fn argument_names(&self) -> Vec<String> {
        let arguments = json(self.ask.arguments());
        arguments.into_iter().flat_map(Json::members).map(|member| member.name.into_owned()).collect()
    }
}

/// The message without its id, arguments, progress token and trace keys: what the digest binds beside
/// the arguments.
pub(super) fn other_params(message: &[u8]) -> Vec<u8> {
    let Some(json) = json(message) else { return message.to_vec() };
    let mut edits = Edits::of(json);
    edits.remove(&["id"]);
    edits.remove(&["params", "arguments"]);
    edits.remove(&["params", "_meta", "progressToken"]);
    for key in TRACE_KEYS {
        edits.remove(&["params", "_meta", key]);
    }
    edits.apply()
}

/// The stored message as it goes upstream, under the live request's id, token and trace.
pub(super) fn compose(stored: &[u8], live: &Live) -> Option<Bytes> {
    let mut edits = Edits::of(json(stored)?);
    edits.set(&["id"], text(&live.id)?);
    if live.own_task {
        edits.remove(&["params", "task"]);
    }
    match &live.progress_token {
        Some(token) => {
            edits.set(&["params", "_meta", "progressToken"], text(token)?);
        }
        None => {
            edits.remove(&["params", "_meta", "progressToken"]);
        }
    }
    for key in TRACE_KEYS {
        match live.trace.iter().find(|(name, _)| name == key) {
            Some((_, value)) => {
                edits.set(&["params", "_meta", key], text(value)?);
            }
            None => {
                edits.remove(&["params", "_meta", key]);
            }
        }
    }
    Some(Bytes::from(edits.apply()))
}

/// Bytes that passed the strict door once; checked again, because a store can be damaged.
pub(super) fn json(bytes: &[u8]) -> Option<Json<'_>> {
    strict::check(bytes, &Limits::of_kept()).ok()
}

fn text(bytes: &Bytes) -> Option<&str> {
    str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::{Live, compose, other_params};

    /// What one try brings is not bound; everything else that is sent is.
    #[test]
    fn the_digest_binds_every_member_that_is_sent() {
        let call = |id: u32, more: &str| {
            format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"tools/call"{more},"params":{{"name":"t","arguments":{{}}}}}}"#
            )
        };
        let bound = |text: &str| other_params(text.as_bytes());
        let odd = call(1, r#","su":1.0"#);
        assert_eq!(bound(&call(1, "")), bound(&call(2, "")));
        assert_ne!(bound(&call(1, "")), bound(&odd));
        assert_ne!(bound(&call(1, r#","su":1"#)), bound(&odd), "the agent's own bytes");
        let live = Live { id: "7".into(), ..Live::default() };
        let sent = compose(odd.as_bytes(), &live).expect("a message");
        assert_eq!(bound(&odd), other_params(&sent));
        assert!(String::from_utf8_lossy(&sent).contains(r#""su":1.0"#));
    }
}
