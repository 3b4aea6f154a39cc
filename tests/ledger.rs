//! History cannot be changed unseen: whatever is done to an export, verification names the entry.

use std::sync::LazyLock;

use countersign::{
    call::{CallId, Commitment, Digest, Event, Timestamp},
    ledger::{
        AgentEvent, Bad, BrokerEvent, Chain, Fact, Head, Report, Stream, Verifier, commitment, decode,
        export::Line,
        leaf_hash, merkle,
        segment::{self, AllowedCall, AllowedOutcome, Arguments, Leaves},
    },
};
use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use uuid::Uuid;

/// Made once: deriving a public key is slow without optimization.
static KEY: LazyLock<SigningKey> = LazyLock::new(|| SigningKey::from_bytes(&[42; 32]));

fn key() -> &'static SigningKey {
    &KEY
}

fn agent(n: u64) -> Fact {
    let (agent, by) = (format!("agent \"{n}\" é"), "root".into());
    Fact::Agent(AgentEvent::AgentRevoked { agent, by })
}

fn answered(n: u64) -> Fact {
    let answer = Commitment([u8::try_from(n).unwrap(); 32]);
    Fact::Call(Event::LateAnswer { answer, bytes: n, is_error: false })
}

fn call(n: u64) -> CallId {
    CallId(Uuid::from_u128(u128::from(n)))
}

fn signed(chain: &Chain) -> Vec<u8> {
    let head = Head { origin: "test".into(), size: chain.size, hash: chain.head, at: Timestamp(9) };
    Line::Head(head.sign(key())).write().unwrap()
}

/// `size` entries over three streams, a signed head at the end.
fn log(size: u64) -> Vec<Vec<u8>> {
    let (mut chain, mut versions, mut lines) = (Chain::default(), [0; 3], Vec::new());
    for n in 1..=size {
        let which = usize::try_from(n % 3).unwrap();
        versions[which] += 1;
        let (stream, fact) = match which {
            0 => (Stream::Agents, agent(n)),
            other => (Stream::Call(call(other as u64)), answered(n)),
        };
        let at = Timestamp(1_790_000_000_000 + i64::try_from(n).unwrap());
        lines.push(chain.push(at, &stream, versions[which], fact).unwrap().1);
    }
    lines.push(signed(&chain));
    lines
}

fn verify_with(lines: &[Vec<u8>], since: Option<Head>) -> Report {
    let mut verifier = Verifier::new(Some(key().verifying_key()), since);
    // What a change did to line feeds counts too: the text is joined and cut again.
    for line in lines.join(&b'\n').split(|byte| *byte == b'\n') {
        verifier.line(line);
    }
    verifier.finish()
}

fn verify(lines: &[Vec<u8>]) -> Report {
    verify_with(lines, None)
}

fn named(report: &Report) -> Option<u64> {
    report.bad.as_ref().map(|Bad { number, .. }| *number)
}

#[test]
fn an_untouched_export_is_proven_to_its_last_entry() {
    let report = verify(&log(8));
    assert_eq!((report.entries, report.heads, report.proven, report.bad), (8, 1, 8, None));
    let payloads_and_what_followed = 2;
    assert_eq!(report.unproven.len(), payloads_and_what_followed, "{:?}", report.unproven);
}

#[test]
fn an_entry_is_read_back_as_it_was_written() {
    let (entry, bytes) = Chain::default().push(Timestamp(5), &Stream::Agents, 1, agent(1)).unwrap();
    let placed = decode(&bytes).unwrap();
    assert_eq!((placed.entry, placed.prev), (entry, [0; 32]));
    let text = String::from_utf8(bytes).unwrap();
    let wanted = concat!(
        r#"{"at":"1970-01-01T00:00:00.005Z","fact":{"agent":"agent \"1\" é","by":"root","event":"agent_revoked"},"#,
        r#""lane":0,"n":1,"prev":"0000000000000000000000000000000000000000000000000000000000000000","#,
        r#""stream":"agents","v":1,"version":1}"#
    );
    assert_eq!(text, wanted, "these bytes are what every ledger's hashes stand on");
}

#[test]
fn every_flipped_bit_of_every_entry_is_named() {
    let whole = log(4);
    for entry in 0..4 {
        for place in 0..whole[entry].len() {
            for bit in 0..8 {
                let mut lines = whole.clone();
                lines[entry][place] ^= 1 << bit;
                let report = verify(&lines);
                assert_eq!(named(&report), Some(entry as u64 + 1), "byte {place} bit {bit}: {report:?}");
            }
        }
    }
}

