//! What a walk knows of a chunk stream beyond its headers: what happens to the message in progress, and what the
//! receiver has seen of it.

use super::header::{MessageHeader, write_delta, write_full};

/// What a walk knows about a chunk stream beyond its headers.
#[derive(Debug, Clone)]
pub(super) struct Track {
    /// What happens to the message in progress.
    pub(super) fate: Fate,
    /// If our headers replace those of the message in progress, the timestamp field that they started it with.
    pub(super) rewritten: Option<u32>,
    /// Whether the receiver missed the last header, so that the next message must inherit nothing from it.
    pub(super) stale: bool,
    /// Whether the receiver's last header had an absolute timestamp where the sender's had a delta.
    absolute: bool,
    /// Whether the message in progress began before the receiver came: it is written out whole, or not at all.
    pub(super) began_before: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is shown to the watch, and sent only if the watch says so.
    Await,
    /// It is left out.
    Drop,
    /// It is held until its end and a verdict.
    Hold,
    /// It passes as it comes.
    Pass,
    /// It passes as it comes, and is shown to the watch.
    Show,
}

impl Default for Track {
    fn default() -> Self {
        Self {
            fate: Fate::Pass,
            rewritten: None,
            stale: true,
            absolute: false,
            began_before: false,
        }
    }
}

impl Track {
    /// Begins `message`, whose header was of type `format` with timestamp field `field`. If the receiver would
    /// understand that header differently than the sender meant it, appends the header to send instead.
    pub(super) fn start(
        &mut self,
        fate: Fate,
        format: u8,
        field: u32,
        message: &MessageHeader,
        stream_id: u32,
        ours: &mut Vec<u8>,
    ) {
        self.fate = fate;
        self.rewritten = None;
        self.began_before = false;
        if matches!(fate, Fate::Await | Fate::Drop) {
            self.stale = true;
            return;
        }
        let full = if format == 0 {
            stream_id != message.stream_id
        } else {
            self.stale
        };
        if full {
            write_full(
                &MessageHeader {
                    stream_id,
                    ..*message
                },
                ours,
            );
            self.rewritten = Some(message.timestamp);
        } else if format == 3 && self.absolute {
            write_delta(message.chunk_stream, field, ours);
            self.rewritten = Some(field);
        }
        self.absolute = full && format != 0;
        self.stale = false;
    }

    /// Sends on a message that waited, from its start, under a full header of ours with `timestamp`.
    pub(super) const fn start_late(&mut self, timestamp: u32) {
        self.fate = Fate::Pass;
        self.rewritten = Some(timestamp);
        self.absolute = true;
        self.stale = false;
    }

    /// Another receiver comes, which has seen nothing. `in_progress`: a message is incomplete.
    pub(super) const fn begin_again(&mut self, in_progress: bool) {
        self.stale = true;
        if !in_progress {
            return;
        }
        match self.fate {
            Fate::Hold => self.began_before = true,
            Fate::Pass => self.fate = Fate::Drop,
            Fate::Show => self.fate = Fate::Await,
            Fate::Await | Fate::Drop => {}
        }
    }
}
