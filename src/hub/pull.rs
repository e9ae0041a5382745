//! The leg that fills a feed: one RTMP player for all viewers.

use std::sync::Arc;
use std::time::Duration;

use sluicegate_core::dialect::Dialect;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::rtmp::aggregate;
use sluicegate_core::rtmp::client::{Client, ClientEvent};
use sluicegate_core::rtmp::message::{EnhancedRtmp, Message, kind};
use sluicegate_core::stream::{Action, DEFAULT_VHOST, Protocol, StreamUrl};
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info};

use super::feed::{Feed, Loan};
use super::follow::Follower;
use super::held::Holding;
use super::player::{Player, address, says_unpublished, seed, write};
use super::{Inner, Wanted};
use crate::net::relay::DelayedAcks;
use crate::net::wire::Wire;
use crate::origin::attempt::{Attempt, DialError};
use crate::proxy::{PieceGuard, Refusal, Request};
use crate::sessions::{OpenPull, Pull};
use crate::value::ClientAddr;

/// Pulls for `feed` on the worker that calls this. `first` is the client for whom it is, as far as claims are counted
/// by address; nothing else of it is used.
pub(super) fn begin(shared: &Arc<Inner>, feed: &Arc<Feed>, first: ClientAddr) {
    let (shared, feed) = (Arc::clone(shared), Arc::clone(feed));
    tokio::spawn(async move {
        let _end = Ending(Arc::clone(&feed));
        run(&shared, &feed, first).await;
    });
}

