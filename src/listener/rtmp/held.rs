//! A publisher whose origin is lost: it is read on and acknowledged, while another origin is found for its stream.
//!
//! An encoder must not notice: OBS gives up 15 s after nothing more is read from it. What it sends meanwhile is dropped,
//! except for the headers of its tracks, which the next origin needs.

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_core::place::hold::HoldLimit;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::rtmp::join::Joined;
use sluicegate_core::rtmp::server::Identified;
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep_until, timeout};

use super::moves::Move;
use super::refused::{status, told};
use super::{Asking, Pair, Redirect, Rtmp, Watched};
use crate::net::entrance::Ends;
use crate::net::linger_close;
use crate::net::relay::Passage;
use crate::net::wire::Wire;
use crate::origin::elsewhere::Elsewhere;
use crate::proxy::{Attempt, DialError, Proxy, Refusal};
use crate::sessions::{Direction, EndReason, Over, Row};

/// What finds another origin for a publisher.
#[derive(Debug)]
pub(super) struct Again {
    pub(super) asker: Asker,
    /// Bytes after which its origin was asked to acknowledge.
    window: u32,
    /// What goes to the origin together with a question of ours.
    out: Vec<u8>,
    /// Its way to another origin, while it has one.
    pub(super) moving: Option<Box<Move>>,
    /// How long a publisher may be without an origin.
    pub(super) hold: HoldLimit,
}

/// What asks an origin on behalf of a publisher that others have taken before.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    rtmp: Rtmp,
    pub(super) proxy: Proxy,
    ends: Ends,
    /// The query parameters that origins do not get.
    taken_out: Box<[Box<str>]>,
    elsewhere: Arc<Elsewhere<Redirect>>,
}

impl Again {
    pub(super) fn new(
        rtmp: Rtmp,
        proxy: Proxy,
        ends: Ends,
        hold: Duration,
        taken_out: &[Box<str>],
    ) -> Box<Self> {
        Box::new(Self {
            asker: Asker {
                rtmp,
                proxy,
                ends,
                taken_out: taken_out.into(),
                elsewhere: Arc::default(),
            },
            window: 0,
            out: Vec::new(),
            moving: None,
            hold: HoldLimit::new(Instant::now().into_std(), hold),
        })
    }

    /// What asks its origin to acknowledge, if it is to be asked before the next bytes.
    pub(super) fn question(&mut self, joined: &mut Joined, row: &Row) -> Option<Vec<u8>> {
        let window = row.window();
        if window == self.window {
            // What went with the last question has been written: its room is a picture's, for as long as the session lasts.
            self.out = Vec::new();
            return None;
        }
        let question = joined.ask_acknowledgements(window)?;
        self.window = window;
        row.asked_acks(window);
        Some(question)
    }

    /// Puts `question` before `bytes`, for the origin.
    pub(super) fn before(&mut self, question: &[u8], bytes: &[u8]) -> &[u8] {
        self.out.clear();
        self.out.extend_from_slice(question);
        self.out.extend_from_slice(bytes);
        &self.out
    }

    /// Another origin has it, which was asked for nothing yet.
    pub(super) fn begins_elsewhere(&mut self, row: &Row) {
        self.window = 0;
        self.out = Vec::new();
        row.asked_acks(0);
    }

    pub(super) const fn is_moving(&self) -> bool {
        self.moving.is_some()
    }
}

impl Asker {
    /// Asks an origin to take the stream. What it said to the client meanwhile comes last.
    pub(super) async fn ask(
        &self,
        attempt: Attempt,
        row: &Row,
        identified: &Identified,
    ) -> Result<(Wire, Joined, Vec<u8>), DialError> {
        // It reads chunks as its first origin wrote them, so that it is told in ours.
        let said = Mutex::new(None);
        let asking = Asking {
            proxy: &self.proxy,
            stream: &row.request.stream,
            identified,
            ends: self.ends,
            is_held: true,
            taken_out: &self.taken_out,
            said: &said,
            elsewhere: &self.elsewhere,
        };
        self.rtmp.ask(attempt, asking).await
    }
}

/// Keeps little in our own buffers of what an origin has yet to take, so that one that takes nothing is noticed.
pub(super) fn notice_early(origin: &Wire) {
    let _ = SockRef::from(origin.tcp()).set_tcp_notsent_lowat(MAX_UNSENT);
}

