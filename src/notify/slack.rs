//! Slack's words: Block Kit for an incoming webhook.
//!
//! What others wrote stands in `plain_text` only, escaped and with nothing hidden, so that it can be no
//! mention, no link and no formatting; `mrkdwn` holds nothing but our own numbers.

use std::{collections::BTreeMap, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json, value::RawValue};

use super::notice::{Notice, Topic};
use crate::{
    call::{By, State, Timestamp},
    card::visible,
};

/// Slack's own limits, in characters of what is sent.
const LONGEST_HEADER: usize = 150;
const LONGEST_TEXT: usize = 3000;
/// Names that agents and operators choose.
const LONGEST_NAME: usize = 80;
const LONGEST_VALUE: usize = 300;
const MOST_ARGUMENTS: usize = 40;
const MOST_BESIDE: usize = 10;

/// The body to POST.
pub(super) fn message(notice: &Notice) -> Value {
    let title = title(notice);
    let sentence = sentence(notice);
    let mut blocks = vec![
        json!({ "type": "header", "text": plain(&cut(&title, LONGEST_HEADER)) }),
        section(std::slice::from_ref(&sentence)),
    ];
    match &notice.topic {
        Topic::Pending | Topic::Reparked { .. } => {
            blocks.push(section(&facts(notice)));
            blocks.push(section(&arguments(notice)));
            blocks.extend(beside(notice).map(|line| section(&[line])));
            blocks.extend(notice.expires_at().map(expiry));
        }
        Topic::Settled => blocks.extend(settled_facts(notice)),
    }
    blocks.push(foot(notice));
    blocks.push(button(notice));
    // `text` is what a notification shows; with these flags Slack reads no markup, name or link in it.
    json!({
        "text": cut(&sentence, LONGEST_TEXT), "mrkdwn": false, "parse": "none", "link_names": false,
        "unfurl_links": false, "unfurl_media": false, "blocks": blocks,
    })
}

fn title(notice: &Notice) -> String {
    let tool = name(&notice.call.request.tool);
    let outcome = match (&notice.topic, &notice.call.state) {
        (Topic::Pending, _) => "Approval needed",
        (Topic::Reparked { .. }, _) => "Approval needed again",
        (Topic::Settled, State::Completed { is_error: false, .. }) => "Ran",
        (Topic::Settled, State::Completed { is_error: true, .. }) => "Ran, with an error",
        (Topic::Settled, State::Failed { .. }) => "Not sent",
        (Topic::Settled, State::Lost { .. }) => "Unknown outcome",
        (Topic::Settled, State::Denied { .. }) => "Denied",
        (Topic::Settled, State::Expired { .. }) => "Expired",
        (Topic::Settled, State::Cancelled { .. }) => "Withdrawn",
        (Topic::Settled, State::Pending { .. } | State::Permitted { .. } | State::Dispatched { .. }) => {
            "Under way"
        }
    };
    format!("{outcome}: {tool}")
}

/// One line that says it all: verb and target.
fn sentence(notice: &Notice) -> String {
    let request = &notice.call.request;
    let agent = match &request.owner {
        Some(owner) => format!("{} (owner {})", name(&request.agent), name(owner)),
        None => name(&request.agent),
    };
    let what = format!("{} on {}", name(&request.tool), name(&request.server));
    match &notice.topic {
        Topic::Pending => format!("{agent} wants to run {what}."),
        Topic::Reparked { why } => {
            format!("{agent} still wants to run {what}; the votes start anew: {}.", shown(why, 300))
        }
        Topic::Settled => format!("{agent} asked to run {what}: {}.", ending(notice)),
    }
}

