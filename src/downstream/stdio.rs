//! The bridge for clients that start a command: MCP lines on stdin and stdout, joined to a broker's door.
//!
//! Stdout belongs to the protocol: one JSON-RPC message per line, written here and nowhere else. What a
//! client would see of HTTP (statuses, sessions, streams) ends at this bridge and becomes messages.

mod client;
mod exchange;
mod headers;
mod joint;
mod lines;
mod queue;
mod way;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, BufReader},
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_util::task::TaskTracker;

use self::lines::{Line, read_line};
pub(super) use self::{
    joint::Joint,
    queue::{Queued, queue},
    way::Near,
};
use crate::mcp::{Frame, Limits, Message, answer};

/// Where the broker is, and who speaks.
#[derive(Clone, Debug)]
pub struct StdioSettings {
    /// The door of one server: `http://127.0.0.1:8787/mcp/NAME`.
    pub url: String,
    /// The same, as it changes: a broker that had to go elsewhere is followed.
    pub moves: Option<watch::Receiver<String>>,
    /// The grant's token.
    pub token: String,
    /// What to do when the broker cannot be reached: ends the sentence that the client is told.
    pub hint: String,
    /// A broker that does not listen is tried again for this long; nothing was sent to it yet.
    pub reconnect: Duration,
    /// How long requests may go on after stdin ended.
    pub linger: Duration,
    /// Longest line from the client, bytes.
    pub max_line: usize,
}

impl StdioSettings {
    #[must_use]
    pub fn new(url: String, token: String) -> Self {
        Self {
            url,
            moves: None,
            token,
            hint: "start it with `countersign serve`, or name another one with --url".into(),
            reconnect: Duration::ZERO,
            linger: Duration::from_secs(30),
            max_line: 4 << 20,
        }
    }

    /// Where the broker is now.
    fn place(&self) -> String {
        self.moves.as_ref().map_or_else(|| self.url.clone(), |moves| moves.borrow().clone())
    }

    /// Resolves when the broker is elsewhere.
    async fn moved(&self) {
        if let Some(mut moves) = self.moves.clone() {
            moves.mark_unchanged();
            if moves.changed().await.is_ok() {
                return;
            }
        }
        std::future::pending().await
    }
}

#[derive(Debug, thiserror::Error)]
pub enum StdioError {
    #[error("the broker's URL or token cannot be used: {0}")]
    Settings(String),
    #[error("stdin cannot be read: {0}")]
    Input(std::io::Error),
}

/// Joins this process's stdin and stdout to the broker until stdin ends.
///
/// # Errors
/// The settings are unusable, or stdin fails; everything else is told on stdout.
pub async fn stdio(settings: StdioSettings) -> Result<(), StdioError> {
    join(settings, tokio::io::stdin(), tokio::io::stdout()).await
}

/// The same for any pair of streams.
///
/// # Errors
/// As `stdio`.
pub async fn join(
    settings: StdioSettings,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin + Send + 'static,
) -> Result<(), StdioError> {
    let (out, messages) = queue(QUEUE, QUEUE_BYTES);
    let (linger, max_line) = (settings.linger, settings.max_line);
    let joint = Arc::new(Joint::new(settings, out)?);
    #[expect(clippy::disallowed_methods, reason = "joined below, as `writer`")]
    let writer: JoinHandle<()> = tokio::spawn(write(output, messages));
    let tasks = TaskTracker::new();
    let read = listen(&joint, &tasks, input, max_line).await;
    tasks.close();
    if tokio::time::timeout(linger, tasks.wait()).await.is_err() {
        tracing::warn!("stdin ended while calls were waiting; they go on at the broker");
    }
    joint.end().await;
    drop(joint);
    // What was said last reaches the pipe, if anyone still reads it.
    let _ = tokio::time::timeout(Duration::from_secs(5), writer).await;
    read
}

/// Messages on their way to stdout, and their bytes.
const QUEUE: usize = 256;
const QUEUE_BYTES: u32 = 1 << 20;

async fn listen(
    joint: &Arc<Joint>,
    tasks: &TaskTracker,
    input: impl AsyncRead + Unpin,
    max_line: usize,
) -> Result<(), StdioError> {
    let mut input = BufReader::new(input);
    loop {
        let line = tokio::select! {
            line = read_line(&mut input, max_line) => line.map_err(StdioError::Input)?,
            () = joint.closed() => return Ok(()),
        };
        match line {
            Line::End => return Ok(()),
            Line::TooLong => {
                let text = format!("a line of more than {max_line} bytes");
                joint.say(answer::error("null", -32600, &text, None)).await;
            }
            Line::Text(line) => take(joint, tasks, line.into()).await,
        }
    }
}

/// Requests run side by side; everything else keeps its order.
pub(super) async fn take(joint: &Arc<Joint>, tasks: &TaskTracker, line: Bytes) {
    // The broker's door is strict; here only the envelope is looked at.
    let limits = Limits { whole_pairs: true, ..Limits::of_servers(usize::MAX) };
    let frame = match Frame::parse(&line, &limits) {
        Ok(frame) => frame,
        Err(why) => return joint.say(answer::error(why.id(), why.code(), &why.to_string(), None)).await,
    };
    let waits = match &frame {
        Frame::One(Message::Request(_)) => false,
        Frame::Batch(messages) => !messages.iter().any(|m| matches!(m, Message::Request(_))),
        Frame::One(Message::Notification(_) | Message::Response(_)) => true,
    };
    let errand = joint.errand(&frame, &line);
    drop(frame);
    if waits {
        joint.run(errand).await;
    } else {
        let joint = joint.clone();
        tasks.spawn(async move { joint.run(errand).await });
    }
    joint.listen_once(tasks);
}

async fn write(mut output: impl AsyncWrite + Unpin, mut messages: mpsc::Receiver<Queued>) {
    while let Some(mut queued) = messages.recv().await {
        let message = &mut queued.message;
        for byte in message.iter_mut() {
            // Outside of strings these are white space; inside they cannot stand.
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        message.push(b'\n');
        if output.write_all(message).await.is_err() || output.flush().await.is_err() {
            return;
        }
    }
}
