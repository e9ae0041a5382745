//! Moving a stream: its publisher goes on at another origin, and its viewers follow. The other origin is asked while the
//! present one still has the stream, so that a no changes nothing; then the claim moves, and the media with the next
//! keyframe, or by SRT with the next packet.

use std::time::Duration;

use futures_util::future::join_all;
use hyper::Method;
use sluicegate_core::events::{Kind, News};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::place::attempts::GiveUp;
use sluicegate_core::place::leg::LegEnd;
use sluicegate_core::place::shares::NotClaimed;
use sluicegate_core::stream::{Action, PlacementKey, Protocol, StreamUrl};
use tokio::time::timeout;
use tracing::info;

use super::choice::Ask;
use super::{Attempt, DialError, Proxy, Session};
use crate::api::BoundViewers;
use crate::cluster::Claimed;
use crate::metrics::MoveLabels;
use crate::origin::fetch::escaped;
use crate::sessions::{MoveCause, MoveOrder, MoveStage, Row, State, Underway};

/// A stream that is to go to another origin.
#[derive(Debug, Clone)]
pub struct Wish {
    /// Where to; `None`: where the policy puts it.
    pub to: Option<OriginId>,
    /// The origin that it is expected to be on.
    pub expected: Option<OriginId>,
    /// Viewers with legs of their own may be ended: they cannot follow.
    pub ends_viewers: bool,
    /// Why.
    pub cause: MoveCause,
}

/// Why a stream is not moved.
#[derive(Debug, thiserror::Error)]
pub enum NotMoved {
    /// Its publisher cannot go elsewhere, or viewers of it cannot.
    #[error("{0}")]
    Immovable(String),
    /// No origin may take it.
    #[error("no other origin may take it: {0}")]
    Nobody(String),
    /// Nobody publishes it.
    #[error("nobody publishes {0} through this proxy, so there is nothing to move")]
    NotPublished(StreamUrl),
    /// It is not where the one who asks believes.
    #[error("the stream is on {0} now; look again, and ask again")]
    Stale(OriginId),
    /// A move of it is under way.
    #[error("a move of it is under way; sluicegate explain tells how it goes")]
    UnderWay,
    /// The origin that is named may not take it.
    #[error("{origin} may not take it: {why}")]
    Unfit {
        /// Which.
        origin: OriginId,
        /// What is in the way, in words.
        why: String,
    },
    /// No origin has the name that was given.
    #[error("no origin stands under the id {0}; sluicegate origins lists them")]
    UnknownOrigin(OriginId),
}

impl Proxy {
    /// Begins to move a stream. The answer comes at once; how it goes is told afterwards.
    ///
    /// # Errors
    /// [`NotMoved`]; nothing has changed then.
    pub fn begin_move(&self, stream: &StreamUrl, wish: &Wish) -> Result<Underway, NotMoved> {
        let row = self.shared.sessions.publisher(stream);
        let row = row
            .filter(|row| !row.has_ended())
            .ok_or_else(|| NotMoved::NotPublished(stream.clone()))?;
        let from = movable(&row)?;
        if let Some(expected) = &wish.expected
            && *expected != from
        {
            return Err(NotMoved::Stale(from));
        }
        if !wish.ends_viewers {
            self.has_no_viewers_of_their_own(&row)?;
        }
        let to = self.destination(&row, &from, wish.to.as_ref())?;
        let (mut order, underway) = MoveOrder::new(from, to, wish.cause);
        order.ends_viewers = wish.ends_viewers;
        let (from, to) = (underway.from.clone(), underway.to.clone());
        if !row.order_move(order) {
            return Err(NotMoved::UnderWay);
        }
        info!(session = row.id, %stream, %from, %to, cause = wish.cause.as_str(), "move began");
        Ok(underway)
    }

    /// Viewers with a leg of their own get the bytes of that origin, and nobody can complete a message that another
    /// began.
    fn has_no_viewers_of_their_own(&self, publisher: &Row) -> Result<(), NotMoved> {
        match self.bound_viewers(&publisher.key) {
            0 => Ok(()),
            count => Err(NotMoved::Immovable(would_be_ended(&format!("{count} now")))),
        }
    }

