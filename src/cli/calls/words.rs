//! The sentences about a call on a terminal; the pages say the same (`web/assets/words.js`).

use serde_json::Value;

use super::card::{list, text};
use crate::{call::StateName, cli::print::visible};

/// Who ended a call that nobody came back for, as the API has it.
const TIMER: &str = "the timer";
const ONCE_AWAY: &str =
    "Until then approval can be withdrawn and the call cancelled; once sent it cannot be called back.";

/// A state as people call it.
pub(super) fn state(name: &str) -> &str {
    StateName::read(name).map_or(name, |state| state.word())
}

/// What has become of a call, short.
pub(super) fn status(call: &Value) -> String {
    let by = visible(text(call, "settled_by"));
    let name = text(call, "state");
    let words = match StateName::read(name) {
        Err(_) => return visible(name),
        Ok(StateName::Pending) => "waiting",
        Ok(StateName::Permitted) if is_there(call) => "approved; it is sent now",
        Ok(StateName::Permitted) => "approved; runs if the agent comes back",
        Ok(StateName::Dispatched) if list(call, "quorums").is_empty() => "running now",
        Ok(StateName::Dispatched) => "approved; running now",
        Ok(StateName::Completed) if call.get("is_error") == Some(&Value::Bool(true)) => {
            "ran; the server answered with an error"
        }
        Ok(StateName::Completed) => "ran",
        Ok(StateName::Denied) if text(call, "rule") == "(stopped)" => "stopped",
        Ok(StateName::Denied) if by.is_empty() => "denied",
        Ok(StateName::Denied) => return format!("denied by {by}"),
        Ok(StateName::Expired) if call.get("lapsed") == Some(&Value::Bool(true)) => {
            "expired: approved, but not collected in time; nothing was run"
        }
        Ok(StateName::Expired) => "expired, so denied; nothing was run",
        Ok(StateName::Cancelled) if by == TIMER => "withdrawn: the agent did not come back; nothing was run",
        Ok(StateName::Cancelled) if by.is_empty() => "withdrawn; nothing was run",
        Ok(StateName::Cancelled) => return format!("withdrawn by {by}; nothing was run"),
        Ok(StateName::Failed) => "not sent; nothing was run",
        Ok(StateName::Lost) => match text(call, "resolved") {
            "done" => "resolved: it was done",
            "not_done" => "resolved: it was not done",
            _ => "unknown outcome",
        },
    };
    words.to_owned()
}

/// What an approval leads to, as the pages say it: `open` of them are still missing.
pub(super) fn consequence(call: &Value, open: u64) -> String {
    let approved = match open {
        0 | 1 => "Approved,".to_owned(),
        _ => format!("Your approval is one of {open} that are still needed: with the last of them"),
    };
    let then = match text(call, "waiting") {
        "line" | "task" => return format!("{approved} it is sent at once and cannot be called back."),
        "ticket" => "when the agent calls again",
        _ => "if the agent comes back",
    };
    format!("{approved} it may run once, {then}. {ONCE_AWAY}")
}

/// Does somebody wait for the answer, so that an approved call is sent at once?
pub(super) fn is_there(call: &Value) -> bool {
    matches!(text(call, "waiting"), "line" | "task")
}

