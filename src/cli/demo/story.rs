//! The demo's acts: the agent calls, a person decides, and both are told as they happen.

use std::{pin::pin, time::Duration};

use anyhow::Context as _;
use serde_json::{Value, json};

use super::{
    agent::{Agent, Answer},
    stage::Stage,
};
use crate::cli::{
    print,
    reviewer::{Frame, Live, Reviewer},
};

/// After the agent has its answer, the ledger's last words about the call arrive within this.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// What a reviewer in the background does with the next call that waits.
#[derive(Clone, Debug)]
pub(super) struct Decision {
    pub vote: &'static str,
    pub reason: &'static str,
    pub after: Duration,
}

pub(super) struct Story {
    pub agent: Agent,
    reviewer: Reviewer,
    live: Live,
}

impl Story {
    pub(super) async fn begin(stage: &Stage) -> anyhow::Result<Self> {
        let reviewer = stage.reviewer.clone();
        let live = reviewer.follow(None).await?;
        let agent = Agent::connect(&stage.door(), &stage.agent_token).await?;
        Ok(Self { agent, reviewer, live })
    }

    /// The agent looks around: what the policy hides is not there.
    pub(super) async fn look(&mut self) -> anyhow::Result<()> {
        let tools = self.agent.tools().await?;
        print::line(&format!("The agent lists its tools: {}.", tools.join(", ")));
        anyhow::ensure!(
            tools.iter().any(|tool| tool == "CancelAHORunBatch"),
            "CancelAHORunBatch is missing from the agent's tools"
        );
        anyhow::ensure!(
            !tools.iter().any(|tool| tool == "DeleteAHORunBatch"),
            "DeleteAHORunBatch is shown to the agent, though the policy hides it"
        );
        print::line("The server has DeleteAHORunBatch too. The policy hides it, so the agent never sees it.");
        Ok(())
    }

    /// Starts a batch and reads it: both pass at once. Gives its id.
    pub(super) async fn start_batch(&mut self, name: &str) -> anyhow::Result<String> {
        let started = self.passes("StartAHORunBatch", json!({ "name": name })).await?;
        let id = started.get("batchId").and_then(Value::as_str).context("the sandbox gave no batch id")?;
        print::line(&format!("The agent starts a batch, {name}: allowed, passed at once. Its id is {id}."));
        let state = self.read_batch(id).await?;
        print::line(&format!("The agent reads batch {id}: allowed, passed at once. It is {state}."));
        Ok(id.to_owned())
    }

    /// The batch's state, asked of the server through the broker.
    pub(super) async fn read_batch(&mut self, id: &str) -> anyhow::Result<String> {
        let batch = self.passes("GetAHORunBatch", json!({ "batch_id": id })).await?;
        let state = batch.get("status").and_then(Value::as_str).context("the sandbox gave no status")?;
        Ok(state.to_owned())
    }

    async fn passes(&mut self, tool: &str, arguments: Value) -> anyhow::Result<Value> {
        let answer = self.agent.call(tool, &arguments).await?;
        anyhow::ensure!(!answer.is_error, "{tool} should have passed: {}", answer.text);
        serde_json::from_str(&answer.text).with_context(|| format!("{tool} gave an odd answer"))
    }

    /// Cancels a batch: waits for a person, however often the agent has to call again.
    pub(super) async fn cancel(&mut self, id: &str, decision: Option<Decision>) -> anyhow::Result<Answer> {
        let arguments = json!({ "batch_id": id });
        let (mut decision, mut deciding) = (decision, None);
        let mut told = Told::default();
        loop {
            let answer = {
                let mut answer = pin!(self.agent.call("CancelAHORunBatch", &arguments));
                loop {
                    let frame = tokio::select! {
                        answer = &mut answer => break answer?,
                        frame = self.live.next() => entry(frame)?,
                    };
                    told.hear(&frame);
                    if let Some(call) = &told.call
                        && let Some(decision) = decision.take()
                    {
                        #[expect(clippy::disallowed_methods, reason = "joined below, in `deciding`")]
                        let task = tokio::spawn(decide(self.reviewer.clone(), call.clone(), decision));
                        deciding = Some(task);
                    }
                }
            };
            if answer.waits {
                print::line("  The agent was told to call again, and does, with the same arguments.");
                continue;
            }
            // Told late is told all the same; nothing depends on it.
            let _ = tokio::time::timeout(LAST_WORDS, self.last_words(&mut told)).await;
            if let Some(deciding) = deciding {
                deciding.await??;
            }
            return Ok(answer);
        }
    }

    async fn last_words(&mut self, told: &mut Told) {
        while !told.settled
            && let Frame::Entry(frame) = self.live.next().await
        {
            told.hear(&frame);
        }
    }
}

fn entry(frame: Frame) -> anyhow::Result<Value> {
    match frame {
        Frame::Entry(entry) => Ok(entry),
        Frame::Gone | Frame::SignedOut | Frame::CursorUnknown => {
            anyhow::bail!("the websocket to the broker ended")
        }
    }
}

/// The id of a call that this entry sends to a person.
fn parked(frame: &Value) -> Option<&str> {
    let is_new = frame.get("event").and_then(Value::as_str) == Some("submitted");
    let asks = frame.get("terms").is_some_and(|terms| !terms.is_null());
    frame.get("call").and_then(Value::as_str).filter(|_| is_new && asks)
}

/// What was said about the one call that waits.
#[derive(Default)]
struct Told {
    call: Option<String>,
    settled: bool,
}

impl Told {
    /// Says what happened to the call; entries about others are passed over.
    fn hear(&mut self, frame: &Value) {
        if let Some(call) = parked(frame) {
            self.call = Some(call.to_owned());
        }
        let text = |pointer: &str| frame.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        if self.call.as_deref() != Some(text("/call")) {
            return;
        }
        match text("/event") {
            "submitted" => print::line("  The call waits at the broker; nothing has reached the server."),
            "voted" => {
                let verb = if text("/review/vote") == "approve" { "approves" } else { "denies" };
                print::line(&format!("  {} {verb}.", print::visible(text("/review/reviewer/name"))));
            }
            "dispatched" => print::line("  The call is sent to the server, once."),
            "extended" => print::line("  There is more time to decide."),
            "completed" | "denied" | "expired" | "cancelled" | "failed" | "lost" => self.settled = true,
            _ => {}
        }
    }
}

/// What a reviewer's program does: looks at the call, votes on the digest it has seen.
async fn decide(reviewer: Reviewer, call: String, decision: Decision) -> anyhow::Result<()> {
    tokio::time::sleep(decision.after).await;
    let seen = reviewer.get(&format!("/api/v1/calls/{call}")).await?;
    let vote = json!({ "vote": decision.vote, "digest": seen["digest"], "reason": decision.reason });
    reviewer.post(&format!("/api/v1/calls/{call}/reviews"), &vote).await?;
    Ok(())
}

/// What the agent reads, in one line that fits a terminal.
pub(super) fn print_answer(answer: &Answer) {
    const WIDTH: usize = 140;
    let text = print::visible(&answer.text);
    let cut = text.char_indices().nth(WIDTH).map_or(text.len(), |(at, _)| at);
    let more = if cut < text.len() { " …" } else { "" };
    print::line(&format!("The agent is answered: {}{more}", &text[..cut]));
}
