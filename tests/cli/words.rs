//! What a newcomer reads on the terminal: words that are the same everywhere, and what to do next.

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::rig::{BINARY, Home, Running};

/// Does what a tool's name says; says something before it dies.
const FRAIL: &str = r#"
import json, os, sys
for line in sys.stdin:
    m = json.loads(line)
    if m.get("params", {}).get("name") == "die":
        sys.stderr.write("no room on the disk\n"); sys.stderr.flush(); os._exit(3)
    hello = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": {"name": "frail", "version": "1"}}
    if "id" in m: print(json.dumps({"jsonrpc": "2.0", "id": m["id"], "result": hello}), flush=True)
"#;

fn token(answer: &Value) -> String {
    answer["token"].as_str().unwrap().to_owned()
}

fn login(home: &Home, url: &str, reviewer: &Value) {
    home.tell(&["login", url], &token(reviewer)).ends(0);
}

/// A broker on its own configuration, and where it listens.
fn broker(home: &Home, config: &str, text: &str) -> (Running, String) {
    home.write(config, text);
    let broker = home.start(&["serve", "--config", config]);
    let line = broker.errors.until(|line| line.contains("listens on"));
    (broker, line.rsplit(' ').next().unwrap().to_owned())
}

#[test]
fn a_wrong_state_is_answered_with_the_words_that_people_know() {
    let home = Home::new();
    let wrong = home.run(&["calls", "list", "--state", "bogus"]).ends(2).err();
    assert!(wrong.contains("waiting, approved, running, ran, denied, expired, withdrawn"), "{wrong}");
    assert!(!wrong.contains("permitted"), "{wrong}");
}

#[test]
fn a_misspelt_variable_is_named_with_what_was_meant() {
    let home = Home::new();
    let mut completions = home.command(&["completions", "bash"]);
    completions.env("COUNTERSIGN_LSTEN", "127.0.0.1:1").env("COUNTERSIGN_BIN", "x");
    let said = String::from_utf8(completions.output().unwrap().stderr).unwrap();
    assert_eq!(said, "countersign has no setting COUNTERSIGN_LSTEN; did you mean COUNTERSIGN_LISTEN?\n");
}

