//! The frame door: messages of every version keep their bytes, edits touch one field, and no bytes at all
//! can make it panic or disagree with another parser.
//!
//! `FRAMES_INPUTS=1000000 cargo test --test frames --release` runs the big round of the mutations.

mod any;

use std::collections::BTreeMap;

use countersign::mcp::{
    Answer, Class, Frame, Json, Kind, Limits, Message, Meta, Route, ToolCall, Version, methods::route,
    patch::Edits, strict,
};
use serde_json::value::RawValue;

const FRAMES: &str = include_str!("../data/frames.jsonl");

fn frames() -> impl Iterator<Item = &'static str> {
    FRAMES.lines().filter(|line| !line.starts_with('#'))
}

fn messages(text: &str) -> Vec<Message<'_>> {
    match Frame::parse(text.as_bytes(), &Limits::default()).unwrap() {
        Frame::One(message) => vec![message],
        Frame::Batch(messages) => messages,
    }
}

/// An object's members as another parser sees them, each value as written.
fn raw_members(text: &str) -> BTreeMap<String, Box<RawValue>> {
    serde_json::from_str(text).unwrap()
}

fn written(json: Option<Json<'_>>) -> Option<&str> {
    json.map(Json::as_str)
}

#[test]
fn every_message_is_read_as_it_is_written() {
    for text in frames() {
        for message in messages(text) {
            let raw = message.raw();
            assert_eq!(&text[raw.span_in(text.as_bytes()).unwrap()], raw.as_str());
            let members = raw_members(raw.as_str());
            let member = |name: &str| members.get(name).map(|value| value.get());
            let (result, error) = match &message {
                Message::Response(response) => match response.answer {
                    Answer::Result(result) => (Some(result), None),
                    Answer::Error(error) => (None, Some(error)),
                },
                Message::Request(_) | Message::Notification(_) => (None, None),
            };
            assert_eq!(written(message.params()), member("params"), "{text}");
            assert_eq!(written(result), member("result"), "{text}");
            assert_eq!(written(error), member("error"), "{text}");
            assert_eq!(
                written(message.id().filter(|id| *id != Json::NULL)),
                member("id").filter(|i| *i != "null")
            );
            let method: Option<String> = member("method").map(|m| serde_json::from_str(m).unwrap());
            assert_eq!(message.method(), method.as_deref());
        }
    }
}

#[test]
fn a_calls_parts_are_the_clients_bytes() {
    let mut calls = 0;
    for text in frames() {
        for message in messages(text).into_iter().filter(|m| m.method() == Some("tools/call")) {
            let params = message.params();
            let call = ToolCall::parse(params).unwrap();
            let members = raw_members(params.unwrap().as_str());
            let member = |name: &str| members.get(name).map(|value| value.get());
            assert_eq!(written(call.arguments), member("arguments"));
            assert_eq!(written(call.task), member("task"));
            assert_eq!(written(call.input_responses), member("inputResponses"));
            assert_eq!(written(call.request_state), member("requestState"));
            assert_eq!(written(call.meta.raw), member("_meta"));
            let known = ["name", "arguments", "task", "inputResponses", "requestState", "_meta"];
            assert_eq!(call.other.len(), members.keys().filter(|k| !known.contains(&k.as_str())).count());
            calls += 1;
        }
    }
    assert!(calls >= 25, "{calls}");
}

/// Exactly the bytes between the common beginning and the common end are new.
fn differs_by(before: &str, after: &str, removed: &str, added: &str) -> bool {
    (0..=before.len()).filter(|at| before.is_char_boundary(*at)).any(|at| {
        before[at..].strip_prefix(removed).is_some_and(|rest| {
            after.len() == before.len() - removed.len() + added.len()
                && after.starts_with(&before[..at])
                && after[at..].starts_with(added)
                && after.ends_with(rest)
        })
    })
}

#[test]
fn an_edit_changes_its_one_field_and_no_other_byte() {
    for text in frames() {
        for message in messages(text) {
            let raw = message.raw();
            let edited = |edit: &dyn Fn(&mut Edits<'_>) -> bool| {
                let mut edits = Edits::of(raw);
                let done = edit(&mut edits);
                assert_eq!(edits.is_empty(), !done);
                done.then(|| String::from_utf8(edits.apply()).unwrap())
            };
            let id = edited(&|e| e.set(&["id"], "\"ours\"")).unwrap();
            let (old, new) = match raw.get("id") {
                Some(id) => (id.as_str(), "\"ours\""),
                None => ("", ",\"id\":\"ours\""),
            };
            assert!(differs_by(raw.as_str(), &id, old, new), "{id}");
            assert_eq!(messages(&id)[0].id().unwrap().as_str(), "\"ours\"");

            let token = ["params", "_meta", "progressToken"];
            if let Some(old) = raw.at(&token) {
                let with = edited(&|e| e.set(&token, "77")).unwrap();
                assert!(differs_by(raw.as_str(), &with, old.as_str(), "77"), "{with}");
                let without = edited(&|e| e.remove(&token)).unwrap();
                assert!(Meta::of(messages(&without)[0].params()).progress_token.is_none());
            }
            if raw.get("result").is_some_and(|r| r.kind() == Kind::Object) {
                let path = ["result", "_meta", "countersign/call"];
                let with = edited(&|e| e.set(&path, "{\"id\":1}")).unwrap();
                let answer = serde_json::from_str::<serde_json::Value>(&with).unwrap();
                assert_eq!(answer["result"]["_meta"]["countersign/call"]["id"], 1);
                let mut back = Edits::of(strict::check(with.as_bytes(), &Limits::default()).unwrap());
                assert!(back.remove(&path));
                if raw.at(&["result", "_meta"]).is_none() {
                    assert!(back.remove(&["result", "_meta"]));
                }
                assert_eq!(String::from_utf8(back.apply()).unwrap(), raw.as_str());
            }
        }
    }
}

#[test]
fn every_message_has_its_way_and_only_the_gate_takes_a_call() {
    for text in frames() {
        for message in messages(text) {
            for version in Version::ALL {
                holds_the_gate(version, &message);
            }
        }
    }
}

fn holds_the_gate(version: Version, message: &Message<'_>) {
    let method = raw_members(message.raw().as_str())
        .get("method")
        .and_then(|m| serde_json::from_str::<String>(m.get()).ok());
    let is_call = method.as_deref() == Some("tools/call");
    match route(version, message) {
        Route::Gate | Route::CallWithoutId => assert!(is_call),
        Route::Pass(class, _) => assert!(!is_call && class != Class::Call),
        Route::Unlisted(_) | Route::LookAlike => assert!(!is_call),
    }
}
