//! A publisher whose stream has one already: whether that one ends first, at this proxy or at another.
//!
//! At this proxy it is judged before an origin is asked. At another it is judged once an origin has refused the stream,
//! by the proxy that has it, so that a publish that no origin refuses costs no question.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use hyper::Method;
use sluicegate_core::place::takeover::{Former, GivesWay};
use sluicegate_core::stream::StreamUrl;
use tokio::time::{Instant, timeout};
use tracing::{debug, info};

use super::candidates::LEFT_LATELY;
use super::{Proxy, Refusal, Request};
use crate::api::Takeover;
use crate::cluster::{Cluster, Peer};
use crate::origin::fetch::escaped;
use crate::sessions::{Direction, EndReason, Row, State};

/// A publisher that wants a stream which has one.
#[derive(Debug, Clone, Copy)]
pub struct Newcomer {
    /// Where it is.
    pub client: IpAddr,
    /// The bond that it is a link of.
    pub bond: Option<u32>,
}

impl Proxy {
    /// A publisher that is held has its stream as one that is joined has, though no origin can say so now.
    pub(super) async fn respect_held(&self, request: &Request) -> Result<(), Refusal> {
        let publisher = self.shared.sessions.publisher(&request.stream);
        let is_held = |row: &Arc<Row>| row.state() == State::Held && !row.has_ended();
        if publisher.as_ref().is_some_and(is_held) {
            let stream = request.stream.clone();
            return Err(Refusal::Published { stream });
        }
        if let Some(cluster) = self.cluster()
            && let Some(held) = cluster.held_elsewhere(&self.key(&request.stream)).await
            && !self
                .shared
                .timing
                .takeover
                .elsewhere(held.client == request.client.ip())
        {
            let stream = request.stream.clone();
            return Err(Refusal::Published { stream });
        }
        Ok(())
    }

    /// Ends the earlier publisher of a stream if it may be taken over. By default that is when it has gone silent: its
    /// encoder has come back on a new connection, and the old one is a hole in the network that nobody has noticed.
    /// One that still sends is left alone then, and the origin decides.
    pub(super) async fn relieve(&self, request: &Request) {
        let newcomer = Newcomer::of(request);
        let Some(old) = self.shared.sessions.publisher(&request.stream) else {
            return;
        };
        if newcomer.is_of_bond(&old) {
            return;
        }
        let takeover = self.shared.timing.takeover;
        let gives_way = takeover.here(newcomer.is_at(&old), old.state() == State::Held);
        self.judge(&old, gives_way, None).await;
    }

    /// What becomes of the publisher of a stream here, now that one is at another proxy whose origin refused it. The answer
    /// comes within half a second.
    pub async fn makes_room(&self, stream: &StreamUrl, newcomer: Newcomer) -> Former {
        let left = || {
            let registry = &self.shared.registry;
            match registry.unpublished_within(&self.key(stream), LEFT_LATELY) {
                true => Former::Left,
                false => Former::Nobody,
            }
        };
        let Some(old) = self.shared.sessions.publisher(stream) else {
            return left();
        };
        if newcomer.is_of_bond(&old) {
            return Former::Stays;
        }
        if old.has_ended() {
            let closed = timeout(ANSWERS_WITHIN, old.closed()).await;
            return closed.map_or(Former::Watched, |()| left());
        }
        let (takeover, state) = (self.shared.timing.takeover, old.state());
        let (is_held, is_connecting) = (state == State::Held, state == State::Connecting);
        let gives_way = takeover.for_another(newcomer.is_at(&old), is_held, is_connecting);
        let judged = self.judge(&old, gives_way, Some("another proxy"));
        let judged = timeout(ANSWERS_WITHIN, judged).await;
        judged.unwrap_or(Former::Watched)
    }