fn ending(notice: &Notice) -> String {
    let by = notice.settled_by().map(|by| name(&by)).unwrap_or_default();
    let approved = approved(notice);
    match &notice.call.state {
        State::Completed { is_error: false, .. } => format!("{approved}it ran, and the server answered"),
        State::Completed { is_error: true, .. } => {
            format!("{approved}it was sent, and the server answered with an error")
        }
        State::Failed { why } => format!("{approved}it was not sent ({})", shown(why, 300)),
        State::Lost { .. } => {
            format!(
                "{approved}it was sent, and no answer came; it may have run, look before it is tried again"
            )
        }
        State::Denied { .. } => format!("denied by {by}; nothing was run"),
        State::Expired { lapsed: false } => {
            "nobody decided in time, so it was denied; nothing was run".to_owned()
        }
        State::Expired { lapsed: true } => {
            format!("{approved}the agent did not come back for it in time; nothing was run")
        }
        State::Cancelled { by: By::Timer, .. } => {
            "withdrawn, as the agent left and did not come back; nothing was run".to_owned()
        }
        State::Cancelled { .. } => format!("withdrawn by {by}; nothing was run"),
        State::Pending { .. } | State::Permitted { .. } | State::Dispatched { .. } => "under way".to_owned(),
    }
}

fn approved(notice: &Notice) -> String {
    let names: Vec<String> = notice.approvers().take(5).map(|person| name(&person.name)).collect();
    if names.is_empty() { String::new() } else { format!("approved by {}; ", names.join(", ")) }
}

fn facts(notice: &Notice) -> Vec<String> {
    let mut facts = Vec::new();
    if let Some(risk) = notice.risk {
        facts.push(format!("Severity: {} ({})", risk.severity.as_str(), risk.class.as_str()));
    }
    if let Some(words) = &notice.words {
        facts.push(format!("Reason: {}", shown(words, 600)));
    }
    facts.push(format!("Rule: {}", shown(&notice.call.rule, 300)));
    facts.extend(quorum(notice));
    facts
}

/// Said only where one approval of anybody is not enough.
fn quorum(notice: &Notice) -> Option<String> {
    let terms = notice.call.terms.as_ref()?;
    let plainest = matches!(terms.quorums.as_slice(), [only] if only.group.is_none() && only.approvals == 1);
    let needed = terms.quorums.iter().take(5).map(|quorum| match &quorum.group {
        Some(group) => format!("{} of {}", quorum.approvals, name(group)),
        None => format!("{} of anybody", quorum.approvals),
    });
    (!plainest).then(|| format!("Approvals needed: {}", needed.collect::<Vec<_>>().join(" and ")))
}

/// Names; with their values only where the destination's settings say so. Each such line begins with a
/// mark of ours: no argument can be named so that it reads as a line of the card.
fn arguments(notice: &Notice) -> Vec<String> {
    let names = &notice.call.request.argument_names;
    if names.is_empty() {
        return vec!["Arguments: none".to_owned()];
    }
    let values = notice.message.as_deref().and_then(values);
    let more = names.len().saturating_sub(MOST_ARGUMENTS);
    let mut lines: Vec<String> = match values {
        Some(values) => values
            .iter()
            .take(MOST_ARGUMENTS)
            .map(|(key, value)| format!("• {} = {}", name(key), shown(value.get(), LONGEST_VALUE)))
            .collect(),
        None => {
            let names: Vec<String> = names.iter().take(MOST_ARGUMENTS).map(|key| name(key)).collect();
            vec![format!("Arguments (values on the page): {}", names.join(", "))]
        }
    };
    if more > 0 {
        lines.push(format!("… and {more} more"));
    }
    lines
}

/// Names only, and only where there is something.
fn beside(notice: &Notice) -> Option<String> {
    let names: Vec<String> = notice.beside.iter().take(MOST_BESIDE).map(|key| name(key)).collect();
    let more = notice.beside.len().saturating_sub(MOST_BESIDE);
    let rest = if more > 0 { format!(" … and {more} more") } else { String::new() };
    (!names.is_empty()).then(|| format!("Also sends: {}{rest}", names.join(", ")))
}

/// In order of name; a value is the agent's own bytes.
pub(super) fn values(message: &[u8]) -> Option<BTreeMap<String, Box<RawValue>>> {
    #[derive(Deserialize)]
    struct Message {
        params: Params,
    }
    #[derive(Deserialize)]
    struct Params {
        arguments: BTreeMap<String, Box<RawValue>>,
    }
    serde_json::from_slice::<Message>(message).ok().map(|message| message.params.arguments)
}

