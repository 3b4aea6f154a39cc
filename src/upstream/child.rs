//! One living child: its pipe, the tasks that serve it, and its clean end.

use std::{
    future::pending,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    process::ChildStdout,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    BrokenReply, SendError, Server, aside,
    lines::{Line, Lines},
    messages::{Messages, Pipe},
    process::{Write, command, end, ended_by_itself, log_stderr, resident, write_lines},
    routes::{Routes, refuse, take_in},
};
use crate::mcp::{Notification, Request, answer};

/// How often its memory is looked at, and whether an old one has come to rest.
const MEMORY_LOOK: Duration = Duration::from_secs(2);
const QUIET_LOOK: Duration = Duration::from_millis(100);
const ENDED: &str = "the server's process ended";
const TOO_LARGE: &str = "the server's process has more memory than `limits.memory` allows";

/// A child that was started; dead when `is_alive` is false, and it does not come back.
#[derive(Debug)]
pub(super) struct Child {
    server: Arc<Server>,
    grant: Arc<str>,
    shared: bool,
    writes: mpsc::Sender<Write>,
    routes: Mutex<Routes>,
    alive: AtomicBool,
    /// Someone keeps the conversation open though nothing is in flight.
    holds: Arc<AtomicUsize>,
    last: Mutex<Instant>,
    ending: CancellationToken,
    ended: CancellationToken,
}

impl Child {
    /// # Errors
    /// Why the command could not be started.
    #[expect(clippy::disallowed_methods, reason = "the three tasks end with the child; `ended` is awaited")]
    pub(super) fn start(
        server: &Arc<Server>,
        grant: &Arc<str>,
        shared: bool,
        holds: Arc<AtomicUsize>,
    ) -> Result<Arc<Self>, String> {
        let mut command = command(server)?;
        let mut process = command
            .spawn()
            .map_err(|e| format!("{}: {e}", command.as_std().get_program().to_string_lossy()))?;
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (process.stdin.take(), process.stdout.take(), process.stderr.take())
        else {
            return Err("the child has no pipes".into());
        };
        let (writes, queue) = mpsc::channel(256);
        let child = Arc::new(Self {
            server: server.clone(),
            grant: grant.clone(),
            shared,
            writes,
            routes: Mutex::new(Routes::new(shared, server.limits().max_body)),
            alive: AtomicBool::new(true),
            holds,
            last: Mutex::new(Instant::now()),
            ending: CancellationToken::new(),
            ended: CancellationToken::new(),
        });
        tracing::info!(server.name = server.name(), pid = process.id(), "server process started");
        let (said, last_words) = watch::channel(String::new());
        let logging = tokio::spawn(log_stderr(server.clone(), stderr, said));
        let writing = tokio::spawn(write_lines(stdin, queue, child.ending.clone()));
        tokio::spawn(child.clone().serve(process, stdout, (writing, logging), last_words));
        Ok(child)
    }

    pub(super) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// Writes a request; the stream of what comes back.
    pub(super) async fn request(self: &Arc<Self>, request: &Request<'_>) -> Result<Messages, SendError> {
        let (sink, messages) = Messages::channel(self.server.untaken());
        let registered = {
            let mut routes = self.routes();
            if !self.is_alive() {
                return Err(SendError::NotSent("the server's process has ended".into()));
            }
            if routes.is_full() {
                let why = "the server's process owes the answers to 4096 requests; start a new session";
                return Err(SendError::NotSent(why.into()));
            }
            routes.register(request, sink)
        };
        let Some((number, line)) = registered else {
            return Err(SendError::NotSent(format!(
                "a request with the id {} is in flight",
                request.id.as_str()
            )));
        };
        let unwritten = Unwritten { child: self, number: Some(number) };
        self.write(line).await?;
        unwritten.forget();
        Ok(messages.of_request(self.clone(), number))
    }

    /// Writes a notification; one that cancels nothing in flight is dropped.
    pub(super) async fn notify(&self, notification: &Notification<'_>) -> Result<(), SendError> {
        let line = if notification.method == "notifications/cancelled" {
            self.routes().cancelled(notification)
        } else {
            Some(notification.raw.as_str().as_bytes().to_vec())
        };
        match line {
            Some(line) => self.write(line).await,
            None => Ok(()),
        }
    }

    /// Writes one message; done when the pipe has taken all of it.
    pub(super) async fn write(&self, mut line: Vec<u8>) -> Result<(), SendError> {
        // Line ends are white space in JSON (inside strings they are escaped), but end a message here.
        line.iter_mut().filter(|b| matches!(b, b'\n' | b'\r')).for_each(|b| *b = b' ');
        line.push(b'\n');
        self.touch();
        let gone = |_| SendError::NotSent("the server's process has ended".into());
        let (done, written) = oneshot::channel();
        self.writes.send(Write { line, done: Some(done) }).await.map_err(|_| gone(()))?;
        // Dropped unanswered only if the writer never took it from the queue.
        written.await.map_err(|_| gone(()))?
    }

    /// What the server says unasked.
    pub(super) fn listen(&self) -> Messages {
        let (sink, messages) = Messages::channel(self.server.untaken());
        self.routes().listen(sink);
        messages
    }

    /// Asks for the clean end, without waiting.
    pub(super) fn end(&self) {
        self.ending.cancel();
    }