#[test]
fn every_changed_byte_of_a_signed_head_is_seen() {
    let whole = log(2);
    // The note's last line feed, an escape of two characters, is white space around it: it may change.
    for place in 0..whole[2].len() - 4 {
        for change in [1, 0x20, 0x80] {
            let mut lines = whole.clone();
            lines[2][place] ^= change;
            let report = verify(&lines);
            assert!(report.bad.is_some() || report.proven < 2, "byte {place} by {change}");
        }
    }
}

#[test]
fn a_missing_entry_is_named() {
    for gone in 0..6 {
        let mut lines = log(6);
        lines.remove(gone);
        assert_eq!(named(&verify(&lines)), Some(gone as u64 + 1));
    }
}

#[test]
fn swapped_entries_are_named_by_the_first() {
    for first in 0..5 {
        let mut lines = log(6);
        lines.swap(first, first + 1);
        assert_eq!(named(&verify(&lines)), Some(first as u64 + 1));
    }
}

#[test]
fn a_chain_hashed_anew_without_the_key_does_not_lead_to_the_signed_head() {
    let mut lines = log(6);
    let (mut chain, mut forged) = (Chain::default(), Vec::new());
    for line in &lines[..6] {
        let mut entry = decode(line).unwrap().entry;
        if entry.number == 3 {
            entry.fact = agent(99);
        }
        forged.push(chain.push(entry.at, &entry.stream, entry.version, entry.fact).unwrap().1);
    }
    forged.push(lines.pop().unwrap());
    let report = verify(&forged);
    assert_eq!(named(&report), Some(6), "the head covers it");
    assert!(report.bad.unwrap().why.contains("from 1 on"), "and says from where it may be another");
}

#[test]
fn what_was_cut_off_is_found_with_a_head_that_was_kept() {
    let whole = log(6);
    let Line::Head(note) = Line::read(&whole[6]).unwrap() else { panic!() };
    let kept = Head::open(&note, &key().verifying_key()).unwrap();
    let report = verify(&whole[..4]);
    assert_eq!((report.bad, report.proven), (None, 0));
    assert!(report.unproven.iter().any(|what| what.contains("no signed head is here")));
    assert_eq!(named(&verify_with(&whole[..4], Some(kept.clone()))), Some(5));
    assert_eq!(named(&verify_with(&whole, Some(kept.clone()))), None);
    let another = Head { hash: leaf_hash(b"another"), size: 4, ..kept };
    assert_eq!(named(&verify_with(&whole, Some(another))), Some(4), "rolled back and written on");
}

#[test]
fn a_head_opens_for_its_key_only_and_survives_pasting() {
    let head = Head { origin: "main".into(), size: 7, hash: [7; 32], at: Timestamp(0) };
    let note = head.sign(key());
    assert_eq!(
        Head::open(&format!("  \n{}\n\n", note.replace('\n', "\r\n")), &key().verifying_key()),
        Ok(head)
    );
    let other = SigningKey::from_bytes(&[1; 32]).verifying_key();
    assert!(Head::open(&note, &other).is_err());
    assert!(Head::open(&note.replace("size 7", "size 8"), &key().verifying_key()).is_err());
}

#[test]
fn a_payload_must_be_the_one_that_its_entry_proves() {
    let salt = [5; 32];
    let fact = |answer: Commitment| Fact::Call(Event::LateAnswer { answer, bytes: 2, is_error: false });
    let mut chain = Chain::default();
    let stream = Stream::Call(call(1));
    let (_, entry) = chain.push(Timestamp(1), &stream, 1, fact(commitment(&salt, b"{}"))).unwrap();
    let payload = |bytes: &[u8]| Line::Payload { call: call(1), salt, bytes: bytes.into() }.write().unwrap();
    let report = verify(&[entry.clone(), payload(b"{}"), signed(&chain)]);
    assert_eq!((report.bad, report.payloads, report.proven), (None, 1, 1));
    assert_eq!(named(&verify(&[entry.clone(), payload(b"[]"), signed(&chain)])), Some(1));
    let without = verify(&[entry, signed(&chain)]);
    assert!(without.unproven[0].starts_with("what 1 of the texts said"), "{:?}", without.unproven);
}

#[test]
fn a_batch_of_allowed_calls_is_proven_by_its_leaves() {
    let leaves: Vec<Vec<u8>> = (0..5).map(|n| format!("{{\"call\":{n}}}").into_bytes()).collect();
    let (sealed, packed) = leaves.iter().collect::<Leaves>().seal(Timestamp(1), Timestamp(2));
    assert_eq!(segment::unpack(&packed, 5).unwrap(), texts(&leaves));
    let fact = Fact::Broker(BrokerEvent::AllowedCalls(sealed));
    let mut chain = Chain::default();
    let mut lines = vec![chain.push(Timestamp(3), &Stream::Broker, 1, fact).unwrap().1];
    let without = verify(&[lines[0].clone(), signed(&chain)]);
    assert_eq!((without.bad, without.unproven.len()), (None, 2));
    lines
        .extend(leaves.into_iter().map(|leaf| Line::Leaf(String::from_utf8(leaf).unwrap()).write().unwrap()));
    lines.push(signed(&chain));
    assert_eq!((verify(&lines).bad, verify(&lines).leaves), (None, 5));
    lines.swap(2, 3);
    assert_eq!(named(&verify(&lines)), Some(1));
}

