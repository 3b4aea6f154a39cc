//! The form of the code, as tests: who may use whom, what may be named where, how long a thing may be.
//!
//! It reads the sources as text (`tidy/source.rs`), so that no tool has to be installed and a broken rule
//! names its file and line. The rules stand in words in `src/lib.rs`; the table of ranks there is compared.

#[path = "tidy/source.rs"]
mod source;

use std::collections::BTreeSet;

use source::{Source, rust_under, text_files};

/// Who may use whom: a module uses modules of a lower rank, and itself.
const RANKS: [(u8, &[&str]); 11] = [
    (0, &["call", "mcp", "telemetry"]),
    (1, &["risk", "ledger"]),
    (2, &["policy"]),
    (3, &["card", "oauth"]),
    (4, &["store", "upstream"]),
    (5, &["identity"]),
    (6, &["broker"]),
    (7, &["downstream", "api", "notify"]),
    (8, &["config"]),
    (9, &["serve"]),
    (10, &["cli"]),
];

/// No I/O, no clock, no randomness, no tasks: what goes in comes out the same.
const PURE: [&str; 6] = ["call", "mcp", "policy", "risk", "card", "ledger"];

const LONGEST_FILE: usize = 400;
const LONGEST_FUNCTION: usize = 60;

fn rank(module: &str) -> Option<u8> {
    RANKS.iter().find(|(_, modules)| modules.contains(&module)).map(|(rank, _)| *rank)
}

/// Fails with every line at once: whoever broke a rule sees all of it.
fn hold(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}\n  {}\n", broken.join("\n  "));
}

/// Every place in `src` (tests aside) where `found` says yes of a line, except in `allowed` files.
fn only_in(allowed: &[&str], found: impl Fn(&str) -> bool) -> Vec<String> {
    rust_under("src/")
        .filter(|source| !allowed.iter().any(|path| source.path.starts_with(path)))
        .flat_map(|source| source.lines_where(source.shell(), &found))
        .collect()
}

#[test]
fn a_module_uses_only_modules_of_lower_rank() {
    let mut broken = Vec::new();
    for source in rust_under("src/").filter(|source| source.path != "src/lib.rs") {
        let own = source.module();
        let Some(mine) = rank(own) else {
            broken.push(format!("{}: `{own}` has no rank", source.path));
            continue;
        };
        for used in source.modules_used().into_iter().filter(|used| used != own) {
            if rank(&used).is_none_or(|theirs| theirs >= mine) {
                broken.push(format!("{}: `{own}` ({mine}) uses `{used}` ({:?})", source.path, rank(&used)));
            }
        }
    }
    hold("a module uses only modules of a lower rank", &broken);
}

#[test]
fn the_map_in_lib_rs_prints_the_same_ranks() {
    let map = Source::read("src/lib.rs");
    let printed: Vec<(u8, Vec<&str>)> = map.text.lines().filter_map(printed_rank).collect();
    let meant: Vec<(u8, Vec<&str>)> = RANKS.iter().map(|(rank, modules)| (*rank, modules.to_vec())).collect();
    assert_eq!(printed, meant, "the table of ranks in src/lib.rs");
    let ranked: BTreeSet<&str> = RANKS.iter().flat_map(|(_, modules)| modules.iter().copied()).collect();
    let declared = map.text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    hold(
        "every module has a rank",
        &declared.filter(|m| !ranked.contains(m)).map(String::from).collect::<Vec<_>>(),
    );
}

/// `//! | 4 | store, upstream | … |`
fn printed_rank(line: &str) -> Option<(u8, Vec<&str>)> {
    let mut cells = line.strip_prefix("//! |")?.split('|');
    let rank = cells.next()?.trim().parse().ok()?;
    let modules = cells.next()?.split(',').map(|module| module.trim().trim_matches('`'));
    Some((rank, modules.collect()))
}

#[test]
fn pure_modules_name_no_io_no_clock_no_chance_and_no_task() {
    let crates = ["tokio", "tokio_util", "axum", "hyper", "reqwest", "rusqlite", "rand", "tracing"];
    let words = ["SystemTime", "Instant", "async", "await", "Uuid::new_v4", "Uuid::now_v7", "Timestamp::now"];
    let mut broken = Vec::new();
    for source in rust_under("src/").filter(|source| PURE.contains(&source.module())) {
        broken.extend(source.lines_where(source.shell(), |line| {
            words.iter().any(|word| has_word(line, word))
                || crates.iter().any(|name| has_word(line, &format!("{name}::")))
        }));
        for used in source.first_names_after("std") {
            if ["fs", "net", "env", "process", "thread"].contains(&used.as_str()) {
                broken.push(format!("{}: std::{used}", source.path));
            }
        }
    }
    hold("pure modules are given time, ids and chance as values", &broken);
}

