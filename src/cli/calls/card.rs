//! A call on a terminal: a row of the list, or the whole card. Everything others wrote is escaped.

use serde_json::Value;

use super::words;
use crate::{
    broker::{Clock as _, SystemClock},
    call::Timestamp,
    cli::print::{self, visible},
    mcp::{Limits, strict},
};

/// A member's text, or nothing.
pub(super) fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value.get(member).and_then(Value::as_str).unwrap_or_default()
}

/// A lost call that somebody looked after needs nobody any more.
fn in_list(call: &Value) -> String {
    match text(call, "resolved") {
        "" => visible(words::state(text(call, "state"))),
        _ => "resolved".to_owned(),
    }
}

pub(super) fn rows(calls: &[Value]) -> Vec<Vec<String>> {
    let head = ["CODE", "STATE", "SERVER", "TOOL", "AGENT", "EXPIRES", "ID"].map(str::to_owned).to_vec();
    let row = |call: &Value| {
        let cell = |member: &str| visible(text(call, member));
        let expires = left(text(call, "expires_at")).unwrap_or_else(|| "-".to_owned());
        vec![
            cell("short_code"),
            in_list(call),
            cell("server"),
            cell("tool"),
            cell("agent"),
            expires,
            cell("id"),
        ]
    };
    std::iter::once(head).chain(calls.iter().map(row)).collect()
}

/// The whole card: what a reviewer must have seen before voting.
pub(super) fn show(call: &Value) {
    let field = |name: &str, value: &str| {
        if !value.is_empty() {
            print::line(&format!("  {name:<9} {value}"));
        }
    };
    let shown = |member: &str| visible(text(call, member));
    let risk: Vec<String> = ["severity", "class"].map(shown).into_iter().filter(|r| !r.is_empty()).collect();
    let risk = if risk.is_empty() { String::new() } else { format!("   ({})", risk.join(", ")) };
    print::line(&format!("{} on {}{risk}", shown("tool"), shown("server")));
    field("call", &shown("id"));
    field("code", &shown("short_code"));
    field("state", &state(call));
    field("agent", &agent(call));
    field("protocol", &protocol(call));
    field("reason", &shown("reason"));
    field("rule", &shown("rule"));
    for quorum in list(call, "quorums") {
        let group = quorum.get("group").and_then(Value::as_str).map_or("any reviewer".to_owned(), visible);
        let count = |member: &str| quorum.get(member).and_then(Value::as_u64).unwrap_or(0);
        field("quorum", &format!("{} of {} by {group}", count("have"), count("approvals")));
    }
    field("follows", &shown("follows"));
    field("twin", &shown("twin"));
    field("digest", &shown("digest"));
    arguments(call);
    beside(call);
    timeline(call);
    outcome(call);
    field("told", &shown("told"));
}

fn state(call: &Value) -> String {
    let mut words = words::status(call);
    if let Some(left) = left(text(call, "expires_at")) {
        let at = visible(text(call, "expires_at"));
        words.push_str(&format!(", expires {left} ({at}), then it is denied"));
    }
    if let Some(left) = left(text(call, "use_by")).filter(|_| !words::is_there(call)) {
        words.push_str(&format!(", {left} at the latest"));
    }
    if !text(call, "answers_until").is_empty() {
        let until = visible(text(call, "answers_until"));
        words.push_str(&format!(
            ", and so is the same call made again before {until} (`calls lift` ends that)"
        ));
    }
    if text(call, "state") == "lost" && text(call, "resolved").is_empty() {
        let code = visible(text(call, "short_code"));
        words.push_str(&format!(
            "; look at the server, then say what became of it: `countersign calls resolve {code} done`, or `not-done`"
        ));
    }
    words
}

fn agent(call: &Value) -> String {
    let mut words = visible(text(call, "agent"));
    if let Some(client) = call.get("client") {
        let (name, version) = (visible(text(client, "name")), visible(text(client, "version")));
        words.push_str(&format!(" ({name} {version})"));
    }
    if !matches!(text(call, "state"), "pending" | "permitted" | "dispatched") {
        return words;
    }
    let waits = match text(call, "waiting") {
        "line" => ", waits on the line",
        "task" => ", waits as a task",
        "ticket" => ", was told to call again",
        _ => ", is not there now",
    };
    words + waits
}