/// Whatever ends the task of a pull, nobody waits for it afterwards.
struct Ending(Arc<Feed>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

async fn run(shared: &Inner, feed: &Feed, first: ClientAddr) {
    let wanted = feed.wanted();
    let place = shared.proxy.pull(Request {
        stream: wanted.stream.clone(),
        action: Action::Play,
        protocol: Protocol::Rtmp,
        client: first,
        by_way_of: None,
        credentials: None,
    });
    let mut open: Option<OpenPull> = None;
    let mut holding = Holding::new(shared);
    let mut next: Option<Asked> = None;
    let end = loop {
        let loan = feed.loan();
        let asked = match next.take() {
            // Its stream has gone there, and it followed.
            Some(asked) => Some(Ok(asked)),
            None => tokio::select! {
                asked = dial(shared, feed, &place, loan.as_ref(), holding.lost()) => asked,
                () = holding.over() => break holding.end(),
            },
        };
        let asked = match (asked, &open) {
            (Some(Ok(asked)), _) => asked,
            (Some(Err(refusal)), None) => return feed.refused(refusal),
            (Some(Err(refusal)), Some(pull)) if holding.bears(&refusal) => {
                debug!(pull = pull.id, %refusal, "no origin yet for a pull that was lost");
                pause(feed, holding.pause()).await;
                continue;
            }
            (Some(Err(_)), Some(_)) => break LegEnd::Refused,
            (None, None) => return,
            (None, Some(_)) => break LegEnd::Released,
        };
        let pull = open.get_or_insert_with(|| begin_pull(shared, wanted, &asked.origin));
        lead(shared, feed, pull, &asked.origin);
        let began = Instant::now();
        let mut follower = Follower::new(shared, feed, &place, loan.as_ref(), pull);
        let ended = tokio::select! {
            ended = read_on(shared, feed, pull, asked, &mut holding, &mut follower) => ended,
            end = pull.ended() => Ended::Lost(end),
            () = lonely(feed, shared.settings.linger) => Ended::Over(LegEnd::Released),
            () = shared.stop.cancelled() => Ended::Over(LegEnd::Released),
            // With the viewer goes the right that it lent.
            () = feed.returned(loan.as_ref()) => {
                feed.push(std::iter::empty(), true);
                continue;
            }
        };
        match ended {
            Ended::Next(asked) => {
                feed.push(std::iter::empty(), true);
                next = Some(*asked);
            }
            Ended::Lost(end) if holding.lose_leg(pull, end) => {
                feed.push(std::iter::empty(), true);
                place.end_leg(end);
                // One that ends what it has just granted is not asked without end.
                if began.elapsed() < LASTS {
                    pause(feed, holding.pause()).await;
                }
            }
            Ended::Lost(end) | Ended::Over(end) => break end,
        }
    };
    if let Some(pull) = &open {
        let (bytes, reason) = (pull.bytes(), end.as_str());
        info!(pull = pull.id, stream = %wanted.stream, bytes, reason, "pull ended");
    }
    // In this order: once the feed is seen to be gone, its leg has to be counted as gone.
    place.end_leg(end);
    feed.over(end);
}

fn begin_pull(shared: &Inner, wanted: &Wanted, origin: &OriginId) -> OpenPull {
    let key = wanted.key.stream.clone();
    let pull = shared.proxy.sessions().open_pull(key, origin.clone());
    info!(pull = pull.id, stream = %wanted.stream, %origin, "pull began");
    pull
}

/// The pull leads to `origin` from here on, and so do those who watch.
fn lead(shared: &Inner, feed: &Feed, pull: &Arc<Pull>, origin: &OriginId) {
    if pull.lead_to(origin) {
        for row in shared.proxy.sessions().viewers_of(pull) {
            row.note_moved(origin.clone());
        }
    }
    feed.joined(pull);
}

/// A moment before the stream is asked for again; none if nobody watches any more.
async fn pause(feed: &Feed, moment: Duration) {
    let _ = timeout(moment, feed.empty()).await;
}

/// How reading from an origin ended.
enum Ended {
    /// The leg is over, and the stream may be had elsewhere.
    Lost(LegEnd),
    /// The stream comes from another origin now.
    Next(Box<Asked>),
    /// The pull is over.
    Over(LegEnd),
}

/// An origin that plays the stream to us.
pub(super) struct Asked {
    pub(super) origin: OriginId,
    pub(super) player: Player,
}

/// Finds an origin; `None` when nobody waits for it any more.
async fn dial(
    shared: &Inner,
    feed: &Feed,
    place: &PieceGuard,
    loan: Option<&Loan>,
    lost: Option<&(OriginId, LegEnd)>,
) -> Option<Result<Asked, Refusal>> {
    let ask = |attempt| ask(shared, feed.wanted(), loan, attempt);
    let dialled = place.dial_after(lost, ask, |_| true);
    tokio::pin!(dialled);
    loop {
        tokio::select! {
            asked = &mut dialled => return Some(asked),
            () = shared.stop.cancelled() => return Some(Err(Refusal::Draining)),
            () = feed.empty() => if feed.leave_if_empty() {
                return None;
            },
        }
    }
}

/// Resolves when nobody has watched for this long, and the feed has left the table.
async fn lonely(feed: &Feed, linger: Duration) {
    loop {
        feed.empty().await;
        sleep(linger).await;
        if feed.leave_if_empty() {
            return;
        }
    }
}

/// Asks one origin to play the stream.
pub(super) async fn ask(
    shared: &Inner,
    wanted: &Wanted,
    loan: Option<&Loan>,
    attempt: Attempt,
) -> Result<Asked, DialError> {
    let socket = shared.dialer.dial_for_ourselves(&attempt).await?;
    let tc_url = tc_url(&wanted.stream, &attempt);
    let own = shared.settings.pull_query.reveal();
    let name = match loan {
        // What the viewers have in common is in it.
        Some(loan) => name(wanted, [&loan.query]),
        None => name(wanted, [own, &wanted.key.rest]),
    };
    let (tc_url, name) = address(&attempt, Dialect::default(), &wanted.stream, tc_url, name)?;
    let enhanced = capabilities().properties();
    let client = Client::new(seed(), Action::Play, &tc_url, &name, enhanced);
    let player = Player::ask(socket, client, attempt.time_limit).await?;
    Ok(Asked {
        origin: attempt.origin,
        player,
    })
}

/// Reads for as long as the origin sends, and tells the feed what came, batch by batch.
async fn read_on(
    shared: &Inner,
    feed: &Feed,
    pull: &Pull,
    asked: Asked,
    holding: &mut Holding<'_>,
    follower: &mut Follower<'_>,
) -> Ended {
    let Player {
        mut socket,
        mut client,
        came,
        mut messages,
        unpublished,
    } = asked.player;
    let mut unhurried = DelayedAcks::default();
    let mut buffer = Vec::with_capacity(READ);
    let mut told = Instant::now();
    let mut flows = Flows::default();
    pull.count(came);
    flows.note(&messages, unpublished, pull, holding);
    tell(feed, &mut messages, unpublished);
    loop {
        buffer.clear();
        let read = tokio::select! {
            read = socket.read_buf(&mut buffer) => read,
            ended = flows.stop(shared, feed, pull, holding) => return ended,
            next = follower.comes() => {
                let rest = Rest { socket, client, pull };
                rest.read(feed).await;
                return Ended::Next(Box::new(next));
            }
        };
        let count = match read {
            Ok(count) if count > 0 => count,
            ended => {
                let end = if ended.is_ok() {
                    LegEnd::Closed
                } else {
                    LegEnd::Reset
                };
                return match follower.comes_soon().await {
                    Some(next) => Ended::Next(Box::new(next)),
                    None => Ended::Lost(end),
                };
            }
        };
        pull.count(count);
        unhurried.read(socket.tcp());
        if client.feed(&buffer).is_err() {
            return Ended::Lost(LegEnd::Broken);
        }
        let unpublished = take(&mut client, &mut messages);
        if write(&mut socket, &mut client).await.is_err() {
            return Ended::Lost(LegEnd::Reset);
        }
        if unpublished && let Some(next) = follower.comes_soon().await {
            tell(feed, &mut messages, false);
            return Ended::Next(Box::new(next));
        }
        flows.note(&messages, unpublished, pull, holding);
        tell(feed, &mut messages, unpublished);
        // What comes in the meantime waits in the kernel, and costs one read and one pass. A read that was full may have
        // left something there.
        if count < READ {
            sleep(shared.settings.coalesce.saturating_sub(told.elapsed())).await;
            told = Instant::now();
        }
    }
}

/// A leg to an origin that the stream has left.
struct Rest<'a> {
    socket: Wire,
    client: Client,
    pull: &'a Pull,
}