#[test]
fn only_record_and_identity_append_to_the_store() {
    let to_the_store = |line: &str| line.contains("store.append(") || line.contains("Store::append(");
    hold(
        "one function changes calls: broker/record.rs",
        &only_in(&["src/broker/record.rs", "src/identity/mod.rs"], to_the_store),
    );
    let append = |line: &str| {
        line.match_indices(".append(").any(|(at, _)| {
            let receiver = line[..at].rsplit(|c: char| !c.is_alphanumeric() && c != '_').next();
            receiver != Some("headers") && !line[at..].starts_with(".append(true)")
        })
    };
    hold(
        "nobody else has an append in hand",
        &only_in(&["src/broker/", "src/identity/mod.rs", "src/store/"], append),
    );
}

#[test]
fn only_dispatch_sends_a_call_and_only_segments_reserve_a_pass() {
    hold(
        "sending is broker/dispatch.rs",
        &only_in(&["src/broker/dispatch.rs"], |line| line.contains(".forward(")),
    );
    hold(
        "a pass has a place in a segment",
        &only_in(&["src/broker/segments.rs"], |line| line.contains("Pass::reserved")),
    );
    hold("a permit comes from an entry", &only_in(&["src/broker/"], |line| line.contains("Permit::of(")));
}

#[test]
fn sql_lives_in_the_store_only() {
    let sql = ["SELECT ", "INSERT ", "UPDATE ", "DELETE FROM", "CREATE TABLE", "PRAGMA "];
    let mut broken = only_in(&["src/store/"], |line| has_word(line, "rusqlite::"));
    for source in rust_under("src/").filter(|source| !source.path.starts_with("src/store/")) {
        broken.extend(source.lines_where(&source.words, |line| {
            sql.iter().any(|word| line.contains(&format!("\"{word}")) || line.trim_start().starts_with(word))
        }));
    }
    hold("SQL lives in src/store", &broken);
}

#[test]
fn the_words_of_slack_are_in_one_place() {
    let words = ["mrkdwn", "plain_text", "\"blocks\"", "hooks.slack.com"];
    let mut broken = Vec::new();
    for source in rust_under("src/").filter(|source| !source.path.starts_with("src/notify/slack")) {
        broken.extend(source.lines_where(&source.words, |line| words.iter().any(|word| line.contains(word))));
    }
    hold("Slack's words are in src/notify/slack", &broken);
}

#[test]
fn people_read_of_agents_and_of_the_audit_log() {
    // The code's own words for them; as names in the API and in the configuration they stay.
    let ours = ["ledger", "grant", "grants"];
    let before = ["the", "The", "its", "a", "an", "no", "this", "one"];
    let said = |line: &str| {
        before
            .iter()
            .flat_map(|before| ours.map(|word| format!("{before} {word}")))
            .any(|two| has_word(line, &two))
    };
    let mut broken = Vec::new();
    for source in rust_under("src/") {
        broken.extend(source.lines_where(&source.words, said));
    }
    hold("what people read says audit log and agent", &broken);
}

#[test]
fn only_two_files_write_to_stdout() {
    let stdout = |line: &str| {
        ["println!", "print!"].iter().any(|word| has_word(line, word)) || has_word(line, "stdout()")
    };
    hold(
        "stdout belongs to cli/print.rs and the bridge",
        &only_in(&["src/cli/print.rs", "src/downstream/stdio.rs"], stdout),
    );
}

#[test]
fn words_on_stderr_and_the_environment_belong_to_the_command_line() {
    let stderr = |line: &str| ["eprintln!", "eprint!", "stderr()"].iter().any(|word| has_word(line, word));
    let environment = |line: &str| has_word(line, "env::var") || has_word(line, "env::var_os");
    hold("stderr is the command line's; others log", &only_in(&["src/cli/", "src/telemetry/"], stderr));
    // A child inherits a few variables: they are read where it is started, as the child would read them.
    hold(
        "the environment is read by the command line, the configuration and the start of a child",
        &only_in(&["src/cli/", "src/config/", "src/upstream/process.rs"], environment),
    );
}

#[test]
fn every_rust_file_says_first_what_it_is_for() {
    let mute = rust_under("").filter(|source| !source.text.starts_with("//! "));
    hold(
        "a file begins with `//!` and a sentence",
        &mute.map(|source| source.path.clone()).collect::<Vec<_>>(),
    );
}

