//! Frames that are broken, huge, deep or of the wrong shape, over a real socket: refused in words, and
//! neither recorded nor sent.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::rig::{
    house::{House, text, tools_call},
    liar::Liar,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_frame_is_refused_in_words_and_leaves_no_trace() {
    let liar = Liar::start().await;
    let house = House::open(&[("liar", &liar.url)]).await;
    let good = tools_call("do_fine", "m").to_string();
    let arguments = |raw: &str| good.replace(r#"{"marker":"m"}"#, raw);
    let deep = arguments(&("[".repeat(100) + &"]".repeat(100)));
    for (what, frame, status, words) in [
        ("nothing", Vec::new(), 400, ""),
        ("truncated", good.as_bytes()[..good.len() - 2].to_vec(), 400, "ends too early"),
        ("trailing bytes", format!("{good}]").into_bytes(), 400, "after the JSON value"),
        (
            "not UTF-8",
            arguments(r#"{"a":"~"}"#).bytes().map(|b| if b == b'~' { 0xff } else { b }).collect(),
            400,
            "UTF-8",
        ),
        ("a member twice", arguments(r#"{"a":1,"a":2}"#).into_bytes(), 400, "twice"),
        ("half a surrogate", arguments(r#"{"a":"\ud800"}"#).into_bytes(), 400, "surrogate"),
        ("deep", deep.into_bytes(), 400, "too deep"),
        ("huge", vec![b' '; 5 << 20], 413, "large"),
        ("a list of params", good.replace(r#""params":{"#, r#""params":[{"#).into_bytes(), 400, ""),
        ("a number as name", good.replace(r#""do_fine""#, "7").into_bytes(), 400, "name"),
        ("an object as id", good.replace(r#""id":1"#, r#""id":{}"#).into_bytes(), 400, ""),
        ("a string", b"\"tools/call\"".to_vec(), 400, ""),
        ("arguments as text", arguments(r#""all""#).into_bytes(), 400, "arguments"),
        (
            "large arguments",
            arguments(&format!(r#"{{"a":"{}"}}"#, "x".repeat(300_000))).into_bytes(),
            400,
            "bytes",
        ),
    ] {
        let target = house.target("liar").with("mcp-protocol-version", "2026-07-28");
        let target = target.with("mcp-method", "tools/call").with("mcp-name", "do_fine");
        let reply = target.send("POST", frame).await.unwrap();
        let said = String::from_utf8_lossy(&reply.body);
        assert_eq!(reply.status.as_u16(), status, "{what}: {said}");
        assert!(said.contains(r#""error""#) && said.contains(words), "{what}: {said}");
    }
    assert!(house.calls().await.is_empty(), "nothing was recorded");
    assert_eq!(liar.times("m"), 0, "nothing was sent");
    assert_eq!(text(&house.call("liar", "say_fine", "after").await.unwrap()), "done");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_ends_in_the_middle_of_a_request_asks_for_nothing() {
    let liar = Liar::start().await;
    let house = House::open(&[("liar", &liar.url)]).await;
    let body = tools_call("say_fine", "m").to_string();
    let head = format!(
        "POST /mcp/liar HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\nauthorization: Bearer token-of-the-agent-0123456789\r\n\
         mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: say_fine\r\n\
         content-length: {}\r\n\r\n",
        house.running.address,
        body.len()
    );
    let whole = head + &body;
    for cut in [1, whole.len() / 3, whole.len() / 2, whole.len() - 1] {
        let mut stream = TcpStream::connect(house.running.address).await.unwrap();
        stream.write_all(&whole.as_bytes()[..cut]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut said = Vec::new();
        // Whatever the broker says to half a request, it says it and closes.
        stream.read_to_end(&mut said).await.unwrap();
        assert!(!said.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&said));
    }
    assert_eq!(liar.times("m"), 0);
    assert_eq!(text(&house.call("liar", "say_fine", "after").await.unwrap()), "done");
}
