//! `countersign demo`: the whole of it on one machine, with nothing else installed.
//!
//! A real broker, a real server and a real agent, in a temporary folder; only the batches are pretended.

mod agent;
mod stage;
mod story;

use std::{process::ExitCode, time::Duration};

use anyhow::Context as _;
use clap::Args;
use ed25519_dalek::{VerifyingKey, pkcs8::DecodePublicKey as _};

use self::{
    stage::{AGENT, Folder, SERVER, Stage},
    story::{Decision, Story, print_answer},
};
use super::{print, sandbox, signals::Signals};
use crate::{
    broker::{Clock as _, SystemClock},
    store::sqlite::ReadOnly,
};

#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Decide by itself: approve one call after two seconds, deny the next, and check what came of it.
    #[arg(long)]
    yes: bool,
    /// The port to listen on; any free one without it.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// With `--yes` it must be over by then.
const PATIENCE: Duration = Duration::from_secs(60);
const THINKING: Duration = Duration::from_secs(2);

pub(super) fn run(demo: &Demo) -> anyhow::Result<ExitCode> {
    crate::telemetry::log_to_stderr_from("warn");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(play(demo))
}

async fn play(demo: &Demo) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::listen()?;
    let stage = Stage::build(demo.port).await?;
    introduce(&stage);
    let (ended, interrupted) = tokio::select! {
        ended = act(demo, &stage) => (ended, false),
        () = signals.ended() => (Ok(()), true),
    };
    if interrupted {
        print::line("");
        print::line("Stopped.");
    }
    let Stage { running, folder, .. } = stage;
    running.drain().await;
    ended?;
    anyhow::ensure!(!(demo.yes && interrupted), "the demo was stopped before its end");
    if demo.yes {
        verify(&folder)?;
        print::line("");
        print::line("The demo did what it should.");
    }
    Ok(ExitCode::SUCCESS)
}

fn introduce(stage: &Stage) {
    print::line("countersign demo");
    print::line(&format!("  broker  {}", stage.running.public_url));
    print::line(&format!("  server  {SERVER}: a sandbox that runs batches, started by the broker"));
    print::line(&format!("  agent   {AGENT}, under the policy policies/demo.json"));
    print::line("");
}

async fn act(demo: &Demo, stage: &Stage) -> anyhow::Result<()> {
    let mut story = Story::begin(stage).await?;
    story.look().await?;
    if demo.yes {
        let played = tokio::time::timeout(PATIENCE, by_itself(&mut story, stage)).await;
        return played.context("the demo took longer than a minute")?;
    }
    with_a_person(&mut story, stage).await?;
    print::line("");
    print::line(&format!("The inbox stays open at {} ; Ctrl-C ends the demo.", stage.running.public_url));
    std::future::pending().await
}

async fn with_a_person(story: &mut Story, stage: &Stage) -> anyhow::Result<()> {
    let id = story.start_batch("rnaseq-2026-11").await?;
    print::line("");
    print::line(&format!("Now the agent wants to cancel batch {id}, and that needs a person: you."));
    print::line("Open the inbox (the link signs you in; it works once, for 15 minutes):");
    print::line("");
    print::line(&format!("  {}", stage.link));
    print::line("");
    let answer = story.cancel(&id, None).await?;
    let state = story.read_batch(&id).await?;
    print_answer(&answer);
    print::line(&format!("Batch {id} is {state}."));
    Ok(())
}

/// One cancel approved, one denied, and the sandbox's own state looked at each time.
async fn by_itself(story: &mut Story, stage: &Stage) -> anyhow::Result<()> {
    let approved = story.start_batch("rnaseq-2026-11").await?;
    print::line("");
    print::line(&format!("The agent wants to cancel batch {approved}: that needs a person."));
    let decision = Decision { vote: "approve", reason: "the samples were mixed up", after: THINKING };
    let answer = story.cancel(&approved, Some(decision)).await?;
    anyhow::ensure!(!answer.is_error, "the approved call should have run: {}", answer.text);
    print_answer(&answer);
    check(stage, &approved, sandbox::State::Cancelled, 1)?;
    print::line(&format!("The sandbox's own state: batch {approved} was cancelled, exactly once."));

    print::line("");
    let denied = story.start_batch("variants-2026-11").await?;
    print::line("");
    print::line(&format!("The agent wants to cancel batch {denied}: that needs a person."));
    let decision = Decision { vote: "deny", reason: "this one is still needed", after: Duration::ZERO };
    let answer = story.cancel(&denied, Some(decision)).await?;
    let words = format!("[DENIED by {}] this one is still needed", stage.reviewer_name);
    anyhow::ensure!(
        answer.is_error && answer.text == words,
        "the denied call was answered {:?}",
        answer.text
    );
    print_answer(&answer);
    let state = story.read_batch(&denied).await?;
    anyhow::ensure!(state == "RUNNING", "the denied batch should run on, but it is {state}");
    check(stage, &denied, sandbox::State::Running, 0)?;
    print::line(&format!("The sandbox's own state: batch {denied} runs on; no cancel ever reached it."));
    Ok(())
}

/// Looks past the broker, at what the server itself wrote down.
fn check(stage: &Stage, id: &str, wanted: sandbox::State, cancels: usize) -> anyhow::Result<()> {
    let batches = sandbox::read(&stage.folder.state())?;
    let batch = batches.batches.get(id).with_context(|| format!("the sandbox has no batch {id}"))?;
    let (state, times) = (batch.state(SystemClock.now()), batches.times("CancelAHORunBatch", id));
    anyhow::ensure!(state == wanted, "batch {id} should be {wanted:?}, but it is {state:?}");
    anyhow::ensure!(times == cancels, "batch {id} was cancelled {times} times instead of {cancels}");
    Ok(())
}

/// The ledger of what happened is whole.
fn verify(folder: &Folder) -> anyhow::Result<()> {
    let mut key = folder.store().into_os_string();
    key.push(".pub");
    let key = VerifyingKey::from_public_key_pem(&std::fs::read_to_string(&key)?)?;
    let report = ReadOnly::open(&folder.store())?.verify(Some(key), None)?;
    if let Some(bad) = &report.bad {
        anyhow::bail!("the audit log is not intact: entry {}: {}", bad.number, bad.why);
    }
    print::line("");
    print::line(&format!("The audit log of all this verifies: {} entries, signed.", report.entries));
    Ok(())
}
