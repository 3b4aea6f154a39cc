//! What every store does, whatever is under it.

use std::sync::Arc;

use countersign::{
    call::{Attachment, Digest, Event, Fingerprint, Replica, State, StateName, Used},
    ledger::{BrokerEvent, Fact, Stream, decode, encode},
    store::{Batch, Boot, Filter, PayloadKind, Put, Store, StoreError},
};

use crate::sample::{agent_added, call, moment, on, payload, submit, voted, write};

pub type Opened = Arc<dyn Store>;

/// Everything that a store must hold, each on a store of its own.
pub async fn hold(mut open: impl AsyncFnMut() -> Opened) {
    an_append_is_numbered_chained_and_read_back(&open().await).await;
    a_stream_that_moved_on_is_a_conflict(&open().await).await;
    an_append_is_all_or_nothing_over_its_streams(&open().await).await;
    a_write_without_facts_only_asserts(&open().await).await;
    of_racing_appends_one_wins_each_version(&open().await).await;
    followers_are_woken_after_each_commit(&open().await).await;
    small_values_are_kept_and_deleted(&open().await).await;
    payloads_commit_with_their_entries(&open().await).await;
    pages_go_newest_first_and_lose_nothing(&open().await).await;
    filters_narrow_a_page(&open().await).await;
    counts_follow_the_states(&open().await).await;
    what_is_due_comes_soonest_first(&open().await).await;
    the_same_call_is_found_by_its_fingerprint(&open().await).await;
    a_segment_stands_under_one_entry(&open().await).await;
    what_was_taken_of_limits_is_found_by_its_moment(&open().await).await;
    the_next_boot_knows_the_last(&open().await).await;
    odd_places_are_answered(&open().await).await;
}

async fn an_append_is_numbered_chained_and_read_back(store: &Opened) {
    let first = store.append(submit(&call(1))).await.unwrap();
    let second = store.append(submit(&call(2))).await.unwrap();
    assert_eq!((first[0].number, first[0].version), (1, 1));
    assert_eq!(second[0].number, 2);
    let entries = store.entries(0, 10).await.unwrap();
    assert_eq!(entries, [first[0].clone(), second[0].clone()]);
    assert_eq!(store.entries(1, 10).await.unwrap(), [second[0].clone()]);
    assert_eq!(store.stream(Stream::Call(call(2).id)).await.unwrap(), [second[0].clone()]);
    assert_eq!(store.call(call(1).id).await.unwrap(), Some(call(1)));
    assert_eq!(store.call(call(9).id).await.unwrap(), None);
    let entry = &entries[1];
    let bytes = encode(2, &entries[0].hash, entry.at, &entry.stream, 1, &entry.fact).unwrap();
    assert_eq!(decode(&bytes).unwrap().entry, *entry);
}

async fn a_stream_that_moved_on_is_a_conflict(store: &Opened) {
    store.append(submit(&call(1))).await.unwrap();
    let again = store.append(submit(&call(1))).await;
    assert!(matches!(again, Err(StoreError::Conflict(stream)) if stream == Stream::Call(call(1).id)));
    let ahead = store.append(write(&call(1), Some(2), vec![voted("ann", call(1).digest, moment(2))])).await;
    assert!(matches!(ahead, Err(StoreError::Conflict(_))));
    assert_eq!(*store.head().borrow(), 1);
}

