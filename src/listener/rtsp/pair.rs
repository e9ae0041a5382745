//! A client and an origin that talk through us.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::rtsp::challenge::{is_stale, shows_credentials};
use sluicegate_core::rtsp::join::{FromClient, Join, News, Offer, Parting};
use sluicegate_core::rtsp::media::Channels;
use sluicegate_core::rtsp::message::{Message, Method, Refused};
use sluicegate_core::rtsp::rewrite::to_origin;
use sluicegate_core::rtsp::walk::{Step, Walk, WalkError};
use sluicegate_core::stream::Action;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::{debug, info};

use super::super::{pair, turned_away};
use super::datagrams::{AddressPair, Datagrams, UdpPorts};
use super::leg::{AnswerMeaning, Leg, status_line};
use crate::net::entrance::Ends;
use crate::net::linger_close;
use crate::net::relay::{DelayedAcks, Passage};
use crate::net::wire::Wire;
use crate::proxy::{Proxy, Refusal, Session};
use crate::sessions::{Direction, EndReason, Over, Row};

/// A client and an origin, joined. Until it has begun, `first` is what the origin said that was not looked at.
pub(super) type Pair = pair::Pair<Watched>;

/// The walks of a session, and what they find.
pub(super) struct Watched {
    from_client: Walk,
    from_origin: Walk,
    join: Join,
    row: Arc<Row>,
    /// What came out of the last input that was changed.
    out: Vec<u8>,
    /// Refusals of ours that the client has yet to get.
    words: Vec<u8>,
    udp: Option<Arc<UdpPorts>>,
    datagrams: Datagrams,
    unhurried: DelayedAcks,
    /// Who said no last, if nothing flowed since.
    no: Option<No>,
    proxy: Proxy,
    /// Of what the log is told once.
    told: Told,
    /// Whose bytes cannot be read. What came before them passes.
    broken: Option<Over>,
    /// The numbers of requests that say nothing of the stream, such as those that keep a session alive, until they are
    /// answered.
    asides: VecDeque<u32>,
    /// The numbers of requests that show who the client is, until they are answered.
    showing: VecDeque<u32>,
    /// The origin has taken all that passed to it.
    is_even: bool,
}

/// Who says no to a client.
enum No {
    /// The origin, in these words.
    Origins(Box<str>),
    /// We, which the log was told.
    Ours,
}

/// What the log was told of a session.
#[derive(Default)]
struct Told {
    refusal: bool,
    no_ports: bool,
    stray_bytes: bool,
    unasked: bool,
}

impl Pair {
    /// Puts the two together. `from_client` is the walk over what the client said so far.
    pub(super) fn new(
        client: Wire,
        leg: Leg,
        (join, from_client): (Join, Walk),
        session: Session,
        ends: Ends,
        udp: Option<Arc<UdpPorts>>,
    ) -> Box<Self> {
        let theirs = leg.peer().ip();
        let Leg {
            stream, walk, rest, ..
        } = leg;
        let facing_origin = stream
            .tcp()
            .local_addr()
            .map_or_else(|_| ends.local.ip(), |address| address.ip().to_canonical());
        let row = Arc::clone(session.row());
        let datagrams = Datagrams::new(
            Arc::clone(&row),
            session.metrics(),
            AddressPair {
                ours: ends.local.ip(),
                theirs: ends.client.ip(),
            },
            AddressPair {
                ours: facing_origin,
                theirs,
            },
        );
        let passage = Watched {
            from_client,
            from_origin: walk,
            join,
            row,
            out: Vec::new(),
            words: Vec::new(),
            udp,
            datagrams,
            unhurried: DelayedAcks::default(),
            no: None,
            proxy: session.proxy().clone(),
            told: Told::default(),
            broken: None,
            asides: VecDeque::new(),
            showing: VecDeque::new(),
            is_even: true,
        };
        Box::new(Self {
            client,
            origin: stream,
            passage,
            first: rest,
            session,
        })
    }

