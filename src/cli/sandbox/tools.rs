//! The sandbox's five tools: their definitions, and what each does to the batches.

use serde::Deserialize;
use serde_json::{Value, json};

use super::batches::{Batches, Plan};
use crate::call::Timestamp;

/// What `tools/list` shows.
pub(super) fn list() -> Value {
    let batch_id = json!({ "type": "string", "description": "The batch's id, as StartAHORunBatch gave it" });
    let one = json!({ "type": "object", "properties": { "batch_id": batch_id }, "required": ["batch_id"],
        "additionalProperties": false });
    let start = json!({ "type": "object", "properties": {
            "name": { "type": "string", "minLength": 1, "description": "What people call the batch" },
            "workflow_id": { "type": "string", "description": "The workflow that each run executes" },
            "runs": { "type": "integer", "minimum": 1, "maximum": 100, "default": 3 },
            "seconds_per_run": { "type": "integer", "minimum": 1, "maximum": 86400, "default": 600 } },
        "required": ["name"], "additionalProperties": false });
    let none = json!({ "type": "object", "properties": {}, "additionalProperties": false });
    json!([
        tool("StartAHORunBatch", "Starts a batch of workflow runs.", &start, &json!({})),
        tool(
            "GetAHORunBatch",
            "One batch, with how far each run is.",
            &one,
            &json!({ "readOnlyHint": true })
        ),
        tool("ListAHORunBatches", "All batches and their states.", &none, &json!({ "readOnlyHint": true })),
        tool(
            "CancelAHORunBatch",
            "Cancels every run of a batch that has not ended. There is no undo.",
            &one,
            &json!({ "destructiveHint": true, "idempotentHint": false })
        ),
        tool(
            "DeleteAHORunBatch",
            "Deletes a batch that has ended, with all its results.",
            &one,
            &json!({ "destructiveHint": true, "idempotentHint": false })
        ),
    ])
}

fn tool(name: &str, description: &str, input: &Value, annotations: &Value) -> Value {
    json!({ "name": name, "description": description, "inputSchema": input, "annotations": annotations,
        "outputSchema": { "type": "object" } })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Start {
    name: String,
    #[serde(default = "unnamed")]
    workflow_id: String,
    #[serde(default = "three")]
    runs: u32,
    #[serde(default = "ten_minutes")]
    seconds_per_run: u64,
}

fn unnamed() -> String {
    "2174942".to_owned()
}

fn three() -> u32 {
    3
}

fn ten_minutes() -> u64 {
    600
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct One {
    batch_id: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Runs a tool; `None`: there is none of that name.
pub(super) fn call(
    name: &str,
    arguments: Value,
    batches: &mut Batches,
    now: Timestamp,
) -> Option<Result<Value, String>> {
    Some(match name {
        "StartAHORunBatch" => read(arguments).and_then(|ask| start(ask, batches, now)),
        "GetAHORunBatch" => {
            read(arguments).and_then(|One { batch_id }| Ok(batches.get(&batch_id)?.details(now)))
        }
        "ListAHORunBatches" => read(arguments).map(|Nothing {}| {
            let all: Vec<Value> = batches.batches.values().map(|batch| batch.summary(now)).collect();
            json!({ "batches": all })
        }),
        "CancelAHORunBatch" => {
            read(arguments).and_then(|One { batch_id }| Ok(batches.cancel(&batch_id, now)?.details(now)))
        }
        "DeleteAHORunBatch" => read(arguments).and_then(|One { batch_id }| {
            let batch = batches.delete(&batch_id, now)?;
            Ok(json!({ "batchId": batch.id, "status": "DELETED" }))
        }),
        _ => return None,
    })
}

fn read<T: serde::de::DeserializeOwned>(arguments: Value) -> Result<T, String> {
    serde_json::from_value(arguments)
        .map_err(|error| format!("The arguments do not fit the schema: {error}."))
}

fn start(ask: Start, batches: &mut Batches, now: Timestamp) -> Result<Value, String> {
    let Start { name, workflow_id, runs, seconds_per_run } = ask;
    if name.is_empty() {
        return Err("`name` must not be empty.".to_owned());
    }
    if !(1..=100).contains(&runs) {
        return Err(format!("`runs` is 1 to 100, not {runs}."));
    }
    if !(1..=86_400).contains(&seconds_per_run) {
        return Err(format!("`seconds_per_run` is 1 to 86400, not {seconds_per_run}."));
    }
    Ok(batches.start(Plan { name, workflow_id, runs, seconds_per_run }, now).details(now))
}
