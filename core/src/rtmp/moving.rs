//! A publisher that goes on at another origin while its own still has it: one gets everything up to a keyframe, the
//! other everything from it on.

use super::chunk::{ChunkError, ChunkReader};
use super::header::MessageHeader;
use super::join::{JoinError, Joined};
use super::message::{Command, Message, kind};
use super::plain_chunks::PlainChunks;
use super::resumed::{MAX_PARTIAL, Resumed};
use super::steps::announce;
use super::walk::{Step, Verdict, Walk, WalkError, Watch};

/// The origin that a publisher is to go on at, and the walk towards the one that still has it.
#[derive(Debug)]
pub(super) struct Moving {
    /// What passes to the origin that the publisher leaves.
    old: Walk,
    /// Message streams of which nothing passes.
    refused: Vec<u32>,
    /// The other origin, joined.
    other: Joined,
    /// Reads what it says.
    reader: ChunkReader,
    /// What the other origin is to get first.
    first: Vec<u8>,
    /// The keyframe has come: the old origin gets nothing more.
    is_cut: bool,
}

/// What the two ends get when a move is made.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// For the client, after all that went out for it: the rest of a chunk that the old origin left unfinished.
    pub to_client: Vec<u8>,
    /// For the other origin, before anything else.
    pub to_origin: Vec<u8>,
}

impl Joined {
    /// Another origin has taken the stream, and was told what [`Recipe::identified`](super::recipe::Recipe::identified)
    /// says; `said` is what it said meanwhile. It gets the headers and everything from the next keyframe on, and the present
    /// one everything before. False: the publisher cannot be moved now, because it has no origin, or one that waits for a
    /// keyframe itself.
    pub fn begin_move(&mut self, mut other: Self, said: &[u8]) -> bool {
        let mut reader = ChunkReader::new(MAX_PARTIAL);
        if read_past(&mut reader, said).is_err() {
            return false;
        }
        let refused = self.client_says.refused_streams();
        let Some(recipe) = self
            .client_says
            .recipe
            .as_mut()
            .filter(|recipe| recipe.is_joined() && recipe.moving.is_none())
        else {
            return false;
        };
        let mut old = self.to_origin.clone();
        old.settle();
        self.to_origin.begin_again();
        self.to_origin.take_ids(&mut other.to_origin);
        let first = match &mut other.plain {
            Some(plain) => {
                **plain = PlainChunks::new(self.to_origin.chunk_size());
                Vec::new()
            }
            None => own_chunk_size(&self.to_origin),
        };
        recipe.resume();
        recipe.moving = Some(Box::new(Moving {
            old,
            refused,
            other,
            reader,
            first,
            is_cut: false,
        }));
        true
    }

    /// Whether the keyframe has come: the present origin gets nothing more, and [`make_move`](Self::make_move) is to
    /// follow.
    pub fn is_cut(&self) -> bool {
        self.moving().is_some_and(|moving| moving.is_cut)
    }

    /// Whether the other origin is to get more before the keyframe than anybody keeps for it.
    pub fn must_not_wait(&self) -> bool {
        let grew = |moving: &Moving| !moving.is_cut && moving.first.len() > MAX_BEFORE;
        self.moving().is_some_and(grew)
    }

    /// Takes bytes that the other origin sends before the move is made. They are not for the client.
    ///
    /// # Errors
    /// [`JoinError::Walk`] when its chunks cannot be walked.
    pub fn hear_other(&mut self, input: &[u8]) -> Result<(), JoinError> {
        if let Some(moving) = self.moving_mut() {
            let passed = moving.other.to_client(input)?;
            read_past(&mut moving.reader, passed).map_err(WalkError::from)?;
        }
        Ok(())
    }

    /// Takes the error that the other origin reported before the move is made: it does not want the stream any more.
    pub fn take_others_error(&mut self) -> Option<Box<str>> {
        let error = self.moving_mut()?.other.take_error()?;
        Some(error.into_words())
    }

    /// The publisher stays where it is, as if no move had begun; nothing if its keyframe has come.
    pub fn cancel_move(&mut self) {
        if self.is_cut() {
            return;
        }
        let Some(recipe) = &mut self.client_says.recipe else {
            return;
        };
        if let Some(moving) = recipe.moving.take() {
            recipe.stay();
            self.to_origin = moving.old;
        }
    }