    /// How many viewers of a stream at this proxy have legs of their own, and would be ended by a move.
    pub fn bound_viewers(&self, key: &PlacementKey) -> usize {
        let sessions = &self.shared.sessions;
        let own = sessions.matching(|row| row.key == *key && row.is_bound_viewer());
        own.len()
    }

    /// The same for viewers at the other proxies. One that does not answer counts as having some: they would be ended without a
    /// word. Where the proxies share no key, each answers for itself.
    async fn others_have_no_viewers_of_their_own(&self, publisher: &Row) -> Result<(), String> {
        let Some(cluster) = self.cluster().filter(|cluster| cluster.access().is_some()) else {
            return Ok(());
        };
        let stream = escaped(publisher.request.stream.as_str());
        let path = &format!("/api/v1/moves?stream={stream}");
        let peers = cluster.peers();
        let ask = |peer| cluster.ask_for(self.connector(), peer, (Method::GET, path));
        let answers = join_all(peers.iter().map(ask)).await;
        let (mut bound, mut where_else) = (0, Vec::new());
        for (peer, answer) in peers.iter().zip(answers) {
            let id = &peer.id;
            let BoundViewers { count, .. } = answer.map_err(|why| {
                format!(
                    "proxy {id} does not say whether it has viewers that would be ended ({why}); say that they may be \
                     (--end-viewers, end_viewers=true), or try again"
                )
            })?;
            if count > 0 {
                bound += count;
                where_else.push(id.as_str());
            }
        }
        match bound {
            0 => Ok(()),
            _ => Err(would_be_ended(&format!(
                "{bound} now, at {}",
                where_else.join(", ")
            ))),
        }
    }

    /// Where the stream goes.
    fn destination(
        &self,
        row: &Row,
        from: &OriginId,
        to: Option<&OriginId>,
    ) -> Result<OriginId, NotMoved> {
        let without = [from.clone()];
        let ask = Ask {
            stream: &row.request.stream,
            key: &row.key,
            protocol: row.request.protocol,
            action: Action::Publish,
            only: to,
            without: &without,
            zone: None,
            stands: None,
        };
        if let Some(to) = to {
            if self.registry().member(to).is_none() {
                return Err(NotMoved::UnknownOrigin(to.clone()));
            }
            if to == from {
                return Err(NotMoved::Unfit {
                    origin: to.clone(),
                    why: "the stream is there".to_owned(),
                });
            }
        }
        let decision = self.decide(&ask);
        match (self.best(&ask, &decision), to) {
            (Ok(best), _) => Ok(best.origin),
            (Err(_), Some(to)) => {
                let mut rejected = decision.rejected.iter();
                let why = rejected.find(|(origin, _)| origin == to);
                let why = why.map_or("no_service", |(_, why)| why.as_str());
                Err(NotMoved::Unfit {
                    origin: to.clone(),
                    why: why.to_owned(),
                })
            }
            (Err(GiveUp::Nobody { words, .. }), None) => Err(NotMoved::Nobody(words)),
            (Err(_), None) => Err(NotMoved::Nobody("none is up".to_owned())),
        }
    }

    /// The other origin has taken the publisher as well: from here on the stream is claimed for it, here and in the
    /// store, and pulls follow.
    ///
    /// # Errors
    /// In words, why the claim stays.
    pub(crate) async fn move_claim(
        &self,
        row: &Row,
        (from, to): (&OriginId, &OriginId),
        why: &str,
    ) -> Result<MovedClaim, String> {
        let key = &row.key;
        // What is told of the stream from here on concerns the move.
        row.goes_to(to);
        match self.registry().move_claim(key, from, to, why) {
            Ok(()) => {}
            Err(NotClaimed::NoRoom) => return Err(format!("{to} holds as much as it may")),
            Err(NotClaimed::For(there)) => return Err(format!("it was claimed for {there}")),
        }
        let moved = MovedClaim {
            proxy: self.clone(),
            key: key.clone(),
            from: from.clone(),
            to: to.clone(),
            goes_back: true,
        };
        if let Some(cluster) = self.cluster()
            && let Claimed::Lost(there) = cluster.claim_ahead(key, to).await
        {
            // It has heard by now where the stream is.
            moved.stays();
            return Err(format!("another proxy placed it on {there}"));
        }
        let sessions = &self.shared.sessions;
        sessions.follow(key, to);
        // A pull that comes after the first keyframe would miss some of it. One that cannot follow leaves later.
        let _ = timeout(FOLLOWED_WITHIN, sessions.followers_are_set(key)).await;
        Ok(moved)
    }