    /// Passes on what was said during set-up: `answer` of the origin, and of the client a SETUP that is yet to be
    /// heard and `rest`. `None` if that ends it.
    pub(super) async fn begin(
        mut self: Box<Self>,
        answer: Vec<u8>,
        request: &Message,
        rest: Vec<u8>,
    ) -> Option<Box<Self>> {
        let row = Arc::clone(self.session.row());
        let more = std::mem::replace(&mut self.first, answer);
        let mut said = Vec::new();
        if request.method() == Some(Method::Setup) && self.first.is_empty() {
            said.extend(self.passage.hear(request));
        }
        self.first.extend(self.passage.walk_to_client(&more));
        said.extend(self.passage.walk_to_origin(&rest));
        row.count(Direction::ToClient, more.len());
        row.count(Direction::ToOrigin, rest.len());
        let _ = self.passage.passed();
        let written = timeout(TIME_LIMIT, self.origin.write_all(&said)).await;
        if let Some(over) = self.passage.broken {
            // What was answered before that is heard.
            let mut last = std::mem::take(&mut self.first);
            last.extend(self.passage.words().unwrap_or_default());
            linger_close::say(&mut self.client, &last, linger_close::TIME_LIMIT).await;
            self.session.over(over);
            self.part(over).await;
            return None;
        }
        if !matches!(written, Ok(Ok(()))) {
            self.session.over(Over::Leg(LegEnd::Reset));
            return None;
        }
        Some(self)
    }

    /// Relays to the end. A client that left because its origin or we said no was refused.
    pub(super) async fn serve(mut self: Box<Self>) {
        let over = self.relay_leg().await;
        let words = self.passage.words().filter(|_| self.first.is_empty());
        if let (Over::Session(EndReason::ClientError), Some(words)) = (over, words) {
            let client = &mut self.client;
            // Out of the room that is kept for hours.
            Box::pin(linger_close::say(client, &words, linger_close::TIME_LIMIT)).await;
        }
        let left = matches!(
            over,
            Over::Leg(LegEnd::Closed | LegEnd::Reset) | Over::Session(EndReason::ClientClosed)
        );
        match self.passage.no.take().filter(|_| left) {
            None => self.session.over(over),
            // The log was told of it, and it says nothing of the origin.
            Some(No::Ours) => {
                if matches!(over, Over::Session(_)) {
                    self.session.row().end(EndReason::Refused);
                }
                self.session.over(over);
            }
            Some(No::Origins(words)) => {
                let origin = self.session.row().placed().origin;
                self.session.refuse(&Refusal::Refused {
                    origin: origin.unwrap_or_else(|| "-".into()),
                    description: words.into(),
                });
                self.session.over(Over::Leg(LegEnd::Refused));
            }
        }
        // Out of the room that is kept for hours.
        Box::pin(self.part(over)).await;
    }

    /// Tells an origin that lives that the session is over, unless its client has. Both are gone for us as soon as that is said:
    /// a client that comes back is not to find its own session at the origin. The ports of datagrams are kept for the answer.
    async fn part(self: Box<Self>, over: Over) {
        let Self {
            client,
            mut origin,
            mut passage,
            session,
            ..
        } = *self;
        let is_gone = matches!(over, Over::Leg(LegEnd::Closed | LegEnd::Reset));
        if is_gone {
            passage.datagrams.end();
        }
        if is_gone || !passage.may_say_last() {
            return;
        }
        let id = session.row().id;
        let mut both = Some((client, session));
        let parted = timeout(
            TELL_WITHIN,
            passage.say_last(&mut origin, || drop(both.take())),
        )
        .await;
        match parted {
            Ok(Ok(())) => debug!(session = id, "the origin knows of the end"),
            Ok(Err(error)) => debug!(session = id, %error, "the origin was not told of the end"),
            Err(_) => debug!(
                session = id,
                "the origin did not answer in time that it is the end"
            ),
        }
    }
}

impl Watched {
    /// Whether a request of ours can follow what passed to the origin.
    const fn may_say_last(&self) -> bool {
        self.is_even && self.from_client.is_between()
    }

