//! The command line as scripts and people meet it: exit codes, JSON, files, and what it does to a broker.

mod demo;
mod rig;
mod stdio;
mod words;

use std::os::unix::fs::PermissionsExt as _;

use rig::{BINARY, Home};
use rustix::process::Signal;
use serde_json::json;

#[test]
fn a_wrong_command_line_ends_with_two() {
    let home = Home::new();
    home.run(&["calls"]).ends(2);
    home.run(&["servers", "add", "x"]).ends(2);
    home.run(&["stdio"]).ends(2);
}

#[test]
fn every_shell_gets_its_completions() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.run(&["completions", shell]).ends(0).out().contains("countersign"));
    }
}

#[test]
fn adding_a_server_keeps_comments_and_it_can_be_tested_and_removed() {
    let home = Home::new();
    let text = "# our broker\nlisten = \"127.0.0.1:0\" # any port\n";
    home.write("countersign.toml", text);
    home.write("p.json", include_str!("../../policies/demo.json"));
    home.run(&["servers", "add", "sandbox", "--policy", "p.json", "--", BINARY, "sandbox"]).ends(0);
    let after = home.read("countersign.toml");
    assert!(after.starts_with(text) && after.contains("policy = \"p.json\""), "{after}");
    home.run(&["servers", "add", "sandbox", "--url", "http://127.0.0.1:9/mcp"]).ends(1);
    assert_eq!(home.read("countersign.toml"), after);
    let found = home.run(&["servers", "test", "sandbox", "--json"]).json();
    assert_eq!(found["tools"].as_array().map(Vec::len), Some(5), "{found}");
    let listed = home.run(&["servers", "list", "--json"]).json();
    assert_eq!(listed["servers"][0]["transport"], "stdio");
    home.run(&["servers", "remove", "sandbox"]).ends(0);
    assert_eq!(home.read("countersign.toml"), text);
}

#[test]
fn a_server_that_the_broker_would_refuse_is_not_written() {
    let home = Home::new();
    let refused = home.run(&["servers", "add", "No__way", "--url", "http://127.0.0.1:9/mcp"]).ends(1);
    assert!(refused.err().contains("No__way"), "{}", refused.err());
    assert!(!home.path().join("countersign.toml").exists());
    home.run(&["servers", "add", "b", "--url", "http://127.0.0.1:9/mcp", "--header", "X=env:TOKEN"]).ends(0);
    assert!(home.read("countersign.toml").contains("headers = { X = \"env:TOKEN\" }"));
}

#[test]
fn in_another_folder_an_order_about_what_there_is_is_refused() {
    let home = Home::new();
    for order in
        [&["stop", "--all", "--reason", "x"][..], &["agents", "list"], &["open"], &["audit", "verify"]]
    {
        let refused = home.run(order).ends(1);
        assert!(refused.err().contains("no countersign.toml or store in this folder"), "{}", refused.err());
    }
    let added = home.run(&["agents", "add", "bot", "--servers", "nosuch", "--json"]).ends(0);
    assert!(added.err().contains("there is no server \"nosuch\""), "{}", added.err());
    let stopped = home.run(&["stop", "--all", "--reason", "x"]).ends(0);
    assert!(stopped.err().contains("in force from its next start"), "{}", stopped.err());
}

#[test]
fn a_policys_mistake_is_named_by_file_line_and_column() {
    let home = Home::new();
    home.write("bad.json", "{\n  \"version\": \"1\",\n  \"defualt\": \"deny\"\n}\n");
    let bad = home.run(&["policy", "check", "bad.json"]).ends(1);
    assert!(bad.out().contains("bad.json:3:3:") && bad.out().contains("mean `default`"), "{}", bad.out());
    let problems: serde_json::Value =
        serde_json::from_str(&home.run(&["policy", "check", "bad.json", "--json"]).ends(1).out()).unwrap();
    assert_eq!((&problems[1]["line"], &problems[1]["column"]), (&json!(3), &json!(3)), "{problems}");
}

