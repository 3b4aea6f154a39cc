//! `countersign policy`: check, test and explain policies, without a broker.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::print;
use crate::{
    broker::{Clock as _, SystemClock},
    policy::{self, Explanation, Facts, Policy, Problem},
};

#[derive(Debug, Subcommand)]
pub(super) enum Policies {
    /// Every mistake, with file, line and column.
    Check {
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Run the cases beside each policy: NAME.cases.json.
    Test {
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// What a policy says of one call, and each rule that led to it.
    Explain(Explain),
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    file: PathBuf,
    #[arg(long)]
    tool: String,
    /// The call's arguments, a JSON object.
    #[arg(long, default_value = "{}")]
    arguments: String,
    #[arg(long, default_value = "agent")]
    agent: String,
    #[arg(long, default_value = "server")]
    server: String,
}

pub(super) fn run(command: Policies, json: bool) -> anyhow::Result<ExitCode> {
    match command {
        Policies::Check { files } => check(&files, json),
        Policies::Test { files } => test(&files, json),
        Policies::Explain(explain) => explain_one(&explain, json),
    }
}

/// Cases are not policies; a pattern such as `policies/*.json` names them all the same.
fn is_cases(path: &Path) -> bool {
    path.to_str().is_some_and(|name| name.ends_with(".cases.json"))
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("the policy {} cannot be read", path.display()))
}

fn check(files: &[PathBuf], json: bool) -> anyhow::Result<ExitCode> {
    let (mut found, mut checked) = (Vec::new(), 0_usize);
    for path in files.iter().filter(|path| !is_cases(path)) {
        checked += 1;
        if let Err(problems) = policy::check(&path.display().to_string(), &read(path)?) {
            found.extend(problems);
        }
    }
    anyhow::ensure!(checked > 0, "these files are cases; name the policies beside them");
    if json {
        print::json(&found.iter().map(shown).collect());
    } else {
        for problem in &found {
            print::line(&problem.to_string());
        }
        if found.is_empty() {
            let policies = if checked == 1 { "policy is" } else { "policies are" };
            eprintln!("{checked} {policies} in order");
        }
    }
    Ok(if found.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn shown(problem: &Problem) -> Value {
    json!({ "file": problem.file, "line": problem.line, "column": problem.column,
        "message": problem.message, "hint": problem.hint })
}

/// The policy in `path`; its mistakes as an error.
fn load(path: &Path) -> anyhow::Result<Policy> {
    policy::check(&path.display().to_string(), &read(path)?).map_err(|problems| joined(&problems))
}

fn joined(problems: &[Problem]) -> anyhow::Error {
    let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
    anyhow::anyhow!("there are mistakes:\n{}", lines.join("\n"))
}

fn test(files: &[PathBuf], json: bool) -> anyhow::Result<ExitCode> {
    let (mut rows, mut failed, mut run) = (Vec::new(), 0_usize, 0_usize);
    for path in files.iter().filter(|path| !is_cases(path)) {
        let cases = path.with_extension("cases.json");
        let text = std::fs::read_to_string(&cases).with_context(|| {
            format!("the cases {} cannot be read; they lie beside the policy", cases.display())
        })?;
        let results = policy::run_cases(&load(path)?, &text).map_err(|problems| joined(&problems))?;
        for result in results {
            run += 1;
            failed += usize::from(!result.passed);
            if json {
                rows.push(json!({ "file": cases, "line": result.line, "name": result.name,
                    "passed": result.passed, "expected": result.expected, "got": result.got }));
            } else if !result.passed {
                print::line(&format!("{}:{}: {}", cases.display(), result.line, result.name));
                print::line(&format!("  expected {}", result.expected));
                print::line(&format!("  got      {}", result.got));
            }
        }
    }
    anyhow::ensure!(run > 0, "there are no cases in these files");
    if json {
        print::json(&Value::Array(rows));
    } else {
        eprintln!("{} of {run} cases passed", run - failed);
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn explain_one(ask: &Explain, json: bool) -> anyhow::Result<ExitCode> {
    let policy = load(&ask.file)?;
    let arguments: Value = serde_json::from_str(&ask.arguments)
        .context("--arguments is not JSON; write an object such as '{}'")?;
    anyhow::ensure!(arguments.is_object(), "--arguments must be a JSON object such as '{{}}'");
    let facts = Facts {
        agent: &ask.agent,
        server: &ask.server,
        tool: &ask.tool,
        arguments: ask.arguments.as_bytes(),
        session: None,
        now: SystemClock.now(),
    };
    let explanation = policy::explain(&policy, &facts);
    if json {
        print::json(&explained(&explanation));
    } else {
        print::line(explanation.to_string().trim_end());
    }
    Ok(ExitCode::SUCCESS)
}

fn explained(explanation: &Explanation) -> Value {
    let look = |look: &policy::Look| json!({ "policy": look.policy, "rule": look.rule, "words": look.words, "outcome": look.outcome });
    json!({ "verdict": policy::verdict_name(&explanation.verdict),
        "rule": policy::verdict_rule(&explanation.verdict),
        "looks": explanation.looks.iter().map(look).collect::<Vec<_>>() })
}