impl Rest<'_> {
    /// Tells the feed what the origin still sends: until it says that the publisher has left, closes, or sends nothing for
    /// a moment.
    async fn read(mut self, feed: &Feed) {
        let mut messages = Vec::new();
        let mut buffer = Vec::with_capacity(READ);
        let until = Instant::now() + LONGEST_REST;
        while Instant::now() < until {
            buffer.clear();
            let read = timeout(REST, self.socket.read_buf(&mut buffer)).await;
            let Some(count) = read.ok().and_then(Result::ok).filter(|count| *count > 0) else {
                return;
            };
            self.pull.count(count);
            if self.client.feed(&buffer).is_err() {
                return;
            }
            let unpublished = take(&mut self.client, &mut messages);
            tell(feed, &mut messages, false);
            if unpublished {
                return;
            }
        }
    }
}

/// Whether media comes, and since when it does not.
struct Flows {
    flows: bool,
    last: Instant,
    /// When the origin was asked last whether it speaks.
    asked: Option<Instant>,
}

impl Default for Flows {
    fn default() -> Self {
        Self {
            flows: false,
            last: Instant::now(),
            asked: None,
        }
    }
}

impl Flows {
    /// Notes what came of a read. `unpublished`: the origin says that the publisher has left.
    fn note(
        &mut self,
        messages: &[Message],
        unpublished: bool,
        pull: &Pull,
        holding: &mut Holding<'_>,
    ) {
        self.last = Instant::now();
        self.asked = None;
        if messages.iter().any(is_shown) {
            self.flows = true;
            holding.goes_on(pull);
        }
        // One that has not come yet is waited for by those who came before it.
        if unpublished && std::mem::take(&mut self.flows) {
            holding.lose_publisher(pull);
        }
    }

    /// Resolves when the leg or the pull is over for what does not come. Dropped and made again, it goes on.
    async fn stop(
        &mut self,
        shared: &Inner,
        feed: &Feed,
        pull: &Pull,
        holding: &mut Holding<'_>,
    ) -> Ended {
        loop {
            if !self.flows {
                // A stream without a publisher is waited for.
                holding.over().await;
                return Ended::Over(holding.end());
            }
            sleep_until(self.asked.unwrap_or(self.last) + QUIET).await;
            if self.last.elapsed() >= shared.settings.silence {
                return Ended::Over(LegEnd::Silent);
            }
            if has_left(shared, pull) && holding.lose_publisher(pull) {
                self.flows = false;
                feed.push(std::iter::empty(), true);
                continue;
            }
            if !shared.proxy.silence().speaks(&pull.origin()).await {
                return Ended::Lost(LegEnd::Silent);
            }
            self.asked = Some(Instant::now());
        }
    }
}

