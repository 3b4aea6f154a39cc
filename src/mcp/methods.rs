//! Which class each client → server method has, and who may pass without the gate.
//!
//! `Passthrough` is the only key to `upstream::relay`, and nothing here makes one for a `tools/call`.

use super::{Message, Version};

/// What a method is to a policy (ruling 18).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Class {
    /// The conversation itself: initialize, ping, cancel, subscriptions, answers to the server.
    Protocol,
    /// Names what there is: tools/list and its kin.
    List,
    /// Reads content: resources/read, prompts/get, completion/complete.
    Read,
    /// Acts: tools/call.
    Call,
}

/// The right to relay a message that is not a call. Private: only `route` and the two stream doors make it.
#[derive(Debug)]
pub struct Passthrough(());

impl Passthrough {
    /// For the listening stream (GET) and for ending a session (DELETE): no body goes upstream.
    #[must_use]
    pub fn without_body() -> Self {
        Self(())
    }
}

/// Where a message goes.
#[derive(Debug)]
pub enum Route {
    /// `tools/call` with an id: to the gate.
    Gate,
    /// `tools/call` without an id: nobody could be asked or answered; dropped and recorded.
    CallWithoutId,
    /// A method of this version.
    Pass(Class, Passthrough),
    /// Not a method of this version: the policy's default or the grant must allow it.
    Unlisted(Unlisted),
}

/// A method that we do not know.
#[derive(Debug)]
pub struct Unlisted(());

impl Unlisted {
    /// Called when the policy's `default: allow` or the grant's `methods` lets it pass.
    #[must_use]
    pub fn permitted(self) -> Passthrough {
        Passthrough(())
    }
}

/// Decides by the body, never by a header.
#[must_use]
pub fn route(version: Version, message: &Message<'_>) -> Route {
    let _ = (version, message);
    unimplemented!()
}

/// The class of a client → server request or notification; `None` when this version has no such method.
#[must_use]
pub fn class(version: Version, method: &str) -> Option<Class> {
    let _ = (version, method);
    unimplemented!()
}
