//! Waiting for what somebody else changes.

use std::pin::pin;

use tokio::sync::Notify;

/// Waits until there is something to see, looking at once and whenever the bell rings.
pub(crate) async fn once<T>(bell: &Notify, mut look: impl FnMut() -> Option<T>) -> T {
    loop {
        let mut rung = pin!(bell.notified());
        // Enlisted before the look, so that nothing can happen unseen between the two.
        rung.as_mut().enable();
        if let Some(seen) = look() {
            return seen;
        }
        rung.await;
    }
}
