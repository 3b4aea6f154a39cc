//! The shipped policies: their cases hold, each tool of their server is decided on purpose.
//!
//! `tests/data/tools/NAME.txt` lists the tools that the published server offers.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use countersign::call::{Timestamp, Verdict};
use countersign::policy::{Facts, Policy, check, evaluate, explain, run_cases};

const SHIPPED: [&str; 7] =
    ["aws-dataprocessing", "aws-healthomics", "cloudtrail", "demo", "eks", "stepfunctions-tool", "valkey"];

fn text(path: impl AsRef<Path>) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn policy(name: &str) -> Policy {
    let file = format!("{name}.json");
    check(&file, &text(format!("policies/{file}"))).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn tools(name: &str) -> BTreeSet<String> {
    text(format!("tests/data/tools/{name}.txt")).lines().map(str::to_owned).collect()
}

fn facts<'a>(tool: &'a str, arguments: &'a str) -> Facts<'a> {
    Facts {
        agent: "ci",
        server: "s",
        tool,
        arguments: arguments.as_bytes(),
        session: None,
        now: Timestamp(0),
    }
}

#[test]
fn every_policy_in_the_folder_is_tested_here() {
    let folder = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("policies")).expect("the folder");
    let names = folder.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let names: BTreeSet<_> = names.filter_map(|name| name.strip_suffix(".json").map(str::to_owned)).collect();
    let expected: BTreeSet<_> =
        SHIPPED.iter().flat_map(|name| [(*name).to_owned(), format!("{name}.cases")]).collect();
    assert_eq!(names, expected);
}

#[test]
fn the_cases_beside_each_policy_hold() {
    for name in SHIPPED {
        let cases = text(format!("policies/{name}.cases.json"));
        let results = run_cases(&policy(name), &cases).unwrap_or_else(|problems| panic!("{problems:#?}"));
        assert!(results.len() >= 7, "{name} has cases");
        let failed: Vec<String> = results
            .iter()
            .filter(|result| !result.passed)
            .map(|r| {
                format!("{name}.cases.json:{}: {}: expected {}, got {}", r.line, r.name, r.expected, r.got)
            })
            .collect();
        assert!(failed.is_empty(), "{failed:#?}");
    }
}

#[test]
fn each_tool_of_the_server_is_named_and_no_other() {
    for name in SHIPPED {
        let (policy, tools) = (policy(name), tools(name));
        for tool in &tools {
            let looks = explain(&policy, &facts(tool, "{}")).looks;
            assert!(
                !looks.iter().any(|look| look.rule.starts_with("(default")),
                "{name} leaves {tool} to its default"
            );
            assert!(policy.hides("s", tool) || policy.risk("s", tool).is_some(), "{name} rates {tool}");
        }
        for named in named(&text(format!("policies/{name}.json"))) {
            assert!(tools.contains(&named), "{name} names {named}, which the server does not have");
        }
    }
}

/// The tools that a policy names, in `tools` and `hide`.
fn named(text: &str) -> Vec<String> {
    let json: String = text.lines().filter(|line| !line.starts_with("//")).collect();
    let document: serde_json::Value = serde_json::from_str(&json).expect("comments stand at the top only");
    let hidden = document["hide"].as_array().into_iter().flatten();
    let hidden = hidden.filter_map(|name| name.as_str().map(str::to_owned));
    document["tools"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).chain(hidden).collect()
}

#[test]
fn nothing_destructive_that_has_its_own_tool_passes_unasked() {
    for name in SHIPPED {
        let policy = policy(name);
        for tool in tools(name) {
            let Some(risk) = policy.risk("s", &tool) else { continue };
            if !matches!(risk.class.as_str(), "destructive" | "financial") {
                continue;
            }
            // Without the argument that would make it harmless.
            let verdict = evaluate(&[&policy], &facts(&tool, "{}")).verdict;
            assert!(matches!(verdict, Verdict::Review { .. }), "{name}: {tool} {verdict:?}");
        }
    }
}

#[test]
fn arguments_of_the_wrong_kind_never_make_a_call_pass_that_was_asked_for() {
    let loose = ["[]", "\"x\"", "null", r#"{"operation":7}"#, r#"{"operation":["list-databases"]}"#, "{"];
    let loose_commands =
        [r#"{"command":["GET"]}"#, r#"{"command":{"GET":1}}"#, r#"{"command":"GET","command":"DEL"}"#];
    for arguments in loose.iter().chain(&loose_commands) {
        for (name, tool) in [
            ("aws-dataprocessing", "manage_aws_glue_databases"),
            ("eks", "manage_k8s_resource"),
            ("valkey", "valkey_write"),
        ] {
            let verdict = evaluate(&[&policy(name)], &facts(tool, arguments)).verdict;
            assert!(matches!(verdict, Verdict::Review { .. }), "{name} {tool} {arguments}: {verdict:?}");
        }
    }
}
