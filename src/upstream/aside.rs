//! Reading that takes its thread for long: a large list or answer is gone through several times.

use tokio::{
    runtime::{Handle, RuntimeFlavor},
    task::block_in_place,
};

/// Bytes from which it is worth a thread: less is gone through within 1 to 3 ms, 4 MiB take 50 to 200.
const LARGE: usize = 64 << 10;

/// Does work on so many bytes; if they are many, whatever else this thread has to do goes on elsewhere meanwhile.
pub(crate) fn aside<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    if bytes > LARGE && has_others() { block_in_place(work) } else { work() }
}

/// On a runtime of one thread there is no elsewhere.
fn has_others() -> bool {
    Handle::try_current().is_ok_and(|here| here.runtime_flavor() == RuntimeFlavor::MultiThread)
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use tokio::task::JoinSet;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_while_much_is_read() {
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (other, goes_on) = mpsc::channel();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let _ = begun.send(());
            aside(LARGE + 1, || goes_on.recv_timeout(Duration::from_secs(5)).is_ok())
        });
        tasks.spawn(async move {
            begins.await.unwrap();
            other.send(()).is_ok()
        });
        assert_eq!(tasks.join_all().await, [true; 2], "nothing else was done");
    }

    #[tokio::test]
    async fn on_one_thread_it_is_read_all_the_same() {
        assert_eq!(aside(LARGE + 1, || 7), 7);
    }
}
