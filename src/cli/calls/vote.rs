//! `calls approve`, `deny`, `lift` and `resolve`: a vote names the digest of what its reviewer has seen.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{card, find, words};
use crate::cli::{DENIED, EXPIRED, print, reviewer::Reviewer};

/// An approved call whose agent is there is looked at so often, and so far apart, for whether it is sent.
const LOOKS: usize = 20;
const BETWEEN: Duration = Duration::from_millis(50);

#[derive(Debug, Args)]
pub(super) struct Ballot {
    /// The call's id or short code.
    call: String,
    /// Why; it is on the record, and the agent reads it with a denial.
    #[arg(long)]
    reason: Option<String>,
    /// The digest of what you have seen, 64 hexadecimal digits.
    #[arg(long)]
    digest: Option<String>,
    /// The short code of what you have seen, six characters.
    #[arg(long, conflicts_with = "digest")]
    code: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct Approval {
    #[command(flatten)]
    ballot: Ballot,
    /// Take your own approval back, before the call is sent; it waits for reviewers again.
    #[arg(long, conflicts_with_all = ["reason", "digest", "code"])]
    withdraw: bool,
}

#[derive(Debug, Args)]
pub(super) struct Denial {
    #[command(flatten)]
    ballot: Ballot,
    /// Deny this call only: the same call, made again, asks people again instead of hearing this denial.
    #[arg(long)]
    once: bool,
}

/// What became of a call whose outcome nobody knew.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Found {
    Done,
    #[value(alias = "not_done")]
    NotDone,
}

#[derive(Debug, Args)]
pub(super) struct Resolution {
    /// The call's id or short code.
    call: String,
    /// What became of it, as the server shows.
    found: Found,
    /// What you found; it is on the record.
    #[arg(long)]
    note: Option<String>,
}

pub(super) async fn approve(reviewer: &Reviewer, approval: Approval, json: bool) -> anyhow::Result<ExitCode> {
    let Approval { ballot, withdraw } = approval;
    let call = find(reviewer, &ballot.call).await?;
    if withdraw {
        return take_back(reviewer, &call, json).await;
    }
    if let Some(code) = over(&call) {
        return Ok(code);
    }
    let named = named(&ballot, &call)?;
    if !named {
        anyhow::ensure!(
            std::io::stdin().is_terminal() && !json,
            "nobody can be asked here: say what you have seen, with --digest or --code (`countersign calls show {}`)",
            ballot.call
        );
        card::show(&call);
        let (have, needed) = approvals(&call);
        eprintln!("{}", words::consequence(&call, needed.saturating_sub(have)));
        if !ask()? {
            eprintln!("not approved; the call still waits");
            return Ok(ExitCode::FAILURE);
        }
    }
    let vote = json!({ "vote": "approve", "digest": call["digest"] });
    cast(reviewer, &call, vote, ballot.reason, json).await
}

async fn take_back(reviewer: &Reviewer, call: &Value, json: bool) -> anyhow::Result<ExitCode> {
    let after = verb(reviewer, call, "withdraw", &json!({})).await?;
    if json {
        print::json(&after);
    } else {
        let code = card::text(call, "short_code");
        print::line(&format!("{code} waits without your approval; {}", words::status(&after)));
    }
    Ok(ExitCode::SUCCESS)
}

/// A person has looked at the server.
pub(super) async fn resolve(
    reviewer: &Reviewer,
    resolution: Resolution,
    json: bool,
) -> anyhow::Result<ExitCode> {
    let call = find(reviewer, &resolution.call).await?;
    let outcome = match resolution.found {
        Found::Done => "done",
        Found::NotDone => "not_done",
    };
    let after =
        verb(reviewer, &call, "resolve", &json!({ "outcome": outcome, "note": resolution.note })).await?;
    if json {
        print::json(&after);
    } else {
        print::line(&format!("{} {}", card::text(&call, "short_code"), words::status(&after)));
    }
    Ok(ExitCode::SUCCESS)
}

async fn verb(reviewer: &Reviewer, call: &Value, verb: &str, body: &Value) -> anyhow::Result<Value> {
    let id = card::text(call, "id");
    Ok(reviewer.post(&format!("/api/v1/calls/{id}/{verb}"), body).await?)
}