    /// Takes the players of a stream to `to`, where its publisher goes next. Those that can follow ask there, and keep their
    /// legs until media comes. Returns when they have heard yes or no: what passes before an origin has them there, they miss.
    pub(crate) async fn lead_players(&self, key: &PlacementKey, to: &OriginId) {
        let sessions = &self.shared.sessions;
        sessions.lead_players(key, to);
        let _ = timeout(FOLLOWED_WITHIN, sessions.players_have_heard(key)).await;
    }

    /// How long the other origin of a move has for its yes or no.
    pub(crate) fn setup_timeout(&self) -> Duration {
        self.shared.timing.setup
    }
}

/// A claim that has moved to the other origin of a move, ahead of the publisher. If that does not go there, because the move
/// comes to nothing or the publisher leaves, the claim goes back when this is dropped, and so do the pulls and the players
/// that followed.
#[derive(Debug)]
pub(crate) struct MovedClaim {
    proxy: Proxy,
    key: PlacementKey,
    from: OriginId,
    to: OriginId,
    goes_back: bool,
}

impl MovedClaim {
    /// Whether the stream is still to be at the other origin: another proxy may have placed it elsewhere meanwhile. Who waits is
    /// [called back](Row::is_called_back) then; this is for the moment in which the publisher goes.
    pub(crate) fn stands(&self) -> bool {
        self.proxy.registry().claimed(&self.key).as_ref() == Some(&self.to)
    }

    /// The claim stays where it is.
    fn stays(mut self) {
        self.goes_back = false;
    }
}

impl Drop for MovedClaim {
    fn drop(&mut self) {
        let Self {
            proxy,
            key,
            from,
            to,
            ..
        } = self;
        if !self.goes_back || !proxy.registry().return_claim(key, to, from, STAYS) {
            return;
        }
        if let Some(cluster) = proxy.cluster() {
            cluster.claim_back(key, (to, from), STAYS);
        }
        let sessions = &proxy.shared.sessions;
        sessions.follow(key, from);
        sessions.end_players_elsewhere(key, from);
    }
}

impl Session {
    /// Its publisher is at another origin now, where its claim stands already. `end`: how the leg before ended.
    pub(crate) fn made_move(&self, moved: MovedClaim, end: LegEnd, why: &str) {
        let to = &moved.to.clone();
        moved.stays();
        self.hold.end_leg(end);
        // It counts at the other origin from here on.
        let claim = self.hold.claim(Some(to), to, why);
        self.row.note_placed(to.clone(), why.to_owned().into());
        if claim.is_ok_and(|claim| !claim.won) {
            // Another proxy has placed it elsewhere in the last moment, where its players go as well.
            self.row.lose_leg(LegEnd::Moved);
            return;
        }
        self.proxy
            .shared
            .sessions
            .end_players_elsewhere(self.key(), to);
    }
}

/// Why a stream is where it is that was to be moved.
pub(crate) const STAYS: &str = "a move to another origin failed, and it stays here";
/// How long pulls and players may take to be played the stream where it goes, before its publisher goes there.
pub const FOLLOWED_WITHIN: Duration = Duration::from_secs(1);

/// The origin that a publisher is on, if it can be moved.
pub(super) fn movable(row: &Row) -> Result<OriginId, NotMoved> {
    let immovable = |words: &str| Err(NotMoved::Immovable(words.to_owned()));
    if !matches!(row.request.protocol, Protocol::Rtmp | Protocol::Srt) {
        let protocol = row.request.protocol.as_str();
        return Err(NotMoved::Immovable(format!(
            "it is published by {protocol}, and only RTMP and SRT publishers can be moved: for others an end and a new beginning \
             cannot be hidden; kick it, and it comes back elsewhere once its origin is drained"
        )));
    }
    if !row.may_be_held() {
        return immovable(match row.request.protocol {
            Protocol::Srt => {
                "its publisher is bound to its origin: hold.publishers is 0s, or its call cannot go on elsewhere (AES-GCM, \
                 a link of a bond), or it has sent no media yet"
            }
            _ => "its publisher is bound to its origin, because hold.publishers is 0s",
        });
    }
    match (row.state(), row.origin()) {
        (State::Relaying, Some(origin)) => Ok(origin),
        (State::Held, _) => {
            immovable("its publisher has just lost its origin, and another is sought already")
        }
        _ => immovable("its publisher has sent no media yet"),
    }
}