async fn an_append_is_all_or_nothing_over_its_streams(store: &Opened) {
    store.append(submit(&call(1))).await.unwrap();
    let both = || vec![on(Stream::Agents, Some(0), vec![agent_added("bot")])];
    let mut torn = Batch { at: moment(1), writes: both(), ..Batch::default() };
    torn.writes.extend(submit(&call(1)).writes);
    torn.puts = vec![Put { space: "tokens", key: "bot".into(), value: Some(b"x".to_vec()) }];
    torn.payloads = vec![payload(&call(1), b"{}")];
    assert!(matches!(store.append(torn.clone()).await, Err(StoreError::Conflict(_))));
    assert_eq!(store.version(Stream::Agents).await.unwrap(), 0);
    assert_eq!(store.get("tokens", "bot".into()).await.unwrap(), None);
    assert!(store.payload(call(1).id, PayloadKind::Params, 0).await.unwrap().is_none());
    torn.writes[1].expected = Some(1);
    let entries = store.append(torn).await.unwrap();
    assert_eq!(entries.iter().map(|entry| entry.number).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(store.version(Stream::Agents).await.unwrap(), 1);
}

async fn a_write_without_facts_only_asserts(store: &Opened) {
    let mut batch = submit(&call(1));
    batch.writes.push(on(Stream::Reviewers, Some(0), vec![]));
    assert_eq!(store.append(batch).await.unwrap().len(), 1);
    assert_eq!(store.version(Stream::Reviewers).await.unwrap(), 0);
    let mut batch = submit(&call(2));
    batch.writes.push(on(Stream::Reviewers, Some(1), vec![]));
    let refused = store.append(batch).await;
    assert!(matches!(refused, Err(StoreError::Conflict(Stream::Reviewers))));
    assert_eq!(store.call(call(2).id).await.unwrap(), None);
}

async fn of_racing_appends_one_wins_each_version(store: &Opened) {
    store.append(submit(&call(1))).await.unwrap();
    for version in 1..=3 {
        let racers: Vec<_> = (0..50)
            .map(|n| {
                let store = Arc::clone(store);
                let fact = voted(&format!("reviewer-{n}"), call(1).digest, moment(n));
                tokio::spawn(async move { store.append(write(&call(1), Some(version), vec![fact])).await })
            })
            .collect();
        let mut won = 0;
        for racer in racers {
            match racer.await.unwrap() {
                Ok(entries) => {
                    won += 1;
                    assert_eq!(entries[0].version, version + 1);
                }
                Err(error) => assert!(matches!(error, StoreError::Conflict(_)), "{error}"),
            }
        }
        assert_eq!(won, 1);
    }
    assert_eq!(store.version(Stream::Call(call(1).id)).await.unwrap(), 4);
    let numbers: Vec<_> = store.entries(0, 100).await.unwrap().iter().map(|entry| entry.number).collect();
    assert_eq!(numbers, [1, 2, 3, 4]);
}

async fn followers_are_woken_after_each_commit(store: &Opened) {
    let mut head = store.head();
    assert_eq!(*head.borrow_and_update(), 0);
    store.append(submit(&call(1))).await.unwrap();
    head.changed().await.unwrap();
    assert_eq!(*head.borrow_and_update(), 1);
    store.put(vec![Put { space: "s", key: "k".into(), value: Some(vec![1]) }]).await.unwrap();
    assert!(!head.has_changed().unwrap(), "a small value is no entry");
}

async fn small_values_are_kept_and_deleted(store: &Opened) {
    let put =
        |key: &str, value: Option<&[u8]>| Put { space: "s", key: key.into(), value: value.map(Into::into) };
    store.put(vec![put("b", Some(b"2")), put("a", Some(b"1"))]).await.unwrap();
    store.put(vec![Put { space: "other", key: "a".into(), value: Some(b"9".to_vec()) }]).await.unwrap();
    assert_eq!(store.list("s").await.unwrap(), [("a".into(), b"1".to_vec()), ("b".into(), b"2".to_vec())]);
    store.put(vec![put("a", Some(b"3")), put("b", None)]).await.unwrap();
    assert_eq!(store.get("s", "a".into()).await.unwrap(), Some(b"3".to_vec()));
    assert_eq!(store.list("s").await.unwrap().len(), 1);
}

async fn payloads_commit_with_their_entries(store: &Opened) {
    let mut batch = submit(&call(1));
    batch.payloads = vec![payload(&call(1), br#"{"name":"x"}"#)];
    store.append(batch).await.unwrap();
    let found = store.payload(call(1).id, PayloadKind::Params, 0).await.unwrap().unwrap();
    assert_eq!((found.bytes.as_slice(), found.salt), (br#"{"name":"x"}"#.as_slice(), [3; 32]));
    assert!(store.payload(call(1).id, PayloadKind::Answer, 0).await.unwrap().is_none());
}

async fn pages_go_newest_first_and_lose_nothing(store: &Opened) {
    for n in 1..=25 {
        // Two calls share each moment, so that the id decides.
        let mut call = call(n);
        call.requested_at = moment(n / 2);
        store.append(submit(&call)).await.unwrap();
    }
    let mut filter = Filter { limit: 10, ..Filter::default() };
    let mut ids = Vec::new();
    loop {
        let page = store.calls(filter.clone()).await.unwrap();
        assert_eq!(page.head, 25);
        ids.extend(page.calls.iter().map(|call| call.id));
        let Some(next) = page.next else { break };
        assert_eq!(page.calls.len(), 10);
        filter.after = Some(next);
    }
    assert_eq!(ids, (1..=25).rev().map(|n| call(n).id).collect::<Vec<_>>());
}

async fn filters_narrow_a_page(store: &Opened) {
    for n in 1..=12 {
        store.append(submit(&call(n))).await.unwrap();
    }
    let mut denied = call(4);
    denied.state = State::Expired { lapsed: false };
    store.append(write(&denied, Some(1), vec![voted("ann", denied.digest, moment(9))])).await.unwrap();
    let find = async |filter: Filter| {
        let page = store.calls(Filter { limit: 100, ..filter }).await.unwrap();
        assert_eq!(page.next, None);
        page.calls.iter().map(|call| call.requested_at.since(moment(0)).as_secs()).collect::<Vec<_>>()
    };
    let any = Filter::default;
    assert_eq!(find(Filter { states: vec![StateName::Expired], ..any() }).await, [4]);
    assert_eq!(
        find(Filter { states: vec![StateName::Expired, StateName::Pending], ..any() }).await.len(),
        12
    );
    assert_eq!(find(Filter { tool: Some("GetAHORun".into()), ..any() }).await, [11, 9, 7, 5, 3, 1]);
    assert_eq!(find(Filter { agent: Some("agent-0".into()), ..any() }).await, [12, 9, 6, 3]);
    assert!(find(Filter { server: Some("health".into()), ..any() }).await.is_empty());
    assert_eq!(find(Filter { reviewer: Some("ann".into()), ..any() }).await, [4]);
    let text = |text: &str| Filter { text: Some(text.into()), ..any() };
    assert_eq!(find(text("cancelaho")).await, [12, 10, 8, 6, 4, 2]);
    assert_eq!(find(text("agent-2")).await, [11, 8, 5, 2]);
    assert_eq!(find(text(&call(7).digest.short_code().to_lowercase())).await, [7]);
    assert_eq!(find(text(&call(7).id.to_string())).await, [7]);
    assert!(find(text("100%")).await.is_empty());
    let both = Filter { states: vec![StateName::Pending], tool: Some("CancelAHORunBatch".into()), ..any() };
    assert_eq!(find(both).await, [12, 10, 8, 6, 2]);
}

async fn counts_follow_the_states(store: &Opened) {
    for n in 1..=3 {
        store.append(submit(&call(n))).await.unwrap();
    }
    let mut lapsed = call(1);
    lapsed.state = State::Expired { lapsed: true };
    let expired = Fact::Call(Event::Expired { lapsed: true });
    store.append(write(&lapsed, Some(1), vec![expired])).await.unwrap();
    let counts = store.counts().await.unwrap();
    let of = |wanted| counts.iter().find(|(state, _)| *state == wanted).map_or(0, |(_, count)| *count);
    assert_eq!((of(StateName::Pending), of(StateName::Expired), of(StateName::Lost)), (2, 1, 0));
    assert_eq!(store.call(lapsed.id).await.unwrap(), Some(lapsed));
}

async fn what_is_due_comes_soonest_first(store: &Opened) {
    for n in [3, 1, 2] {
        store.append(submit(&call(n))).await.unwrap();
    }
    let ids = |ns: &[u64]| ns.iter().map(|n| call(*n).id).collect::<Vec<_>>();
    assert_eq!(store.due(moment(1002), 10).await.unwrap(), ids(&[1, 2]));
    assert_eq!(store.due(moment(2000), 2).await.unwrap(), ids(&[1, 2]));
    let mut settled = call(1);
    settled.state = State::Expired { lapsed: false };
    let mut batch = write(&settled, Some(1), vec![Fact::Call(Event::Expired { lapsed: false })]);
    batch.writes[0].deadline = Some(moment(1001));
    store.append(batch).await.unwrap();
    assert_eq!(store.due(moment(2000), 10).await.unwrap(), ids(&[2, 3]));
}

async fn the_same_call_is_found_by_its_fingerprint(store: &Opened) {
    for n in 1..=20 {
        let mut batch = submit(&call(n));
        let key = if n == 5 { [5; 32] } else { [1; 32] };
        batch.fingerprint = Some((call(n).id, Fingerprint(key)));
        store.append(batch).await.unwrap();
    }
    let same = store.same(Fingerprint([1; 32])).await.unwrap();
    assert_eq!(same.len(), 16);
    assert_eq!(same[0], call(20));
    assert!(same.iter().all(|found| found.id != call(5).id));
    assert!(store.same(Fingerprint([9; 32])).await.unwrap().is_empty());
}

async fn a_segment_stands_under_one_entry(store: &Opened) {
    let leaves = [b"one", b"two"].into_iter().collect();
    let entry = store.append_segment(moment(3), leaves, moment(1), moment(2)).await.unwrap();
    let Fact::Broker(BrokerEvent::AllowedCalls(segment)) = &entry.fact else { panic!("{entry:?}") };
    assert_eq!((segment.count, segment.from, segment.to), (2, moment(1), moment(2)));
    assert_eq!(store.stream(Stream::Broker).await.unwrap(), [entry]);
}

async fn what_was_taken_of_limits_is_found_by_its_moment(store: &Opened) {
    let by = Replica { name: "main".into(), epoch: 1 };
    let used = || vec![Used { counter: "c".into(), window: "hour".into(), amount: "1".into() }];
    let dispatched = |taken| Event::Dispatched {
        by: by.clone(),
        attachment: Attachment(uuid::Uuid::nil()),
        digest: Digest([1; 32]),
        lease_until: moment(99),
        taken,
    };
    let failed = |given_back| Event::Failed { by: by.clone(), why: "\"taken\":[".into(), given_back };
    let append = async |n: u64, at: u64, event: Event| {
        let writes = vec![on(Stream::Call(call(n).id), None, vec![Fact::Call(event)])];
        store.append(Batch { at: moment(at), writes, ..Batch::default() }).await.unwrap().remove(0)
    };
    append(1, 1, dispatched(used())).await;
    let taken = append(2, 2, dispatched(used())).await;
    append(3, 3, dispatched(Vec::new())).await;
    append(3, 4, failed(Vec::new())).await;
    let given_back = append(2, 5, failed(used())).await;
    append(4, 6, dispatched(used())).await;
    assert_eq!(store.taken(moment(2), moment(6)).await.unwrap(), [taken, given_back]);
}

async fn the_next_boot_knows_the_last(store: &Opened) {
    assert_eq!(store.last_boot().await.unwrap(), None);
    let say = |event| {
        let writes = vec![on(Stream::Broker, None, vec![Fact::Broker(event)])];
        store.append(Batch { at: moment(1), writes, ..Batch::default() })
    };
    say(BrokerEvent::Started { replica: "main".into(), epoch: 7, version: "0.1.0".into() }).await.unwrap();
    assert_eq!(store.last_boot().await.unwrap(), Some(Boot { epoch: 7, drained: false }));
    store.append_segment(moment(2), [b"leaf"].into_iter().collect(), moment(1), moment(2)).await.unwrap();
    say(BrokerEvent::Drained { epoch: 7 }).await.unwrap();
    assert_eq!(store.last_boot().await.unwrap(), Some(Boot { epoch: 7, drained: true }));
}

async fn odd_places_are_answered(store: &Opened) {
    store.append(submit(&call(1))).await.unwrap();
    assert_eq!(store.entries(0, usize::MAX).await.unwrap().len(), 1);
    assert!(store.entries(u64::MAX, 1).await.unwrap().is_empty());
    assert_eq!(store.due(moment(9999), usize::MAX).await.unwrap(), [call(1).id]);
    let strange = Filter { after: Some("strange".into()), limit: 1, ..Filter::default() };
    assert!(matches!(store.calls(strange).await, Err(StoreError::Cursor)));
}
