//! `calls approve` and `calls deny`: a vote names the digest of what its reviewer has seen.

use std::{
    io::{IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::Args;
use serde_json::{Value, json};

use super::{card, find};
use crate::cli::{DENIED, EXPIRED, print, reviewer::Reviewer};

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
pub(super) struct Denial {
    #[command(flatten)]
    ballot: Ballot,
    /// Deny this call only: the same call, made again, asks people again instead of hearing this denial.
    #[arg(long)]
    once: bool,
}

pub(super) async fn approve(reviewer: &Reviewer, ballot: Ballot, json: bool) -> anyhow::Result<ExitCode> {
    let call = find(reviewer, &ballot.call).await?;
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
        if !ask()? {
            eprintln!("not approved; the call still waits");
            return Ok(ExitCode::FAILURE);
        }
    }
    let vote = json!({ "vote": "approve", "digest": call["digest"] });
    cast(reviewer, &call, vote, ballot.reason, json).await
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
    let id = card::text(&call, "id");
    let after = reviewer.post(&format!("/api/v1/calls/{id}/lift"), &json!({})).await?;
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
    let by = print::visible(card::text(call, "settled_by"));
    eprintln!("the call is {} already (by {by}); nothing was done", card::text(call, "state"));
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
    let id = card::text(call, "id");
    let after = reviewer.post(&format!("/api/v1/calls/{id}/reviews"), &body).await?;
    if json {
        print::json(&after);
        return Ok(ExitCode::SUCCESS);
    }
    let (code, state) = (card::text(call, "short_code"), card::text(&after, "state"));
    let is_on_the_line = card::text(call, "waiting") == "line";
    let words = match (card::text(&body, "vote"), state) {
        ("approve", "pending") => "your approval counts; more are needed",
        ("approve", _) if is_on_the_line => "approved; it is sent now",
        ("approve", "permitted") => "approved; it runs if the agent comes back",
        ("approve", _) => "approved",
        _ if body["once"] == true => "denied; made again, it asks people again",
        _ => "denied; nothing was run",
    };
    print::line(&format!("{code} {words}"));
    Ok(ExitCode::SUCCESS)
}
