//! One viewer of a feed: its connection, its place in the feed, and what it says.

use std::convert::Infallible;
use std::future::poll_fn;
use std::io::IoSlice;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use sluicegate_core::dialect::{ClientDialects, RtmpAsked};
use sluicegate_core::http::websocket::{ClientFrame, ClientFrames, Closing};
use sluicegate_core::media::feed::Feed as Media;
use sluicegate_core::media::tap;
use sluicegate_core::media::viewer::{CHUNK_SIZE, Envelope, Framing, Sent, State, Viewer};
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::rtmp::chunk::{ChunkReader, ChunkWriter};
use sluicegate_core::rtmp::header::DEFAULT_CHUNK_SIZE;
use sluicegate_core::rtmp::message::{Message, chunk_stream};
use sluicegate_core::rtmp::server::{Server, ServerEvent, StreamRequest};
use sluicegate_core::stream::Action;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;
use tracing::info;

use super::branch::Branch;
use super::feed::Visit;
use super::shadow::{self, Recipe, Shadow, ShadowEvent};
use super::{Entered, Joined};
use crate::metrics::Metrics;
use crate::net::linger_close;
use crate::net::wire::Wire;
use crate::proxy::Session;
use crate::sessions::{Direction, EndReason, Pull, Row, Tapped};

/// What a viewer speaks.
pub enum ViewerProtocol {
    /// HTTP: it says nothing more.
    Http(Framing),
    /// RTMP: a connection whose `play` on this message stream waits for its answer.
    Rtmp {
        /// Understands the client and answers it.
        server: Box<Server>,
        /// The message stream.
        stream_id: u32,
        /// How it names streams.
        dialects: Arc<ClientDialects>,
        /// The port that it came to.
        port: u16,
    },
    /// WebSocket-FLV.
    WebSocket(ClientFrames),
}

impl ViewerProtocol {
    const fn framing(&self) -> Framing {
        match self {
            Self::Http(framing) => *framing,
            Self::Rtmp { stream_id, .. } => Framing::Rtmp {
                chunk_size: CHUNK_SIZE,
                stream_id: *stream_id,
            },
            Self::WebSocket(_) => Framing::Flv(Envelope::WebSocket),
        }
    }

    /// What the client gets when its request is granted.
    fn grant(&mut self, first: &mut Vec<u8>) -> Result<(), EndReason> {
        let Self::Rtmp {
            server, stream_id, ..
        } = self
        else {
            return Ok(());
        };
        server.set_chunk_size(CHUNK_SIZE);
        server
            .accept(*stream_id)
            .map_err(|_| EndReason::ClientError)?;
        while let Some(bytes) = server.poll_output() {
            first.extend(bytes);
        }
        Ok(())
    }
}

/// A viewer, as its branch knows it.
pub(super) struct Seat {
    row: Arc<Row>,
    metrics: Arc<Metrics>,
    // A std mutex: the branch and the viewer's own task take it, on one thread.
    inner: Mutex<Inner>,
}

struct Inner {
    /// None: hyper has it, and asks for what comes.
    wire: Option<Wire>,
    viewer: Viewer,
    /// What the client gets besides media, and how much of it was taken.
    words: Vec<u8>,
    said: usize,
    /// What answers the client's own end.
    answer: Option<Vec<u8>>,
    paused: bool,
    /// The branch leaves it out: its own task goes on when its socket takes something, or has a turn for it.
    apart: bool,
    /// Wakes its own task.
    waker: Option<Waker>,
    /// How often it has skipped ahead, as far as it was counted.
    skips: u64,
    /// Bytes that it was sent.
    came: u64,
}

/// Why a write did nothing.
enum Unwritten {
    /// The socket takes nothing now.
    Full,
    /// The client is gone.
    Gone,
}

/// What a viewer waits for.
#[derive(PartialEq)]
enum Waits {
    /// For media.
    Feed,
    /// For its socket.
    Socket,
    /// For its turn.
    Turn,
}

