//! Which sockets have something to read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Wake;

use futures_util::task::AtomicWaker;

use super::links::MAX_PORTS;

/// The sockets of a shard that have something to read. Sockets set bits from the runtime's event loop, and the shard's
/// task reads them. There are two levels of bits, so that checking an idle shard reads a word or two.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) task: AtomicWaker,
    summary: [AtomicU64; MAX_PORTS / (WORD * WORD)],
    words: [AtomicU64; MAX_PORTS / WORD],
}

impl Default for Ready {
    fn default() -> Self {
        Self {
            task: AtomicWaker::new(),
            summary: [const { AtomicU64::new(0) }; MAX_PORTS / (WORD * WORD)],
            words: [const { AtomicU64::new(0) }; MAX_PORTS / WORD],
        }
    }
}

impl Ready {
    /// Marks a socket, and wakes the task.
    fn ring(&self, index: usize) {
        self.mark(index);
        self.task.wake();
    }

    /// Marks a socket.
    pub(super) fn mark(&self, index: usize) {
        let word = index / WORD;
        let (Some(bits), Some(summary)) = (self.words.get(word), self.summary.get(word / WORD))
        else {
            return;
        };
        bits.fetch_or(1 << (index % WORD), Ordering::Release);
        summary.fetch_or(1 << (word % WORD), Ordering::Release);
    }

    /// Whether no socket was marked since the last check.
    pub(super) fn is_quiet(&self) -> bool {
        let quiet = |summary: &AtomicU64| summary.load(Ordering::Acquire) == 0;
        self.summary.iter().all(quiet)
    }

    /// Calls `look` with each socket that was marked since the last call.
    pub(super) fn drain(&self, mut look: impl FnMut(usize)) {
        for (group, summary) in self.summary.iter().enumerate() {
            let mut words = summary.swap(0, Ordering::AcqRel);
            while words != 0 {
                let word = group * WORD + words.trailing_zeros() as usize;
                words &= words - 1;
                let Some(bits) = self.words.get(word) else {
                    continue;
                };
                let mut bits = bits.swap(0, Ordering::AcqRel);
                while bits != 0 {
                    look(word * WORD + bits.trailing_zeros() as usize);
                    bits &= bits - 1;
                }
            }
        }
    }
}

/// The waker of one socket.
#[derive(Debug)]
pub(super) struct Bell {
    pub(super) index: usize,
    pub(super) ready: Arc<Ready>,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ready.ring(self.index);
    }
}

const WORD: usize = u64::BITS as usize;
