//! Agents that start a command, and the reviewer's terminal beside them.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::rig::{BINARY, Home, Running};

/// Starts a batch, and asks to cancel it; gives the batch's id.
fn ask_to_cancel(agent: &mut Running) -> String {
    let started = agent.ask("tools/call", &json!({"name": "StartAHORunBatch", "arguments": {"name": "n"}}));
    let id = started["structuredContent"]["batchId"].as_str().unwrap().to_owned();
    agent.request("tools/call", &json!({"name": "CancelAHORunBatch", "arguments": {"batch_id": id}}));
    id
}

/// The id of the next call that waits for a person.
fn parked(watch: &Running) -> String {
    let is_new = |line: &str| line.contains("\"submitted\"") && line.contains("\"terms\"");
    let entry: Value = serde_json::from_str(&watch.lines.until(is_new)).unwrap();
    entry["call"].as_str().unwrap().to_owned()
}

#[test]
fn a_reviewer_decides_from_the_terminal_and_the_joined_agent_is_answered() {
    let home = Home::new();
    let (_broker, url) = home.broker();
    let token = |answer: Value| answer["token"].as_str().unwrap().to_owned();
    let bot = token(home.run(&["agents", "add", "bot", "--servers", "sandbox", "--json"]).json());
    let eve = token(home.run(&["reviewers", "add", "eve", "--json"]).json());
    home.tell(&["login", &url], &eve).ends(0);
    let cursor = home.run(&["calls", "list", "--json"]).json()["cursor"].as_str().unwrap().to_owned();
    let watch = home.start(&["calls", "watch", "--json", "--after", &cursor]);
    let mut agent = home.start(&["stdio", "--server", "sandbox", "--url", &url, "--token", &bot]);
    agent.handshake();

    let batch = ask_to_cancel(&mut agent);
    let call = parked(&watch);
    let listed = home.run(&["calls", "list", "--state", "pending", "--json"]).json();
    let named = home.run(&["calls", "list", "--state", "unknown outcome, waiting", "--json"]).json();
    assert_eq!(named["calls"][0]["id"], listed["calls"][0]["id"], "{named}");
    let table = home.run(&["calls", "list", "--state", "waiting"]).ends(0).out();
    assert!(table.contains(" waiting "), "{table}");
    let code = listed["calls"][0]["short_code"].as_str().unwrap();
    let card = home.run(&["calls", "show", code]).ends(0).out();
    assert!(card.contains(&format!("batch_id = \"{batch}\"")), "{card}");
    home.run(&["calls", "approve", &call]).ends(1);
    home.run(&["calls", "approve", &call, "--code", "000000"]).ends(1);
    home.run(&["calls", "approve", code, "--code", code, "--reason", "mixed up"]).ends(0);
    assert_eq!(agent.result()["structuredContent"]["status"], "CANCELLED");

    ask_to_cancel(&mut agent);
    let call = parked(&watch);
    let watched = home.start(&["calls", "watch", &call, "--until-settled"]);
    home.run(&["calls", "deny", &call, "--reason", "still needed"]).ends(0);
    assert_eq!(agent.result()["content"][0]["text"], "[DENIED by eve] still needed");
    assert_eq!(watched.wait().code(), Some(3));
    home.run(&["calls", "approve", &call, "--code", "000000"]).ends(3);
    let denied = home.run(&["calls", "show", &call]).ends(0).out();
    assert!(denied.contains("denied by eve, and so is the same call made again"), "{denied}");
    assert_eq!(denied.matches("denied by eve: still needed").count(), 1, "{denied}");
    assert!(home.run(&["calls", "lift", &call]).ends(0).out().contains("asks people again"));
    home.run(&["calls", "lift", &call]).ends(1);

    ask_to_cancel(&mut agent);
    let call = parked(&watch);
    home.run(&["calls", "deny", &call, "--once"]).ends(0);
    let denied = home.run(&["calls", "show", &call, "--json"]).json();
    assert_eq!(denied["reviews"][0]["once"], true, "{denied}");
}

#[test]
fn a_stop_denies_what_waits_and_a_resume_lets_it_pass_again() {
    let home = Home::new();
    let (_broker, url) = home.broker();
    let bot = home.run(&["agents", "add", "bot", "--servers", "sandbox", "--json"]).json();
    let token = bot["token"].as_str().unwrap();
    let mut agent = home.start(&["stdio", "--server", "sandbox", "--url", &url, "--token", token]);
    agent.handshake();
    home.run(&["stop", "--reason", "no scope"]).ends(1);
    home.run(&["stop", "--agent", "bot", "--reason", "drill"]).ends(0);
    let list = json!({"name": "ListAHORunBatches", "arguments": {}});
    assert_eq!(agent.ask("tools/call", &list)["content"][0]["text"], "[STOPPED] drill");
    home.run(&["resume", "--agent", "bot", "--reason", "over"]).ends(0);
    assert_eq!(agent.ask("tools/call", &list)["isError"], false);
    let mut joined = home.start(&["stdio", "--all", "--url", &url, "--token", token]);
    joined.handshake_with("countersign");
    let list = json!({"name": "sandbox__ListAHORunBatches", "arguments": {}});
    assert_eq!(joined.ask("tools/call", &list)["isError"], false);
}