#[test]
fn help_speaks_of_agents_and_of_the_audit_log() {
    let home = Home::new();
    for of in
        ["", "demo", "serve", "stdio", "calls", "servers", "policy", "agents", "reviewers", "stop", "audit"]
    {
        let asked: Vec<&str> = [of, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
        let said = home.run(&asked).ends(0).out().to_lowercase();
        assert!(said.contains("usage:"), "{said}");
        for word in ["ledger", "grant "] {
            assert!(!said.contains(word), "{of}: {said}");
        }
    }
}

#[test]
fn usage_shows_where_a_command_goes() {
    let home = Home::new();
    for wrong in
        [&["servers", "add", "x"][..], &["servers", "add", "--help"], &["stdio"], &["stdio", "--help"]]
    {
        let done = home.run(wrong);
        let said = done.out() + &done.err();
        assert!(said.contains("-- COMMAND [ARGS]"), "{said}");
    }
}

#[test]
fn lists_show_who_is_stopped_with_and_without_a_broker() {
    let home = Home::new();
    let (broker, _) = home.broker();
    home.run(&["agents", "add", "bot", "--servers", "sandbox"]).ends(0);
    let servers = || home.run(&["servers", "list", "--json"]).json()["servers"][0]["stopped"].clone();
    assert_eq!(servers(), json!([]));
    home.run(&["stop", "--agent", "bot", "--reason", "it loops"]).ends(0);
    let agents = home.run(&["agents", "list"]).ends(0).out();
    assert!(agents.contains("agent bot by ann: it loops"), "{agents}");
    assert_eq!(servers(), json!([]));
    home.run(&["stop", "--server", "sandbox", "--reason", "moving"]).ends(0);
    home.run(&["stop", "--all", "--reason", "drill"]).ends(0);
    let all = "server sandbox by ann: moving; everything by ann: drill";
    assert!(home.run(&["servers", "list"]).ends(0).out().contains(all));
    broker.signal(Signal::TERM);
    assert!(broker.wait().success());
    assert!(home.run(&["servers", "list"]).ends(0).out().contains(all));
    home.run(&["resume", "--all", "--reason", "over"]).ends(0);
    assert_eq!(servers(), json!([{"what": "server sandbox", "by": "ann", "reason": "moving"}]));
    let agents = home.run(&["agents", "list", "--json"]).json();
    assert_eq!(agents["agents"][0]["stopped"][0]["reason"], "it loops", "{agents}");
}

#[test]
fn an_approval_is_taken_back_and_the_second_approver_hears_how_far_it_is() {
    let home = Home::new();
    let policy = json!({"version": "1", "default": "allow", "tools": {"CancelAHORunBatch": {
        "action": "require_approval", "approval": {"quorums": [{"approvals": 2}]}}}});
    home.write("two.json", &policy.to_string());
    let command = json!([BINARY, "sandbox"]);
    let text = format!(
        "listen = \"127.0.0.1:0\"\n[servers.sandbox]\ncommand = {command}\npolicy = \"two.json\"\n\
         [mcp.patience]\ncli-test = 1\n"
    );
    let (_broker, url) = broker(&home, "countersign.toml", &text);
    let people = ["eve", "max"].map(|name| home.run(&["reviewers", "add", name, "--json"]).json());
    let bot = token(&home.run(&["agents", "add", "bot", "--servers", "sandbox", "--json"]).json());
    login(&home, &url, &people[0]);
    let mut agent = home.start(&["stdio", "--server", "sandbox", "--url", &url, "--token", &bot]);
    agent.handshake();
    let cancel = json!({"name": "CancelAHORunBatch", "arguments": {"batch_id": "1"}});
    let told = agent.ask("tools/call", &cancel)["content"][0]["text"].to_string();
    assert!(told.contains("NOT EXECUTED"), "{told}");

    let call = home.run(&["calls", "list", "--state", "Waiting", "--json"]).json()["calls"][0].clone();
    let code = call["short_code"].as_str().unwrap();
    let first = home.run(&["calls", "approve", code, "--code", code]).ends(0).out();
    assert!(first.contains("approved by you, 1 of 2 approvals; it waits for others"), "{first}");
    let card = home.run(&["calls", "show", code]).ends(0).out();
    assert!(card.contains("then it is denied") && card.contains("  approved by eve\n"), "{card}");
    let back = home.run(&["calls", "approve", code, "--withdraw"]).ends(0).out();
    assert!(back.contains("waits without your approval; waiting"), "{back}");
    home.run(&["calls", "approve", code, "--withdraw"]).ends(1);
    home.run(&["calls", "approve", code, "--code", code]).ends(0);
    let max = home.run(&["calls", "approve", code, "--code", code, "--token", &token(&people[1])]).ends(0);
    assert!(max.out().contains("approved; runs if the agent comes back"), "{}", max.out());
    assert!(home.run(&["calls", "list", "--state", "approved"]).ends(0).out().contains(code));
}

#[test]
fn an_approval_that_sends_nothing_does_not_say_that_it_does() {
    let home = Home::new();
    home.write("ask.json", r#"{"version": "1", "default": "require_approval"}"#);
    let command = json!([BINARY, "sandbox"]);
    let text =
        format!("listen = \"127.0.0.1:0\"\n[servers.sandbox]\ncommand = {command}\npolicy = \"ask.json\"\n");
    let (_broker, url) = broker(&home, "countersign.toml", &text);
    let eve = home.run(&["reviewers", "add", "eve", "--json"]).json();
    let bot = token(&home.run(&["agents", "add", "bot", "--servers", "sandbox", "--json"]).json());
    login(&home, &url, &eve);
    let mut agent = home.start(&["stdio", "--server", "sandbox", "--url", &url, "--token", &bot]);
    agent.handshake();
    let cursor = home.run(&["calls", "list", "--json"]).json()["cursor"].as_str().unwrap().to_owned();
    let watch = home.start(&["calls", "watch", "--json", "--after", &cursor]);
    let mut approved = |batch: &str, before: &dyn Fn()| {
        let cancel = json!({"name": "CancelAHORunBatch", "arguments": {"batch_id": batch}});
        agent.request("tools/call", &cancel);
        watch.lines.until(|line| line.contains("\"attached\""));
        before();
        let call = home.run(&["calls", "list", "--state", "waiting", "--json"]).json()["calls"][0].clone();
        let code = call["short_code"].as_str().unwrap();
        home.run(&["calls", "approve", code, "--code", code]).ends(0).out()
    };
    let sent = approved("1", &|| {});
    assert!(sent.contains("approved; it is sent now"), "{sent}");
    let removed = approved("2", &|| {
        home.run(&["agents", "servers", "bot", "--remove", "sandbox"]).ends(0);
    });
    assert!(removed.contains("approved, and not sent all the same: denied"), "{removed}");
}

#[test]
fn a_lost_call_is_resolved_and_the_last_words_of_its_server_are_in_the_log() {
    let home = Home::new();
    let policy = json!({"version": "1", "default": "require_approval"});
    home.write("ask.json", &policy.to_string());
    let command = json!(["python3", "-u", "-c", FRAIL]);
    let text =
        format!("listen = \"127.0.0.1:0\"\n[servers.frail]\ncommand = {command}\npolicy = \"ask.json\"\n");
    let (broker, url) = broker(&home, "countersign.toml", &text);
    let eve = home.run(&["reviewers", "add", "eve", "--json"]).json();
    let bot = token(&home.run(&["agents", "add", "bot", "--servers", "frail", "--json"]).json());
    login(&home, &url, &eve);
    let mut agent = home.start(&["stdio", "--server", "frail", "--url", &url, "--token", &bot]);
    agent.handshake_with("frail");
    let listed = || home.run(&["calls", "list", "--json"]).json()["calls"][0]["short_code"].clone();
    agent.request("tools/call", &json!({"name": "die", "arguments": {}}));
    let code = loop {
        if let Some(code) = listed().as_str() {
            break code.to_owned();
        }
    };
    home.run(&["calls", "approve", &code, "--code", &code]).ends(0);
    let told = agent.result()["content"][0]["text"].to_string();
    assert!(told.contains("OUTCOME UNKNOWN"), "{told}");
    let log = broker.errors.until(|line| line.contains("ended by itself"));
    let log: Value = serde_json::from_str(&log).unwrap();
    assert_eq!(log["last_words"], "no room on the disk", "{log}");

    let lost = home.run(&["calls", "show", &code]).ends(0).out();
    assert!(lost.contains("unknown outcome; look at the server"), "{lost}");
    assert!(lost.contains(&format!("`countersign calls resolve {code} done`")), "{lost}");
    home.run(&["calls", "resolve", &code, "perhaps"]).ends(2);
    let found = home.run(&["calls", "resolve", &code, "not-done", "--note", "looked"]).ends(0).out();
    assert!(found.contains("resolved: it was not done"), "{found}");
    let again = home.run(&["calls", "resolve", &code, "done"]).ends(1).err();
    assert!(again.contains("first word stands"), "{again}");
    let card = home.run(&["calls", "show", &code]).ends(0).out();
    assert!(card.contains("it was not done, found by eve: looked"), "{card}");
    assert!(!card.contains("calls resolve"), "{card}");
}

#[test]
fn the_broker_of_the_folder_is_asked_before_that_of_the_last_login() {
    let home = Home::new();
    let (here, local) = broker(&home, "countersign.toml", "listen = \"127.0.0.1:0\"\n");
    std::fs::create_dir(home.path().join("far")).unwrap();
    let (_there, remote) = broker(&home, "far/countersign.toml", "listen = \"127.0.0.1:0\"\n");
    let far = ["--config", "far/countersign.toml"];
    let eve = home.run(&["reviewers", "add", "eve", "--json"]).json();
    let max = home.run(&["reviewers", "add", "max", "--json", far[0], far[1]]).json();

    login(&home, &remote, &max);
    let refused = home.run(&["calls", "list"]).ends(1).err();
    assert!(
        refused.contains(&format!("{local}, the broker of this folder: run `countersign login")),
        "{refused}"
    );
    assert!(refused.contains(&format!("{remote}: name it with --url")), "{refused}");
    home.run(&["calls", "list", "--url", &remote]).ends(0);

    login(&home, &local.replace("127.0.0.1", "localhost"), &eve);
    login(&home, &remote, &max);
    let asked = home.run(&["calls", "list"]).ends(0).err();
    assert!(asked.contains(&format!("asking the broker of this folder, {local}")), "{asked}");
    assert!(!home.run(&["calls", "list", far[0], far[1]]).ends(0).err().contains("asking"));
    here.signal(Signal::TERM);
    assert!(here.wait().success());
    let asked = home.run(&["calls", "list"]).ends(0).err();
    assert!(asked.contains(&format!("no broker runs in this folder; asking {remote}")), "{asked}");
}

#[test]
fn an_address_that_was_given_at_the_start_is_not_missed_in_the_file() {
    let home = Home::new();
    home.write("countersign.toml", "listen = \"127.0.0.1:1\"\n");
    let broker = home.start(&["serve", "--listen", "127.0.0.1:0"]);
    broker.errors.until(|line| line.contains("listens on"));
    let server = "[servers.one]\nurl = \"http://127.0.0.1:1/mcp\"\n";
    home.write("countersign.toml", &format!("listen = \"127.0.0.1:1\"\n{server}"));
    let said = broker.errors.until(|line| line.contains("restart") || line.contains("are in force"));
    assert!(said.contains("are in force"), "{said}");
    home.write("countersign.toml", &format!("listen = \"127.0.0.1:1\"\n[mcp]\nlaps = 1\n{server}"));
    let said = broker.errors.until(|line| line.contains("restart") || line.contains("are in force"));
    assert!(said.contains("`mcp` has changed: that needs a restart"), "{said}");
}

#[test]
fn a_broker_says_where_it_listens_and_its_public_address() {
    let home = Home::new();
    let public = "https://approvals.example";
    let (broker, url) =
        broker(&home, "countersign.toml", &format!("listen = \"127.0.0.1:0\"\npublic_url = \"{public}\"\n"));
    assert!(url.starts_with("http://127.0.0.1:") && !url.ends_with(":0"), "{url}");
    broker.errors.until(|line| line.contains("public address") && line.ends_with(public));
}

#[test]
fn a_test_of_a_slow_server_says_what_it_waits_for() {
    let home = Home::new();
    let slow = format!("sleep 4; exec {BINARY} sandbox");
    home.run(&["servers", "add", "slow", "--", "sh", "-c", &slow]).ends(0);
    let tested = home.run(&["servers", "test", "slow"]).ends(0).err();
    assert!(
        tested.contains("waiting for slow to start and to answer `initialize` (3 of at most 60 s)"),
        "{tested}"
    );
}
