//! Buffers for the parts of long bodies, used again and again. An allocator soon gives freed pages back to the system, and
//! each page that it takes again costs a fault: together a third of what it costs to pass a segment on.
//!
//! Each worker keeps its own. A part may be dropped on another worker, which keeps its buffer from then on.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, ReadBuf};

/// Reads once, at most `most` bytes and never more than [`SIZE`]; nothing at the end of the stream.
pub(super) fn poll_read(
    stream: &mut (impl AsyncRead + Unpin),
    most: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Bytes>> {
    let mut buffer = Buffer::take();
    let room = most.min(SIZE);
    let mut part = ReadBuf::new(buffer.0.get_mut(..room).unwrap_or_default());
    ready!(Pin::new(stream).poll_read(cx, &mut part))?;
    let length = part.filled().len();
    if length < SIZE / 2 {
        // A short part would hold much more memory than it has bytes.
        return Poll::Ready(Ok(Bytes::copy_from_slice(part.filled())));
    }
    Poll::Ready(Ok(Bytes::from_owner(buffer).slice(..length)))
}

/// Frees the buffers of this worker that nobody has needed since the last call. Returns how many are left.
pub(super) fn shrink() -> usize {
    KEPT.with_borrow_mut(|kept| {
        let needed = kept.buffers.len() - kept.fewest;
        kept.buffers.truncate(needed);
        kept.fewest = needed;
        needed
    })
}

/// [`SIZE`] bytes, kept for the next read when it is dropped.
struct Buffer(Vec<u8>);

impl Buffer {
    fn take() -> Self {
        let kept = KEPT.with_borrow_mut(|kept| {
            let buffer = kept.buffers.pop();
            kept.fewest = kept.fewest.min(kept.buffers.len());
            buffer
        });
        Self(kept.unwrap_or_else(|| vec![0; SIZE]))
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.0);
        // A thread that ends keeps nothing.
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.buffers.len() < MOST {
                kept.buffers.push(buffer);
            }
        });
    }
}

/// The buffers of this worker that nobody uses.
#[derive(Default)]
struct Kept {
    buffers: Vec<Vec<u8>>,
    /// How many there were at least since they were last looked at.
    fewest: usize,
}

thread_local! {
    static KEPT: RefCell<Kept> = RefCell::default();
}

/// Bytes of a buffer: longer reads save little.
pub(super) const SIZE: usize = 128 * 1024;
/// Buffers that a worker keeps: 16 MB.
const MOST: usize = 128;

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    fn read(mut stream: &[u8], most: usize) -> Bytes {
        let mut cx = Context::from_waker(Waker::noop());
        match poll_read(&mut stream, most, &mut cx) {
            Poll::Ready(Ok(part)) => part,
            other => panic!("{other:?}"),
        }
    }

    fn kept() -> usize {
        KEPT.with_borrow(|kept| kept.buffers.len())
    }

    #[test]
    fn a_buffer_is_used_again_once_all_of_its_part_are_gone() {
        let stream: Vec<u8> = (0..=255).cycle().take(3 * SIZE).collect();
        let rows = [
            ("a long part has a buffer", SIZE, SIZE, 0),
            ("half of one, too", SIZE / 2, SIZE / 2, 0),
            ("a short part is a copy", SIZE / 2 - 1, SIZE / 2 - 1, 1),
            ("no more than a buffer is read", 3 * SIZE, SIZE, 0),
        ];
        for (cause, most, length, free) in rows {
            let part = read(&stream, most);
            assert_eq!(part, stream[..length], "{cause}");
            assert_eq!(kept(), free, "{cause}");
            let rest = part.slice(1..);
            drop(part);
            assert_eq!(rest, stream[1..length], "{cause}");
            drop(rest);
            assert_eq!(kept(), 1, "{cause}");
        }
        assert_eq!(read(&[], SIZE), Bytes::new());
    }

    #[test]
    fn buffers_that_nobody_needs_are_freed() {
        let stream = vec![1; SIZE];
        let parts: Vec<Bytes> = (0..MOST + 2).map(|_| read(&stream, SIZE)).collect();
        assert_eq!(kept(), 0);
        drop(parts);
        assert_eq!(kept(), MOST);
        assert_eq!(shrink(), MOST, "all were needed since the last look");
        let parts: Vec<Bytes> = (0..3).map(|_| read(&stream, SIZE)).collect();
        drop(parts);
        assert_eq!(shrink(), 3);
        assert_eq!(shrink(), 0);
    }
}
