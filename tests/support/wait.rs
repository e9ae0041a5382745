//! Waiting with a deadline, for what can only be polled.

use std::time::{Duration, Instant};

/// Calls `ask` repeatedly until it returns something, and panics with `what` if it does not in time.
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