impl Pair {
    /// Keeps the publisher until another origin has its stream.
    ///
    /// # Errors
    /// What is over, and why, when none has it in time, one says no, or the client leaves.
    pub(super) async fn hold(&mut self, end: LegEnd, mut again: Box<Again>) -> Result<(), Over> {
        // A move that has not come far is over.
        again.moving = None;
        let row = self.session.row();
        let (now, action) = (Instant::now().into_std(), row.request.action);
        let Some(deadline) = again.hold.deadline(now, action, row.origin().as_ref(), end) else {
            row.tell_closed_again();
            return Err(Over::Leg(end));
        };
        let deadline = deadline.into();
        let recipe = self.passage.joined.recipe();
        let identified = recipe.and_then(|recipe| recipe.identified());
        let (Some(identified), Some(lost)) = (identified, self.session.lose_leg(end)) else {
            return Err(Over::Leg(end));
        };
        let _told = self.session.tell_held(again.hold.time());
        let received = self.session.row().bytes(Direction::ToOrigin);
        let owed = self.passage.joined.lose_origin(received);
        self.first.extend(owed);
        self.passage.flows = false;
        let row = self.session.row();
        let asker = &again.asker;
        let ask = |attempt| asker.ask(attempt, row, &identified);
        let found = tokio::select! {
            biased;
            reason = row.ended() => return Err(Over::Session(reason)),
            reason = read_on(&mut self.client, &mut self.passage, &mut self.first) => {
                return Err(Over::Session(reason));
            }
            found = self.session.dial_again((&lost, end), ask) => found,
            () = sleep_until(deadline) => return Err(Over::Leg(end)),
        };
        let (origin, joined, said) = match found {
            Ok(found) => found,
            Err(refusal) => {
                self.note_words(&refusal);
                return Err(Over::Leg(LegEnd::Refused));
            }
        };
        // An origin that lives hears only now that the publisher leaves it: another has the stream.
        notice_early(&origin);
        self.origin = origin;
        let Ok(first) = self.passage.joined.resume(joined, &said) else {
            return Err(Over::Leg(LegEnd::Broken));
        };
        self.first
            .extend(self.passage.joined.take_words().unwrap_or_default());
        self.passage.date_error();
        // One that does not take these few bytes is lost again, which the relay finds.
        let sent = async {
            self.origin.write_all(&first).await?;
            self.origin.flush().await
        };
        let _ = timeout(linger_close::TIME_LIMIT, sent).await;
        again.hold.joined(Instant::now().into_std());
        again.begins_elsewhere(self.session.row());
        self.passage.again = Some(again);
        Ok(())
    }

    /// Notes what the client is to hear of why it is let go.
    fn note_words(&mut self, refusal: &Refusal) {
        let asked = self.passage.asked();
        let Some((code, words)) = told(asked.action, refusal) else {
            return;
        };
        let message = status(asked, code, &words);
        let words = self.passage.joined.message_to_client(&message);
        self.first.extend(words.unwrap_or_default());
    }
}

/// Reads what the client sends, and acknowledges it; `first` is what it has yet to take, and grows by that. Returns why
/// the session is over.
async fn read_on(client: &mut Wire, passage: &mut Watched, first: &mut Vec<u8>) -> EndReason {
    let mut buffer = vec![0; READ];
    loop {
        let count = match client.read(&mut buffer).await {
            Ok(count) if count > 0 => count,
            _ => return EndReason::ClientClosed,
        };
        let input = buffer.get(..count).unwrap_or_default();
        passage.row.count(Direction::ToOrigin, count);
        let dropped = passage.to_origin(input).map(drop);
        if let Err(reason) = dropped.and_then(|()| passage.passed()) {
            return reason;
        }
        if passage.joined.client_has_left() {
            return EndReason::ClientClosed;
        }
        // A client that takes nothing gets no further acknowledgements.
        if first.len() < MAX_UNTAKEN {
            first.extend(passage.words().unwrap_or_default());
        }
        if first.is_empty() {
            continue;
        }
        match client.try_write(first) {
            Ok(wrote) => drop(first.drain(..wrote)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return EndReason::ClientClosed,
        }
    }
}

/// Bytes that may wait in our kernel for an origin's, besides those that are on their way: at 2 Mbit/s half a second.
const MAX_UNSENT: u32 = 128 * 1024;
/// One read of a publisher that is held; the room is given back when it goes on.
const READ: usize = 64 * 1024;
/// Bytes of ours that may wait for a client while it is held.
const MAX_UNTAKEN: usize = 1024;