    /// Says what there is to say to the origin, then calls `when_said`, and hears its answer.
    async fn say_last(
        &mut self,
        origin: &mut Wire,
        mut when_said: impl FnMut(),
    ) -> std::io::Result<()> {
        let mut buffer = Vec::new();
        loop {
            match self.join.part() {
                Parting::Over => return Ok(()),
                Parting::Say(words) => {
                    origin.write_all(&words).await?;
                    // As clients do that leave.
                    origin.shutdown().await?;
                }
                Parting::Wait => {}
            }
            when_said();
            buffer.clear();
            buffer.reserve(LAST_READ);
            if origin.read_buf(&mut buffer).await? == 0 {
                // It sees our end, and need not have heard what came before.
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let mut rest = buffer.as_slice();
            while let Some(step) = self
                .from_origin
                .step(&mut rest)
                .map_err(std::io::Error::other)?
            {
                if let Step::Message(message) = step {
                    let heard = self.join.from_origin(&message);
                    self.note(heard.news);
                }
            }
        }
    }

    /// Notes what the origin says to a request before anything flows: the last word counts, since a client whose transport
    /// was refused may offer another.
    fn note_answer(&mut self, message: &Message) {
        if message.status().is_none_or(|status| status < 200) {
            return;
        }
        let number = message.cseq();
        if is_among(&mut self.asides, number) {
            return;
        }
        let has_shown = is_among(&mut self.showing, number);
        let refuses = match AnswerMeaning::of(message) {
            AnswerMeaning::Refuses => true,
            AnswerMeaning::Challenges => {
                let is_final = self.join.is_unanswerable(message);
                is_final || (has_shown && !is_stale(message))
            }
            AnswerMeaning::Grants | AnswerMeaning::Moves(_) => false,
        };
        self.no = (refuses && self.row.first_media().is_none())
            .then(|| No::Origins(status_line(message).into()));
    }

    /// Notes a request whose answer says nothing of the stream: many origins reject what a client keeps its session alive
    /// with, and serve it all the same.
    fn note_aside(&mut self, message: &Message) {
        let asks = matches!(
            message.method(),
            None | Some(
                Method::Announce | Method::Describe | Method::Play | Method::Record | Method::Setup
            )
        );
        let Some(number) = message.cseq().filter(|_| !asks) else {
            return;
        };
        push(&mut self.asides, number);
    }

    /// What the origin gets for a message of the client.
    fn hear(&mut self, message: &Message) -> Vec<u8> {
        let heard = self.join.from_client(message);
        if heard == FromClient::Pass {
            self.note_aside(message);
        }
        self.note_channels(message);
        let renamed = self.join.for_origin(message);
        let asked = message;
        let message = renamed.as_ref().unwrap_or(message);
        if !matches!(heard, FromClient::Refuse(_)) {
            self.join.passes(asked, message);
            if let Some(number) = message.cseq().filter(|_| shows_credentials(message)) {
                push(&mut self.showing, number);
            }
            if matches!(message.method(), Some(Method::Play | Method::Record)) {
                self.datagrams.begin();
            }
        }
        match heard {
            FromClient::OverTcp => self.join.over_tcp(message),
            FromClient::Pass => to_origin(message, message.bytes().to_vec()),
            FromClient::Refuse(refused) => self.refuse(message, &refused),
            FromClient::Setup(offer) => self.set_up(message, offer),
        }
    }

    /// A SETUP for datagrams, with ports of ours for the origin to send to.
    fn set_up(&mut self, message: &Message, offer: Offer) -> Vec<u8> {
        let Some(udp) = &self.udp else {
            return match self.join.without_datagrams(&offer, message) {
                Ok(bytes) => bytes,
                Err(refused) => self.refuse(message, &refused),
            };
        };
        match self.datagrams.prepare(udp, &offer) {
            Ok((facing_origin, facing_client)) => {
                self.join
                    .grant(offer, message, facing_origin, facing_client)
            }
            Err(error) => {
                if !std::mem::replace(&mut self.told.no_ports, true) {
                    let error = format!("no ports for a track over UDP: {error}");
                    let refusal = Refusal::Exhausted { error };
                    self.proxy.note_refusal(&self.row.request, &refusal);
                }
                let words = "Not Enough Bandwidth: no port is free for media over UDP; use TCP";
                self.say_no(Refused::new(453, words).answer(message))
            }
        }
    }

    /// Refuses what a rule is against.
    fn refuse(&mut self, message: &Message, refused: &Refused) -> Vec<u8> {
        if !std::mem::replace(&mut self.told.refusal, true) {
            turned_away::log_within(&self.row, refused.status, refused.rule());
        }
        self.say_no(refused.answer(message))
    }

    fn say_no(&mut self, words: Vec<u8>) -> Vec<u8> {
        if self.row.first_media().is_none() {
            self.no = Some(No::Ours);
        }
        // A client that asks on and on and never reads holds no more than this.
        if self.words.len() + words.len() > MAX_WORDS {
            self.row.end(EndReason::ClientError);
        } else {
            self.words.extend(words);
        }
        Vec::new()
    }

    fn note_media(&self) {
        let flows = match self.row.request.action {
            Action::Play if self.from_client.saw_rtp() => return self.row.talks_back(),
            Action::Play => self.from_origin.saw_media(),
            Action::Publish => self.from_client.saw_media(),
        };
        if flows && self.row.first_media().is_none() {
            self.row.media_flows();
        }
    }

    /// Notes which channels carry what.
    fn note_channels(&mut self, message: &Message) {
        for channels in Channels::of(message) {
            self.from_client.set_up(Some(channels));
            self.from_origin.set_up(Some(channels));
        }
    }

    /// Tells of bytes that were left out.
    fn note_stray_bytes(&mut self) {
        if self.from_origin.has_strayed() && !std::mem::replace(&mut self.told.stray_bytes, true) {
            info!(
                session = self.row.id,
                "left out what the origin sent between two frames: it begins neither a frame nor a message"
            );
        }
    }

    /// What the client gets for what the origin sent.
    fn walk_to_client<'a>(&'a mut self, input: &'a [u8]) -> &'a [u8] {
        self.out.clear();
        let mut rest = input;
        loop {
            if !self.words.is_empty() && self.from_origin.is_between() {
                self.out.append(&mut self.words);
            }
            let step = if self.words.is_empty() {
                self.from_origin.step(&mut rest)
            } else {
                self.from_origin.short_step(&mut rest)
            };
            match step {
                Err(error) => {
                    let session = self.row.id;
                    info!(session, %error, "the origin's RTSP cannot be read");
                    self.broken = Some(Over::Leg(LegEnd::Broken));
                    break;
                }
                Ok(None) => break,
                Ok(Some(Step::Pass(frames))) => {
                    let is_all = rest.is_empty() && frames.len() == input.len();
                    if is_all && self.out.is_empty() {
                        return input;
                    }
                    self.out.extend_from_slice(frames);
                }
                Ok(Some(Step::Message(message))) => {
                    self.note_answer(&message);
                    self.note_channels(&message);
                    let heard = self.join.from_origin(&message);
                    self.note(heard.news);
                    match heard.bytes {
                        Some(bytes) => self.out.extend(bytes),
                        None => self.out.extend_from_slice(message.bytes()),
                    }
                }
            }
        }
        &self.out
    }

    /// What the origin gets for what the client sent.
    fn walk_to_origin<'a>(&'a mut self, input: &'a [u8]) -> &'a [u8] {
        self.out.clear();
        let mut rest = input;
        loop {
            match self.from_client.step(&mut rest) {
                Err(error) => {
                    let session = self.row.id;
                    info!(session, %error, "the client's RTSP cannot be read");
                    if let WalkError::Message(error) = error {
                        let number = self.from_client.number();
                        self.words.extend(error.refused().answer_to(number));
                    }
                    self.broken = Some(Over::Session(EndReason::ClientError));
                    break;
                }
                Ok(None) => break,
                Ok(Some(Step::Pass(frames))) => {
                    if frames.len() == input.len() {
                        return input;
                    }
                    self.out.extend_from_slice(frames);
                }
                Ok(Some(Step::Message(message))) => {
                    let bytes = self.hear(&message);
                    self.out.extend(bytes);
                }
            }
        }
        &self.out
    }

    fn note(&mut self, news: Option<News>) {
        match news {
            None => {}
            Some(News::AllEnd) => self.datagrams.end(),
            Some(News::Ended(uri)) => self.datagrams.end_track(&uri),
            Some(News::Denied(track)) => self.datagrams.remove(track),
            Some(News::Granted(track, ports)) => {
                self.from_origin.set_up(None);
                let keeps = self.join.session_timeout();
                self.datagrams.open(track, ports, keeps);
            }
            Some(News::Unanswerable { track, why }) => {
                if let Some(track) = track {
                    self.datagrams.remove(track);
                }
                if let Some(No::Origins(words)) = &mut self.no {
                    *words = format!("{words}: {}", why.as_str()).into();
                }
            }
            Some(News::Unasked { track, answered }) => {
                self.datagrams.remove(track);
                self.note_unasked(&answered);
            }
        }
    }

    /// Tells of an origin that answered a SETUP with a transport that it was not asked for: its media would reach nobody.
    fn note_unasked(&mut self, answered: &str) {
        if self.row.first_media().is_none() {
            self.no = Some(No::Ours);
        }
        if std::mem::replace(&mut self.told.unasked, true) {
            return;
        }
        let request = &self.row.request;
        info!(
            session = self.row.id,
            stream = %request.stream,
            origin = self.row.origin().as_ref().map_or("-", OriginId::as_str),
            client = %request.client,
            code = "461",
            answered,
            "refused: the origin answered a SETUP with a transport that was not asked for"
        );
    }
}

impl Passage for Watched {
    fn to_client<'a>(&'a mut self, input: &'a [u8]) -> Result<&'a [u8], LegEnd> {
        Ok(self.walk_to_client(input))
    }