fn protocol(call: &Value) -> String {
    let version = visible(text(call, "protocol"));
    if version.is_empty() { version } else { format!("MCP {version}") }
}

/// Each argument as the agent's own bytes have it.
fn arguments(call: &Value) {
    let Some(raw) = call.get("arguments_raw").and_then(Value::as_str) else {
        print::line("  arguments (erased)");
        return;
    };
    members("arguments", raw);
}

/// What would be sent beside the arguments, if anything.
fn beside(call: &Value) {
    if let Some(raw) = call.get("other_raw").and_then(Value::as_str) {
        members("also sent", raw);
    }
}

/// A heading and the members of an object below it.
fn members(heading: &str, raw: &str) {
    let limits = Limits::of_servers(usize::MAX);
    let members: Vec<_> = match strict::check(raw.as_bytes(), &limits) {
        Ok(json) => json.members().collect(),
        Err(_) => Vec::new(),
    };
    if members.is_empty() {
        print::line(&format!("  {heading} {}", visible(raw)));
        return;
    }
    print::line(&format!("  {heading}"));
    for member in members {
        print::line(&format!("    {} = {}", visible(&member.name), visible(member.value.as_str())));
    }
}

fn timeline(call: &Value) {
    let steps = list(call, "timeline");
    if !steps.is_empty() {
        print::line("  timeline");
    }
    for step in deeds(steps) {
        let text = visible(text(step, "text"));
        let said = if text.is_empty() { text } else { format!(": {text}") };
        print::line(&format!("    {}  {}{said}", visible(self::text(step, "at")), words::event(step)));
    }
}

/// A vote that denies and the denial that it makes are two entries of the ledger and one deed of a person.
fn deeds(steps: &[Value]) -> impl Iterator<Item = &Value> {
    let is_its_denial = |vote: &Value, next: &Value| {
        (text(vote, "event"), text(vote, "vote"), text(next, "event")) == ("voted", "deny", "denied")
            && text(vote, "by") == text(next, "by")
    };
    let before = std::iter::once(&Value::Null).chain(steps);
    steps.iter().zip(before).filter(move |(step, before)| !is_its_denial(before, step)).map(|(step, _)| step)
}

fn outcome(call: &Value) {
    let Some(outcome) = call.get("outcome") else { return };
    let answer = outcome.get("answer_raw").and_then(Value::as_str);
    if let Some(answer) = answer {
        print::line(&format!("  answer    {}", visible(answer)));
    }
}

pub(super) fn list<'a>(call: &'a Value, member: &str) -> &'a [Value] {
    call.get(member).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// How long until then, in words; `None` for no time at all.
fn left(moment: &str) -> Option<String> {
    let until: Timestamp = moment.parse().ok()?;
    let now = SystemClock.now();
    if now >= until {
        return Some("now".to_owned());
    }
    let seconds = until.since(now).as_secs();
    Some(match seconds {
        0..120 => format!("in {seconds} s"),
        120..7_200 => format!("in {} min", seconds / 60),
        _ => format!("in {} h", seconds / 3_600),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    #[test]
    fn a_lost_call_that_was_resolved_is_told_apart_in_the_list() {
        let calls = [json!({"state": "lost"}), json!({"state": "lost", "resolved": "done"})];
        let states: Vec<String> = super::rows(&calls).into_iter().map(|row| row[1].clone()).collect();
        assert_eq!(states, ["STATE", "unknown outcome", "resolved"]);
    }

    #[test]
    fn a_denial_stands_once_in_the_timeline() {
        let vote = |by: &str| json!({"event": "voted", "vote": "deny", "by": by});
        let denied = |by: &str| json!({"event": "denied", "by": by});
        let told = |steps: &[_]| super::deeds(steps).count();
        assert_eq!(told(&[json!({"event": "submitted"}), vote("ann"), denied("ann")]), 2);
        assert_eq!(told(&[vote("ann"), denied("the timer")]), 2);
        assert_eq!(told(&[denied("ann")]), 1);
    }

    #[test]
    fn an_agent_waits_for_what_is_not_settled() {
        let told = |state: &str| super::agent(&json!({"agent": "bot", "waiting": "line", "state": state}));
        assert_eq!(told("pending"), "bot, waits on the line");
        assert_eq!(told("denied"), "bot");
        assert_eq!(told("completed"), "bot");
    }
}
