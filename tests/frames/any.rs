//! Any bytes at all: random ones, JSON-like ones, and mutations of real messages.

use std::{collections::HashSet, fmt};

use countersign::mcp::{
    Defect, Frame, Json, Limits, Message, Meta, ToolCall, Version, patch::Edits, sse, strict,
};
use proptest::prelude::*;
use serde::{
    Deserialize,
    de::{self, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{frames, holds_the_gate};

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
    let lenient = Limits { unique_keys: false, whole_pairs: false, ..Limits::default() };
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
    // The other parser takes no half of a surrogate pair, and no gate does.
    let pairs = Limits { unique_keys: false, ..Limits::default() };
    let is_gated = strict::check(raw.as_str().as_bytes(), &pairs).is_ok();
    for version in [Version::V2025_06_18, Version::V2026_07_28] {
        if is_gated && serde_json::from_str::<IgnoredAny>(raw.as_str()).is_ok() {
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
    let edited = strict::check(&text, &Limits { depth: 70, ..Limits::of_servers(usize::MAX) });
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
