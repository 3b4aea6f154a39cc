//! The frame door: messages of every version keep their bytes, edits touch one field, and no bytes at all
//! can make it panic or disagree with another parser.
//!
//! `FRAMES_INPUTS=1000000 cargo test --test frames --release` runs the big round of the mutations.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
};

use countersign::mcp::{
    Answer, Class, Defect, Frame, Json, Kind, Limits, Message, Meta, Route, ToolCall, Version,
    methods::route, patch::Edits, sse, strict,
};
use proptest::prelude::*;
use serde::{
    Deserialize,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

const FRAMES: &str = include_str!("data/frames.jsonl");

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
        Route::Unlisted(_) => assert!(!is_call),
    }
}

/// Reads any JSON with an independent parser, and refuses a name that an object has twice.
struct Unique;

impl<'de> Deserialize<'de> for Unique {
    fn deserialize<D: de::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(UniqueVisitor)
    }
}

struct UniqueVisitor;

impl<'de> Visitor<'de> for UniqueVisitor {
    type Value = Unique;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }
    fn visit_bool<E>(self, _: bool) -> Result<Unique, E> {
        Ok(Unique)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Unique, E> {
        Ok(Unique)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Unique, E> {
        Ok(Unique)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Unique, E> {
        Ok(Unique)
    }
    fn visit_str<E>(self, _: &str) -> Result<Unique, E> {
        Ok(Unique)
    }
    fn visit_unit<E>(self) -> Result<Unique, E> {
        Ok(Unique)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Unique, A::Error> {
        while seq.next_element::<Unique>()?.is_some() {}
        Ok(Unique)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Unique, A::Error> {
        let mut names = HashSet::new();
        while let Some((name, Unique)) = map.next_entry::<String, Unique>()? {
            if !names.insert(name) {
                return Err(de::Error::custom("twice"));
            }
        }
        Ok(Unique)
    }
}

/// The whole contract for any bytes.
fn holds_for(bytes: &[u8]) {
    let ours: Result<Json<'_>, Defect> = strict::check(bytes, &Limits { depth: 100, ..Limits::default() });
    // serde_json reads numbers into machine types, and refuses those that do not fit; their form is valid.
    let theirs = match serde_json::from_slice::<Unique>(bytes) {
        Ok(Unique) => Some(true),
        Err(error) if error.to_string().contains("number out of range") => None,
        Err(error) if error.to_string().contains("recursion limit") => None,
        Err(_) => Some(false),
    };
    let shown = String::from_utf8_lossy(bytes);
    match ours {
        Ok(json) => {
            assert_ne!(theirs, Some(false), "only we accept {shown}");
            assert!(serde_json::from_str::<IgnoredAny>(json.as_str()).is_ok(), "{shown}");
            assert_eq!(
                json.as_str(),
                std::str::from_utf8(bytes).unwrap().trim_matches([' ', '\n', '\r', '\t'])
            );
        }
        Err(defect) => {
            let may_differ = defect.kind == strict::DefectKind::TooDeep;
            assert!(may_differ || theirs != Some(true), "only we refuse {shown}: {defect}");
            assert!(defect.offset <= bytes.len(), "{defect} of {shown}");
        }
    }
    let lenient = Limits { unique_keys: false, ..Limits::default() };
    for limits in [Limits::default(), lenient] {
        let messages = match Frame::parse(bytes, &limits) {
            Ok(Frame::One(message)) => vec![message],
            Ok(Frame::Batch(messages)) => messages,
            Err(malformed) => {
                assert!(strict::check(malformed.id().as_bytes(), &limits).is_ok(), "{shown}");
                continue;
            }
        };
        messages.iter().for_each(holds_for_message);
    }
}

fn holds_for_message(message: &Message<'_>) {
    let raw = message.raw();
    for version in [Version::V2025_06_18, Version::V2026_07_28] {
        if serde_json::from_str::<IgnoredAny>(raw.as_str()).is_ok() {
            holds_the_gate(version, message);
        }
    }
    let _ = Meta::of(message.params()).client();
    if let Ok(call) = ToolCall::parse(message.params()) {
        assert!(call.arguments.is_none_or(|a| a.span_in(raw.as_str().as_bytes()).is_some()));
    }
    let mut edits = Edits::of(raw);
    edits.set(&["id"], "7");
    edits.set(&["params", "_meta", "progressToken"], "\"t\"");
    edits.remove(&["jsonrpc"]);
    edits.retain(&["result", "tools"], |tool| tool.get("name").is_some());
    let text = edits.apply();
    let edited = strict::check(&text, &Limits { unique_keys: false, depth: 70, ..Limits::default() });
    assert!(edited.is_ok_and(|e| e.get("id").is_some_and(|id| id.as_str() == "7")), "{raw:?}");
}

#[test]
fn mutated_messages_never_break_the_door() {
    let inputs = std::env::var("FRAMES_INPUTS").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000);
    let seeds: Vec<&[u8]> = frames().map(str::as_bytes).collect();
    let mut dice = Dice(0x9E37_79B9_7F4A_7C15);
    for _ in 0..inputs {
        let mut bytes = seeds[dice.below(seeds.len())].to_vec();
        for _ in 0..=dice.below(3) {
            mutate(&mut bytes, &mut dice, &seeds);
        }
        holds_for(&bytes);
        let cut = dice.below(bytes.len() + 1);
        let mut splitter = sse::Splitter::new(1 << 20);
        let _ = splitter.push(&bytes[..cut]).and_then(|_| splitter.push(&bytes[cut..]));
    }
}

fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice, seeds: &[&[u8]]) {
    const TOKENS: [&str; 24] = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\\",
        "\\u",
        "\\ud800",
        "\\udc00",
        "null",
        "1e999",
        "-",
        "00",
        "\"id\":1,",
        "\"method\":\"tools/call\",",
        "\"METHOD\":0,",
        "\"params\":{},",
        "\"name\":\"x\",",
        "\n",
        "\u{0}",
        "\u{feff}",
        "é",
    ];
    let at = dice.below(bytes.len() + 1);
    let end = (at + dice.below(12)).min(bytes.len());
    match dice.below(8) {
        0 => bytes.truncate(at),
        1 if at < bytes.len() => bytes[at] ^= 1 << dice.below(8),
        2 => drop(bytes.drain(at..end)),
        3 => drop(bytes.splice(at..at, TOKENS[dice.below(TOKENS.len())].bytes())),
        4 => drop(bytes.splice(at..end, TOKENS[dice.below(TOKENS.len())].bytes())),
        5 => {
            let copy = bytes[at..end].to_vec();
            drop(bytes.splice(at..at, copy));
        }
        6 => {
            let depth = dice.below(150);
            let nest = "[".repeat(depth) + &"]".repeat(depth);
            drop(bytes.splice(at..end, nest.into_bytes()));
        }
        _ => {
            let other = seeds[dice.below(seeds.len())];
            let from = dice.below(other.len());
            drop(bytes.splice(at..end, other[from..].iter().copied()));
        }
    }
}

/// Xorshift: the same inputs in each run.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap_or(0) % limit.max(1)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_are_judged_as_an_independent_parser_does(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        holds_for(&bytes);
    }

    #[test]
    fn any_text_of_json_characters_is_judged_as_an_independent_parser_does(
        text in "[\\[\\]{}:,\"\\\\ua0-2eE.+ \\-tn]{0,24}"
    ) {
        holds_for(text.as_bytes());
    }

    #[test]
    fn any_string_survives_as_a_members_name_and_value(name in any::<String>(), value in any::<String>()) {
        let text = serde_json::json!({ name.as_str(): value.as_str() }).to_string();
        let json = strict::check(text.as_bytes(), &Limits::default()).unwrap();
        let found = json.get(&name).and_then(Json::string);
        prop_assert_eq!(found.as_deref(), Some(value.as_str()));
        let mut edits = Edits::of(json);
        prop_assert!(edits.set(&["a", name.as_str()], "1") || name == "a");
    }

    #[test]
    fn any_stream_of_events_is_split_the_same_however_it_is_cut(
        stream in "(data|id|event|retry|:|: |x|\r\n|\n|\r|[0-9é]){0,30}", cut in 0usize..60
    ) {
        let bytes = stream.as_bytes();
        let whole = sse::Splitter::new(1000).push(bytes).unwrap();
        let mut splitter = sse::Splitter::new(1000);
        let cut = cut.min(bytes.len());
        let mut parts = splitter.push(&bytes[..cut]).unwrap();
        parts.extend(splitter.push(&bytes[cut..]).unwrap());
        let fields = |events: &[sse::Event]| -> Vec<_> {
            events.iter().map(|e| (e.event.clone(), e.data.clone(), e.id.clone(), e.retry)).collect()
        };
        prop_assert_eq!(fields(&whole), fields(&parts));
    }
}