    fn to_origin<'a>(&'a mut self, input: &'a [u8]) -> Result<&'a [u8], EndReason> {
        Ok(self.walk_to_origin(input))
    }

    fn read_from_origin(&mut self, origin: &TcpStream) {
        if self.row.first_media().is_some() {
            self.unhurried.read(origin);
        }
    }

    fn passed(&mut self) -> Result<(), EndReason> {
        if self.out.capacity() > KEEP {
            self.out = Vec::new();
        }
        self.note_media();
        self.note_stray_bytes();
        match self.broken {
            Some(Over::Session(reason)) => Err(reason),
            _ => Ok(()),
        }
    }

    fn leg_end(&self) -> Option<LegEnd> {
        match self.broken {
            Some(Over::Leg(end)) => Some(end),
            _ => None,
        }
    }

    fn words(&mut self) -> Option<Vec<u8>> {
        (!self.words.is_empty() && self.from_origin.is_between())
            .then(|| std::mem::take(&mut self.words))
    }

    fn poll_beside(&mut self, cx: &mut Context<'_>, is_even: bool) -> Poll<Over> {
        self.is_even = is_even;
        self.datagrams.poll(cx);
        Poll::Pending
    }
}

/// Notes the number of a request.
fn push(numbers: &mut VecDeque<u32>, number: u32) {
    if numbers.len() == MAX_NOTED {
        numbers.pop_front();
    }
    numbers.push_back(number);
}

/// Whether a request has this number, which is forgotten then.
fn is_among(numbers: &mut VecDeque<u32>, number: Option<u32>) -> bool {
    let at = numbers.iter().position(|own| Some(*own) == number);
    at.is_some_and(|at| numbers.remove(at).is_some())
}

/// How long an origin may take to accept what a client said before they were joined: a few kilobytes.
const TIME_LIMIT: Duration = Duration::from_secs(5);
/// How long an origin may take to hear and to say that a session is over.
const TELL_WITHIN: Duration = Duration::from_secs(1);
/// Answers are small.
const LAST_READ: usize = 4 * 1024;
/// Refusals that wait for a place between two frames.
const MAX_WORDS: usize = 16 * 1024;
/// Requests without an answer that are remembered: a client sends the next of the kind after a while.
const MAX_NOTED: usize = 8;
/// A session keeps a buffer of this size at most; messages are seldom and small.
const KEEP: usize = 4 * 1024;