fn settled_facts(notice: &Notice) -> Option<Value> {
    let mut facts = Vec::new();
    if let Some(words) = &notice.words {
        let said = match &notice.call.state {
            State::Denied { .. } | State::Cancelled { .. } => "Reason",
            State::Pending { .. }
            | State::Permitted { .. }
            | State::Dispatched { .. }
            | State::Completed { .. }
            | State::Failed { .. }
            | State::Lost { .. }
            | State::Expired { .. } => "Comment",
        };
        facts.push(format!("{said}: {}", shown(words, 600)));
    }
    facts.extend(notice.took().map(|took| format!("Took: {}", span(took))));
    (!facts.is_empty()).then(|| section(&facts))
}

/// `1 h 2 min`, `3 min 20 s`, `4.2 s`.
fn span(took: Duration) -> String {
    let seconds = took.as_secs();
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, _) => format!("{:.1} s", took.as_secs_f64()),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

/// Slack shows the moment in each reader's own time zone; the text after `|` is for clients that cannot.
fn expiry(at: Timestamp) -> Value {
    let seconds = at.0.div_euclid(1000);
    let token = format!("Expires <!date^{seconds}^{{date_short_pretty}} {{time}}|{at}>");
    json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": token, "verbatim": true }] })
}

/// What makes a message that comes twice recognisable, and what a reviewer compares with the page.
fn foot(notice: &Notice) -> Value {
    let text = format!("Code {} · call {}", notice.call.digest.short_code(), notice.call.id);
    json!({ "type": "context", "elements": [plain(&text)] })
}

fn button(notice: &Notice) -> Value {
    let label = match notice.topic {
        Topic::Pending | Topic::Reparked { .. } => "Review",
        Topic::Settled => "Open",
    };
    json!({ "type": "actions", "elements": [
        { "type": "button", "text": plain(label), "url": notice.link, "action_id": "open" }
    ] })
}

fn section(lines: &[String]) -> Value {
    json!({ "type": "section", "text": plain(&cut(&lines.join("\n"), LONGEST_TEXT)) })
}

fn plain(text: &str) -> Value {
    json!({ "type": "plain_text", "text": text, "emoji": false })
}

fn name(text: &str) -> String {
    shown(text, LONGEST_NAME)
}

/// Text of others: on one line, nothing hidden, no markup, at most about `longest` characters.
fn shown(text: &str, longest: usize) -> String {
    let head: String = text.chars().take(longest).collect();
    let short = head.len() < text.len();
    let escaped = visible(&head).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    if short { cut(&escaped, longest - 1) + "…" } else { cut(&escaped, longest) }
}

/// At most `longest` characters of escaped text, never ending within an escape.
fn cut(escaped: &str, longest: usize) -> String {
    if escaped.chars().count() <= longest {
        return escaped.to_owned();
    }
    let head: String = escaped.chars().take(longest.saturating_sub(1)).collect();
    let mut whole = head.as_str();
    for (opens, closes) in [('&', ';'), ('⟦', '⟧')] {
        if let Some(at) = whole.rfind(opens).filter(|&at| !whole[at..].contains(closes)) {
            whole = &whole[..at];
        }
    }
    format!("{whole}…")
}

#[cfg(test)]
mod tests {
    use super::{cut, shown, span};
    use std::time::Duration;

    #[test]
    fn a_cut_never_leaves_half_an_escape() {
        assert_eq!(shown("a<b>&c", 80), "a&lt;b&gt;&amp;c");
        for longest in 2..40 {
            let text = shown("<\u{202e}&>x<\u{202e}&>y", longest);
            assert!(text.chars().count() <= longest + 1, "{longest}: {text}");
            let rest =
                text.replace("&amp;", "").replace("&lt;", "").replace("&gt;", "").replace("⟦U+202E⟧", "");
            assert!(rest.chars().all(|c| "xy…".contains(c)), "{longest}: {text}");
        }
        assert_eq!(cut("abc", 3), "abc");
        assert_eq!(cut("abcd", 3), "ab…");
    }

    #[test]
    fn spans_are_written_in_the_two_largest_units() {
        let said = |seconds: f64| span(Duration::from_secs_f64(seconds));
        assert_eq!([said(4.2), said(200.0), said(3720.0)], ["4.2 s", "3 min 20 s", "1 h 2 min"]);
    }
}