impl Seat {
    /// Sends what is there, for as long as the socket takes it; called by the branch.
    pub(super) fn serve(&self, media: &Media, now: Instant) {
        let mut inner = self.lock();
        if inner.apart || inner.paused {
            return;
        }
        let Some(waker) = inner.waker.take() else {
            return;
        };
        if inner.wire.is_none() {
            return waker.wake();
        }
        let mut cx = Context::from_waker(&waker);
        if self.send(&mut inner, &mut cx, media, now, IN_A_PASS) == Waits::Turn {
            waker.wake_by_ref();
        }
        inner.waker = Some(waker);
    }

    /// The pull is over.
    pub(super) fn end(&self, end: LegEnd) {
        self.row.end(end.into());
    }

    /// Sends what is there, at most `most` writes of it.
    fn send(
        &self,
        inner: &mut Inner,
        cx: &mut Context<'_>,
        media: &Media,
        now: Instant,
        most: usize,
    ) -> Waits {
        let row = &*self.row;
        for _ in 0..most {
            match inner.write_once(cx, media, now, row) {
                Ok(Some(State::Idle)) => {
                    inner.apart = inner.poll_flush(cx).is_pending();
                    self.note_sent(inner);
                    return Waits::Feed;
                }
                Ok(Some(State::Over(_))) => {
                    row.end(EndReason::TooSlow);
                    return Waits::Feed;
                }
                Ok(Some(State::Blocked | State::More) | None) => {}
                Err(Unwritten::Full) => {
                    inner.apart = true;
                    self.note_sent(inner);
                    row.blocked(Direction::ToClient, true);
                    return Waits::Socket;
                }
                Err(Unwritten::Gone) => {
                    row.end(EndReason::ClientClosed);
                    return Waits::Feed;
                }
            }
        }
        inner.apart = true;
        self.note_sent(inner);
        Waits::Turn
    }

