//! What people see of calls, and what they do to them.

use std::time::Duration;

use countersign::{broker::Submission, call::Event};
use serde_json::{Value, json};

use crate::rig::{NOW, replica, world};

const ODD: &str = r#"{ "batch":"b-1", "n":12345678901234567890.10, "s":"\u0041<b>" }"#;

#[tokio::test]
async fn a_parked_call_is_shown_with_everything_a_reviewer_needs() {
    let w = world().await;
    let waiter = w.park("cancel", ODD).await;
    let call = w.call(waiter.call()).await;
    for (key, value) in [
        ("server", json!("ops")),
        ("tool", json!("cancel")),
        ("agent", json!("bot")),
        ("state", json!("pending")),
        ("reason", json!("Cancels the batch")),
        ("severity", json!("critical")),
        ("class", json!("destructive")),
        ("waiting", json!("line")),
        ("era", json!("legacy")),
        ("protocol", json!("2025-06-18")),
        ("round", json!(0)),
        ("session", json!("s1")),
        ("client", json!({ "name": "test", "version": "1" })),
        ("quorums", json!([{ "approvals": 1, "have": 0 }])),
        ("requested_at", json!("2027-01-15T08:00:00.000Z")),
        ("expires_at", json!("2027-01-15T08:15:00.000Z")),
        ("arguments_raw", json!(ODD)),
        ("can_vote", json!(true)),
        ("card", Value::Null),
    ] {
        assert_eq!(call[key], value, "{key}");
    }
    let events: Vec<&str> =
        call["timeline"].as_array().unwrap().iter().map(|step| step["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["submitted", "attached"]);
    let list =
        w.http.get(w.url("/api/v1/calls?state=pending,lost")).bearer_auth(&w.ann).send().await.unwrap();
    let text = list.text().await.unwrap();
    assert!(text.contains(ODD), "the list has the agent's own bytes: {text}");
}

#[tokio::test]
async fn whatever_is_sent_beside_the_arguments_is_shown() {
    let w = world().await;
    let plain = w.park("cancel", "{}").await;
    let call = w.call(plain.call()).await;
    assert_eq!((&call["other"], &call["other_raw"]), (&json!(false), &Value::Null));
    let beside = concat!(
        r#","inputResponses":{"ask":1.50},"requestState":"s","task":{"ttl":1},"odd":[],"#,
        r#""_meta":{"progressToken":7,"traceparent":"t","vendor/key":"v","#,
        r#""io.modelcontextprotocol/clientInfo":{"name":"c"}}"#
    );
    let submitted = w.submit_with("cancel", r#"{"a":1}"#, beside).await;
    let Submission::Waiting(waiter) = submitted else { panic!("it waits: {submitted:?}") };
    let call = w.call(waiter.call()).await;
    let raw = call["other_raw"].as_str().unwrap();
    let meant = json!({
        "inputResponses": { "ask": 1.50 }, "requestState": "s", "task": { "ttl": 1 }, "odd": [],
        "_meta": { "vendor/key": "v" },
    });
    assert_eq!(serde_json::from_str::<Value>(raw).unwrap(), meant);
    assert!(raw.contains("1.50"), "the agent's own digits: {raw}");
    let beside_params = r#"},"x-admin":{"su":1.0},"y":{"z":1"#;
    let submitted = w.submit_with("cancel", r#"{"a":2}"#, beside_params).await;
    let Submission::Waiting(odd) = submitted else { panic!("it waits: {submitted:?}") };
    let shown = w.call(odd.call()).await;
    assert_eq!(shown["other_raw"], r#"{"x-admin":{"su":1.0},"y":{"z":1}}"#);
    w.broker.ticket(*odd).await;
    let odd = json!(shown["id"]);
    let (_, list) = w.get(&w.ann, "/api/v1/calls").await;
    for listed in list["calls"].as_array().unwrap() {
        if listed["id"] == odd {
            assert_eq!(listed["other"], true);
            continue;
        }
        assert_eq!(listed["other"], json!(listed["id"] == json!(waiter.call().to_string())));
        assert_eq!(listed["other_raw"], Value::Null, "values stand with the one call");
    }
}

#[tokio::test]
async fn a_lost_call_says_in_lists_what_a_person_found_out() {
    let w = world().await;
    let waiter = w.park("cancel", "{}").await;
    let id = waiter.call();
    w.happened(id, Event::Lost { by: replica(), why: "reset".into() }).await;
    let listed = async || w.get(&w.ann, "/api/v1/calls?state=lost").await.1["calls"][0]["resolved"].clone();
    assert_eq!(listed().await, Value::Null);
    let found = json!({ "outcome": "not_done", "note": "looked" });
    let (status, answer) = w.post(&w.ann, &format!("/api/v1/calls/{id}/resolve"), &found).await;
    assert_eq!((status, &answer["resolved"]), (200, &json!("not_done")), "{answer}");
    assert_eq!(listed().await, "not_done");
}

#[tokio::test]
async fn an_expired_call_says_whether_it_had_been_approved() {
    let w = world().await;
    for (lapsed, shown) in [(true, json!(true)), (false, Value::Null)] {
        let id = w.park("cancel", &json!({ "n": lapsed }).to_string()).await.call();
        w.happened(id, Event::Expired { lapsed }).await;
        let call = w.call(id).await;
        assert_eq!((&call["state"], &call["lapsed"]), (&json!("expired"), &shown));
    }
}

#[tokio::test]
async fn an_approval_permits_the_call_and_a_later_vote_hears_who_and_when() {
    let w = world().await;
    let waiter = w.park("cancel", "{}").await;
    let id = waiter.call();
    let (status, call) = w.vote(&w.ann, id, "approve").await;
    assert_eq!((status, &call["state"]), (200, &json!("permitted")));
    let call = w.call(id).await;
    assert_eq!(call["reviews"][0]["reviewer"], "ann");
    assert_eq!(call["reviews"][0]["reason"], "because");
    assert_eq!(call["timeline"][2]["by"], "ann");
    assert_eq!(call["timeline"][2]["text"], "because");

    let (status, _) = w.post(&w.ann, &format!("/api/v1/calls/{id}/cancel"), &json!({"reason": "no"})).await;
    assert_eq!(status, 200);
    let (status, problem) = w.vote(&w.bob, id, "approve").await;
    assert_eq!(status, 409);
    assert_eq!(problem["settled_by"], "ann");
    assert_eq!(problem["settled_at"], json!(NOW));
    assert_eq!(problem["call"], json!(id));
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("withdrawn by ann at 2027-01-15"), "{detail}");
    let call = w.call(id).await;
    assert_eq!((&call["outcome"]["state"], &call["outcome"]["text"]), (&json!("cancelled"), &json!("no")));
    assert_eq!(call["settled_by"], "ann");
    assert_eq!(call["can_vote"], false);
}

#[tokio::test]
async fn a_vote_on_another_digest_hears_the_present_one() {
    let w = world().await;
    let waiter = w.park("cancel", "{}").await;
    let id = waiter.call();
    let path = format!("/api/v1/calls/{id}/reviews");
    let (status, problem) =
        w.post(&w.ann, &path, &json!({ "vote": "approve", "digest": "0".repeat(64) })).await;
    assert_eq!(status, 409);
    let call = w.call(id).await;
    assert_eq!(problem["digest"], call["digest"]);
    assert!(problem["detail"].as_str().unwrap().contains(call["short_code"].as_str().unwrap()));
    assert_eq!(call["state"], "pending");
}

#[tokio::test]
async fn arguments_cannot_be_changed_in_this_version() {
    let w = world().await;
    let waiter = w.park("cancel", "{}").await;
    let digest = w.call(waiter.call()).await["digest"].clone();
    let path = format!("/api/v1/calls/{}/reviews", waiter.call());
    let edit = json!({ "vote": "approve", "digest": digest, "arguments": {} });
    let (status, problem) = w.post(&w.ann, &path, &edit).await;
    assert_eq!(status, 422);
    assert!(problem["detail"].as_str().unwrap().contains("This version cannot change arguments"));
    assert_eq!(w.call(waiter.call()).await["state"], "pending");
}

#[tokio::test]
async fn two_must_agree_and_a_vote_can_be_taken_back() {
    let w = world().await;
    let waiter = w.park("both", "{}").await;
    let id = waiter.call();
    let (_, call) = w.vote(&w.ann, id, "approve").await;
    assert_eq!((&call["state"], &call["quorums"][0]["have"]), (&json!("pending"), &json!(1)));
    assert_eq!((&call["can_vote"], &call["can_vote_why"]), (&json!(false), &json!("You have voted.")));
    assert_eq!(w.vote(&w.ann, id, "approve").await.0, 409);
    let withdraw = format!("/api/v1/calls/{id}/withdraw");
    let (status, call) = w.post(&w.ann, &withdraw, &json!({})).await;
    assert_eq!((status, &call["quorums"][0]["have"]), (200, &json!(0)));
    assert_eq!(w.post(&w.ann, &withdraw, &json!({})).await.0, 409);
    w.vote(&w.ann, id, "approve").await;
    let (_, call) = w.vote(&w.bob, id, "approve").await;
    assert_eq!(call["state"], "permitted");
}

#[tokio::test]
async fn an_auditor_reads_everything_and_decides_nothing() {
    let w = world().await;
    let waiter = w.park("cancel", "{}").await;
    let id = waiter.call();
    let (status, call) = w.get(&w.auditor, &format!("/api/v1/calls/{id}")).await;
    assert_eq!((status, &call["can_vote"]), (200, &json!(false)));
    let before = w.head();
    let digest = call["digest"].clone();
    for (path, body) in [
        (format!("/api/v1/calls/{id}/reviews"), json!({ "vote": "deny", "digest": digest })),
        (format!("/api/v1/calls/{id}/withdraw"), json!({})),
        (format!("/api/v1/calls/{id}/lift"), json!({})),
        (format!("/api/v1/calls/{id}/cancel"), json!({})),
        (format!("/api/v1/calls/{id}/extend"), json!({ "by": "5m" })),
        (format!("/api/v1/calls/{id}/resolve"), json!({ "outcome": "done" })),
        ("/api/v1/stop".to_owned(), json!({ "all": true, "reason": "x" })),
        ("/api/v1/resume".to_owned(), json!({ "all": true, "reason": "x" })),
    ] {
        let (status, problem) = w.post(&w.auditor, &path, &body).await;
        assert_eq!(status, 403, "{path}: {problem}");
    }
    assert_eq!(w.head(), before);
}

#[tokio::test]
async fn more_time_is_given_within_the_maximum_wait() {
    let w = world().await;
    let waiter = w.park("cancel", "{}").await;
    let path = format!("/api/v1/calls/{}/extend", waiter.call());
    let (status, call) = w.post(&w.ann, &path, &json!({ "by": "5m" })).await;
    assert_eq!((status, &call["expires_at"]), (200, &json!("2027-01-15T08:20:00.000Z")));
    for bad in ["", "5", "soon", "0m", "-5m"] {
        assert_eq!(w.post(&w.ann, &path, &json!({ "by": bad })).await.0, 422, "{bad}");
    }
    let (status, problem) = w.post(&w.ann, &path, &json!({ "by": "2d" })).await;
    assert_eq!(status, 422);
    assert!(problem["detail"].as_str().unwrap().contains("1d in all"), "{problem}");
    w.clock.advance(Duration::from_secs(20 * 60));
    assert_eq!(w.vote(&w.ann, waiter.call(), "approve").await.0, 409, "the deadline has passed");
}

#[tokio::test]
async fn a_stop_denies_what_waits_and_is_shown_until_it_is_lifted() {
    let w = world().await;
    let waiter = w.park("cancel", "{}").await;
    let ask = json!({ "agent": "bot", "reason": "looks odd" });
    let (status, list) = w.post(&w.ann, "/api/v1/stop", &ask).await;
    assert_eq!(status, 200, "{list}");
    assert_eq!(list["stops"], json!([{ "agent": "bot", "by": "ann", "reason": "looks odd" }]));
    let call = w.call(waiter.call()).await;
    assert_eq!((&call["state"], &call["settled_by"]), (&json!("denied"), &json!("ann")));
    assert_eq!(w.get(&w.auditor, "/api/v1/stops").await.1, list);
    let (status, list) = w.post(&w.ann, "/api/v1/resume", &ask).await;
    assert_eq!((status, &list["stops"]), (200, &json!([])));
    for bad in [
        json!({ "reason": "x" }),
        json!({ "all": true, "agent": "a", "reason": "x" }),
        json!({ "all": true, "reason": " " }),
    ] {
        assert_eq!(w.post(&w.ann, "/api/v1/stop", &bad).await.0, 422, "{bad}");
    }
}

#[tokio::test]
async fn lists_are_filtered_and_paged() {
    let w = world().await;
    let mut waiters = Vec::new();
    for i in 0..5 {
        waiters.push(w.park("cancel", &format!(r#"{{"i":{i}}}"#)).await);
        w.clock.advance(Duration::from_millis(1));
    }
    w.vote(&w.ann, waiters[0].call(), "deny").await;
    let page = |query: &str| {
        let path = format!("/api/v1/calls?{query}");
        let w = &w;
        async move { w.get(&w.ann, &path).await.1 }
    };
    let first = page("limit=2").await;
    let mut seen: Vec<Value> =
        first["calls"].as_array().unwrap().iter().map(|call| call["id"].clone()).collect();
    let mut next = first["next"].as_str().map(str::to_owned);
    while let Some(after) = next {
        let more = page(&format!("limit=2&after={after}")).await;
        seen.extend(more["calls"].as_array().unwrap().iter().map(|call| call["id"].clone()));
        next = more["next"].as_str().map(str::to_owned);
    }
    let newest_first: Vec<Value> = waiters.iter().rev().map(|waiter| json!(waiter.call())).collect();
    assert_eq!(seen, newest_first);
    let count = |page: Value| page["calls"].as_array().unwrap().len();
    assert_eq!(count(page("state=denied").await), 1);
    assert_eq!(count(page("state=pending,denied").await), 5);
    assert_eq!(count(page("reviewer=ann").await), 1);
    assert_eq!(count(page("tool=other").await), 0);
    assert_eq!(count(page("q=cancel&server=ops&agent=bot").await), 5);
    assert_eq!(count(page("state=Waiting,denied").await), 5);
    for bad in ["limit=0", "limit=201", "limit=x", "state=open", "unknown=1"] {
        assert_eq!(w.get(&w.ann, &format!("/api/v1/calls?{bad}")).await.0, 400, "{bad}");
    }
}

#[tokio::test]
async fn a_policy_can_be_asked_without_a_call() {
    let w = world().await;
    let ask = |tool: &str| json!({ "agent": "bot", "server": "ops", "tool": tool, "arguments": {} });
    for (tool, verdict) in [("read", "allow"), ("cancel", "require_approval"), ("other", "deny")] {
        let (status, said) = w.post(&w.auditor, "/api/v1/policy/explain", &ask(tool)).await;
        assert_eq!((status, &said["verdict"]), (200, &json!(verdict)), "{said}");
        assert_eq!(said["join"], "detached");
    }
    let (_, said) = w.post(&w.auditor, "/api/v1/policy/explain", &ask("alone")).await;
    assert_eq!(said["join"], "never", "{said}");
    let (_, listed) = w.get(&w.auditor, "/api/v1/policies").await;
    assert_eq!(listed["policies"][0]["grants"], json!(["bot"]));
    let (_, listed) = w.get(&w.auditor, "/api/v1/servers").await;
    assert_eq!(listed["servers"][0]["grants"], json!(["bot"]));
}
