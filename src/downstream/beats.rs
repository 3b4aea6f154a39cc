//! Signs of life on a waiting stream: when the next is due, and progress values that only grow.

use std::time::Duration;

use rand::RngExt as _;
use tokio::time::Instant;

use super::reply;
use crate::mcp::{self, Message, patch::Edits};

/// The beats of one stream, and the progress values that were said here.
#[derive(Debug)]
pub(super) struct Beats {
    every: Duration,
    next: Instant,
    said: u32,
    /// The highest value of ours, lifted ones included.
    progress: f64,
}

impl Beats {
    pub(super) fn new(every: Duration) -> Self {
        Self { every, next: Instant::now() + every, said: 0, progress: 0.0 }
    }

    /// When the next is due.
    pub(super) fn due(&self) -> Instant {
        self.next
    }

    /// One was given: the next comes after about `every`, not in step with other streams.
    pub(super) fn given(&mut self) {
        self.next = Instant::now() + self.every.mul_f64(rand::rng().random_range(0.8..1.2));
    }

    /// A progress message of ours: values so tiny that the server's own go on above them.
    pub(super) fn progress(&mut self, token: &str, words: &str) -> Vec<u8> {
        self.said += 1;
        self.progress = self.progress.max(f64::from(self.said) / 1e6);
        mcp::answer::progress(token, self.said, words)
    }

    /// The server's progress with a higher value, when it would go back below what was said here;
    /// `None`: as it is.
    pub(super) fn lifted(&mut self, message: &[u8]) -> Option<Vec<u8>> {
        if self.said == 0 {
            return None;
        }
        let Some(Message::Notification(notification)) = reply::read(message) else { return None };
        if notification.method != "notifications/progress" {
            return None;
        }
        let value: f64 = notification.params?.get("progress")?.as_str().parse().ok()?;
        if value > self.progress {
            return None;
        }
        self.progress += 1e-6;
        let mut edits = Edits::of(notification.raw);
        edits.set(&["params", "progress"], &format!("{:.6}", self.progress));
        Some(edits.apply())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(value: &str) -> String {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":1,"progress":{value}}}}}"#
        )
    }

    #[test]
    fn the_servers_progress_is_lifted_only_when_it_would_go_back_below_ours() {
        let mut beats = Beats { progress: 0.000_003, said: 3, ..Beats::new(Duration::ZERO) };
        let lifted = beats.lifted(progress("0").as_bytes()).unwrap();
        assert_eq!(String::from_utf8(lifted).unwrap(), progress("0.000004"));
        let lifted = beats.lifted(progress("0").as_bytes()).unwrap();
        assert_eq!(String::from_utf8(lifted).unwrap(), progress("0.000005"));
        for its_own in ["1", "2.50", "2.5", "0.5"] {
            assert_eq!(beats.lifted(progress(its_own).as_bytes()), None, "{its_own}");
        }
        assert_eq!(beats.lifted(br#"{"jsonrpc":"2.0","method":"notifications/message"}"#), None);
    }

    #[test]
    fn where_nothing_was_said_here_the_servers_progress_is_its_own() {
        let mut beats = Beats::new(Duration::ZERO);
        for value in ["0", "-1", "5", "5"] {
            assert_eq!(beats.lifted(progress(value).as_bytes()), None, "{value}");
        }
    }
}
