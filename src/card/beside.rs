//! What a call sends beside its arguments: all of it goes to the server once it is approved, so all of
//! it is to be seen before.

use crate::mcp::{Json, Kind, Limits, TRACE_KEYS, patch::Edits, strict};

/// Members of `params._meta` of which each try of a call brings its own, or that say only who speaks
/// which protocol.
const QUIET: [&str; 4] = [
    "progressToken",
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
];

/// Members of the message itself that say what it is, and which server and people see anyway.
const ENVELOPE: [&str; 4] = ["jsonrpc", "id", "method", "params"];

/// A whole `tools/call` without what is shown elsewhere: the agent's own bytes of `params` without the
/// tool's name, its arguments and the quiet members of `_meta`; of the whole message, where it has
/// members beside `params`. `None` when nothing is left.
#[must_use]
pub fn sent_beside(message: &[u8]) -> Option<String> {
    // What cannot be read is shown whole, rather than held to be empty.
    let Ok(json) = strict::check(message, &Limits::of_kept()) else {
        return Some(String::from_utf8_lossy(message).into_owned());
    };
    let left = json.get("params").and_then(left_of_params);
    if beside_params(json).next().is_none() {
        return left;
    }
    let mut edits = Edits::of(json);
    for name in ENVELOPE.into_iter().filter(|name| *name != "params") {
        edits.remove(&[name]);
    }
    match left {
        Some(left) => edits.set(&["params"], &left),
        None => edits.remove(&["params"]),
    };
    String::from_utf8(edits.apply()).ok()
}

fn left_of_params(params: Json<'_>) -> Option<String> {
    let mut edits = Edits::of(params);
    edits.remove(&["name"]);
    edits.remove(&["arguments"]);
    for key in QUIET.into_iter().chain(TRACE_KEYS) {
        edits.remove(&["_meta", key]);
    }
    if params.get("_meta").is_some_and(|meta| said_in(meta).next().is_none()) {
        edits.remove(&["_meta"]);
    }
    let left = String::from_utf8(edits.apply()).ok()?;
    strict::check(left.as_bytes(), &Limits::of_kept()).ok()?.members().next()?;
    Some(left)
}

/// The names of what `sent_beside` leaves; those within `_meta` as `_meta.NAME`, those beside `params`
/// as `message.NAME`.
#[must_use]
pub fn names_beside(message: &[u8]) -> Vec<String> {
    let Ok(json) = strict::check(message, &Limits::of_kept()) else { return Vec::new() };
    let mut names = Vec::new();
    for member in json.get("params").into_iter().flat_map(Json::members) {
        match &*member.name {
            "name" | "arguments" => {}
            "_meta" => names.extend(said_in(member.value).map(|name| format!("_meta.{name}"))),
            other => names.push(other.to_owned()),
        }
    }
    names.extend(beside_params(json).map(|name| format!("message.{name}")));
    names
}

/// Names of members that no version of JSON-RPC has: a server may read them all the same.
fn beside_params(message: Json<'_>) -> impl Iterator<Item = String> {
    let names = message.members().map(|member| member.name.into_owned());
    names.filter(|name| !ENVELOPE.contains(&name.as_str()))
}

/// Names in `_meta` that are not quiet; a `_meta` that is no object is refused at the agents' door.
fn said_in(meta: Json<'_>) -> impl Iterator<Item = String> {
    let object = (meta.kind() == Kind::Object).then_some(meta);
    let members = object.into_iter().flat_map(Json::members).map(|member| member.name.into_owned());
    members.filter(|name| !QUIET.contains(&name.as_str()) && !TRACE_KEYS.contains(&name.as_str()))
}

#[cfg(test)]
mod tests {
    use super::{names_beside, sent_beside};

    fn call(params: &str) -> String {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#)
    }

    #[test]
    fn everything_but_name_arguments_and_what_is_quiet_is_left() {
        for plain in [
            r#"{"name":"t","arguments":{"a":1}}"#,
            r#"{"name":"t","_meta":{}}"#,
            r#"{"name":"t","_meta":{"progressToken":1,"traceparent":"0","baggage":"b",
                "io.modelcontextprotocol/clientInfo":{"name":"c"}}}"#,
        ] {
            assert_eq!(sent_beside(call(plain).as_bytes()), None, "{plain}");
            assert!(names_beside(call(plain).as_bytes()).is_empty(), "{plain}");
        }
        let loud = call(
            r#"{"name":"t","inputResponses":{"r":1.0},"arguments":{},"\u0074ask":{"ttl":1},
            "_meta":{"progressToken":1,"vendor/x":[2]}}"#,
        );
        let left = sent_beside(loud.as_bytes()).unwrap();
        let same: serde_json::Value = serde_json::from_str(&left).unwrap();
        let meant = r#"{"inputResponses":{"r":1.0},"task":{"ttl":1},"_meta":{"vendor/x":[2]}}"#;
        assert_eq!(same, serde_json::from_str::<serde_json::Value>(meant).unwrap());
        assert!(left.contains("1.0") && left.contains(r"\u0074ask"), "the agent's own bytes: {left}");
        assert_eq!(names_beside(loud.as_bytes()), ["inputResponses", "task", "_meta.vendor/x"]);
        assert_eq!(sent_beside(b"not json").as_deref(), Some("not json"));
    }

    #[test]
    fn a_member_beside_params_is_left_with_what_else_is_sent() {
        let message = |params: &str| call(params).replace(r#""id":1,"#, r#""id":1,"x\/admin":{"su":1.0},"#);
        let quiet = message(r#"{"name":"t","arguments":{"a":1}}"#);
        assert_eq!(sent_beside(quiet.as_bytes()).as_deref(), Some(r#"{"x\/admin":{"su":1.0}}"#));
        assert_eq!(names_beside(quiet.as_bytes()), ["message.x/admin"]);
        let loud = message(r#"{"name":"t","task":1}"#);
        let left = sent_beside(loud.as_bytes()).unwrap();
        assert_eq!(left, r#"{"x\/admin":{"su":1.0},"params":{"task":1}}"#);
        assert_eq!(names_beside(loud.as_bytes()), ["task", "message.x/admin"]);
    }
}