    /// Asks the other proxies for the publisher that an origin is busy with. One that does not answer is waited for
    /// a second, and one that watches its publisher as long as that may take.
    pub(super) async fn former_elsewhere(&self, request: &Request) -> Former {
        let Some(cluster) = self.cluster() else {
            return Former::Nobody;
        };
        let Ok(_permit) = self.shared.takeovers.try_acquire() else {
            debug!(stream = %request.stream, "other proxies are not asked: too many publishers ask at once");
            return Former::Nobody;
        };
        let until = Instant::now() + self.shared.timing.takeover_after + LEAVE;
        let path = &Newcomer::of(request).path(&request.stream);
        let ask = |peer: Peer| async move { (self.ask_one(cluster, &peer, path).await, peer) };
        let mut asked: FuturesUnordered<_> = cluster.peers().into_iter().map(ask).collect();
        let mut known = Former::Nobody;
        while let Some((said, peer)) = asked.next().await {
            match said {
                Former::Watched if Instant::now() < until => asked.push(ask(peer)),
                said if said.is_the_last_word() => return said,
                Former::Left => known = said,
                _ => {}
            }
        }
        known
    }

    async fn ask_one(&self, cluster: &Cluster, peer: &Peer, path: &str) -> Former {
        let question = (Method::POST, path);
        let said = cluster
            .ask_for::<Takeover>(self.connector(), peer, question)
            .await;
        match said {
            Ok(said) => Former::parse(&said.former),
            Err(why) => {
                debug!(
                    proxy = peer.id,
                    why, "another proxy does not say whether it has a publisher"
                );
                Former::Nobody
            }
        }
    }

    /// Ends a publisher, at once or when it has been silent for long enough, if it does. `through`: where the one came that
    /// it gives way to.
    async fn judge(&self, old: &Arc<Row>, gives_way: GivesWay, through: Option<&str>) -> Former {
        let (enough, stream) = (self.shared.timing.takeover_after, &old.request.stream);
        match gives_way {
            GivesWay::AtOnce => {
                info!(session = old.id, %stream, through, "a publisher gives way to one that came later");
                old.end(EndReason::Replaced);
                let _ = timeout(enough.max(LEAVE), old.closed()).await;
                return Former::GaveWay;
            }
            GivesWay::Never => return Former::Stays,
            GivesWay::WhenSilent => {}
        }
        let seen = old.bytes(Direction::ToOrigin);
        while old.client_silent_for() < enough {
            if old.bytes(Direction::ToOrigin) != seen {
                return Former::Stays;
            }
            let rest = enough.saturating_sub(old.client_silent_for());
            if timeout(rest.min(POLL), old.closed()).await.is_ok() {
                return Former::Left;
            }
        }
        if old.state() == State::Connecting {
            // It says nothing because its origin has yet to answer it.
            return Former::Stays;
        }
        info!(session = old.id, %stream, through, "a silent publisher gives way to one that came back");
        old.end(EndReason::Replaced);
        let _ = timeout(enough, old.closed()).await;
        Former::GaveWay
    }
}

impl Newcomer {
    fn of(request: &Request) -> Self {
        Self {
            client: request.client.ip(),
            bond: request.bond,
        }
    }

    /// Whether it is another link of the same publisher: both are wanted.
    fn is_of_bond(&self, old: &Row) -> bool {
        self.bond.is_some() && old.request.bond == self.bond
    }

    fn is_at(&self, old: &Row) -> bool {
        old.request.client.ip() == self.client
    }

    /// The question to another proxy.
    fn path(&self, stream: &StreamUrl) -> String {
        let stream = escaped(stream.as_str());
        let mut path = format!("/api/v1/takeovers?stream={stream}&client={}", self.client);
        if let Some(bond) = self.bond {
            path.push_str(&format!("&bond={bond}"));
        }
        path
    }
}

/// How often a publisher that may have gone silent is looked at.
const POLL: Duration = Duration::from_millis(50);
/// How long a publisher that gives way at once may take to close, so that its origin sees the end before the new one.
const LEAVE: Duration = Duration::from_secs(1);
/// A publisher that has to be watched for longer is asked about again.
const ANSWERS_WITHIN: Duration = Duration::from_millis(500);
/// Publishers that other proxies are asked about at once; the origin's no is the last word for any more.
pub(super) const MOST_ASKED: usize = 64;