#[test]
fn cases_are_run_and_a_verdict_is_explained() {
    let home = Home::new();
    let demo = home.write("demo.json", include_str!("../../policies/demo.json"));
    let cases = include_str!("../../policies/demo.cases.json");
    home.write("demo.cases.json", cases);
    home.run(&["policy", "test", "demo.json"]).ends(0);
    home.write("demo.cases.json", &cases.replace("\"hide\"", "\"allow\""));
    let failed = home.run(&["policy", "test", "demo.json"]).ends(1);
    assert!(failed.out().contains("got      hide"), "{}", failed.out());
    let demo = demo.to_str().unwrap();
    let verdict = home.run(&["policy", "explain", demo, "--tool", "CancelAHORunBatch", "--json"]).json();
    assert_eq!(verdict["verdict"], "require_approval");
}

#[test]
fn agents_and_reviewers_come_and_go_with_and_without_a_broker() {
    let home = Home::new();
    let (broker, _) = home.broker();
    let bot = home.run(&["agents", "add", "bot", "--servers", "sandbox", "--json"]).json();
    assert!(bot["token"].as_str().is_some_and(|token| token.starts_with("csg_")), "{bot}");
    let taken = home.run(&["agents", "add", "bot", "--servers", "sandbox"]).ends(1).err();
    assert!(taken.contains("the agent bot is there already"), "{taken}");
    assert!(taken.contains("`countersign agents rotate bot`"), "{taken}");
    assert!(taken.contains("`countersign agents servers bot --add SERVER`"), "{taken}");
    home.run(&["agents", "servers", "bot"]).ends(2);
    let wider = home.run(&["agents", "servers", "bot", "--add", "files"]).ends(0);
    assert!(wider.out().contains("servers: sandbox,files"), "{}", wider.out());
    assert!(wider.err().contains("there is no server \"files\" yet"), "{}", wider.err());
    let agents = home.run(&["agents", "list", "--json"]).json();
    assert_eq!(agents["agents"][0]["servers"], json!(["sandbox", "files"]), "{agents}");
    let max = home.run(&["reviewers", "add", "max"]).ends(0).err();
    assert!(max.contains("15 minutes") && !max.contains("no broker runs"), "{max}");
    let stopped = home.run(&["stop", "--agent", "bot", "--reason", "x"]).ends(0).out();
    assert!(stopped.contains("stopped: agent bot") && stopped.contains("denied: 0"), "{stopped}");
    for (kind, known) in [("--agent", "bot"), ("--server", "sandbox")] {
        let missed = home.run(&["stop", kind, "nope", "--reason", "x"]).ends(1).err();
        assert!(missed.contains("nothing is stopped") && missed.contains(known), "{missed}");
        assert!(missed.contains("countersign stop --all --reason WHY"), "{missed}");
    }
    let resumed = home.run(&["resume", "--agent", "bot", "--reason", "x"]).ends(0).out();
    assert!(resumed.contains("resumed: agent bot"), "{resumed}");
    home.run(&["reviewers", "revoke", "max"]).ends(0);
    let eve = home.run(&["reviewers", "add", "eve", "--groups", "ops,genomics", "--json"]).json();
    assert!(eve["link"].as_str().is_some_and(|link| link.contains("/login/")), "{eve}");
    broker.signal(Signal::TERM);
    assert!(broker.wait().success());
    let people = home.run(&["reviewers", "list", "--json"]).json();
    assert_eq!(people["reviewers"][0]["groups"], json!(["ops", "genomics"]));
    let rotated = home.run(&["agents", "rotate", "bot", "--json"]).json();
    assert_ne!(rotated["token"], bot["token"]);
    home.run(&["reviewers", "revoke", "eve"]).ends(0);
    home.run(&["agents", "revoke", "nobody"]).ends(1);
}

#[test]
fn an_export_verifies_and_one_flipped_byte_ends_with_four() {
    let home = Home::new();
    home.run(&["reviewers", "add", "zoe"]).ends(0);
    home.run(&["reviewers", "add", "bob"]).ends(0);
    let export = home.run(&["audit", "export"]).ends(0).out();
    home.write("export.jsonl", &export);
    let key = ["--key", "countersign.db.pub"];
    home.run(&["audit", "verify", "export.jsonl", key[0], key[1]]).ends(0);
    home.run(&["audit", "verify"]).ends(0);
    assert_eq!(export.matches("zoe").count(), 1, "{export}");
    home.write("export.jsonl", &export.replace("zoe", "zof"));
    let bad = home.run(&["audit", "verify", "export.jsonl", key[0], key[1], "--json"]).ends(4);
    assert!(bad.out().contains("\"intact\":false"), "{}", bad.out());
}