/// One step of a call's life. `step` has what a timeline tells of it: `event`, and of `by`, `how`, `vote`,
/// `outcome` and `lapsed` what belongs to that event.
pub(super) fn event(step: &Value) -> String {
    let member = |name: &str| visible(text(step, name));
    let by = if member("by").is_empty() { String::new() } else { format!(" by {}", member("by")) };
    let words = match text(step, "event") {
        "submitted" => "asked for",
        "attached" if text(step, "how") == "task" => "the agent waits with a task",
        "attached" => "the agent waits",
        "detached" => match text(step, "how") {
            "ticket" => "the agent got a ticket: it was told to call again",
            "cancelled" => "the agent stopped waiting",
            "closed" => "the agent's connection closed",
            "restart" => "the broker restarted; the agent was cut off",
            _ => "the agent left",
        },
        "voted" if text(step, "vote") == "deny" => return format!("denied{by}"),
        "voted" => return format!("approved{by}"),
        "vote_withdrawn" => return format!("vote withdrawn{by}"),
        "extended" => return format!("more time given{by}"),
        "reparked" => "asked again: something changed, votes start over",
        "permitted" => "approvals complete: it may run once",
        "dispatched" => "sent to the server",
        "completed" => "the server answered",
        "failed" => "not sent",
        "lost" => "sent, but no answer came: unknown outcome",
        "denied" => return format!("denied{by}"),
        "expired" if step.get("lapsed") == Some(&Value::Bool(true)) => {
            "approved, but not collected in time; nothing was run"
        }
        "expired" => "expired, so denied; nothing was run",
        "cancelled" if text(step, "by") == TIMER => "withdrawn",
        "cancelled" => return format!("withdrawn{by}"),
        "delivered" if text(step, "how") == "recall" => "the agent came back for the answer",
        "delivered" => "the answer reached the agent",
        "resolved" if text(step, "outcome") == "not_done" => return format!("it was not done, found{by}"),
        "resolved" => return format!("it was done, found{by}"),
        "lifted" => return format!("denial lifted{by}: made again, it asks again"),
        "late_answer" => "a late answer came",
        other => return visible(other),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_end_is_told_as_it_was_announced() {
        let told = |state: &str, more: Value| {
            let mut call = json!({ "state": state });
            call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            status(&call)
        };
        assert_eq!(told("expired", json!({"settled_by": TIMER})), "expired, so denied; nothing was run");
        assert!(told("expired", json!({"lapsed": true})).starts_with("expired: approved"));
        assert!(!told("cancelled", json!({"settled_by": TIMER})).contains("timer"));
        assert_eq!(told("cancelled", json!({"settled_by": "eve"})), "withdrawn by eve; nothing was run");
        assert_eq!(told("permitted", json!({"waiting": "task"})), "approved; it is sent now");
        assert_eq!(told("lost", json!({"resolved": "not_done"})), "resolved: it was not done");
        for state in StateName::ALL {
            let status = told(state.as_str(), json!({}));
            assert!(status.starts_with(state.word()) || status.contains("running"), "{status}");
        }
    }

    #[test]
    fn the_pages_have_the_same_words_for_states() {
        let page = include_str!("../../../web/assets/words.js");
        for state in StateName::ALL {
            let (name, word) = (state.as_str(), state.word());
            let entry = format!("{name}: \"{}{}\"", word[..1].to_uppercase(), &word[1..]);
            assert!(page.contains(&entry), "web/assets/words.js: {entry}");
        }
    }

    #[test]
    fn an_approval_says_whether_the_call_can_still_be_stopped() {
        let page = include_str!("../../../web/assets/words.js");
        let told = |waiting: &str, open: u64| consequence(&json!({ "waiting": waiting }), open);
        for there in ["line", "task"] {
            assert_eq!(told(there, 1), "Approved, it is sent at once and cannot be called back.");
        }
        assert!(
            told("ticket", 1).starts_with("Approved, it may run once, when the agent calls again. Until")
        );
        assert!(
            told("gone", 1).starts_with("Approved, it may run once, if the agent comes back. Until then")
        );
        assert!(told("line", 2).starts_with("Your approval is one of 2 that are still needed: with"));
        for waiting in ["line", "ticket", "gone"] {
            for sentence in told(waiting, 1).trim_start_matches("Approved,").split_inclusive(". ") {
                assert!(page.contains(sentence), "web/assets/words.js: {sentence}");
            }
        }
    }

    #[test]
    fn every_event_has_words() {
        let names = ["submitted", "attached", "detached", "voted", "vote_withdrawn", "extended", "reparked"];
        let others =
            ["permitted", "dispatched", "completed", "failed", "lost", "denied", "expired", "cancelled"];
        for name in names.iter().chain(&others).chain(&["delivered", "resolved", "lifted", "late_answer"]) {
            let words = event(&json!({"event": name, "by": TIMER}));
            assert!(words != *name && !words.contains('_'), "{words}");
        }
        assert_eq!(event(&json!({"event": "voted", "vote": "deny", "by": "eve"})), "denied by eve");
    }
}
