//! Bytes of a walk that wait for a verdict, and those that came after them: order is never changed.

use std::collections::VecDeque;

use super::walk::{Verdict, WalkError};

/// What a walk keeps back. Between commands that is nothing, and takes no room: a relay keeps one for each direction of
/// each session.
#[derive(Debug, Default)]
pub(super) struct Held(Option<Box<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    bytes: Vec<u8>,
    segments: VecDeque<Segment>,
    /// What came of each message in progress that is kept for its verdict, by chunk stream.
    bodies: Vec<(u32, Vec<u8>)>,
}

#[derive(Debug)]
struct Segment {
    length: usize,
    part: Part,
}

/// What becomes of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Of the message in progress on this chunk stream.
    Waiting(u32),
    /// Of a message that was judged.
    Judged(Verdict),
}

impl Held {
    pub(super) const fn new() -> Self {
        Self(None)
    }

    /// Nothing is kept back.
    pub(super) fn is_empty(&self) -> bool {
        self.0.as_ref().is_none_or(|kept| kept.segments.is_empty())
    }

    /// What came so far of the message in progress on a chunk stream.
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

    /// Takes it out: the message is complete, or given up.
    pub(super) fn take_body(&mut self, chunk_stream: u32) -> Vec<u8> {
        let Some(kept) = &mut self.0 else {
            return Vec::new();
        };
        let known = kept.bodies.iter().position(|(id, _)| *id == chunk_stream);
        known.map_or_else(Vec::new, |at| kept.bodies.swap_remove(at).1)
    }

    /// Keeps bytes behind those that are kept already.
    ///
    /// # Errors
    /// [`WalkError::Incomplete`] past [`MAX_HELD`].
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

    /// The verdict on the message in progress on a chunk stream.
    pub(super) fn settle(&mut self, chunk_stream: u32, verdict: Verdict) {
        let segments = self.0.iter_mut().flat_map(|kept| &mut kept.segments);
        for segment in segments {
            if segment.part == Part::Waiting(chunk_stream) {
                segment.part = Part::Judged(verdict);
            }
        }
    }

    /// Moves to `out` what no longer waits, nor stands behind something that does.
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

/// Room for the longest command and, between its chunks, for as much again and more of other messages.
pub(super) const MAX_HELD: usize = 256 * 1024;
