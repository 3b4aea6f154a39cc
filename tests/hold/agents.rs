//! A hostile agent: it asks for too much, does not finish, does not read, and guesses at what is another's.

use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::{
    self, beside,
    broker::{legacy_call, text, tools_call},
    wire,
};

const LIMITS: &str = "[mcp]\nlaps = 0\ngrace_ms = 20\nheartbeat_ms = 100\ndefault_patience_s = 40\n\
    max_sessions = 200\nresume_grace_ms = 10000\n[limits]\npending_per_agent = 40\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sessions_that_are_never_ended_leave_room_for_others() {
    let broker = rig::broker(LIMITS).await;
    let bot = broker.agent("bot", "good");
    let story = async {
        let mut refused = 0;
        for _ in 0..1_000 {
            if let Err(reply) = bot.session().await {
                assert_eq!(reply.status, 503, "{reply:?}");
                assert!(reply.json()["error"]["message"].as_str().unwrap().contains("too many sessions"));
                refused += 1;
            }
        }
        refused
    };
    assert_eq!(beside(&broker, 16, story).await, 900, "one agent has half of the 200");
    let other = broker.agent("ann-bot", "good").session().await.unwrap();
    assert_eq!(text(&other.post(&legacy_call(json!(1), "say_fine", "x")).await.unwrap()), "ran x");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_calls_for_people_is_refused_in_words_when_it_is_too_much() {
    let broker = rig::broker(LIMITS).await;
    let bot = broker.agent("bot", "good");
    let target = bot.modern("tools/call", Some("do_fine"));
    // Each with all that it may bring: a long token, which a waiting call keeps.
    let ask = |n: usize| {
        let mut call = tools_call(json!(n), "do_fine", &n.to_string());
        call["params"]["_meta"]["progressToken"] = json!("t".repeat(1_000));
        wire::bytes(&target, "POST", call.to_string().as_bytes())
    };
    let story = async {
        let mut open = Vec::new();
        for n in 0..200 {
            open.push(wire::unread(broker.address, &ask(n)).await.unwrap());
        }
        // Those that have no place are answered at once.
        futures_util::future::join_all(open.into_iter().map(async |stream| {
            let read = wire::drained(stream);
            tokio::time::timeout(Duration::from_secs(4), read).await.map_or(String::new(), |said| said.0)
        }))
        .await
    };
    let said = beside(&broker, 48, story).await;
    let refused = said.iter().filter(|said| !said.is_empty()).collect::<Vec<_>>();
    assert_eq!(refused.len(), 160, "{:?}", refused.first());
    assert!(refused.iter().all(|said| said.contains("wait")), "{}", refused[0]);
    // Another agent's call has its place.
    let other = broker.agent("ann-bot", "good");
    let (reply, ()) = tokio::join!(other.call("do_other", "theirs"), broker.approve("do_other"));
    assert_eq!(text(&reply.unwrap()), "ran theirs");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_waiting_call_keeps_no_token_of_any_length() {
    let broker = rig::broker(LIMITS).await;
    let target = broker.agent("bot", "good").modern("tools/call", Some("say_fine"));
    for token in [json!("t".repeat(2_000)), json!({"a": 1}), json!(["x"])] {
        let mut call = tools_call(json!(1), "say_fine", "m");
        call["params"]["_meta"]["progressToken"] = token.clone();
        let reply = target.post(&call).await.unwrap();
        let long = token.as_str().is_some();
        assert_eq!(reply.status == 400, long, "{reply:?}");
        assert!(!long || reply.json()["error"]["message"].as_str().unwrap().contains("progressToken"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_do_not_come_and_answers_that_are_not_read_hold_nobody_up() {
    let broker = rig::broker(LIMITS).await;
    let bot = broker.agent("bot", "good");
    let target = bot.modern("tools/call", Some("say_fine"));
    let large = tools_call(json!(1), "say_fine", &"x".repeat(200_000)).to_string();
    let whole = wire::bytes(&target, "POST", large.as_bytes());
    let story = async {
        let mut open = Vec::new();
        for n in 0..200 {
            // Half a body, a head without end, and an answer that stays unread.
            let part = match n % 3 {
                0 => &whole[..whole.len() - 100_000],
                1 => &whole[..60],
                _ => &whole[..],
            };
            open.push(wire::unread(broker.address, part).await.unwrap());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        open
    };
    let open = beside(&broker, 64, story).await;
    if crate::rig::size("COUNTERSIGN_HOLD_BYTES", 0) > 0 {
        let (said, _) = wire::drained(open.into_iter().next().unwrap()).await;
        assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_anothers_is_as_if_it_were_not_there() {
    let broker = rig::broker(LIMITS).await;
    let (victim, thief) = (broker.agent("ann-bot", "good"), broker.agent("bot", "good"));
    let session = victim.session().await.unwrap();
    let id = session.headers.iter().find(|(name, _)| *name == "mcp-session-id").unwrap().1.clone();
    let guess =
        |id: &str| thief.0.clone().with("mcp-protocol-version", "2025-06-18").with("mcp-session-id", id);
    // A waiting call, and the id of the last event of its stream.
    let mut asked = legacy_call(json!(7), "do_fine", "theirs");
    asked["params"]["_meta"] = json!({"progressToken": 7});
    let asked = asked.to_string();
    let mut stream =
        wire::unread(broker.address, &wire::bytes(&session, "POST", asked.as_bytes())).await.unwrap();
    let event = wire::until(&mut stream, "id: countersign-").await;
    let event = event.split("id: ").nth(1).unwrap().split(['\r', '\n']).next().unwrap().to_owned();

    let nothing = uuid::Uuid::new_v4().to_string();
    let asks = [
        ("POST", legacy_call(json!(7), "say_fine", "x").to_string()),
        (
            "POST",
            json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}})
                .to_string(),
        ),
        ("POST", json!({"jsonrpc": "2.0", "id": 7, "result": {}}).to_string()),
        ("GET", String::new()),
        ("DELETE", String::new()),
    ];
    for (verb, body) in asks {
        let (theirs, none) = (guess(&id), guess(&nothing));
        let at = |target: crate::http::Target| target.with("last-event-id", &event);
        let (theirs, none) =
            (at(theirs).send(verb, body.clone()).await, at(none).send(verb, body.clone()).await);
        let (theirs, none) = (theirs.unwrap(), none.unwrap());
        assert_eq!((theirs.status.as_u16(), &theirs.body), (404, &none.body), "{verb} {body}");
    }
    // In a session of its own, the event of the other's stream is one that is over.
    let own = thief.session().await.unwrap().with("last-event-id", &event);
    assert_eq!(own.get().await.unwrap().status, 410);
    // Nothing of it has touched the call that waits.
    broker.approve("do_fine").await;
    assert!(wire::until(&mut stream, "ran theirs").await.contains("ran theirs"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_of_anothers_is_as_if_it_were_not_there() {
    let broker = rig::broker(LIMITS).await;
    let (victim, thief) = (broker.agent("ann-bot", "good"), broker.agent("bot", "good"));
    let mut call = tools_call(json!(1), "do_other", "task");
    call["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"] =
        json!({"extensions": {"io.modelcontextprotocol/tasks": {}}});
    let given = victim.modern("tools/call", Some("do_other")).post(&call).await.unwrap().json();
    let task = given["result"]["taskId"].as_str().unwrap().to_owned();
    // One that is spelt as the broker's are.
    let no_task = format!("{}{}", &task[..task.len() - 6], "0f0f0f");
    for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
        let about = |task: &str| {
            let mut ask = tools_call(json!(3), "", "");
            ask["method"] = json!(method);
            ask["params"] = json!({"taskId": task, "inputResponses": {}, "_meta": call["params"]["_meta"]});
            (thief.modern(method, Some(task)), ask)
        };
        let said = async |(target, ask): (crate::http::Target, Value)| target.post(&ask).await.unwrap();
        let (theirs, none) = (said(about(&task)).await, said(about(&no_task)).await);
        let same =
            |reply: &crate::http::Reply, id: &str| String::from_utf8_lossy(&reply.body).replace(id, "ID");
        assert_eq!(same(&theirs, &task), same(&none, &no_task), "{method}");
        assert!(!same(&theirs, &task).contains("working"), "{method}: {theirs:?}");
    }
    // It is not cancelled.
    broker.approve("do_other").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_for_all_that_is_not_read_holds_few_large_answers() {
    let broker = rig::broker(LIMITS).await;
    let bot = broker.agent("bot", "good");
    let mut listening = bot.0.clone();
    listening.path = "/mcp/good/sse".into();
    let story = async {
        let mut stream = wire::unread(broker.address, &wire::bytes(&listening, "GET", b"")).await.unwrap();
        let said = wire::until(&mut stream, "\n\n").await;
        let said = said + &wire::until(&mut stream, "\n\n").await;
        let endpoint = said.lines().find_map(|line| line.strip_prefix("data: ")).expect("an endpoint");
        let mut target = bot.0.clone();
        target.path = endpoint.into();
        let marker = "x".repeat(200_000);
        for n in 0..400 {
            let reply = target.post(&tools_call(json!(n), "say_fine", &marker)).await.unwrap();
            assert_eq!(reply.status, 202, "{reply:?}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        stream
    };
    beside(&broker, 48, story).await;
}