    fn note_sent(&self, inner: &mut Inner) {
        let skips = inner.viewer.skips();
        if skips > inner.skips {
            self.metrics.fanout_skips.inc_by(skips - inner.skips);
            inner.skips = skips;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Moves on what an encrypted wire has taken and not sent.
    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.wire {
            Some(wire) => Pin::new(wire).poll_flush(cx).map(|_| ()),
            None => Poll::Ready(()),
        }
    }

    /// One write: of words where they may stand, or of media. `None`: there may be more.
    fn write_once(
        &mut self,
        cx: &mut Context<'_>,
        media: &Media,
        now: Instant,
        row: &Row,
    ) -> Result<Option<State>, Unwritten> {
        let Self {
            wire,
            viewer,
            words,
            said,
            paused,
            came,
            ..
        } = self;
        let between = viewer.is_between_messages();
        let mut write = |slices: &[IoSlice<'_>]| {
            let Some(wire) = wire else {
                return Err(Unwritten::Gone);
            };
            let count = match Pin::new(wire).poll_write_vectored(cx, slices) {
                Poll::Ready(Ok(0) | Err(_)) => return Err(Unwritten::Gone),
                Poll::Ready(Ok(count)) => count,
                Poll::Pending => return Err(Unwritten::Full),
            };
            row.count(Direction::ToClient, count);
            row.blocked(Direction::ToClient, false);
            Ok(count)
        };
        if *said < words.len() {
            if viewer.finish(&mut write)? {
                let rest = words.get(*said..).unwrap_or_default();
                *said += write(&[IoSlice::new(rest)])?;
            }
            if *said >= words.len() {
                *words = Vec::new();
                *said = 0;
            }
            return Ok(None);
        }
        if *paused {
            return Ok(Some(State::Idle));
        }
        let framing = viewer.framing();
        let Sent { bytes, state } = viewer.send(media, now, |slices| {
            let count = write(slices)?;
            if row.tap.is_on() {
                copy(row, framing, between, slices, count);
            }
            Ok(count)
        })?;
        if bytes > 0 {
            *came += bytes as u64;
            note_media(row, framing, *came);
        }
        Ok(Some(state))
    }
}

/// Media flows when a viewer was sent something.
fn note_media(row: &Row, framing: Framing, came: u64) {
    match framing {
        Framing::Blocks(_) | Framing::Flv(_) => row.body_came(came),
        Framing::Rtmp { .. } => row.media_flows(),
    }
}

/// Copies what was written for who taps the session.
fn copy(row: &Row, framing: Framing, between: bool, slices: &[IoSlice<'_>], count: usize) {
    let mut bytes = Vec::with_capacity(count);
    for slice in slices {
        let left = count - bytes.len();
        bytes.extend_from_slice(slice.get(..left.min(slice.len())).unwrap_or_default());
    }
    row.tap.copy(&bytes, || match framing {
        Framing::Blocks(_) => None,
        Framing::Flv(_) => Some(Tapped::Flv),
        Framing::Rtmp { .. } => between.then(|| Tapped::Rtmp(Box::new(reader_of_chunks()))),
    });
}

/// A reader for what a RTMP viewer is sent from between two messages on.
fn reader_of_chunks() -> ChunkReader {
    let mut reader = ChunkReader::new(tap::MAX_PARTIAL);
    let mut bytes = Vec::new();
    let size = Message::set_chunk_size(CHUNK_SIZE);
    ChunkWriter::new(DEFAULT_CHUNK_SIZE).write(chunk_stream::CONTROL, &size, &mut bytes);
    // Our own bytes can be read.
    let _ = reader.read(&mut bytes.as_slice());
    reader
}

/// A session that watches a feed, until it ends.
pub struct Watching {
    seat: Arc<Seat>,
    branch: Arc<Branch>,
    voice: ViewerProtocol,
    guard: Guard,
    pull: Arc<Pull>,
    // Before the session, so that what the session ends finds the feed left.
    visit: Visit,
    session: Arc<Session>,
}

/// The origin's word on a viewer.
enum Guard {
    /// It is not asked for.
    None,
    /// It stands.
    Shadow(Box<Shadow>, Arc<Recipe>),
    /// The shadow is over, and it shows what that means.
    Doubt(Settling, Arc<Recipe>),
}

type Settling = Pin<Box<dyn Future<Output = Result<Shadow, EndReason>> + Send>>;

impl Watching {
    pub(super) fn begin(
        joined: Joined,
        wire: Option<Wire>,
        first: Vec<u8>,
        mut voice: ViewerProtocol,
    ) -> Box<Self> {
        let Joined {
            session,
            entered: Entered { visit, pull, .. },
            shadow,
        } = joined;
        let guard = shadow.map_or(Guard::None, |(shadow, recipe)| {
            Guard::Shadow(Box::new(shadow), Arc::new(recipe))
        });
        let mut words = first;
        if let Err(reason) = voice.grant(&mut words) {
            session.row().end(reason);
        }
        // What is in the kernel cannot be skipped.
        if let Some(wire) = &wire {
            let socket = socket2::SockRef::from(wire.tcp());
            let _ = socket.set_tcp_notsent_lowat(MAX_UNSENT);
        }
        let viewer = visit.feed.viewer(voice.framing());
        let seat = Arc::new(Seat {
            row: Arc::clone(session.row()),
            metrics: Arc::clone(session.metrics()),
            inner: Mutex::new(Inner {
                wire,
                viewer,
                words,
                said: 0,
                answer: None,
                paused: false,
                apart: true,
                waker: None,
                skips: 0,
                came: 0,
            }),
        });
        let branch = visit.feed.seat(&seat);
        Box::new(Self {
            seat,
            branch,
            voice,
            guard,
            pull,
            visit,
            session: Arc::new(session),
        })
    }

    pub(super) fn row(&self) -> &Row {
        &self.seat.row
    }

    /// Gives `take` what comes next, all of which it takes; where that is nothing, `cx` hears when there is more.
    pub(super) fn gather(
        &self,
        cx: &Context<'_>,
        now: Instant,
        take: impl FnOnce(&[IoSlice<'_>]) -> usize,
    ) -> Sent {
        let media = self.branch.media();
        let mut inner = self.seat.lock();
        let row = self.row();
        let framing = inner.viewer.framing();
        let between = inner.viewer.is_between_messages();
        let sent = inner.viewer.send(&media, now, |slices| {
            let count = take(slices);
            if row.tap.is_on() {
                copy(row, framing, between, slices, count);
            }
            Ok::<_, Infallible>(count)
        });
        let Ok(sent) = sent;
        if sent.bytes > 0 {
            row.count(Direction::ToClient, sent.bytes);
            inner.came += sent.bytes as u64;
            note_media(row, framing, inner.came);
            self.seat.note_sent(&mut inner);
        }
        if sent.state == State::Idle {
            inner.apart = false;
            inner.waker = Some(cx.waker().clone());
        }
        sent
    }

    /// Serves it to its end.
    pub async fn serve(mut self: Box<Self>) {
        let row = Arc::clone(self.session.row());
        let mut ended = pin!(row.ended());
        let reason = poll_fn(|cx| {
            if let Poll::Ready(reason) = ended.as_mut().poll(cx) {
                return Poll::Ready(reason);
            }
            if let Poll::Ready(reason) = self.poll_hear(cx) {
                return Poll::Ready(reason);
            }
            if let Poll::Ready(reason) = self.poll_guard(cx) {
                return Poll::Ready(reason);
            }
            self.go_on(cx);
            // Sending may have ended it.
            ended.as_mut().poll(cx)
        })
        .await;
        row.end(reason);
        let leaving = self.leaving(row.end_reason().unwrap_or(reason));
        // Its place in the feed and its session are free while the client hears the rest.
        drop(self);
        if let Some(leaving) = leaving {
            Box::pin(leaving.say()).await;
        }
    }

    /// The connection of a client that hears how its stream ended.
    fn leaving(&self, reason: EndReason) -> Option<Leaving> {
        let mut inner = self.seat.lock();
        let answer = inner.answer.take();
        let last = match (&self.voice, answer) {
            (_, Some(answer)) => answer,
            // It is gone.
            _ if reason == EndReason::ClientClosed => return None,
            (ViewerProtocol::WebSocket(_), None) => reason.closing().frame().to_vec(),
            (ViewerProtocol::Http(framing), None) => match framing {
                Framing::Blocks(Envelope::Chunked) | Framing::Flv(Envelope::Chunked)
                    if reason.closing() == Closing::Over =>
                {
                    LAST_CHUNK.to_vec()
                }
                _ => return None,
            },
            (ViewerProtocol::Rtmp { .. }, None) => return None,
        };
        let wire = inner.wire.take()?;
        let words = std::mem::take(&mut inner.words);
        let mut last_words = words.get(inner.said..).unwrap_or_default().to_vec();
        last_words.extend(last);
        let seat = Arc::clone(&self.seat);
        Some(Leaving {
            wire,
            seat,
            last_words,
        })
    }

    /// Hears the origin's word on the viewer; ready when that ends the session.
    pub(super) fn poll_guard(&mut self, cx: &mut Context<'_>) -> Poll<EndReason> {
        let shared = self.visit.feed.shared();
        loop {
            self.guard = match &mut self.guard {
                Guard::None => return Poll::Pending,
                Guard::Shadow(shadow, recipe) => match ready!(shadow.poll(cx)) {
                    ShadowEvent::IgnoresPause => {
                        shared.note_unpausable(&shadow.origin);
                        continue;
                    }
                    ShadowEvent::Over(end) => {
                        self.session.end_leg(end);
                        let settling = shadow::settle(
                            Arc::clone(shared),
                            Arc::clone(&self.session),
                            Arc::clone(&self.pull),
                            Arc::clone(recipe),
                        );
                        Guard::Doubt(Box::pin(settling), Arc::clone(recipe))
                    }
                },
                Guard::Doubt(settling, recipe) => match ready!(settling.as_mut().poll(cx)) {
                    Ok(shadow) => Guard::Shadow(Box::new(shadow), Arc::clone(recipe)),
                    Err(reason) => return Poll::Ready(reason),
                },
            };
        }
    }

    /// Sends by itself, where the branch leaves it out.
    fn go_on(&self, cx: &mut Context<'_>) {
        let media = self.branch.media();
        let mut inner = self.seat.lock();
        if !inner
            .waker
            .as_ref()
            .is_some_and(|waker| waker.will_wake(cx.waker()))
        {
            inner.waker = Some(cx.waker().clone());
        }
        if inner.apart {
            let now = Instant::now();
            let waits = self.seat.send(&mut inner, cx, &media, now, IN_A_TURN);
            if waits == Waits::Turn {
                cx.waker().wake_by_ref();
            }
        }
    }

    /// Reads what the client says; ready when that ends the session.
    fn poll_hear(&mut self, cx: &mut Context<'_>) -> Poll<EndReason> {
        loop {
            let mut room = [0; HEARD_AT_ONCE];
            let mut buffer = ReadBuf::new(&mut room);
            let mut inner = self.seat.lock();
            let Some(wire) = &mut inner.wire else {
                return Poll::Pending;
            };
            let read = ready!(Pin::new(wire).poll_read(cx, &mut buffer));
            let heard = buffer.filled();
            if read.is_err() || heard.is_empty() {
                return Poll::Ready(EndReason::ClientClosed);
            }
            if let Err(reason) = hear(&mut self.voice, &mut inner, heard, &self.seat.row) {
                return Poll::Ready(reason);
            }
            if inner.words.len() > MAX_WORDS {
                return Poll::Ready(EndReason::ClientError);
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        self.branch.remove(&self.seat);
    }
}

/// A viewer that has left its feed, and has still to hear how its stream ended.
struct Leaving {
    wire: Wire,
    seat: Arc<Seat>,
    /// What follows the message that it has half of.
    last_words: Vec<u8>,
}

impl Leaving {
    /// Says it, and closes. A client that does not read it in time does not hear it.
    async fn say(self) {
        let Self {
            mut wire,
            seat,
            last_words,
        } = self;
        let finished = poll_fn(|cx| poll_finish(&mut seat.lock().viewer, &mut wire, cx));
        if timeout(linger_close::TIME_LIMIT, finished).await == Ok(true) {
            linger_close::say(&mut wire, &last_words, linger_close::TIME_LIMIT).await;
        }
    }
}

/// Sends the rest of a message that the client has half of; false: the client is gone.
fn poll_finish(viewer: &mut Viewer, wire: &mut Wire, cx: &mut Context<'_>) -> Poll<bool> {
    loop {
        let write =
            |slices: &[IoSlice<'_>]| match Pin::new(&mut *wire).poll_write_vectored(cx, slices) {
                Poll::Ready(Ok(count)) if count > 0 => Ok(count),
                Poll::Ready(_) => Err(Unwritten::Gone),
                Poll::Pending => Err(Unwritten::Full),
            };
        match viewer.finish(write) {
            Ok(true) => return Poll::Ready(true),
            Ok(false) => {}
            Err(Unwritten::Full) => return Poll::Pending,
            Err(Unwritten::Gone) => return Poll::Ready(false),
        }
    }
}

/// Takes what a client said.
fn hear(
    voice: &mut ViewerProtocol,
    inner: &mut Inner,
    heard: &[u8],
    row: &Row,
) -> Result<(), EndReason> {
    match voice {
        ViewerProtocol::Http(_) => Err(EndReason::ClientError),
        ViewerProtocol::WebSocket(frames) => {
            let mut rest = heard;
            let said = frames.read(&mut rest);
            match said.map_err(|_| EndReason::ClientError)? {
                Some(ClientFrame::Close(answer)) => {
                    inner.answer = Some(answer);
                    Err(EndReason::ClientClosed)
                }
                Some(ClientFrame::Ping(answer)) => {
                    inner.say(&answer);
                    hear(voice, inner, rest, row)
                }
                None => Ok(()),
            }
        }
        ViewerProtocol::Rtmp {
            server,
            stream_id,
            dialects,
            port,
        } => {
            let fed = server.feed(heard);
            let is_same = |request: &StreamRequest| {
                let asked = RtmpAsked {
                    tc_url: &request.tc_url,
                    name: &request.name,
                };
                dialects.rtmp(&asked, *port).as_ref() == Ok(&row.request.stream)
            };
            let handled = handle(server, *stream_id, inner, row, is_same);
            while let Some(bytes) = server.poll_output() {
                inner.say(&bytes);
            }
            handled?;
            fed.map_err(|error| {
                info!(session = row.id, %error, "the client's RTMP cannot be read");
                EndReason::ClientError
            })
        }
    }
}

/// What an RTMP client did. `is_same` says whether it asks for the stream of its session.
fn handle(
    server: &mut Server,
    own: u32,
    inner: &mut Inner,
    row: &Row,
    is_same: impl Fn(&StreamRequest) -> bool,
) -> Result<(), EndReason> {
    let mut closed = false;
    while let Some(event) = server.poll_event() {
        match event {
            ServerEvent::Closed { stream_id } => closed |= stream_id == own,
            ServerEvent::Connect(_) | ServerEvent::Media(_) => {}
            ServerEvent::Paused { paused, .. } => {
                inner.paused = paused;
                inner.apart = true;
            }
            ServerEvent::Request(request) if request.stream_id != own => {
                // Some servers would play both; here the first goes on.
                let code = match request.action {
                    Action::Play => "NetStream.Play.Failed",
                    Action::Publish => "NetStream.Publish.BadName",
                };
                let stream = &row.request.stream;
                let words = format!(
                    "this connection carries {stream}, and one connection carries one stream: open another one"
                );
                let refused = server.refuse(request.stream_id, code, &words);
                refused.map_err(|_| EndReason::ClientError)?;
            }
            ServerEvent::Request(request) => {
                if !is_same(&request) {
                    return Err(EndReason::SecondStream);
                }
                let granted = server.accept(request.stream_id);
                granted.map_err(|_| EndReason::ClientError)?;
                // It asked for the same again, in place of what it had.
                closed = false;
            }
        }
    }
    if closed {
        return Err(EndReason::ClientClosed);
    }
    Ok(())
}

impl Inner {
    /// Has words for the client, which go out between two messages.
    fn say(&mut self, words: &[u8]) {
        self.words.extend_from_slice(words);
        self.apart = true;
    }
}

/// Writes for one viewer in a pass: what came in a batch takes one, and there may be a rest before it.
const IN_A_PASS: usize = 3;
/// Writes for one viewer in its own turn: a group of pictures takes some.
const IN_A_TURN: usize = 16;
/// What the kernel may hold for a viewer that was not sent yet, in bytes: at 100 ms of round trip enough for 10 Mbit/s.
/// Without it, a viewer that takes nothing has four megabytes in the kernel before anybody notices.
const MAX_UNSENT: u32 = 128 * 1024;
/// Players say little.
const HEARD_AT_ONCE: usize = 512;
/// Answers that wait for a client that asks and does not read.
const MAX_WORDS: usize = 16 * 1024;
/// The end of a body in the chunked coding (RFC 9112 §7.1).
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