fn texts(leaves: &[Vec<u8>]) -> Vec<String> {
    leaves.iter().map(|leaf| String::from_utf8(leaf.clone()).unwrap()).collect()
}

#[test]
fn a_packed_leaf_is_the_json_of_its_call() {
    let of = |n: u128, tool: &'static str, session: Option<&'static str>| AllowedCall {
        id: call(n as u64),
        agent: "bot".into(),
        server: "a \"b\" é".into(),
        tool: tool.into(),
        rule: "tools.x".into(),
        policy: "0123".into(),
        session: session.map(Into::into),
        started: Timestamp(1),
        duration_ms: 2,
        arguments: if n.is_multiple_of(2) {
            Arguments::Raw("{\"a\":\"\\u0000\"}".into())
        } else {
            Arguments::Digest(Digest([7; 32]))
        },
        outcome: AllowedOutcome::Completed { is_error: false, bytes: 9 },
    };
    let tools = ["read", "read", "write", "read"];
    let calls = (0..).zip(tools).map(|(n, tool)| of(n, tool, (n == 1).then_some("s"))).collect::<Vec<_>>();
    let mut leaves = Leaves::default();
    for call in &calls {
        leaves.push(call).unwrap();
    }
    let (sealed, packed) = leaves.seal(Timestamp(1), Timestamp(2));
    let texts: Vec<Vec<u8>> = calls.iter().map(|call| serde_json::to_vec(call).unwrap()).collect();
    assert_eq!(segment::unpack(&packed, 4).unwrap(), self::texts(&texts));
    assert_eq!(segment::unpack(&packed, 3), None, "more than its entry says");
    let unused = [&packed[..], &[0, 0, 0, 0, 1, b'x']].concat();
    assert_eq!(segment::unpack(&unused, 4), None, "what no leaf has");
    let (_, broken) = [b"\xEF\xBF"].into_iter().collect::<Leaves>().seal(Timestamp(1), Timestamp(2));
    assert_eq!(segment::unpack(&broken, 1), None, "no text");
    assert_eq!((sealed.count, sealed.root), (4, Digest(merkle::root(&texts)).to_string()));
    assert_eq!(AllowedCall::read(&texts[1]).unwrap(), calls[1]);
    let once = packed.windows(5).filter(|part| part == b"\"bot\"").count();
    assert_eq!(once, 2, "once for each tool");
}

#[test]
fn merkle_trees_agree_with_rfc_6962() {
    let leaves: [&[u8]; 8] = [
        b"",
        b"\x00",
        b"\x10",
        b"\x20\x21",
        b"\x30\x31",
        b"\x40\x41\x42\x43",
        b"\x50\x51\x52\x53\x54\x55\x56\x57",
        b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
    ];
    let known = "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328";
    assert_eq!(Digest(merkle::root(&leaves)).to_string(), known);
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Digest(merkle::root::<&[u8]>(&[])).to_string(), empty);
    for size in 1..=8 {
        let root = merkle::root(&leaves[..size]);
        for index in 0..size {
            let path = merkle::inclusion(&leaves[..size], index).unwrap();
            assert!(merkle::includes(&root, size, index, leaf_hash(leaves[index]), &path));
            assert!(!merkle::includes(&root, size, index, leaf_hash(b"other"), &path));
        }
    }
}

proptest! {
    #[test]
    fn no_random_change_of_an_export_goes_unseen(
        size in 1_u64..9, line: prop::sample::Index, place: prop::sample::Index, byte: u8,
    ) {
        let mut lines = log(size);
        let line = line.index(lines.len() - 1);
        let place = place.index(lines[line].len());
        prop_assume!(lines[line][place] != byte);
        lines[line][place] = byte;
        prop_assert_eq!(named(&verify(&lines)), Some(line as u64 + 1));
    }

    #[test]
    fn whatever_is_read_never_panics(lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..5)) {
        let _ = verify(&lines);
        let _ = Head::open(&String::from_utf8_lossy(&lines.concat()), &key().verifying_key());
        let _ = segment::unpack(&lines.concat(), u32::MAX);
    }
}