#[test]
fn processes_share_one_broker_and_another_takes_over_when_the_first_ends() {
    let home = Home::new();
    let start = |name: &str| home.start(&["stdio", "--name", name, "--", BINARY, "sandbox"]);
    let mut first = start("one");
    first.handshake();
    let mut second = start("two");
    second.handshake();
    assert_eq!(tools(&mut second), Some(5));
    first.errors.until(|line| line.contains("the inbox is at") && !line.contains("/login/"));
    let link = home.run(&["open", "--json"]).json();
    assert_eq!(link["name"], "ann");
    assert!(first.wait().success());
    assert_eq!(tools(&mut second), Some(5));
    second.errors.until(|line| line.contains("the inbox is at"));
    second.signal(Signal::TERM);
    assert!(second.wait().success());
}

/// Where the user's own broker listens, as its file has it.
fn place(home: &Home) -> String {
    let text = home.read(".local/share/countersign/local.toml");
    let line = text.lines().find(|line| line.starts_with("listen")).unwrap();
    line.split('"').nth(1).unwrap().to_owned()
}

fn tools(agent: &mut Running) -> Option<usize> {
    agent.ask("tools/list", &json!({}))["tools"].as_array().map(Vec::len)
}

#[test]
fn another_takes_over_when_the_first_is_killed() {
    let home = Home::new();
    let mut first = home.start(&["stdio", "--name", "one", "--", BINARY, "sandbox"]);
    first.handshake();
    first.errors.until(|line| line.contains("the inbox is at"));
    let mut second = home.start(&["stdio", "--name", "two", "--", BINARY, "sandbox"]);
    second.handshake();
    let before = place(&home);
    first.signal(Signal::KILL);
    assert!(!first.wait().success());
    assert_eq!(tools(&mut second), Some(5));
    second.errors.until(|line| line.contains("the inbox is at"));
    assert_eq!(place(&home), before);
    assert_eq!(home.run(&["open", "--json"]).json()["name"], "ann");
    assert!(second.wait().success());
}

#[test]
fn a_port_that_another_program_has_taken_is_left_to_it() {
    let home = Home::new();
    let start = |name: &str| home.start(&["stdio", "--name", name, "--", BINARY, "sandbox"]);
    let mut first = start("one");
    first.handshake();
    let mut second = start("two");
    second.handshake();
    // It must not be quicker than the other program.
    second.signal(Signal::STOP);
    first.signal(Signal::KILL);
    assert!(!first.wait().success());
    let before = place(&home);
    let _other = std::net::TcpListener::bind(&before).expect("the port is free");
    second.signal(Signal::CONT);
    second.errors.until(|line| line.contains("the inbox is at"));
    assert_ne!(place(&home), before);
    assert_eq!(tools(&mut second), Some(5));
    let mut third = start("three");
    third.handshake();
    assert_eq!(tools(&mut third), Some(5));
    assert_eq!(home.run(&["open", "--json"]).json()["name"], "ann");
    assert!(third.wait().success());
    assert!(second.wait().success());
}

#[test]
fn the_terminal_finds_the_broker_that_a_client_has_started() {
    let home = Home::new();
    let mut agent = home.start(&["stdio", "--", BINARY, "sandbox"]);
    agent.handshake();
    agent.errors.until(|line| line.contains("the inbox is at"));
    let url = format!("http://{}", place(&home));
    let refused = home.run(&["calls", "list"]).ends(1).err();
    assert!(refused.contains(&format!("{url}, the broker that `countersign stdio` runs")), "{refused}");
    // What it says to do is done.
    let said = |before: &str, after: &str| {
        let (_, rest) = refused.split_once(before).unwrap();
        rest.split_once(after).unwrap().0.to_owned()
    };
    let config = said("--config ", "`");
    let added = home.run(&["reviewers", "add", "terminal", "--config", &config, "--json"]).json();
    home.tell(&["login", &said("`countersign login ", "`")], added["token"].as_str().unwrap()).ends(0);
    home.run(&["calls", "list"]).ends(0);
}

#[test]
fn variables_that_are_not_text_keep_nothing_from_starting() {
    use std::os::unix::ffi::OsStrExt as _;
    let home = Home::new();
    home.write("countersign.toml", "listen = \"127.0.0.1:0\"\n");
    let odd = std::ffi::OsStr::from_bytes(b"a\xff");
    let listed = home.command(&["agents", "list"]).env("LESS", odd).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let refused = home.command(&["agents", "list"]).env("COUNTERSIGN_LISTEN", odd).output().unwrap();
    let words = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && words.contains("COUNTERSIGN_LISTEN: it is not UTF-8"), "{words}");
}

#[test]
fn without_a_policy_every_call_of_a_command_waits_for_its_user() {
    let home = Home::new();
    let mut agent = home.start(&["stdio", "--", BINARY, "sandbox"]);
    agent.handshake();
    agent.request("tools/call", &json!({"name": "ListAHORunBatches", "arguments": {}}));
    agent.errors.until(|line| line.contains("the inbox is at"));
    home.run(&["stop", "--all", "--reason", "seen", "--config", ".local/share/countersign/local.toml"])
        .ends(0);
    assert_eq!(agent.result()["content"][0]["text"], "[STOPPED] seen");
}
