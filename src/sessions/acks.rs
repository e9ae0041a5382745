//! Whether an origin acknowledges what it is sent. A process that is stopped does not, long before the kernels between us
//! are full.

use std::time::Duration;

use tokio::time::Instant;

use super::{Direction, Row};

/// What is known of the acknowledgements of one leg.
#[derive(Debug)]
pub(super) struct Acknowledgements {
    /// Bytes after which the origin was asked to acknowledge.
    window: u64,
    /// Bytes that had come from it at the last look, and when that changed.
    came: u64,
    heard: Instant,
    /// Bytes that had been sent to it by then.
    sent: u64,
    /// How often in a row it spoke after about `window` bytes had been sent.
    regular: u8,
}

impl Acknowledgements {
    /// An origin that is asked to acknowledge every `window` bytes; `came` have come from it, and `sent` were sent.
    pub(super) fn new(window: u32, came: u64, sent: u64) -> Self {
        Self {
            window: window.into(),
            came,
            heard: Instant::now(),
            sent,
            regular: 0,
        }
    }

    /// A look: `came` bytes have come so far, and `sent` were sent.
    pub(super) fn look(&mut self, came: u64, sent: u64) {
        if came == self.came {
            return;
        }
        let since = sent.saturating_sub(self.sent);
        if since > self.window * 3 {
            self.regular = 0;
        } else if since >= self.window / 2 {
            self.regular = self.regular.saturating_add(1);
        }
        (self.came, self.sent, self.heard) = (came, sent, Instant::now());
    }

    /// For how long it has said nothing, though it acknowledges and was sent more than it leaves unacknowledged.
    pub(super) fn owes(&self, sent: u64) -> Duration {
        let owes = sent.saturating_sub(self.sent) >= self.window * 3 / 2;
        if owes && self.regular >= REGULAR {
            self.heard.elapsed()
        } else {
            Duration::ZERO
        }
    }
}

impl Row {
    /// The bytes after which its origin is to acknowledge what it gets; 0: nobody says.
    pub(crate) fn window(&self) -> u32 {
        let aside = self.aside.get();
        aside.map_or(0, |aside| aside.holds.window())
    }

    /// Sets that.
    pub(crate) fn set_window(&self, window: u32) {
        self.aside().holds.set_window(window);
    }

    /// Its origin was asked to acknowledge every `window` bytes; 0: another origin, which was not asked yet.
    pub(crate) fn asked_acks(&self, window: u32) {
        let (came, sent) = (
            self.bytes(Direction::ToClient),
            self.bytes(Direction::ToOrigin),
        );
        self.aside().holds.asked_acks(window, came, sent);
    }

    /// For how long its origin owes an acknowledgement, though it gives them. To be asked often, since each call looks.
    pub(crate) fn acks_owed_for(&self) -> Duration {
        let (came, sent) = (
            self.bytes(Direction::ToClient),
            self.bytes(Direction::ToOrigin),
        );
        let aside = self.aside.get();
        aside.map_or(Duration::ZERO, |aside| aside.holds.look_at_acks(came, sent))
    }
}

/// An origin that acknowledged this often in a row acknowledges.
const REGULAR: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_one_that_acknowledges_owes_an_acknowledgement() {
        let mut acks = Acknowledgements::new(1000, 0, 0);
        let second = Duration::from_secs(1);
        tokio::time::advance(second).await;
        assert_eq!(acks.owes(9000), Duration::ZERO, "it never did");
        for number in 1..=3 {
            acks.look(number * 16, number * 1000);
            tokio::time::advance(Duration::from_millis(1)).await;
            let owes = acks.owes(number * 1000 + 9000);
            assert_eq!(owes > Duration::ZERO, number == 3, "{number}");
        }
        tokio::time::advance(second).await;
        assert_eq!(acks.owes(4000), Duration::ZERO, "not so soon");
        assert!(acks.owes(4500) >= second);
        acks.look(64, 9000);
        assert_eq!(
            acks.owes(19_000),
            Duration::ZERO,
            "it came late, so that it is learnt again"
        );
    }
}