    /// The other origin has the publisher from here on, and the present one is left. `received` is the number of bytes
    /// that the client has sent after its handshake. Where the keyframe has not come, the other origin waits for it.
    pub fn make_move(&mut self, received: u64) -> Made {
        let Some(recipe) = self.client_says.recipe.as_mut() else {
            return Made::default();
        };
        let Some(moving) = recipe.moving.take() else {
            return Made::default();
        };
        recipe.nothing_dropped();
        let mut made = Made {
            to_client: Vec::new(),
            to_origin: moving.first,
        };
        if self.resumed.is_none() {
            let (chunk_size, unused) = (self.to_client.chunk_size(), self.to_client.unused());
            self.resumed = Some(Box::new(Resumed::new(chunk_size, unused, received)));
            made.to_client = vec![0; self.to_client.owed()];
        }
        self.to_client = moving.other.to_client;
        self.origin_says = moving.other.origin_says;
        self.plain = moving.other.plain;
        self.client_says.renamed = moving.other.client_says.renamed;
        self.client_says.media = moving.is_cut;
        if let Some(resumed) = &mut self.resumed {
            resumed.follow(moving.reader);
        }
        made
    }

    /// Takes bytes from the client while a move is under way, and returns what the present origin gets.
    pub(super) fn pass_to_both<'a>(&'a mut self, input: &'a [u8]) -> Result<&'a [u8], JoinError> {
        let fresh = match self.to_origin.feed(input, &mut self.client_says)? {
            Step::Changed(bytes) => bytes,
            Step::Unchanged => input,
        };
        if let Some(error) = self.client_says.broken.take() {
            return Err(error.into());
        }
        let recipe = self.client_says.recipe.as_mut();
        let Some(moving) = recipe.and_then(|recipe| recipe.moving.as_mut()) else {
            return Ok(&[]);
        };
        let fresh = match &mut moving.other.plain {
            Some(plain) => plain.cut(fresh).map_err(WalkError::from)?,
            None => fresh,
        };
        moving.first.extend_from_slice(fresh);
        if moving.is_cut {
            return Ok(&[]);
        }
        let cut = self.to_origin.began_late_at();
        moving.is_cut = cut.is_some();
        let before = cut.and_then(|at| input.get(..at)).unwrap_or(input);
        let mut leaving = Leaving(&moving.refused);
        let bytes = match moving.old.feed(before, &mut leaving)? {
            Step::Changed(bytes) => bytes,
            Step::Unchanged => before,
        };
        match &mut self.plain {
            None => Ok(bytes),
            Some(plain) => Ok(plain.cut(bytes).map_err(WalkError::from)?),
        }
    }

    /// What asks the origin to acknowledge every `window` bytes (RTMP 1.0 §5.4.4); `None` where it cannot be sent before
    /// the next bytes of the client. An origin that acknowledges shows that its process reads.
    pub fn ask_acknowledgements(&mut self, window: u32) -> Option<Vec<u8>> {
        if self.is_moving() || self.client_says.is_away() || self.plain.is_some() {
            return None;
        }
        self.to_origin
            .insert_control(&Message::window_ack_size(window))
    }

    pub(super) fn is_moving(&self) -> bool {
        self.moving().is_some()
    }

    fn moving(&self) -> Option<&Moving> {
        self.client_says.recipe.as_ref()?.moving.as_deref()
    }

    fn moving_mut(&mut self) -> Option<&mut Moving> {
        self.client_says.recipe.as_mut()?.moving.as_deref_mut()
    }
}

/// Reads what is for nobody.
fn read_past(reader: &mut ChunkReader, mut input: &[u8]) -> Result<(), ChunkError> {
    while reader.read(&mut input)?.is_some() {}
    Ok(())
}

/// What passes to an origin that is about to be left: media, and of the commands those that give the stream up.
struct Leaving<'a>(&'a [u32]);

impl Watch for Leaving<'_> {
    fn message(&mut self, header: &MessageHeader, body: Option<&[u8]>) -> Verdict {
        let is_command = matches!(header.kind, kind::COMMAND_AMF0 | kind::COMMAND_AMF3);
        let gives_up = || {
            let command = body.and_then(|body| Command::decode(header.kind, body).ok());
            command.is_some_and(|command| command.ends_stream())
        };
        if self.0.contains(&header.stream_id) || is_command && !gives_up() {
            Verdict::Drop
        } else {
            Verdict::Pass
        }
    }
}

/// What a fresh receiver has to be told before it gets chunks of a peer that has said long ago how long they are.
pub(super) fn own_chunk_size(walk: &Walk) -> Vec<u8> {
    let mut first = Vec::new();
    announce(walk.chunk_size(), &mut first);
    first
}

/// Maximum bytes that are kept for the other origin before a keyframe comes. What passes until then are commands and
/// control messages, a few hundred bytes of an encoder that streams.
const MAX_BEFORE: usize = 64 * 1024;
