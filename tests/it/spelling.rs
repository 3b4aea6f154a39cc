//! An id is a value: a server may write it otherwise than the agent did, and the answer is the call's all the same.

use countersign::call::StateName;

use crate::rig::{House, Manner, Plan, Script, Server};

/// A gated call with the id `asked`, whose server writes `answered`; as the agent reads it, byte for byte.
async fn read_by_agent(asked: &str, answered: &str, streams: bool) -> (String, StateName) {
    let server = Server::start(Manner::Json).await;
    let (kind, frame) = if streams { ("text/event-stream", "data: ") } else { ("application/json", "") };
    let end = if streams { "\n\n" } else { "" };
    server.answers("tools/call", Script::new(200, kind, &format!("{frame}{answered}{end}")));
    let mut plan = Plan::at(&server.url);
    plan.door.grace_ms = 60_000;
    let house = House::open(plan).await;
    let agent = house.agent().initialized("test").await;
    let request =
        format!(r#"{{"jsonrpc":"2.0","id":{asked},"method":"tools/call","params":{{"name":"cancel"}}}}"#);
    let (answer, ()) = tokio::join!(agent.send("POST", request), async {
        house.approve(&house.pending().await).await;
    });
    let read = String::from_utf8(answer.bytes().await.to_vec()).unwrap();
    (read, house.until(|call| call.state.is_settled()).await.state.name())
}

#[tokio::test]
async fn an_answer_whose_id_is_spelt_otherwise_is_the_calls_under_the_agents_spelling() {
    for (asked, theirs) in [
        ("7.0", "7"),
        ("1e2", "100"),
        ("-0", "0"),
        ("9007199254740993", "9007199254740992"),
        (r#""\u0041""#, r#""A""#),
        (r#""a/é""#, r#""a\/\u00e9""#),
    ] {
        for streams in [false, true] {
            let told =
                |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[],"n":1.0}}}}"#);
            let (read, state) = read_by_agent(asked, &told(theirs), streams).await;
            assert_eq!((read, state), (told(asked), StateName::Completed));
        }
    }
}

#[tokio::test]
async fn an_error_without_an_id_on_the_calls_own_answer_is_the_calls() {
    let error = |id: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":{id},"error":{{"code":-32600,"message":"what?","data":1.0}}}}"#)
    };
    for streams in [false, true] {
        let (read, state) = read_by_agent("7", &error("null"), streams).await;
        assert_eq!((read, state), (error("7"), StateName::Completed));
    }
}

#[tokio::test]
async fn a_result_for_somebody_else_is_no_answer() {
    for id in ["8", "null", "\"7\""] {
        let (read, state) =
            read_by_agent("7", &format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#), false).await;
        assert_eq!(state, StateName::Lost);
        assert!(read.contains("[OUTCOME UNKNOWN]"), "{read}");
    }
}
