//! Bytes of a walk that wait for a verdict, and bytes that came after them: the order never changes.

use std::collections::VecDeque;

use super::walk::{Verdict, WalkError};

/// The bytes that a walk holds back. Between commands there are none, and this takes no memory: a relay keeps one for
/// each direction of each session.
#[derive(Debug, Clone, Default)]
pub(super) struct Held(Option<Box<Kept>>);

#[derive(Debug, Clone, Default)]
struct Kept {
    bytes: Vec<u8>,
    segments: VecDeque<Segment>,
    /// The received part of each unfinished message that waits for its verdict, by chunk stream.
    bodies: Vec<(u32, Vec<u8>)>,
}

#[derive(Debug, Clone)]
struct Segment {
    length: usize,
    part: Part,
}

/// What some held bytes belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The message in progress on this chunk stream.
    Waiting(u32),
    /// A message that has its verdict.
    Judged(Verdict),
}

impl Held {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Whether nothing is held back.
    pub(super) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|kept| kept.segments.is_empty())
    }

    /// The received part of the message in progress on a chunk stream.
    pub(super) fn body(&mut self, chunk_stream: u32) -> &mut Vec<u8> {
        let bodies = &mut self.0.get_or_insert_default().bodies;
        let known = bodies.iter().position(|(id, _)| *id == chunk_stream);
        let at = known.unwrap_or_else(|| {
            bodies.push((chunk_stream, Vec::new()));
            bodies.len() - 1
        });
        let (_, body) = bodies.get_mut(at).expect("it is there, or was just added");
        body
    }

    /// Takes the body of a message that is complete or abandoned.
    pub(super) fn take_body(&mut self, chunk_stream: u32) -> Vec<u8> {
        let Some(kept) = &mut self.0 else {
            return Vec::new();
        };
        let known = kept.bodies.iter().position(|(id, _)| *id == chunk_stream);
        known.map_or_else(Vec::new, |at| kept.bodies.swap_remove(at).1)
    }

    /// Holds bytes, after those that are held already.
    ///
    /// # Errors
    /// [`WalkError::Incomplete`] beyond [`MAX_HELD`].
    pub(super) fn push(&mut self, bytes: &[u8], part: Part) -> Result<(), WalkError> {
        let kept = self.0.get_or_insert_default();
        kept.bytes.extend_from_slice(bytes);
        match kept.segments.back_mut() {
            Some(last) if last.part == part => last.length += bytes.len(),
            _ => kept.segments.push_back(Segment {
                length: bytes.len(),
                part,
            }),
        }
        if kept.bytes.len() + kept.segments.len() * size_of::<Segment>() > MAX_HELD {
            return Err(WalkError::Incomplete);
        }
        Ok(())
    }

    /// Sets the verdict on the message in progress on a chunk stream.
    pub(super) fn settle(&mut self, chunk_stream: u32, verdict: Verdict) {
        let segments = self.0.iter_mut().flat_map(|kept| &mut kept.segments);
        for segment in segments {
            if segment.part == Part::Waiting(chunk_stream) {
                segment.part = Part::Judged(verdict);
            }
        }
    }

    /// Forgets the bytes whose verdict is known: they were for a receiver that is gone.
    pub(super) fn forget_judged(&mut self) {
        let segments = self.0.iter_mut().flat_map(|kept| &mut kept.segments);
        for segment in segments {
            if segment.part == Part::Judged(Verdict::Pass) {
                segment.part = Part::Judged(Verdict::Drop);
            }
        }
    }

    /// Moves to `out` all bytes that neither wait nor come after bytes that wait.
    pub(super) fn release(&mut self, out: &mut Vec<u8>) {
        let Some(kept) = &mut self.0 else {
            return;
        };
        let mut released = 0;
        while let Some(Segment {
            length,
            part: Part::Judged(verdict),
        }) = kept.segments.front()
        {
            if *verdict == Verdict::Pass {
                let bytes = kept
                    .bytes
                    .get(released..released + length)
                    .unwrap_or_default();
                out.extend_from_slice(bytes);
            }
            released += length;
            kept.segments.pop_front();
        }
        kept.bytes.drain(..released);
        if kept.segments.is_empty() && kept.bodies.is_empty() {
            self.0 = None;
        }
    }
}

/// Maximum bytes held: the longest command and, between its chunks, more than as much of other messages.
pub(super) const MAX_HELD: usize = 256 * 1024;
