//! Limits: what a call counts, and counters that are taken, given back and rebuilt.

use std::time::Duration;

use countersign::call::Timestamp;
use countersign::policy::{Facts, Limits, Reservation, Window, evaluate};

use super::{about, facts, verdict};

fn reservation(window: Window, max: f64, amount: f64, review: bool) -> Reservation {
    Reservation {
        counter: "c|ci".into(),
        window,
        max,
        amount,
        rule: "/r".into(),
        on_deny: None,
        on_limit_review: review,
        durable: false,
    }
}

#[test]
fn limits_are_taken_all_or_none_and_given_back() {
    let mut limits = Limits::default();
    let (now, later) = (Timestamp(59_000), Timestamp(60_000));
    let one = reservation(Window::MINUTE, 2.0, 1.0, false);
    let other = Reservation { counter: "d|ci".into(), max: 1.0, ..one.clone() };
    let first = limits.reserve(&[one.clone(), other.clone()], now).expect("fits");
    let hit = limits.reserve(&[one.clone(), other.clone()], now).expect_err("full");
    assert_eq!(hit.retry_at, Some(later));
    limits.reserve(std::slice::from_ref(&one), now).expect("the refusal took nothing");
    limits.reserve(std::slice::from_ref(&one), now).expect_err("full");
    limits.give_back(first);
    limits.reserve(&[one.clone(), other.clone()], now).expect("given back");
    limits
        .reserve(&[one.clone(), one.clone(), one.clone()], later)
        .expect_err("three of one call are too many");
    limits.reserve(&[one.clone(), one.clone()], later).expect("the next minute is empty");
    limits.reserve(std::slice::from_ref(&one), later).expect_err("two of one call counted twice");
    let big = reservation(Window::DAY, 5.0, 6.0, false);
    assert_eq!(limits.reserve(&[big], now).expect_err("never fits").retry_at, None);
    limits.sweep(Timestamp(200_000));
    assert!(limits.is_empty());
}

#[test]
fn a_sliding_window_never_lets_more_through_than_its_maximum() {
    let window = Window::Sliding(Duration::from_secs(90));
    let one = reservation(window, 3.0, 1.0, false);
    let mut limits = Limits::default();
    let mut taken: Vec<i64> = Vec::new();
    for now in (0..1_000_000).step_by(7_003) {
        if limits.reserve(std::slice::from_ref(&one), Timestamp(now)).is_ok() {
            taken.push(now);
        } else {
            let retry = limits
                .check(std::slice::from_ref(&one), Timestamp(now))
                .expect_err("full")
                .retry_at
                .expect("a time");
            assert!(retry.0 > now && limits.check(std::slice::from_ref(&one), retry).is_ok());
        }
    }
    assert!(taken.len() > 20);
    for window in taken.windows(4) {
        assert!(window[3] - window[0] >= 90_000, "{window:?}");
    }
}

#[test]
fn counters_are_rebuilt_from_the_ledger_and_an_approved_call_passes_a_limit_that_only_asks() {
    let mut limits = Limits::default();
    limits.rebuild("c|ci", Window::HOUR, 2.0, Timestamp(1_000));
    let asks = reservation(Window::HOUR, 2.0, 1.0, true);
    assert!(limits.reserve(std::slice::from_ref(&asks), Timestamp(2_000)).expect_err("full").review);
    limits.reserve_approved(std::slice::from_ref(&asks), Timestamp(2_000)).expect("a person said yes");
    let denies = reservation(Window::HOUR, 2.0, 1.0, false);
    limits.reserve_approved(&[asks, denies], Timestamp(2_000)).expect_err("a refusal stays one");
    assert_eq!("90s".parse(), Ok(Window::Sliding(Duration::from_secs(90))));
    assert_eq!(Window::DAY.to_string().parse(), Ok(Window::DAY));
}

#[test]
fn an_amount_counts_and_one_that_cannot_be_read_tightens() {
    let p = about(
        r#"{"limits":[{"counter":"spend","window":"day","max":5000,"increment_from":"args.amount","scope":"global"}]}"#,
    );
    let evaluation = evaluate(&[&p], &facts("t", r#"{"amount":12.5}"#));
    let spend = &evaluation.reservations[0];
    assert_eq!((spend.counter.as_str(), spend.amount, spend.durable), ("spend|*", 12.5, true));
    for arguments in ["{}", r#"{"amount":"5"}"#, r#"{"amount":-5}"#, r#"{"amount":1e999}"#] {
        assert_eq!(verdict(&[&p], "t", arguments), "deny /tools/t/limits/0", "{arguments}");
    }
}

#[test]
fn a_limit_with_conditions_counts_only_the_calls_that_match_or_cannot_be_told() {
    let p = about(
        r#"{"limits":[{"counter":"w","window":"day","max":1,"conditions":[{"path":"args.op","op":"in","value":["put"]}]}]}"#,
    );
    let counted = |arguments| evaluate(&[&p], &facts("t", arguments)).reservations.len();
    assert_eq!((counted(r#"{"op":"get"}"#), counted(r#"{"op":"put"}"#), counted(r#"{"op":1}"#)), (0, 1, 1));
}

#[test]
fn a_counter_is_kept_per_grant_session_server_or_for_all() {
    for (scope, counter) in [
        ("grant", "c|ci"),
        ("agent", "c|ci"),
        ("session", "c|ci#one"),
        ("server", "c|server=s"),
        ("global", "c|*"),
    ] {
        let limit = format!(r#"{{"limits":[{{"counter":"c","window":"day","max":1,"scope":"{scope}"}}]}}"#);
        let facts = Facts { session: Some("one"), ..facts("t", "") };
        let evaluation = evaluate(&[&about(&limit)], &facts);
        assert_eq!(evaluation.reservations[0].counter, counter);
        assert!(evaluation.reservations[0].durable);
    }
}
