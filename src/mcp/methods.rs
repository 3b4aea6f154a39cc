//! Which class each client → server method has, and who may pass without the gate.
//!
//! `Passthrough` is the only key to `upstream::relay`, and nothing here makes one for a `tools/call`.

use super::{Message, Version, message::is_look_alike};

/// What a method is to a policy, which has rules for each class: only acting asks people.
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
    /// Spelt almost as a method that we know: a lenient server would take it for that one. Never passes.
    LookAlike,
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
    let Some(method) = message.method() else { return Route::Pass(Class::Protocol, Passthrough(())) };
    match class(version, method) {
        Some(Class::Call) if message.id().is_none() => Route::CallWithoutId,
        Some(Class::Call) => Route::Gate,
        Some(class @ (Class::Protocol | Class::List | Class::Read)) => Route::Pass(class, Passthrough(())),
        None if resembles_known(method) => Route::LookAlike,
        // It brings a server what nobody sees, and a lenient one may know it in every version.
        None if method == "tasks/update" => Route::LookAlike,
        None => Route::Unlisted(Unlisted(())),
    }
}

/// Every method of `class`.
const KNOWN: [&str; 25] = [
    "tools/call",
    "tools/list",
    "resources/list",
    "resources/templates/list",
    "prompts/list",
    "resources/read",
    "prompts/get",
    "completion/complete",
    "notifications/cancelled",
    "initialize",
    "ping",
    "logging/setLevel",
    "resources/subscribe",
    "resources/unsubscribe",
    "notifications/initialized",
    "notifications/progress",
    "notifications/roots/list_changed",
    "server/discover",
    "subscriptions/listen",
    "tasks/get",
    "tasks/cancel",
    "tasks/update",
    "tasks/result",
    "tasks/list",
    "notifications/tasks/status",
];

/// A known method but for case, for characters that are not seen, or for what follows a NUL.
fn resembles_known(method: &str) -> bool {
    let before_nul = method.split('\0').next().unwrap_or_default();
    let is_seen = |c: &char| !c.is_whitespace() && !c.is_control() && !is_invisible(*c);
    let seen: String = before_nul.chars().filter(is_seen).collect();
    is_look_alike(&seen, &KNOWN) || (seen != method && KNOWN.contains(&&*seen))
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// The class of a client → server request or notification; `None` when this version has no such method.
#[must_use]
pub fn class(version: Version, method: &str) -> Option<Class> {
    let legacy = !version.is_modern();
    let tasks = version >= Version::V2025_11_25;
    let (class, exists) = match method {
        "tools/call" => (Class::Call, true),
        "tools/list" | "resources/list" | "resources/templates/list" | "prompts/list" => (Class::List, true),
        "resources/read" | "prompts/get" | "completion/complete" => (Class::Read, true),
        "notifications/cancelled" => (Class::Protocol, true),
        "initialize"
        | "ping"
        | "logging/setLevel"
        | "resources/subscribe"
        | "resources/unsubscribe"
        | "notifications/initialized"
        | "notifications/progress"
        | "notifications/roots/list_changed" => (Class::Protocol, legacy),
        "server/discover" | "subscriptions/listen" => (Class::Protocol, !legacy),
        "tasks/get" => (Class::Read, tasks),
        "tasks/cancel" => (Class::Protocol, tasks),
        "tasks/update" => (Class::Protocol, !legacy),
        "tasks/result" => (Class::Read, tasks && legacy),
        "tasks/list" => (Class::List, tasks && legacy),
        "notifications/tasks/status" => (Class::Protocol, tasks && legacy),
        _ => return None,
    };
    exists.then_some(class)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mcp::{Frame, Limits};

    #[test]
    fn nothing_but_the_gate_takes_a_tools_call() {
        for version in Version::ALL {
            let routed = |text: &str| {
                let frame = Frame::parse(text.as_bytes(), &Limits::default()).unwrap();
                let Frame::One(message) = frame else { unreachable!() };
                route(version, &message)
            };
            assert!(matches!(routed(r#"{"id":1,"method":"tools/call"}"#), Route::Gate));
            assert!(matches!(routed(r#"{"id":1,"method":"tools\/c\u0061ll"}"#), Route::Gate));
            assert!(matches!(routed(r#"{"id":null,"method":"tools/call"}"#), Route::Gate));
            assert!(matches!(routed(r#"{"method":"tools/call"}"#), Route::CallWithoutId));
            assert!(matches!(routed(r#"{"id":1,"result":{}}"#), Route::Pass(Class::Protocol, _)));
            for odd in [
                "Tools/Call",
                " tools/call",
                "tools/call\\n",
                "tool\u{17f}/call",
                "tools/call\\u0000x",
                "\u{200b}ping",
            ] {
                let text = format!(r#"{{"id":1,"method":"{odd}"}}"#);
                assert!(matches!(routed(&text), Route::LookAlike), "{odd:?}");
            }
            assert!(matches!(routed(r#"{"id":1,"method":"tools/calls"}"#), Route::Unlisted(_)));
            let update = routed(r#"{"id":1,"method":"tasks/update"}"#);
            assert_eq!(matches!(update, Route::LookAlike), !version.is_modern(), "never as an unlisted one");
        }
    }

    #[test]
    fn a_method_belongs_to_its_versions() {
        assert_eq!(class(Version::V2026_07_28, "initialize"), None);
        assert_eq!(class(Version::V2025_06_18, "server/discover"), None);
        assert_eq!(class(Version::V2025_06_18, "tasks/get"), None);
        assert_eq!(class(Version::V2026_07_28, "tasks/get"), Some(Class::Read));
        assert_eq!(class(Version::V2024_11_05, "resources/read"), Some(Class::Read));
    }
}
