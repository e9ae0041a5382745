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
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info};

use super::feed::{Feed, Loan};
use super::player::{Player, address, seed, write};
use super::{Inner, Wanted};
use crate::net::relay::DelayedAcks;
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
    let end = loop {
        let loan = feed.loan();
        let asked = match dial(shared, feed, &place, loan.as_ref()).await {
            Some(Ok(asked)) => asked,
            Some(Err(refusal)) if open.is_none() => return feed.refused(refusal),
            Some(Err(_)) => break LegEnd::Refused,
            None if open.is_none() => return,
            None => break LegEnd::Released,
        };
        let pull = open.get_or_insert_with(|| {
            let key = wanted.key.stream.clone();
            let sessions = shared.proxy.sessions();
            let pull = sessions.open_pull(key, asked.origin.clone());
            info!(pull = pull.id, stream = %wanted.stream, origin = %asked.origin, "pull began");
            pull
        });
        if pull.origin != asked.origin {
            break LegEnd::Moved;
        }
        feed.joined(pull);
        let end = tokio::select! {
            end = read_on(shared, feed, pull, asked) => end,
            end = pull.ended() => end,
            () = lonely(feed, shared.settings.linger) => LegEnd::Released,
            () = shared.stop.cancelled() => LegEnd::Released,
            // With the viewer goes the right that it lent.
            () = feed.returned(loan.as_ref()) => {
                feed.push(std::iter::empty(), true);
                continue;
            }
        };
        break end;
    };
    if let Some(pull) = &open {
        let (bytes, reason) = (pull.bytes(), end.as_str());
        info!(pull = pull.id, stream = %wanted.stream, bytes, reason, "pull ended");
    }
    // In this order: whoever finds the feed gone finds its leg counted as gone.
    place.end_leg(end);
    feed.over(end);
}

/// An origin that plays the stream to us.
struct Asked {
    origin: OriginId,
    player: Player,
}

/// Finds an origin; `None` when nobody waits for it any more.
async fn dial(
    shared: &Inner,
    feed: &Feed,
    place: &PieceGuard,
    loan: Option<&Loan>,
) -> Option<Result<Asked, Refusal>> {
    let ask = |attempt| ask(shared, feed.wanted(), loan, attempt);
    let dialled = place.dial(ask, |_| true);
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
async fn ask(
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
async fn read_on(shared: &Inner, feed: &Feed, pull: &Pull, asked: Asked) -> LegEnd {
    let Player {
        mut socket,
        mut client,
        came,
        mut messages,
    } = asked.player;
    let coalesce = shared.settings.coalesce;
    let mut unhurried = DelayedAcks::default();
    let mut buffer = Vec::with_capacity(READ);
    let mut told = Instant::now();
    pull.count(came);
    let mut flows = messages.iter().any(is_shown);
    tell(feed, &mut messages, false);
    loop {
        buffer.clear();
        let read = timeout(shared.settings.silence, socket.read_buf(&mut buffer)).await;
        let count = match read {
            // A stream without a publisher is waited for.
            Err(_) if !flows => continue,
            Err(_) => return LegEnd::Silent,
            Ok(Ok(0)) => return LegEnd::Closed,
            Ok(Err(_)) => return LegEnd::Reset,
            Ok(Ok(count)) => count,
        };
        pull.count(count);
        unhurried.read(socket.tcp());
        if client.feed(&buffer).is_err() {
            return LegEnd::Broken;
        }
        let unpublished = take(&mut client, &mut messages);
        if write(&mut socket, &mut client).await.is_err() {
            return LegEnd::Reset;
        }
        flows = !unpublished && (flows || messages.iter().any(is_shown));
        tell(feed, &mut messages, unpublished);
        // What comes in the meantime waits in the kernel, and costs one read and one pass. A read that was full may have
        // left something there.
        if count < READ {
            sleep(coalesce.saturating_sub(told.elapsed())).await;
            told = Instant::now();
        }
    }
}

/// Takes what came out of a read. True: the stream's publisher has left.
fn take(client: &mut Client, messages: &mut Vec<Message>) -> bool {
    let mut unpublished = false;
    while let Some(event) = client.poll_event() {
        match event {
            ClientEvent::Connected(_) | ClientEvent::Refused(_) => {}
            ClientEvent::Media(message) => messages.push(message),
            ClientEvent::Status { code, .. } => {
                debug!(code, "the origin said");
                unpublished |= PUBLISHER_LEFT.contains(&code.as_str());
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

fn is_shown(message: &Message) -> bool {
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

/// One read: 40 ms of 12 Mbit/s.
const READ: usize = 64 * 1024;
/// Codecs that origins know by name, for those that look for names and not for `*`.
const CODECS: [&str; 11] = [
    "*", "avc1", "hvc1", "vvc1", "av01", "vp08", "vp09", "mp4a", "Opus", "ac-3", "fLaC",
];
/// What origins say when the stream's publisher has left.
const PUBLISHER_LEFT: [&str; 3] = [
    "NetStream.Play.UnpublishNotify",
    "NetStream.Play.Stop",
    "NetStream.Play.Complete",
];
