//! The leg that fills a feed: one player for all viewers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use sluicegate_core::dialect::Dialect;
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::media::blocks::Format;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::rtmp::client::Client;
use sluicegate_core::rtmp::message::EnhancedRtmp;
use sluicegate_core::stream::{Action, Protocol, Service, StreamUrl};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{debug, info};

use super::feed::{Feed, Loan};
use super::follow::Follower;
use super::held::Holding;
use super::player::{Player, address, seed};
use super::said::{Greeting, No, Said};
use super::source::{Batch, HttpSource, Source};
use super::{Inner, Wanted, lock};
use crate::origin::attempt::{Attempt, DialError};
use crate::origin::elsewhere::{Elsewhere, Redirect};
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
    let request = Request {
        stream: wanted.stream.clone(),
        action: Action::Play,
        protocol: wanted.key.format.map_or(Protocol::Rtmp, Format::protocol),
        client: first,
        by_way_of: None,
        bond: None,
        credentials: None,
    };
    let place = shared.proxy.pull(request, wanted.holder.clone());
    let mut open: Option<OpenPull> = None;
    let mut holding = Holding::new(shared, &wanted.stream);
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
            (Some(Err(no)), None) => return feed.refused(no),
            (Some(Err(no)), Some(pull)) if holding.bears(&no.refusal) => {
                let refusal = no.refusal;
                debug!(pull = pull.id, %refusal, "no origin yet for a pull that was lost");
                pause(feed, holding.pause()).await;
                continue;
            }
            (Some(Err(_)), Some(_)) => break LegEnd::Refused,
            (None, None) => return,
            (None, Some(_)) => break LegEnd::Released,
        };
        let pull = open.get_or_insert_with(|| begin_pull(shared, wanted, &asked.origin));
        feed.greet(asked.source.greeting());
        lead(shared, pull, &asked.origin);
        // The stream may have been placed elsewhere since the origin has agreed, when nobody knew that the pull leads there. Who
        // looks at what an origin has stays there.
        let placed = place.placed_since();
        if let Some(there) = placed.filter(|_| wanted.holder.is_none()) {
            pull.leave_for(&there);
        }
        feed.joined(pull);
        let began = Instant::now();
        let mut follower = Follower::new(shared, feed, &place, loan.as_ref(), pull);
        let ended = tokio::select! {
            ended = read_on(shared, feed, pull, asked, &mut holding, &mut follower) => ended,
            end = pull.ended() => Ended::Lost(end),
            () = lonely(feed, shared.settings.linger) => Ended::Over(LegEnd::Released),
            () = shared.stop.cancelled() => Ended::Over(LegEnd::Released),
            // With the viewer goes the right that it lent.
            () = feed.returned(loan.as_ref()) => {
                feed.interrupt();
                continue;
            }
        };
        match ended {
            Ended::Next(asked) => {
                feed.interrupt();
                next = Some(*asked);
            }
            Ended::Refused(no) if holding.bears(&no.refusal) => {
                place.end_leg(LegEnd::Refused);
                pause(feed, holding.pause()).await;
            }
            Ended::Refused(no) => {
                feed.greet(Greeting::Refused(no));
                break LegEnd::Refused;
            }
            Ended::Lost(end) if holding.lose_leg(pull, end) => {
                feed.interrupt();
                place.end_leg(end);
                // One that ends what it has just granted is not asked without end.
                if began.elapsed() < LASTS || holding.closes_again() {
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
fn lead(shared: &Inner, pull: &Arc<Pull>, origin: &OriginId) {
    if pull.lead_to(origin) {
        for row in shared.proxy.sessions().viewers_of(pull) {
            row.note_moved(origin.clone());
        }
    }
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
    /// An origin that was waited for has said no.
    Refused(No),
}

/// An origin that sends us the stream.
pub(super) struct Asked {
    pub(super) origin: OriginId,
    pub(super) source: Source,
    /// What came of it already, and in how many bytes.
    pub(super) batch: Batch,
    pub(super) came: usize,
}

/// Finds an origin; `None` when nobody waits for it any more.
async fn dial(
    shared: &Inner,
    feed: &Feed,
    place: &PieceGuard,
    loan: Option<&Loan>,
    lost: Option<&(OriginId, LegEnd)>,
) -> Option<Result<Asked, No>> {
    let dialled = find(shared, feed.wanted(), place, loan, lost);
    tokio::pin!(dialled);
    loop {
        tokio::select! {
            asked = &mut dialled => return Some(asked),
            () = shared.stop.cancelled() => return Some(Err(Refusal::Draining.into())),
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

/// What origins said that did not send the stream.
#[derive(Default)]
struct Heard {
    /// What the last one that said no said over HTTP.
    no: Mutex<Option<Arc<Said>>>,
    over_http: Elsewhere<String>,
    over_rtmp: Elsewhere<Redirect>,
}

/// Finds an origin that sends the stream. Messages come by RTMP, or in FLV over HTTP where the origin has no RTMP.
pub(super) async fn find(
    shared: &Inner,
    wanted: &Wanted,
    place: &PieceGuard,
    loan: Option<&Loan>,
    lost: Option<&(OriginId, LegEnd)>,
) -> Result<Asked, No> {
    let heard = Heard::default();
    let ask = |attempt| ask(shared, wanted, loan, attempt, &heard);
    let has_none = |refusal: &Refusal| {
        matches!(
            refusal,
            Refusal::WrongService { .. } | Refusal::NoOrigin { .. }
        )
    };
    let asked = match place.dial_after(lost, ask, |_| true).await {
        Err(refusal) if has_none(&refusal) && wanted.key.format.is_none() => {
            let asked = place.dial_by(Protocol::HttpFlv, lost, ask, |_| true).await;
            asked.map_err(|other| if has_none(&other) { refusal } else { other })
        }
        asked => asked,
    };
    asked.map_err(|refusal| match (&refusal, lock(&heard.no).take()) {
        (Refusal::Refused { origin, .. }, Some(said)) if *origin == said.origin => said.into(),
        _ => refusal.into(),
    })
}

/// Asks one origin for the stream.
async fn ask(
    shared: &Inner,
    wanted: &Wanted,
    loan: Option<&Loan>,
    mut attempt: Attempt,
    heard: &Heard,
) -> Result<Asked, DialError> {
    let own = shared.settings.pull_query.reveal();
    let query = match loan {
        // What the viewers have in common is in it.
        Some(loan) => query_of([&loan.query]),
        None => query_of([own, &wanted.key.rest]),
    };
    if attempt.service == Service::Http {
        let is_private = loan.is_some() || !own.is_empty();
        let query = (&*query, is_private);
        let heard = (&heard.no, &heard.over_http);
        let source = HttpSource::ask(shared, wanted, query, &mut attempt, heard).await?;
        return Ok(Asked {
            origin: attempt.origin,
            source,
            batch: Batch::default(),
            came: 0,
        });
    }
    let redirect = heard
        .over_rtmp
        .follow(shared.proxy.registry(), &mut attempt);
    let socket = shared.dialer.dial_for_ourselves(&attempt).await?;
    let tc_url = tc_url(&wanted.stream, &attempt);
    let mut name = wanted.stream.stream().to_owned();
    if !query.is_empty() {
        name.push('?');
        name.push_str(&query);
    }
    let address = address(
        &attempt,
        Dialect::default(),
        &wanted.stream,
        (tc_url, name),
        redirect,
    )?;
    let enhanced = capabilities().properties();
    let client = Client::new(
        seed(),
        Action::Play,
        &address.tc_url,
        &address.name,
        enhanced,
    );
    let asked = (&address, &attempt);
    let player = Player::ask(shared, socket, client, asked, &heard.over_rtmp).await?;
    let came = player.came;
    let (source, batch) = Source::rtmp(player);
    Ok(Asked {
        origin: attempt.origin,
        source,
        batch,
        came,
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
    let Asked {
        mut source,
        mut batch,
        came,
        ..
    } = asked;
    let mut flows = Flows::default();
    let mut gathered_until = Instant::now();
    pull.count(came);
    flows.note(&batch, pull, holding);
    feed.push(&mut batch);
    loop {
        let read = tokio::select! {
            read = source.read(gathered_until) => read,
            ended = flows.stop(shared, feed, pull, holding) => return ended,
            next = follower.comes() => {
                read_rest(source, pull, feed).await;
                return Ended::Next(Box::new(next));
            }
        };
        gathered_until = Instant::now() + shared.settings.coalesce;
        let count = match read {
            Ok(count) => count,
            Err(end) => {
                if let Greeting::Refused(no) = source.greeting() {
                    return Ended::Refused(no);
                }
                return match follower.comes_soon().await {
                    Some(next) => Ended::Next(Box::new(next)),
                    None => Ended::Lost(end),
                };
            }
        };
        if count == 0 {
            // The answer has begun.
            feed.greet(source.greeting());
        }
        pull.count(count);
        if let Err(end) = source.take(&mut batch).await {
            return Ended::Lost(end);
        }
        if batch.unpublished
            && let Some(next) = follower.comes_soon().await
        {
            batch.unpublished = false;
            feed.push(&mut batch);
            return Ended::Next(Box::new(next));
        }
        flows.note(&batch, pull, holding);
        feed.push(&mut batch);
    }
}

/// Tells the feed what an origin that the stream has left still sends: until it says that the publisher has left, closes,
/// or sends nothing for a moment.
async fn read_rest(mut source: Source, pull: &Pull, feed: &Feed) {
    let mut batch = Batch::default();
    let until = Instant::now() + LONGEST_REST;
    while Instant::now() < until && !batch.unpublished {
        let read = timeout(REST, source.read(Instant::now())).await;
        let Ok(Ok(count)) = read else {
            return;
        };
        pull.count(count);
        if source.take(&mut batch).await.is_err() {
            return;
        }
        let over = std::mem::take(&mut batch.unpublished);
        feed.push(&mut batch);
        batch.unpublished = over;
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
    /// Notes what came of a read.
    fn note(&mut self, batch: &Batch, pull: &Pull, holding: &mut Holding<'_>) {
        self.last = Instant::now();
        self.asked = None;
        if batch.has_media() {
            self.flows = true;
            holding.goes_on(pull);
        }
        // One that has not come yet is waited for by those who came before it.
        if batch.unpublished && std::mem::take(&mut self.flows) {
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
                feed.interrupt();
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

/// The tcUrl by which an origin is asked for a stream.
pub(super) fn tc_url(stream: &StreamUrl, attempt: &Attempt) -> String {
    format!(
        "rtmp://{}/{}",
        attempt.target.host_for(stream),
        stream.app()
    )
}

/// A query of these parts.
fn query_of<const N: usize>(parts: [&str; N]) -> String {
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("&")
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
/// Codecs that origins know by name, for those that look for names and not for `*`.
const CODECS: [&str; 11] = [
    "*", "avc1", "hvc1", "vvc1", "av01", "vp08", "vp09", "mp4a", "Opus", "ac-3", "fLaC",
];
