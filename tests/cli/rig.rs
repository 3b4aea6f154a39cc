//! The binary, in a home of its own: run to its end, or as a child whose lines are read with a deadline.

use std::{
    io::{BufRead as _, BufReader, Read, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

pub const BINARY: &str = env!("CARGO_BIN_EXE_countersign");
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(40);

/// A folder that is home, working folder and everything else.
pub struct Home(tempfile::TempDir);

impl Home {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path().join(name)).unwrap()
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).current_dir(self.path()).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", self.path()).env("USER", "ann").env("TMPDIR", self.path());
        command
    }

    /// Runs to the end with nothing on stdin.
    pub fn run(&self, arguments: &[&str]) -> Done {
        Done(self.command(arguments).stdin(Stdio::null()).output().unwrap())
    }

    /// Runs with `text` on stdin.
    pub fn tell(&self, arguments: &[&str], text: &str) -> Done {
        let mut command = self.command(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        Done(child.wait_with_output().unwrap())
    }

    pub fn start(&self, arguments: &[&str]) -> Running {
        Running::of(self.command(arguments))
    }

    /// A broker in front of the sandbox, under the demo's policy, and its URL.
    pub fn broker(&self) -> (Running, String) {
        self.write("demo.json", include_str!("../../policies/demo.json"));
        let command = json!([BINARY, "sandbox"]);
        self.write(
            "countersign.toml",
            &format!(
                "listen = \"127.0.0.1:0\"\n[servers.sandbox]\ncommand = {command}\npolicy = \"demo.json\"\n"
            ),
        );
        let broker = self.start(&["serve"]);
        let line = broker.errors.until(|line| line.contains("listens on"));
        let url = line.rsplit(' ').next().unwrap().to_owned();
        (broker, url)
    }
}

/// How a command ended.
pub struct Done(Output);

impl Done {
    pub fn out(&self) -> String {
        String::from_utf8(self.0.stdout.clone()).unwrap()
    }

    pub fn err(&self) -> String {
        String::from_utf8(self.0.stderr.clone()).unwrap()
    }

    pub fn code(&self) -> i32 {
        self.0.status.code().unwrap()
    }

    /// Ended with `code`; shows everything else.
    #[track_caller]
    pub fn ends(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "stdout: {}\nstderr: {}", self.out(), self.err());
        self
    }

    /// Ended well, with one JSON document on stdout.
    #[track_caller]
    pub fn json(self) -> Value {
        serde_json::from_str(&self.ends(0).out()).unwrap()
    }
}

/// Lines as they come.
pub struct Lines(Receiver<String>);

impl Lines {
    fn of(source: impl Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(source).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    #[track_caller]
    pub fn next(&self) -> String {
        self.0.recv_timeout(PATIENCE).expect("a line within the deadline")
    }

    /// The first line that fits; those before it are passed over.
    #[track_caller]
    pub fn until(&self, fits: impl Fn(&str) -> bool) -> String {
        let mut seen = Vec::new();
        let end = Instant::now() + PATIENCE;
        while let Ok(line) = self.0.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if fits(&line) {
                return line;
            }
            seen.push(line);
        }
        panic!("no line fits: {seen:#?}");
    }
}

/// A process under way; killed when it is dropped.
pub struct Running {
    child: Child,
    pub lines: Lines,
    pub errors: Lines,
    last_id: u64,
}

impl Running {
    fn of(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (lines, errors) =
            (Lines::of(child.stdout.take().unwrap()), Lines::of(child.stderr.take().unwrap()));
        Self { child, lines, errors, last_id: 0 }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    pub fn wait(mut self) -> ExitStatus {
        self.close_stdin();
        // Its output must not fill the pipe while we wait: the readers' threads take it.
        self.child.wait().unwrap()
    }

    /// Says one line on its stdin.
    pub fn say(&mut self, message: &Value) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{message}").unwrap();
    }

    /// Sends a JSON-RPC request; the answer comes on `lines`.
    pub fn request(&mut self, method: &str, params: &Value) {
        self.last_id += 1;
        let message = json!({"jsonrpc": "2.0", "id": self.last_id, "method": method, "params": params});
        self.say(&message);
    }

    /// The result of the last request.
    #[track_caller]
    pub fn result(&self) -> Value {
        let line = self.lines.until(|line| !line.contains("\"method\""));
        let mut answer: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(answer["id"], self.last_id, "{answer}");
        answer["result"].take()
    }

    #[track_caller]
    pub fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.request(method, params);
        self.result()
    }

    #[track_caller]
    pub fn handshake(&mut self) {
        self.handshake_with("countersign-sandbox");
    }

    #[track_caller]
    pub fn handshake_with(&mut self, name: &str) {
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {},
            "clientInfo": {"name": "cli-test", "version": "1"}});
        let welcome = self.ask("initialize", &hello);
        assert_eq!(welcome["serverInfo"]["name"], name);
        self.say(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