fn would_be_ended(viewers: &str) -> String {
    format!(
        "viewers of it with legs of their own cannot follow and would be ended ({viewers}); say so \
         (--end-viewers, end_viewers=true), or let viewers share pulls (fanout.mode)"
    )
}

/// What to dial to reach the other origin of a move, once it is known that nobody at another proxy would be ended who may not
/// be.
///
/// # Errors
/// In words, why the stream stays.
pub(crate) async fn attempt(
    proxy: &Proxy,
    row: &Row,
    (to, ends_viewers): (&OriginId, bool),
) -> Result<Attempt, String> {
    if !ends_viewers {
        proxy.others_have_no_viewers_of_their_own(row).await?;
    }
    let request = &row.request;
    proxy
        .attempt(to, request, request.protocol, row.asked().is_some())
        .ok_or_else(|| format!("{to} has no address for it any more"))
}

/// Why a move to `to` comes to nothing, which did not take the publisher.
pub(crate) fn not_taken(to: &OriginId, error: DialError) -> String {
    format!("{to} did not take it: {}", error.into_words())
}

/// The other origin has the publisher, for which nobody acknowledged anything for `gap`. Another move may be ordered.
pub(crate) fn made(row: &Row, order: &MoveOrder, gap: Duration) {
    ended(row, order, MoveStage::Made(gap));
}

/// The publisher stays where it is. Another move may be ordered.
pub(crate) fn failed(row: &Row, order: &MoveOrder, why: String) {
    row.move_failed();
    ended(row, order, MoveStage::Failed(why));
}

fn ended(row: &Row, order: &MoveOrder, stage: MoveStage) {
    note(row, order, &stage);
    // Who hears of the end may order the next one at once.
    row.move_over();
    order.tell(stage);
}

/// Counts and tells how a move ended.
fn note(row: &Row, order: &MoveOrder, stage: &MoveStage) {
    let (from, to) = (&order.from, &order.to);
    let cause = order.cause.as_str();
    let outcome = match stage {
        MoveStage::Made(gap) => {
            let gap_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX);
            info!(session = row.id, stream = %row.request.stream, %from, %to, cause, gap_ms, "move made");
            "made"
        }
        MoveStage::Failed(why) => {
            info!(session = row.id, stream = %row.request.stream, %from, %to, cause, why, "move failed, and the stream stays");
            "failed"
        }
        MoveStage::Asking | MoveStage::Awaiting => return,
    };
    let what = match stage {
        MoveStage::Failed(why) => format!("a move to {to} failed, and it stays on {from}: {why}"),
        _ => format!("its publisher was moved from {from} ({cause}), and its viewers follow"),
    };
    let origin = if outcome == "made" { to } else { from };
    let news = News {
        stream: row.key.as_str().to_owned(),
        origin: origin.as_str().to_owned(),
        client: row.request.client.ip().to_string(),
        what,
    };
    row.metrics().journal.note(Kind::Moved, news);
    let labels = MoveLabels { cause, outcome };
    row.metrics().moves.get_or_create(&labels).inc();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sessions::fixture::{opened, sessions};

    /// Who hears that a move is over may order the next one at once.
    #[tokio::test]
    async fn another_move_may_be_ordered_when_one_is_told_to_be_over() {
        let publisher = opened(&sessions(1), Action::Publish).unwrap();
        let order = || {
            let origins = ["one", "two"].map(OriginId::from);
            let [from, to] = origins;
            MoveOrder::new(from, to, MoveCause::Operator)
        };
        let (first, mut underway) = order();
        assert!(publisher.order_move(first));
        assert!(!publisher.order_move(order().0), "one at a time");
        let first = publisher.take_order().unwrap();
        let next = async {
            underway.within(Duration::from_secs(60)).await;
            publisher.order_move(order().0)
        };
        let over = async { made(&publisher, &first, Duration::ZERO) };
        let (is_ordered, ()) = tokio::join!(next, over);
        assert!(is_ordered);
    }
}
