//! How a task of ours stands, as the tasks extension of 2026-07-28 tells it.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::{
    broker::Task,
    call::{State, Timestamp},
    downstream::answer::{self, Asker, code},
    mcp::{self, Json, Limits, answer::result, strict},
};

/// How soon a client looks again, ms: less and less often.
pub(super) const SOONEST: u64 = 5_000;
pub(super) const LATEST: u64 = 30_000;

const ENDED: &str = "the server had asked for more when the task was cancelled: nothing more is sent";
const ENDLESS: &str =
    "the server asked for more again and again, or for too much at once: it is not asked any more";

/// The answer to the call that goes on as this task.
pub(in crate::downstream) fn begun(task: &Task, asker: &Asker, now: Timestamp) -> Bytes {
    Told { result_type: Some("task"), ..Told::of(task, now) }.spelt(asker)
}

/// The answer to `tasks/get`; `why` the task does not go on though nothing is asked of its agent.
pub(super) fn stands(task: &Task, asker: &Asker, why: Option<String>, now: Timestamp) -> Bytes {
    let told = Told { result_type: Some("complete"), ..Told::detailed(task, asker, now) };
    let status_message = why.unwrap_or(told.status_message);
    Told { status_message, ..told }.spelt(asker)
}

/// `notifications/tasks` on the stream that `asker` opened, and whether nothing follows it.
pub(super) fn news(task: &Task, asker: &Asker, now: Timestamp) -> (Bytes, bool) {
    let told = Told::detailed(task, asker, now);
    let is_last = !matches!(told.status, "working" | "input_required");
    let told = Told { meta: Meta { subscription: raw(asker.id()), ..told.meta }, ..told };
    let params = serde_json::to_string(&told).unwrap_or_default();
    (mcp::answer::notification("notifications/tasks", Some(&params)).into(), is_last)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    result_type: Option<&'static str>,
    task_id: &'a str,
    status: &'static str,
    status_message: String,
    created_at: Timestamp,
    last_updated_at: Timestamp,
    /// From `created_at` on; null once the call is sent, for its answer is kept.
    ttl_ms: Option<u64>,
    poll_interval_ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    input_requests: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Box<RawValue>>,
    #[serde(rename = "_meta")]
    meta: Meta,
}

#[derive(Serialize)]
struct Meta {
    #[serde(rename = "io.modelcontextprotocol/subscriptionId", skip_serializing_if = "Option::is_none")]
    subscription: Option<Box<RawValue>>,
    #[serde(rename = "countersign/call", skip_serializing_if = "Option::is_none")]
    call: Option<Box<RawValue>>,
}

impl<'a> Told<'a> {
    fn of(task: &'a Task, now: Timestamp) -> Self {
        let call = &task.call;
        let brief = task.outcome.call.as_ref();
        let counts = task.tally.counts.first().copied();
        let sent = if let State::Dispatched { at, .. } = &call.state { Some(*at) } else { None };
        let age = millis(now.since(call.requested_at));
        Told {
            result_type: None,
            task_id: &task.id,
            status: "working",
            status_message: brief.map(|brief| answer::of_task(brief, counts, now)).unwrap_or_default(),
            created_at: task.begun,
            last_updated_at: call.settled_at.or(sent).unwrap_or(call.requested_at),
            ttl_ms: task.until.map(|until| millis(until.since(task.begun))),
            poll_interval_ms: (age / 12).clamp(SOONEST, LATEST),
            input_requests: None,
            result: None,
            error: None,
            meta: Meta {
                subscription: None,
                call: brief.and_then(|brief| raw(&answer::describe(brief, &task.outcome.end, now))),
            },
        }
    }

    /// With the outcome, when there is one, or with what its server asks.
    fn detailed(task: &'a Task, asker: &Asker, now: Timestamp) -> Self {
        let told = Told::of(task, now);
        if !task.call.state.is_settled() {
            return told;
        }
        if task.is_ended() {
            return Told { status: "cancelled", status_message: ENDED.into(), ..told };
        }
        match task.asks() {
            Some(asks) if asks.is_empty() => {
                Told { status_message: "the server wants to be asked again".into(), ..told }
            }
            Some(asks) => told.asking(&asks),
            None => told.settled(task, asker, now),
        }
    }

    fn asking(self, asks: &[(String, &str)]) -> Self {
        let quoted = |name: &str| serde_json::Value::from(name).to_string();
        let asks: Vec<String> =
            asks.iter().map(|(name, request)| format!("{}:{request}", quoted(name))).collect();
        let status_message = "the server asks for more: answer its inputRequests with tasks/update".into();
        let input_requests = raw(&format!("{{{}}}", asks.join(",")));
        Told { status: "input_required", status_message, input_requests, ..self }
    }

    fn settled(self, task: &Task, asker: &Asker, now: Timestamp) -> Self {
        // The words and the form of an outcome are those of the call's own answer.
        let answer = match task.asks_for_ever() {
            true => mcp::answer::error(asker.id(), code::INTERNAL, ENDLESS, None).into(),
            false => answer::tell(&task.outcome, asker, now),
        };
        let answer = strict::check(&answer, &Limits::of_servers(usize::MAX)).ok();
        if matches!(task.call.state, State::Cancelled { .. }) || task.called_off {
            let said = |answer: Json<'_>| {
                let first = answer.at(&["result", "content"])?.elements().next()?;
                first.get("text")?.string().map(|text| text.into_owned())
            };
            let status_message = answer.and_then(said).unwrap_or(self.status_message);
            return Told { status: "cancelled", status_message, ..self };
        }
        let member = |name| answer.and_then(|answer| raw(answer.get(name)?.as_str()));
        let (result, error) = (member("result"), member("error"));
        let status = if error.is_some() { "failed" } else { "completed" };
        Told { status, result, error, ..self }
    }

    fn spelt(&self, asker: &Asker) -> Bytes {
        match serde_json::to_string(self) {
            Ok(told) => result(asker.id(), &told).into(),
            Err(why) => mcp::answer::error(asker.id(), code::INTERNAL, &why.to_string(), None).into(),
        }
    }
}

fn raw(json: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(json.to_owned()).ok()
}

pub(super) fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}
