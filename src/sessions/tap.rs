//! A copy of what a session carries, for an operator who wants to look. The session never waits for it: a copy that
//! is not taken in time ends the tap.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;
use sluicegate_core::rtmp::chunk::ChunkReader;
use tokio::sync::mpsc;

/// Where the bytes of a session are copied to, if anywhere.
#[derive(Debug, Default)]
pub struct Tap {
    on: AtomicBool,
    // Boxed: hardly any session is ever tapped.
    wire: Mutex<Option<Box<Wire>>>,
}

/// What a tap delivers.
#[derive(Debug)]
pub enum Tapped {
    /// Bytes of the connection follow, in any framing FLV comes in.
    Flv,
    /// Bytes of RTMP chunks follow, for this reader.
    Rtmp(Box<ChunkReader>),
    /// Bytes of the connection, as they came.
    Bytes(Bytes),
}

/// Why a tap ended before its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TapEnd {
    /// The reader of the tap was too slow.
    Behind,
    /// The session is over.
    Session,
}

/// The other end of a tap; dropping it ends the tap.
#[derive(Debug)]
pub struct Taken {
    pieces: mpsc::Receiver<Tapped>,
    ended: Arc<OnceLock<TapEnd>>,
}

#[derive(Debug)]
struct Wire {
    pieces: mpsc::Sender<Tapped>,
    ended: Arc<OnceLock<TapEnd>>,
    started: bool,
}

impl Tap {
    /// Whether anybody wants a copy: one load, for every packet.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Begins to copy; `None` while somebody else does.
    pub fn open(&self) -> Option<Taken> {
        let mut wire = self.lock();
        if wire.as_ref().is_some_and(|wire| !wire.pieces.is_closed()) {
            return None;
        }
        let (sender, receiver) = mpsc::channel(MAX_PIECES);
        let ended = Arc::new(OnceLock::new());
        *wire = Some(Box::new(Wire {
            pieces: sender,
            ended: Arc::clone(&ended),
            started: false,
        }));
        self.on.store(true, Ordering::Relaxed);
        Some(Taken {
            pieces: receiver,
            ended,
        })
    }

    /// Copies `bytes`; nothing is copied until `start` finds a place where a reader can begin.
    pub fn copy(&self, bytes: &[u8], start: impl FnOnce() -> Option<Tapped>) {
        let mut slot = self.lock();
        let Some(wire) = slot.as_mut() else { return };
        let send = |piece| wire.pieces.try_send(piece);
        let sent = if wire.started {
            Ok(())
        } else {
            let Some(start) = start() else { return };
            send(start)
        };
        wire.started = true;
        if sent
            .and_then(|()| send(Tapped::Bytes(Bytes::copy_from_slice(bytes))))
            .is_err()
        {
            drop(slot);
            self.close(TapEnd::Behind);
        }
    }

    /// Ends it, for this reason.
    pub(super) fn close(&self, why: TapEnd) {
        if let Some(wire) = self.lock().take() {
            let _ = wire.ended.set(why);
        }
        self.on.store(false, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<Wire>>> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// The next piece; `None` when the tap has ended.
    pub async fn next(&mut self) -> Option<Tapped> {
        self.pieces.recv().await
    }

    /// Why it ended, once [`next`](Self::next) gave nothing.
    pub fn why(&self) -> TapEnd {
        self.ended.get().copied().unwrap_or(TapEnd::Session)
    }
}

/// Pieces that may wait for the reader of a tap. A piece is one read, at most 256 KiB.
const MAX_PIECES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_that_falls_behind_ends_the_tap_and_nothing_else() {
        let tap = Tap::default();
        tap.copy(b"nobody", || unreachable!("nobody listens"));
        let mut taken = tap.open().unwrap();
        assert!(tap.open().is_none(), "one at a time");
        tap.copy(b"in the middle", || None);
        for _ in 0..2 * MAX_PIECES {
            tap.copy(b"bytes", || Some(Tapped::Flv));
        }
        assert!(!tap.is_on());
        assert!(matches!(taken.next().await, Some(Tapped::Flv)));
        let mut pieces = 0;
        while let Some(Tapped::Bytes(bytes)) = taken.next().await {
            assert_eq!(bytes, "bytes");
            pieces += 1;
        }
        assert_eq!((pieces, taken.why()), (MAX_PIECES - 1, TapEnd::Behind));
        let again = tap.open().unwrap();
        drop(again);
        tap.copy(b"gone", || Some(Tapped::Flv));
        assert!(!tap.is_on(), "a listener that left ends it");
        let mut last = tap.open().unwrap();
        tap.close(TapEnd::Session);
        assert!(last.next().await.is_none());
        assert_eq!(last.why(), TapEnd::Session);
    }
}