/// Whether the publisher of what is pulled left lately, as far as this proxy knows: some origins say nothing of it.
fn has_left(shared: &Inner, pull: &Pull) -> bool {
    let registry = shared.proxy.registry();
    !registry.published_here(&pull.key) && registry.unpublished_within(&pull.key, LEFT_LATELY)
}

/// Takes what came out of a read. True: the stream's publisher has left.
pub(super) fn take(client: &mut Client, messages: &mut Vec<Message>) -> bool {
    let mut unpublished = false;
    while let Some(event) = client.poll_event() {
        match event {
            ClientEvent::Connected(_) | ClientEvent::Refused(_) => {}
            ClientEvent::Media(message) => messages.push(message),
            ClientEvent::Status { code, .. } => {
                debug!(code, "the origin said");
                unpublished |= says_unpublished(&code);
            }
        }
    }
    unpublished
}

fn tell(feed: &Feed, messages: &mut Vec<Message>, unpublished: bool) {
    if messages.is_empty() && !unpublished {
        return;
    }
    let single = messages.drain(..).flat_map(|message| {
        let several = message.kind == kind::AGGREGATE;
        let parts: Vec<Message> = match several {
            true => aggregate::parts(&message).collect(),
            false => Vec::new(),
        };
        parts.into_iter().chain((!several).then_some(message))
    });
    feed.push(single, unpublished);
}

pub(super) fn is_shown(message: &Message) -> bool {
    matches!(message.kind, kind::AGGREGATE | kind::AUDIO | kind::VIDEO)
}

/// The tcUrl by which an origin is asked for a stream.
pub(super) fn tc_url(stream: &StreamUrl, attempt: &Attempt) -> String {
    if stream.vhost() == DEFAULT_VHOST {
        format!("rtmp://{}/{}", attempt.target, stream.app())
    } else {
        format!("rtmp://{}/{}", stream.vhost(), stream.app())
    }
}

/// The name of a stream with these parts as its query.
fn name<const N: usize>(wanted: &Wanted, parts: [&str; N]) -> String {
    let mut name = wanted.stream.stream().to_owned();
    let parts = parts.into_iter().filter(|part| !part.is_empty());
    for (index, part) in parts.enumerate() {
        name.push(if index == 0 { '?' } else { '&' });
        name.push_str(part);
    }
    name
}

/// What we can pass on: everything, because we look into none of it.
fn capabilities() -> EnhancedRtmp {
    const FORWARD: u32 = 4;
    const MULTITRACK: u32 = 2;
    const MODIFIERS: u32 = 4;
    const NANOSECONDS: u32 = 8;
    EnhancedRtmp {
        four_cc_list: CODECS.map(str::to_owned).into(),
        video_info_map: vec![("*".to_owned(), FORWARD)],
        audio_info_map: vec![("*".to_owned(), FORWARD)],
        caps_ex: MULTITRACK | MODIFIERS | NANOSECONDS,
    }
}

/// An origin that ends a pull within this has not begun to serve it.
const LASTS: Duration = Duration::from_secs(1);
/// How long an origin that has sent media may send nothing before it is asked whether it speaks, and again after as long.
pub(crate) const QUIET: Duration = Duration::from_secs(2);
/// How long an origin that its stream has left may send nothing before it has sent everything.
const REST: Duration = Duration::from_millis(100);
/// How long it may go on sending.
const LONGEST_REST: Duration = Duration::from_millis(500);
/// How lately a publisher must have left for its absence to be the reason of a silence.
const LEFT_LATELY: Duration = Duration::from_secs(10);
/// One read: 40 ms of 12 Mbit/s.
const READ: usize = 64 * 1024;
/// Codecs that origins know by name, for those that look for names and not for `*`.
const CODECS: [&str; 11] = [
    "*", "avc1", "hvc1", "vvc1", "av01", "vp08", "vp09", "mp4a", "Opus", "ac-3", "fLaC",
];
