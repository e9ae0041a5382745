//! Waiting with a deadline, for what can only be asked and does not tell.

use std::time::{Duration, Instant};

/// Asks again and again until there is an answer, and panics with `what` when there is none in time.
#[track_caller]
pub(crate) fn wait_for<T>(what: &str, patience: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "{what}: not within {patience:?}");
        std::thread::sleep(POLL);
    }
}

const POLL: Duration = Duration::from_millis(20);