#[test]
fn no_file_and_no_function_is_longer_than_a_thought() {
    let mut broken = Vec::new();
    for source in rust_under("") {
        let lines = source.text.lines().count();
        if lines > LONGEST_FILE {
            broken.push(format!("{}: {lines} lines", source.path));
        }
        for (name, line, length) in source.functions() {
            if length > LONGEST_FUNCTION {
                broken.push(format!("{}:{line}: `{name}` has {length} lines", source.path));
            }
        }
    }
    for (path, text) in text_files().into_iter().filter(|(path, _)| is_other_code(path)) {
        let lines = text.lines().count();
        if lines > LONGEST_FILE {
            broken.push(format!("{path}: {lines} lines"));
        }
    }
    hold("files have at most 400 lines, functions 60", &broken);
}

fn is_other_code(path: &str) -> bool {
    !path.contains("/vendor/")
        && ["js", "mjs", "css", "py", "sh", "html"].iter().any(|end| path.ends_with(&format!(".{end}")))
}

#[test]
fn a_mod_file_holds_at_most_the_one_type_of_its_folder() {
    let mut broken = Vec::new();
    for source in rust_under("src/").filter(|source| source.path.ends_with("/mod.rs")) {
        let types = source.lines_where(source.shell(), |line| {
            ["pub struct ", "pub enum ", "pub trait "].iter().any(|start| line.starts_with(start))
        });
        if types.len() > 1 {
            broken.extend(types);
        }
    }
    broken.extend(only_in(&[], |line| line.contains("crate::*") || line.contains("use super::*")));
    hold("mod.rs has docs, modules, and the folder's one type; nothing is imported by star", &broken);
}

#[test]
fn nothing_is_named_for_being_vague() {
    // `ClientInfo` is what MCP calls it.
    let vague = ["Manager", "Helper", "Util", "Utils", "Data", "Info", "Service", "Handler", "Impl"];
    let mut broken = Vec::new();
    for source in rust_under("") {
        broken.extend(source.lines_where(&source.code, |line| {
            ["struct ", "enum ", "trait "].iter().any(|kind| {
                let name = line.split_once(kind).map(|(_, rest)| source::leading_name(rest));
                name.is_some_and(|name| name != "ClientInfo" && vague.iter().any(|word| name.ends_with(word)))
            })
        }));
    }
    hold("a name says what a thing is", &broken);
}

#[test]
fn values_enter_a_page_as_text_only() {
    let doors = [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "dangerouslySetInnerHTML",
        "eval(",
        "new Function",
        "srcdoc",
    ];
    let mut broken = Vec::new();
    for (path, text) in
        text_files().into_iter().filter(|(path, _)| path.starts_with("web/") && is_other_code(path))
    {
        for (number, line) in text.lines().enumerate() {
            if doors.iter().any(|door| line.contains(door)) {
                broken.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    hold("values enter a page as text", &broken);
}

#[test]
fn nothing_names_a_machine() {
    // Put together here, so that this file does not name them either.
    let places =
        ["/wo rk/", "../sha red", ".libr ary", "/ro ot/", "/ho me/"].map(|place| place.replace(' ', ""));
    let mut broken = Vec::new();
    for (path, text) in text_files() {
        for (number, line) in text.lines().enumerate() {
            if places.iter().any(|place| line.contains(place.as_str())) {
                broken.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    hold("the project stands alone", &broken);
}

#[test]
fn a_comment_gives_the_reason_itself() {
    let number = |line: &str| {
        line.split("ruling ").nth(1).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    let mut broken = Vec::new();
    for source in rust_under("") {
        broken.extend(source.lines_where(&source.text, number));
    }
    hold("no comment refers to a page that is not here", &broken);
}

#[test]
fn no_test_is_ignored_sleeps_or_is_tried_again() {
    let mut broken = Vec::new();
    for source in rust_under("") {
        // A rig looks again and again until a condition holds; the crashes come at random moments under load.
        // Who is hostile takes the time of others. The client of rmcp is a program that a recipe runs.
        // The stories themselves never sleep.
        let patient = ["tests/crash/", "tests/hold/", "tests/real/rmcp/"]
            .iter()
            .any(|folder| source.path.starts_with(folder));
        let is_rig = source.path.contains("/rig") || patient;
        broken.extend(source.lines_where(source.tests(), |line| {
            line.contains("#[ignore") || (has_word(line, "sleep(") && !is_rig)
        }));
    }
    hold("a test awaits a condition or moves the clock", &broken);
}

/// `word` in `line`, not as the end of a longer name.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let joins = |c: char| c.is_alphanumeric() || c == '_';
        let closed = word.ends_with(|c: char| !joins(c));
        !before.is_some_and(joins) && (closed || !after.is_some_and(joins))
    })
}
