//! `calls watch`: the ledger as it grows, one line for each event; goes on after a lost connection.

use std::{collections::HashMap, process::ExitCode, time::Duration};

use clap::Args;
use serde_json::{Value, json};

use super::{card, find, words};
use crate::cli::{
    DENIED, EXPIRED,
    print::{self, visible},
    reviewer::{ApiError, Frame, Live, Reviewer},
};

#[derive(Debug, Args)]
pub(super) struct Watch {
    /// Only this call, by id or short code.
    call: Option<String>,
    /// End when the call is settled: 0 completed, 3 denied, 5 expired, 1 otherwise.
    #[arg(long, requires = "call")]
    until_settled: bool,
    /// Go on after this cursor, instead of from now on.
    #[arg(long)]
    after: Option<String>,
}

const BACK_OFF: Duration = Duration::from_millis(500);
const MAX_BACK_OFF: Duration = Duration::from_secs(30);

/// What is followed, and how far.
struct Follower<'a> {
    reviewer: &'a Reviewer,
    cursor: String,
    only: Option<String>,
    until_settled: bool,
    json: bool,
    /// `server/tool` by call.
    names: HashMap<String, String>,
}

pub(super) async fn run(reviewer: &Reviewer, watch: Watch, json: bool) -> anyhow::Result<ExitCode> {
    let Watch { call, until_settled, after } = watch;
    // The cursor first: whatever happens to the call from here on is heard.
    let page = reviewer.get("/api/v1/calls?limit=1").await?;
    let cursor = after.unwrap_or_else(|| card::text(&page, "cursor").to_owned());
    let call = match call {
        Some(name) => Some(find(reviewer, &name).await?),
        None => None,
    };
    if let Some(code) = call.as_ref().and_then(settled).filter(|_| until_settled) {
        return Ok(code);
    }
    let only = call.map(|call| card::text(&call, "id").to_owned());
    let names = HashMap::new();
    let mut follower = Follower { reviewer, cursor, only, until_settled, json, names };
    let mut wait = BACK_OFF;
    loop {
        match follower.reviewer.follow(Some(&follower.cursor)).await {
            Ok(live) => {
                wait = BACK_OFF;
                if let Some(code) = follower.follow(live).await? {
                    return Ok(code);
                }
                eprintln!("the connection is lost; following again from where it was");
            }
            Err(error) => eprintln!("{error:#}; trying again in {} s", wait.as_secs().max(1)),
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(MAX_BACK_OFF);
    }
}

impl Follower<'_> {
    /// Until the connection is lost (`None`) or the end that was asked for.
    async fn follow(&mut self, mut live: Live) -> anyhow::Result<Option<ExitCode>> {
        loop {
            let entry = match live.next().await {
                Frame::Entry(entry) => entry,
                Frame::Gone => return Ok(None),
                Frame::SignedOut => anyhow::bail!("the token is not valid any more; sign in again"),
                Frame::CursorUnknown => {
                    anyhow::bail!(
                        "the broker does not know the cursor {}; watch without --after",
                        self.cursor
                    )
                }
            };
            if !card::text(&entry, "cursor").is_empty() {
                card::text(&entry, "cursor").clone_into(&mut self.cursor);
            }
            let call = card::text(&entry, "call");
            if self.only.as_deref().is_some_and(|only| only != call) {
                continue;
            }
            self.tell(&entry).await?;
            if self.until_settled && ends(card::text(&entry, "event")) {
                let call = self.reviewer.get(&format!("/api/v1/calls/{call}")).await?;
                return Ok(settled(&call));
            }
        }
    }

    async fn tell(&mut self, entry: &Value) -> Result<(), ApiError> {
        if self.json {
            print::json(entry);
            return Ok(());
        }
        let call = card::text(entry, "call");
        let about =
            if call.is_empty() { visible(card::text(entry, "stream")) } else { self.name(call).await? };
        let event = card::text(entry, "event");
        let mut what = if call.is_empty() { visible(event) } else { words::event(&step(entry)) };
        let why = match event {
            "failed" | "lost" | "reparked" => "/why",
            _ => "/reason/reason/text",
        };
        if let Some(why) = entry.pointer(why).and_then(Value::as_str) {
            what.push_str(&format!(": {}", visible(why)));
        }
        print::line(&[visible(card::text(entry, "at")), about, what].join("  "));
        Ok(())
    }

    /// `CODE server/tool`.
    async fn name(&mut self, id: &str) -> Result<String, ApiError> {
        if let Some(name) = self.names.get(id) {
            return Ok(name.clone());
        }
        let name = match self.reviewer.get(&format!("/api/v1/calls/{id}")).await {
            Ok(call) => {
                let shown = |member: &str| visible(card::text(&call, member));
                format!("{} {}/{}", shown("short_code"), shown("server"), shown("tool"))
            }
            Err(ApiError::Refused { status: 404, .. }) => id.to_owned(),
            Err(error) => return Err(error),
        };
        self.names.insert(id.to_owned(), name.clone());
        Ok(name)
    }
}

/// An entry of the ledger, with the members that a step of a timeline has.
fn step(entry: &Value) -> Value {
    let first = |pointers: &[&str]| pointers.iter().find_map(|pointer| entry.pointer(pointer)).cloned();
    let who = match entry.pointer("/by/who").and_then(Value::as_str) {
        Some(who @ ("policy" | "agent" | "timer")) => Some(Value::String(format!("the {who}"))),
        _ => first(&["/by/person/name", "/by/person", "/by/name", "/review/reviewer/name", "/reviewer/name"]),
    };
    json!({
        "event": entry.get("event"), "by": who, "vote": entry.pointer("/review/vote"),
        "how": first(&["/how", "/kind", "/why"]), "outcome": entry.get("outcome"), "lapsed": entry.get("lapsed"),
    })
}

fn ends(event: &str) -> bool {
    matches!(event, "completed" | "denied" | "expired" | "cancelled" | "failed" | "lost")
}

/// The exit code of a settled call.
fn settled(call: &Value) -> Option<ExitCode> {
    match card::text(call, "state") {
        "pending" | "permitted" | "dispatched" => None,
        "completed" => Some(ExitCode::SUCCESS),
        "denied" => Some(ExitCode::from(DENIED)),
        "expired" => Some(ExitCode::from(EXPIRED)),
        _ => Some(ExitCode::FAILURE),
    }
}