pub(super) async fn deny(reviewer: &Reviewer, denial: Denial, json: bool) -> anyhow::Result<ExitCode> {
    let Denial { ballot, once } = denial;
    let call = find(reviewer, &ballot.call).await?;
    if let Some(code) = over(&call) {
        return Ok(code);
    }
    named(&ballot, &call)?;
    let mut vote = json!({ "vote": "deny", "digest": call["digest"] });
    if once {
        vote["once"] = Value::Bool(true);
    }
    cast(reviewer, &call, vote, ballot.reason, json).await
}

pub(super) async fn lift(reviewer: &Reviewer, name: &str, json: bool) -> anyhow::Result<ExitCode> {
    let call = find(reviewer, name).await?;
    anyhow::ensure!(
        card::text(&call, "state") != "denied" || !card::text(&call, "answers_until").is_empty(),
        "nothing to lift: the same call, made again, asks people"
    );
    let after = verb(reviewer, &call, "lift", &json!({})).await?;
    if json {
        print::json(&after);
    } else {
        let code = card::text(&call, "short_code");
        print::line(&format!("{code} lifted; the same call, made again, asks people again"));
    }
    Ok(ExitCode::SUCCESS)
}

/// A call that was denied or has expired takes no vote; the exit code says which.
fn over(call: &Value) -> Option<ExitCode> {
    let code = match card::text(call, "state") {
        "denied" => DENIED,
        "expired" => EXPIRED,
        _ => return None,
    };
    eprintln!("the call is settled already, and your vote was not cast: {}", words::status(call));
    Some(ExitCode::from(code))
}

/// Did the reviewer say what they have seen? Then it must be what there is.
fn named(ballot: &Ballot, call: &Value) -> anyhow::Result<bool> {
    let (seen, is) = match (&ballot.digest, &ballot.code) {
        (Some(digest), _) => (digest, card::text(call, "digest")),
        (None, Some(code)) => (code, card::text(call, "short_code")),
        (None, None) => return Ok(false),
    };
    anyhow::ensure!(
        seen.eq_ignore_ascii_case(is),
        "the call is not what you have seen: it is {is} now; look again with `countersign calls show {}`",
        ballot.call
    );
    Ok(true)
}

/// Anything but a clear yes is no.
fn ask() -> anyhow::Result<bool> {
    eprint!("Approve this call? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes" | "Yes"))
}

async fn cast(
    reviewer: &Reviewer,
    call: &Value,
    mut body: Value,
    reason: Option<String>,
    json: bool,
) -> anyhow::Result<ExitCode> {
    if let Some(reason) = reason {
        body["reason"] = Value::String(reason);
    }
    let after = verb(reviewer, call, "reviews", &body).await?;
    if json {
        print::json(&after);
        return Ok(ExitCode::SUCCESS);
    }
    let after = if words::is_there(call) { taken_up(reviewer, after).await } else { after };
    let (code, state) = (card::text(call, "short_code"), card::text(&after, "state"));
    let words = match (card::text(&body, "vote"), state) {
        ("approve", "pending") => {
            let (have, needed) = approvals(&after);
            format!("approved by you, {have} of {needed} approvals; it waits for others")
        }
        ("approve", "denied" | "expired" | "cancelled" | "failed") => {
            format!("approved, and not sent all the same: {}", words::status(&after))
        }
        ("approve", _) if words::is_there(call) => "approved; it is sent now".to_owned(),
        ("approve", _) => words::status(&after),
        _ if body["once"] == true => "denied; made again, it asks people again".to_owned(),
        _ => "denied; nothing was run".to_owned(),
    };
    print::line(&format!("{code} {words}"));
    Ok(ExitCode::SUCCESS)
}

/// The call once it is sent, or is not after all: what its agent may do can have changed since it asked.
async fn taken_up(reviewer: &Reviewer, mut call: Value) -> Value {
    for _ in 0..LOOKS {
        if card::text(&call, "state") != "permitted" {
            break;
        }
        sleep(BETWEEN).await;
        // The vote is cast, whatever can be read of it.
        let Ok(now) = find(reviewer, card::text(&call, "id")).await else { break };
        call = now;
    }
    call
}

/// How many there are, and how many are needed, of all quorums.
fn approvals(call: &Value) -> (u64, u64) {
    let sum = |member: &str| {
        card::list(call, "quorums")
            .iter()
            .filter_map(|quorum| quorum.get(member).and_then(Value::as_u64))
            .sum()
    };
    (sum("have"), sum("approvals"))
}
