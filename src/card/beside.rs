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

/// Raw `params` without the tool's name, its arguments and the quiet members of `_meta`: the agent's own
/// bytes. `None` when nothing is left.
#[must_use]
pub fn sent_beside(params: &[u8]) -> Option<String> {
    // What cannot be read is shown whole, rather than held to be empty.
    let Ok(json) = strict::check(params, &Limits::default()) else {
        return Some(String::from_utf8_lossy(params).into_owned());
    };
    let mut edits = Edits::of(json);
    edits.remove(&["name"]);
    edits.remove(&["arguments"]);
    for key in QUIET.into_iter().chain(TRACE_KEYS) {
        edits.remove(&["_meta", key]);
    }
    if json.get("_meta").is_some_and(|meta| said_in(meta).next().is_none()) {
        edits.remove(&["_meta"]);
    }
    let left = String::from_utf8(edits.apply()).ok()?;
    strict::check(left.as_bytes(), &Limits::default()).ok()?.members().next()?;
    Some(left)
}

/// The names of what `sent_beside` leaves; those within `_meta` as `_meta.NAME`.
#[must_use]
pub fn names_beside(params: &[u8]) -> Vec<String> {
    let Ok(json) = strict::check(params, &Limits::default()) else { return Vec::new() };
    let mut names = Vec::new();
    for member in json.members() {
        match &*member.name {
            "name" | "arguments" => {}
            "_meta" => names.extend(said_in(member.value).map(|name| format!("_meta.{name}"))),
            other => names.push(other.to_owned()),
        }
    }
    names
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

    #[test]
    fn everything_but_name_arguments_and_what_is_quiet_is_left() {
        for plain in [
            r#"{"name":"t","arguments":{"a":1}}"#,
            r#"{"name":"t","_meta":{}}"#,
            r#"{"name":"t","_meta":{"progressToken":1,"traceparent":"0","baggage":"b",
                "io.modelcontextprotocol/clientInfo":{"name":"c"}}}"#,
        ] {
            assert_eq!(sent_beside(plain.as_bytes()), None, "{plain}");
            assert!(names_beside(plain.as_bytes()).is_empty(), "{plain}");
        }
        let loud = br#"{"name":"t","inputResponses":{"r":1.0},"arguments":{},"\u0074ask":{"ttl":1},
            "_meta":{"progressToken":1,"vendor/x":[2]}}"#;
        let left = sent_beside(loud).unwrap();
        let same: serde_json::Value = serde_json::from_str(&left).unwrap();
        let meant = r#"{"inputResponses":{"r":1.0},"task":{"ttl":1},"_meta":{"vendor/x":[2]}}"#;
        assert_eq!(same, serde_json::from_str::<serde_json::Value>(meant).unwrap());
        assert!(left.contains("1.0") && left.contains(r"\u0074ask"), "the agent's own bytes: {left}");
        assert_eq!(names_beside(loud), ["inputResponses", "task", "_meta.vendor/x"]);
        assert_eq!(sent_beside(b"not json").as_deref(), Some("not json"));
    }
}
