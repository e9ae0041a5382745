//! The bytes of a viewer and an origin that are joined.

use std::sync::Arc;

use futures_util::future::Either;
use sluicegate_core::http::framing::{BodyReader, Framing, Part};
use sluicegate_core::http::websocket::ServerFrames;
use sluicegate_core::place::leg::LegEnd;
use tokio::net::TcpStream;

use super::socket::close_socket;
use crate::hub::Watching;
use crate::listener::pair;
use crate::net::relay::{DelayedAcks, Passage};
use crate::sessions::{EndReason, Over, Row, Tapped};

/// A viewer and an origin, joined.
pub(super) type Pair = pair::Pair<Raw>;

/// A connection whose set-up is over.
pub(in crate::listener::http) enum Served {
    Pair(Box<Pair>),
    Watching(Box<Watching>),
}

impl Served {
    // Without a future around the two, which would keep room for itself.
    pub(in crate::listener::http) fn serve(self) -> impl Future<Output = ()> + Send {
        match self {
            Self::Pair(pair) => Either::Left(serve_pair(pair)),
            Self::Watching(watching) => Either::Right(watching.serve()),
        }
    }
}

/// Relays to the end; a viewer over a WebSocket that is ended here hears it.
async fn serve_pair(mut pair: Box<Pair>) {
    let over = pair.relay_leg().await;
    pair.session.over(over);
    let (Over::Session(reason), Some(frames)) = (over, pair.passage.frames.take()) else {
        return;
    };
    let Pair {
        client,
        mut origin,
        first,
        session,
        ..
    } = *pair;
    drop(session);
    Box::pin(close_socket(client, &mut origin, frames, &first, reason)).await;
}

/// Passes bytes as they are; what a viewer sends is only its end, unless the protocol was switched.
#[derive(Debug)]
pub(in crate::listener::http) struct Raw {
    row: Arc<Row>,
    came: u64,
    /// Where the origin is in what it says, if the protocol was switched.
    pub(in crate::listener::http) frames: Option<Box<ServerFrames>>,
    /// What takes a body out of its chunks, for a client that knows none.
    pub(super) chunks: Option<Box<Chunks>>,
    unhurried: DelayedAcks,
}

/// A body in chunks, on its way to a client that knows none.
#[derive(Debug)]
pub(super) struct Chunks {
    reader: BodyReader,
    /// What came and was not taken: part of a line between chunks, which is malformed where it is longer than a head may be.
    rest: Vec<u8>,
    /// Of the last bytes that came: what is the body's.
    body: Vec<u8>,
    /// The last chunk came, or what is none.
    over: Option<LegEnd>,
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            reader: BodyReader::new(Framing::Chunked),
            rest: Vec::new(),
            body: Vec::new(),
            over: None,
        }
    }
}

impl Chunks {
    fn take(&mut self, input: &[u8]) -> &[u8] {
        self.body.clear();
        if self.over.is_none() {
            self.rest.extend_from_slice(input);
        }
        let mut at = 0;
        while self.over.is_none() {
            let rest = self.rest.get(at..).unwrap_or_default();
            match self.reader.next(rest) {
                Ok(Part::Data(count)) => {
                    self.body
                        .extend_from_slice(rest.get(..count).unwrap_or_default());
                    at += count;
                }
                Ok(Part::Skip(count)) => at += count,
                Ok(Part::More) => break,
                Ok(Part::End) => self.over = Some(LegEnd::Closed),
                Err(_) => self.over = Some(LegEnd::Broken),
            }
        }
        self.rest.drain(..at);
        &self.body
    }
}

impl Raw {
    /// A passage after these first bytes of the body; `upgraded` says that the protocol was switched.
    pub(in crate::listener::http) fn new(row: &Arc<Row>, first: &[u8], upgraded: bool) -> Self {
        let came = first.len() as u64;
        row.body_came(came);
        let mut frames = upgraded.then(Box::<ServerFrames>::default);
        if let Some(frames) = &mut frames {
            frames.pass(first);
        }
        Self {
            row: Arc::clone(row),
            came,
            frames,
            chunks: None,
            unhurried: DelayedAcks::default(),
        }
    }

    /// The bytes of the body in `input`, where it comes in chunks and its client knows none.
    pub(super) fn without_chunks<'a>(&'a mut self, input: &'a [u8]) -> &'a [u8] {
        match &mut self.chunks {
            Some(chunks) => chunks.take(input),
            None => input,
        }
    }
}

impl Passage for Raw {
    fn read_from_origin(&mut self, origin: &TcpStream) {
        if self.row.first_media().is_some() {
            self.unhurried.read(origin);
        }
    }

    fn to_client<'a>(&'a mut self, input: &'a [u8]) -> Result<&'a [u8], LegEnd> {
        if self.row.tap.is_on() {
            self.row.tap.copy(input, || Some(Tapped::Flv));
        }
        if let Some(frames) = &mut self.frames {
            frames.pass(input);
        }
        self.came += input.len() as u64;
        self.row.body_came(self.came);
        Ok(self.without_chunks(input))
    }

    fn to_origin<'a>(&'a mut self, input: &'a [u8]) -> Result<&'a [u8], EndReason> {
        if self.frames.is_some() {
            Ok(input)
        } else {
            Err(EndReason::ClientError)
        }
    }

    /// An origin may keep its connection after the last chunk, whose client hears the end of the body by that of its own.
    fn leg_end(&self) -> Option<LegEnd> {
        self.chunks.as_ref()?.over
    }
}