    pub(super) async fn ended(&self) {
        self.ended.cancelled().await;
    }

    async fn serve(
        self: Arc<Self>,
        mut process: tokio::process::Child,
        mut stdout: ChildStdout,
        (writing, logging): (JoinHandle<()>, JoinHandle<()>),
        last_words: watch::Receiver<String>,
    ) {
        let started = Instant::now();
        let process_id = process.id();
        let (why, crashed) = tokio::select! {
            () = self.read_lines(&mut stdout) => (ENDED, true),
            () = self.ending.cancelled() => ("the conversation was ended", false),
            () = self.idle() => ("nothing was said for long", false),
            () = self.outlived(started) => ("the server's process reached its age", false),
            () = self.outgrown(process_id) => (TOO_LARGE, true),
        };
        let mut told = why.to_owned();
        if why == ENDED {
            let status = ended_by_itself(&mut process).await;
            if !status.is_empty() {
                told = format!("{why} ({status})");
            }
        }
        {
            let mut routes = self.routes();
            self.alive.store(false, Ordering::Release);
            routes.fail_all(&BrokenReply::Broken(told));
        }
        self.ending.cancel();
        let _ = writing.await;
        let status = end(process, process_id, stdout).await;
        let server = self.server.name();
        if why == ENDED {
            // What it had said is read by now, unless something that it started holds the pipe.
            let _ = timeout(QUIET_LOOK, logging).await;
            let last_words = &*last_words.borrow();
            tracing::warn!(server.name = server, status, last_words, "server process ended by itself");
        } else {
            tracing::info!(server.name = server, why, status, "server process ended");
        }
        self.server.child_ended(&self.grant, crashed, started.elapsed());
        self.ended.cancel();
    }

    async fn read_lines(&self, stdout: &mut ChildStdout) {
        let mut lines = Lines::new(stdout, self.server.limits().max_line);
        loop {
            match lines.next().await {
                Ok(Some(Line::Whole(line))) => self.take_line(&line),
                Ok(Some(Line::TooLong { head })) => {
                    tracing::warn!(server.name = self.server.name(), "a line over the cap, skipped");
                    refuse(&self.routes, &head, BrokenReply::TooLarge(self.server.limits().max_line));
                }
                Ok(None) => return,
                Err(error) => {
                    tracing::warn!(server.name = self.server.name(), %error, "cannot read the server's stdout");
                    return;
                }
            }
        }
    }

    fn take_line(&self, line: &[u8]) {
        self.touch();
        if !line.trim_ascii().is_empty() {
            aside(line.len(), || take_in(&self.routes, &self.server, line));
        }
    }

    /// Ends when nothing was in flight, held or said for the idle time.
    async fn idle(&self) {
        let after = Duration::from_secs(self.server.limits().idle_end_s).max(Duration::from_millis(10));
        loop {
            let due = *self.last.lock().unwrap_or_else(PoisonError::into_inner) + after;
            if Instant::now() < due {
                sleep_until(due).await;
            } else if self.holds.load(Ordering::Acquire) == 0 && self.routes().is_idle() {
                return;
            } else {
                self.touch();
            }
        }
    }

    /// Ends when it is older than it may be, at a moment at which no request is in flight; none comes after.
    async fn outlived(&self, started: Instant) {
        let Some(age) = self.server.settings().limits.age else { return pending().await };
        sleep_until(started + age).await;
        while !self.retire() {
            sleep(QUIET_LOOK).await;
        }
    }

    /// From here on it takes no request. False: one is in flight, or a call of it waits for a person.
    fn retire(&self) -> bool {
        let routes = self.routes();
        let quiet = routes.is_quiet() && self.holds.load(Ordering::Acquire) == 0;
        if quiet {
            self.alive.store(false, Ordering::Release);
        }
        quiet
    }

    /// Ends when it has more memory than it may.
    async fn outgrown(&self, process: Option<u32>) {
        let (Some(most), Some(process)) = (self.server.settings().limits.memory, process) else {
            return pending().await;
        };
        loop {
            sleep(MEMORY_LOOK).await;
            let bytes = resident(process);
            if bytes > most {
                let server = self.server.name();
                tracing::error!(server.name = server, pid = process, bytes, most, "{TOO_LARGE}; it is ended");
                return;
            }
        }
    }

    fn touch(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pipe for Child {
    /// The reader left before the answer. A modern server is told, for there leaving is cancelling.
    fn abandon(&self, number: u64) {
        if !self.shared {
            return;
        }
        let Some(key) = self.routes().abandon(number) else { return };
        let params = format!("{{\"requestId\":{key},\"reason\":\"the caller left\"}}");
        let mut line = answer::notification("notifications/cancelled", Some(&params));
        line.push(b'\n');
        // A full pipe loses the courtesy, not the request: its late answer is recognised and dropped.
        let _ = self.writes.try_send(Write { line, done: None });
    }
}

/// Takes a request back that was not written, also when its future is dropped.
struct Unwritten<'a> {
    child: &'a Child,
    number: Option<u64>,
}

impl Unwritten<'_> {
    fn forget(mut self) {
        self.number = None;
    }
}

impl Drop for Unwritten<'_> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            self.child.routes().abandon(number);
        }
    }
}
