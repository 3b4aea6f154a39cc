//! The operating system's side of a child: its command, what it is written, its stderr, its end.

use std::{process::Stdio, sync::Arc, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncWriteExt as _,
    process::{Child, ChildStderr, ChildStdin, ChildStdout, Command},
    sync::{mpsc, oneshot, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    SendError, Server,
    lines::{Line, Lines},
};

/// Each of: stdin closed, SIGTERM, SIGKILL.
const PATIENCE: Duration = Duration::from_secs(2);
/// A process that closes its output ends within this, or goes on for reasons of its own.
const SETTLES: Duration = Duration::from_millis(200);

/// The variables of the broker's environment that each child has too, beside `LC_*` and `XDG_*`.
const INHERITED: [&str; 11] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "TMPDIR",
    "TZ",
    "TERM",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// Of a longer line on stderr, the rest is dropped.
const STDERR_LINE: usize = 4096;

/// One line on its way into the child.
pub(super) struct Write {
    pub(super) line: Vec<u8>,
    pub(super) done: Option<oneshot::Sender<Result<(), SendError>>>,
}

pub(super) fn command(server: &Server) -> Result<Command, String> {
    let settings = server.settings();
    let (program, arguments) =
        settings.command.as_deref().and_then(<[String]>::split_first).ok_or("an empty command")?;
    let mut command = Command::new(program);
    // The broker's environment holds secrets; a server is given what programs need, and what is its own.
    let inherited = std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_inherited));
    command.args(arguments).env_clear().envs(inherited).envs(&settings.env);
    if let Some(cwd) = &settings.cwd {
        // The system would say of the program that there is no such file.
        if !cwd.is_dir() {
            return Err(format!("its `cwd` {} is no folder: make it, or change `cwd`", cwd.display()));
        }
        command.current_dir(cwd);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.process_group(0).kill_on_drop(true);
    Ok(command)
}

fn is_inherited(name: &str) -> bool {
    INHERITED.contains(&name) || name.starts_with("LC_") || name.starts_with("XDG_")
}

/// Writes until the conversation ends. What was not written wholly is told apart by whether it was begun.
pub(super) async fn write_lines(
    mut stdin: ChildStdin,
    mut queue: mpsc::Receiver<Write>,
    ending: CancellationToken,
) {
    while let Some(write) = tokio::select! {
        biased;
        () = ending.cancelled() => None,
        write = queue.recv() => write,
    } {
        let mut written = 0;
        let result = tokio::select! {
            biased;
            result = write_line(&mut stdin, &write.line, &mut written) => result.map_err(|e| e.to_string()),
            () = ending.cancelled() => Err("the server's process is being ended".to_owned()),
        };
        let failed = result.is_err();
        let result = result.map_err(|why| match written {
            0 => SendError::NotSent(why),
            _ => SendError::Unknown(why),
        });
        if let Some(done) = write.done {
            let _ = done.send(result);
        }
        if failed {
            return;
        }
    }
}

async fn write_line(stdin: &mut ChildStdin, line: &[u8], written: &mut usize) -> std::io::Result<()> {
    while *written < line.len() {
        match stdin.write(&line[*written..]).await? {
            0 => return Err(std::io::ErrorKind::WriteZero.into()),
            n => *written += n,
        }
    }
    stdin.flush().await
}

/// What a command says beside the protocol: to the log, and its last line to `last`.
pub(super) async fn log_stderr(server: Arc<Server>, stderr: ChildStderr, last: watch::Sender<String>) {
    let mut lines = Lines::new(stderr, STDERR_LINE);
    while let Ok(Some(line)) = lines.next().await {
        let (Line::Whole(line) | Line::TooLong { head: line }) = line;
        let line = String::from_utf8_lossy(&line);
        let line = line.trim_end();
        tracing::debug!(server.name = server.name(), stderr = %line, "server says");
        if !line.is_empty() {
            last.send_replace(line.to_owned());
        }
    }
}

/// Resident bytes of a process and of what it started, as far as the system says (Linux).
pub(super) fn resident(process: u32) -> u64 {
    let (mut bytes, mut family) = (0_u64, vec![process.to_string()]);
    while let Some(one) = family.pop() {
        let status = std::fs::read_to_string(format!("/proc/{one}/status")).unwrap_or_default();
        let kib = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.strip_suffix("kB"));
        let kib: u64 = kib.and_then(|kib| kib.trim().parse().ok()).unwrap_or(0);
        bytes = bytes.saturating_add(kib << 10);
        let children = std::fs::read_to_string(format!("/proc/{one}/task/{one}/children"));
        family.extend(children.unwrap_or_default().split_whitespace().map(str::to_owned));
    }
    bytes
}

/// How a process ended that has closed its output; empty while it has not.
pub(super) async fn ended_by_itself(process: &mut Child) -> String {
    match timeout(SETTLES, process.wait()).await {
        Ok(Ok(status)) => status.to_string(),
        Ok(Err(_)) | Err(_) => String::new(),
    }
}

/// `id`: what it was started as. Waits, then asks, then kills; and takes with it what the child had started. How it ended.
pub(super) async fn end(mut process: Child, id: Option<u32>, mut stdout: ChildStdout) -> String {
    let group = id.and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    let signal = |signal| {
        if let Some(group) = group {
            let _ = kill_process_group(group, signal);
        }
    };
    let mut nowhere = tokio::io::sink();
    let mut status = String::from("killed");
    for next in [Signal::TERM, Signal::KILL, Signal::KILL] {
        // A child that cannot write its last words would never come to its end.
        let ended = async {
            let (status, _) = tokio::join!(process.wait(), tokio::io::copy(&mut stdout, &mut nowhere));
            status
        };
        if let Ok(ended) = timeout(PATIENCE, ended).await {
            status = ended.map_or_else(|e| e.to_string(), |s| s.to_string());
            break;
        }
        signal(next);
    }
    signal(Signal::KILL);
    status
}