#[test]
fn a_store_changed_behind_the_brokers_back_is_named_and_not_served() {
    let home = Home::new();
    home.run(&["reviewers", "add", "zoe"]).ends(0);
    home.run(&["reviewers", "add", "bob"]).ends(0);
    let store = rusqlite::Connection::open(home.path().join("countersign.db")).unwrap();
    let zoe: Vec<u8> =
        store.query_row("SELECT value FROM kv WHERE key = 'zoe'", [], |row| row.get(0)).unwrap();
    store.execute("DELETE FROM kv WHERE key = 'zoe'", []).unwrap();
    let bad = home.run(&["audit", "verify"]).ends(4);
    assert!(bad.out().contains("there is no row of reviewer zoe"), "{}", bad.out());
    store.execute("INSERT INTO kv VALUES ('reviewer', 'zoe', ?1)", [zoe]).unwrap();
    home.run(&["audit", "verify"]).ends(0);
    // Its last entry and the head that was signed with it: only the file beside the store remembers.
    let cut = "DELETE FROM heads WHERE size = (SELECT max(number) FROM entries);
               DELETE FROM entries WHERE number = (SELECT max(number) FROM entries);
               UPDATE kv SET value = CAST(json_set(CAST(value AS TEXT), '$.drained', json('false')) AS BLOB)
               WHERE key = 'boot'";
    store.execute_batch(cut).unwrap();
    drop(store);
    let bad = home.run(&["audit", "verify"]).ends(4);
    assert!(bad.out().contains("cut off: the head that was kept"), "{}", bad.out());
    let refused = home.run(&["serve", "--listen", "127.0.0.1:0"]).ends(1);
    assert!(refused.err().contains("countersign audit verify"), "{}", refused.err());
}

#[test]
fn a_broker_without_server_and_reviewer_says_how_to_add_the_first() {
    let home = Home::new();
    let broker = home.start(&["serve", "--listen", "127.0.0.1:0"]);
    broker.errors.until(|line| line.contains("countersign servers add NAME"));
    broker.errors.until(|line| line.contains("countersign reviewers add NAME"));
    broker.signal(Signal::INT);
    assert!(broker.wait().success());
}

#[test]
fn login_proves_the_token_and_keeps_it_for_its_owner_alone() {
    let home = Home::new();
    let (_broker, url) = home.broker();
    let eve = home.run(&["reviewers", "add", "eve", "--json"]).json();
    home.tell(&["login", &url], "csr_wrong\n").ends(1);
    home.run(&["calls", "list"]).ends(1);
    home.tell(&["login", &url], &format!("{}\n", eve["token"].as_str().unwrap())).ends(0);
    let kept = home.path().join(".config/countersign/credentials.json");
    assert_eq!(std::fs::metadata(kept).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(home.run(&["calls", "list", "--json"]).json()["calls"], json!([]));
}

#[test]
fn a_broker_that_is_reached_and_does_not_answer_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    // It takes the request, and hangs up when nobody waits any more.
    let (done, waits) = std::sync::mpsc::channel::<()>();
    let silent = std::thread::spawn(move || {
        let taken = listener.accept().unwrap();
        let _ = waits.recv_timeout(std::time::Duration::from_secs(20));
        drop(taken);
    });
    let asked = std::time::Instant::now();
    let home = Home::new();
    let said = home.run(&["calls", "list", "--url", &url, "--token", "csr_x"]).ends(1).err();
    assert!(said.contains("was reached, but it does not answer"), "{said}");
    assert!(asked.elapsed().as_secs() < 19);
    drop(done);
    silent.join().unwrap();
}

#[test]
fn without_a_broker_a_new_reviewer_hears_that_their_link_needs_one() {
    let home = Home::new();
    let added = home.run(&["reviewers", "add", "zoe"]).ends(0).err();
    assert!(added.contains("15 minutes") && added.contains("no broker runs here"), "{added}");
}
