//! Playlists and manifests of viewers whose origin changes, or is lost: they go on, as
//! [`splice`](sluicegate_core::http::splice) says for HLS and [`periods`](sluicegate_core::http::periods) for MPEG-DASH. What is
//! decided is written to the store that proxies share, once for each change.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, StatusCode};
use sluicegate_core::events::{Kind, News};
use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::http::continued::{Continued, Listed};
use sluicegate_core::http::periods::{NOTHING, Unfit};
use sluicegate_core::http::route::Piece;
use sluicegate_core::http::splice::{Follows, Gaps, Listing, Loss, Run, SETTLES, Seen, ask};
use sluicegate_core::place::rule::HoldTimes;
use sluicegate_core::stream::PlacementKey;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::PieceRequest;
use super::fetched::Fetched;
use super::prepared::Prepared;
use crate::listener::http::share::Head;
use crate::listener::http::{granted, rewrite};
use crate::proxy::{Attempt, Proxy};
use crate::registry::{Last, Playlist, is_fresh};
use crate::unix_time;

/// What viewers get in place of what an origin listed.
pub(super) enum Shown {
    /// The same.
    AsItIs,
    /// That, and what they had before.
    Spliced(Arc<Continued>, Listing),
}

/// Where viewers find their playlists at origins that made them other sessions.
#[derive(Debug, Default)]
pub(super) struct Variants {
    // A std mutex: it is held for a look-up, never across an await.
    known: Mutex<HashMap<(OriginId, String), String>>,
}

impl Variants {
    /// The target at `origin` of what a viewer asks for by `target`.
    fn of(&self, origin: &OriginId, target: &str) -> Option<String> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.is_empty() {
            return None;
        }
        known.get(&(origin.clone(), target.to_owned())).cloned()
    }

    fn note(&self, origin: &OriginId, asked: &str, target: String) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // An origin that is asked by the old address again makes one more session.
        if known.len() >= MOST_VARIANTS {
            known.clear();
        }
        known.insert((origin.clone(), asked.to_owned()), target);
    }
}

/// Why there is no answer of an origin to pass on.
pub(super) enum Unanswered {
    /// The playlist is held, and this is it.
    Held(Box<Prepared>),
    /// There is none, for this reason.
    Refused(StatusCode, String),
}

impl From<(StatusCode, String)> for Unanswered {
    fn from((status, words): (StatusCode, String)) -> Self {
        Self::Refused(status, words)
    }
}

impl PieceRequest {
    /// An origin's answer, or the playlist as it is without one.
    pub(super) async fn fetch_or_hold(&self) -> Result<(Attempt, Fetched), Unanswered> {
        let fetched = self.fetch().await;
        let (status, by) = match &fetched {
            Ok((attempt, fetched)) => (fetched.status(), Some(&attempt.origin)),
            Err((status, _)) => (*status, None),
        };
        if status.is_success() {
            self.place.exists();
        }
        if status == StatusCode::NOT_FOUND || status.is_server_error() {
            if let Some(held) = self.held_instead(status, by).await {
                return Err(held);
            }
            if self.was_in_a_manifest() {
                return Err(Unanswered::Held(nothing().into()));
            }
        }
        Ok(fetched?)
    }

    /// What viewers get where the answer of `by` broke off or cannot be read, for which `words` are the reason: it is as good
    /// as an error.
    pub(super) async fn instead_of_broken(&self, by: &OriginId, words: &str) -> Unanswered {
        let held = self.held_instead(StatusCode::BAD_GATEWAY, Some(by)).await;
        held.unwrap_or_else(|| self.broken(words))
    }

    /// The playlist as it is without an answer, where viewers have it.
    async fn held_instead(&self, said: StatusCode, by: Option<&OriginId>) -> Option<Unanswered> {
        let (splice, listing) = Box::pin(self.held(said, by)).await?;
        let held = self.held_body(&splice, &listing);
        Some(Unanswered::Held(held.into()))
    }

    /// What a client hears of an answer that cannot be passed on.
    pub(super) fn broken(&self, words: &str) -> Unanswered {
        let stream = &self.place.request().stream;
        self.unanswered((StatusCode::BAD_GATEWAY, format!("{stream}: {words}")))
            .into()
    }

    /// The name of the playlist or manifest that is asked for, where viewers are held.
    pub(super) fn name_of(&self, target: &str) -> Option<Arc<str>> {
        if self.kind == Piece::Segment || self.holds().viewers.is_zero() {
            return None;
        }
        let key = self.place.key();
        let name = |target: &str| -> Arc<str> {
            let ignored = &self.pieces.settings.sharing.ignored;
            let is_ignored = |name: &str| ignored.iter().any(|one| one == name);
            ask::name_of(key.as_str(), target, is_ignored).into()
        };
        if self.place.has_shown() {
            return Some(name(&self.place.without_shown(target)));
        }
        let read = || (key.clone(), name(target));
        let (of, known) = self.wanted.name.get_or_init(read);
        Some(match of == key {
            true => Arc::clone(known),
            false => name(target),
        })
    }

    /// The playlist that is asked for, if viewers are held and it is known here.
    pub(super) fn playlist(&self) -> Option<Arc<Playlist>> {
        self.proxy
            .registry()
            .playlists()
            .find(self.name.as_deref()?)
    }

    /// The target as `origin` is to get it: directives count as it does, and wait for nothing where it does not know the
    /// segments that viewers know.
    pub(super) fn directed<'a>(&self, target: &'a str, origin: &OriginId) -> Cow<'a, str> {
        if self.name.is_none() {
            return Cow::Borrowed(target);
        }
        if self.has_session(target)
            && let Some(variant) = self.pieces.variants.of(origin, target)
        {
            return Cow::Owned(variant);
        }
        if !ask::has_directives(target) {
            return Cow::Borrowed(target);
        }
        let Some(playlist) = self.playlist() else {
            return Cow::Borrowed(target);
        };
        let known = playlist.known();
        match (&known.splice, &known.last) {
            (Some(splice), _) if splice.origin() == origin.as_str() => {
                let theirs = |number| splice.playlist()?.theirs(number);
                let number = ask::waits_for(target).and_then(theirs);
                Cow::Owned(ask::waiting_for(target, number))
            }
            (None, Some(last)) if last.origin == *origin => Cow::Borrowed(target),
            (None, None) => Cow::Borrowed(target),
            _ => Cow::Owned(ask::waiting_for(target, None)),
        }
    }

    /// Whether viewers are known to have the playlist with the numbers of `origin`.
    pub(super) fn counts_as(&self, origin: &OriginId) -> bool {
        if self.name.is_none() {
            return true;
        }
        self.playlist().is_some_and(|playlist| {
            let known = playlist.known();
            let last = known.last.as_ref();
            known.splice.is_none() && last.is_some_and(|last| last.origin == *origin)
        })
    }

    /// Whether a target goes on with a session that an origin made for its viewer, and listed. Who comes without one is no
    /// viewer yet, and may not get another's: the origin judges each that begins.
    fn has_session(&self, target: &str) -> bool {
        let ignored = &self.pieces.settings.sharing.ignored;
        self.wanted.link.is_some()
            && ask::is_for_a_viewer(target, |name| ignored.iter().any(|one| one == name))
    }

    /// The media playlist that a master playlist leads to which came in the place of one: this origin knows nothing of the
    /// viewer's session, and makes it another, which later requests go on with.
    ///
    /// # Errors
    /// Why that playlist cannot be had. To a viewer that has a media playlist, a master playlist is as good as none.
    pub(super) async fn variant_instead(
        &self,
        attempt: &Attempt,
        body: &Bytes,
    ) -> Result<Option<Bytes>, &'static str> {
        let asked = &self.ask.head.target;
        let known = self.playlist().map(|playlist| playlist.known());
        let is_known = known.is_some_and(|known| known.last.is_some() || known.splice.is_some());
        if !is_known || !self.has_session(asked) {
            return Ok(None);
        }
        let text = std::str::from_utf8(body).unwrap_or_default();
        let target = ask::only_variant(text, asked, &attempt.target.to_string());
        let Some(target) = target else {
            return Ok(None);
        };
        let limit = self.pieces.settings.answer_timeout;
        let asking = self
            .ask
            .send(&self.dialer, &self.silence, attempt, &target, limit);
        let (mut head, answer) = asking.await.map_err(|_| NO_VARIANT)?.into_parts();
        match head.status {
            StatusCode::OK => {}
            status if status == StatusCode::NOT_FOUND || status.is_server_error() => {
                return Err(NO_VARIANT);
            }
            // Its client asks for it itself, and hears why not.
            _ => return Ok(None),
        }
        let (body, _) = rewrite::whole_text(&mut head.headers, answer).await?;
        self.pieces.variants.note(&attempt.origin, asked, target);
        Ok(Some(body))
    }

    /// Whether viewers of the playlist have no origin now, so that none can hold a request for it.
    pub(super) fn is_away(&self) -> bool {
        let splice = self.playlist().and_then(|playlist| playlist.known().splice);
        splice.is_some_and(|splice| splice.is_away())
    }

    /// What viewers get of a playlist that the origin of `attempt` lists as `body`, in `folder` there.
    pub(super) async fn shown(
        &self,
        attempt: &Attempt,
        body: &Bytes,
        folder: Option<&str>,
    ) -> Shown {
        let Some(name) = &self.name else {
            return Shown::AsItIs;
        };
        let known = self.playlist();
        let is_fresh = |read| self.is_fresh(read);
        let as_before = |one: &Arc<Playlist>| one.is_as_before(&attempt.origin, body, is_fresh);
        if known.as_ref().is_some_and(as_before) {
            return Shown::AsItIs;
        }
        let text = std::str::from_utf8(body).unwrap_or_default();
        let is_manifest = self.kind == Piece::Manifest;
        let listed = match Listed::read(text, is_manifest) {
            Ok(Some(listed)) => listed,
            Ok(None) => return Shown::AsItIs,
            Err(why) => return self.shown_unfit(name, known, body, why),
        };
        // A recording goes on by itself.
        let known = known.or_else(|| {
            let registry = self.proxy.registry();
            let of = || registry.playlists().of(name, self.place.key(), is_manifest);
            (!listed.ended()).then(of).flatten()
        });
        let Some(playlist) = known else {
            return Shown::AsItIs;
        };
        self.read(&playlist).await;
        for _ in 0..ROUNDS {
            if self.turn(&playlist, attempt, &listed).is_none() {
                break;
            }
            // Another request may have decided meanwhile.
            let _turn = playlist.turn.lock().await;
            if let Some(splice) = self.turn(&playlist, attempt, &listed) {
                self.change(&playlist, splice).await;
                self.remember(&playlist, attempt, &listed, body, folder);
            }
        }
        self.remember(&playlist, attempt, &listed, body, folder);
        let Some(splice) = playlist.known().splice else {
            return Shown::AsItIs;
        };
        let (now, reaches) = (unix_time::millis(), |origin: &str| self.reaches(origin));
        let gaps = self.gaps();
        let away = splice.away(now, reaches, gaps);
        if away.is_some() {
            playlist.is_held(now);
        }
        match away.or_else(|| splice.on(&listed, now, reaches, gaps)) {
            Some(listing) => Shown::Spliced(splice, listing),
            None => Shown::AsItIs,
        }
    }

    /// What viewers get of a manifest that cannot go on elsewhere: it, as it is. Those who had another one before are told to
    /// begin again by what they find in it.
    fn shown_unfit(
        &self,
        name: &str,
        known: Option<Arc<Playlist>>,
        body: &[u8],
        why: Unfit,
    ) -> Shown {
        let lives = granted::is_live_media(body);
        let registry = self.proxy.registry();
        let known = known.or_else(|| {
            let of = || registry.playlists().of(name, self.place.key(), true);
            lives.then(of).flatten()
        });
        if let Some(playlist) = known {
            let before = playlist.known();
            if before.splice.is_some_and(|splice| splice.is_away()) {
                self.tell_unfit(why);
            }
            playlist.change(|known| {
                known.splice = None;
                known.last = None;
                known.unfit = lives.then_some(why);
            });
        }
        Shown::AsItIs
    }

    /// The playlist while no origin has its stream, where viewers have it. `said`: what the only origin that had it says now,
    /// or what became of asking.
    pub(super) async fn held(
        &self,
        said: StatusCode,
        by: Option<&OriginId>,
    ) -> Option<(Arc<Continued>, Listing)> {
        // A viewer that begins has nothing yet that could go on.
        if self.first {
            return None;
        }
        let (name, registry) = (self.name.as_deref()?, self.proxy.registry());
        let playlist = match (self.playlist(), self.proxy.cluster()) {
            (Some(playlist), _) => playlist,
            (None, Some(_)) => {
                let is_manifest = self.kind == Piece::Manifest;
                let playlists = registry.playlists();
                playlists.of(name, self.place.key(), is_manifest)?
            }
            (None, None) => return None,
        };
        if let Some(why) = playlist.known().unfit {
            // Once for each loss.
            playlist.change(|known| known.unfit = None);
            self.tell_unfit(why);
            return None;
        }
        self.read(&playlist).await;
        let now = unix_time::millis();
        if let Some(splice) = self.loss(&playlist, said, by) {
            if let Some(until) = self.is_no_loss_until(&playlist, by, now) {
                if self.waits() {
                    sleep(Duration::from_millis(until - now)).await;
                }
                let listing = splice.away(now, |origin| self.reaches(origin), self.gaps())?;
                return Some((Arc::new(splice), listing));
            }
            let _turn = playlist.turn.lock().await;
            if let Some(splice) = self.loss(&playlist, said, by) {
                self.change(&playlist, splice).await;
            }
        }
        let splice = playlist.known().splice?;
        let now = unix_time::millis();
        if !splice.is_away() || splice.is_over(now) {
            return None;
        }
        let grows = splice.playlist().and_then(|splice| splice.grows_at(now));
        if let Some(grows) = grows.filter(|_| self.waits()) {
            // As an origin holds such a request until there is something new (§6.2.5.2).
            sleep(Duration::from_millis(grows.saturating_sub(now))).await;
        }
        let now = unix_time::millis();
        playlist.is_held(now);
        let listing = splice.away(now, |origin| self.reaches(origin), self.gaps())?;
        Some((splice, listing))
    }

    /// What the player gets of gaps: VLC, and what is built on its library, takes one for the end of the stream.
    pub(super) fn gaps(&self) -> Gaps {
        let agent = self.ask.head.headers.text("user-agent");
        match self.kind == Piece::Playlist && agent.is_some_and(|agent| agent.contains(LIBVLC)) {
            true => Gaps::LeftOut,
            false => Gaps::Listed,
        }
    }

    /// Why a segment is not asked of another origin than the one that listed it, or counts as not there yet: it was lost with
    /// that one, and a player that hears so asks for its playlist again.
    pub(super) fn went_with_its_origin(&self, missing: bool) -> bool {
        let Some(origin) = self.listed_by().filter(|_| self.kind == Piece::Segment) else {
            return false;
        };
        let mut playlists = self
            .proxy
            .registry()
            .playlists()
            .of_stream(self.place.key())
            .into_iter();
        playlists.any(|playlist| {
            let splice = playlist.known().splice;
            let gave_up = splice.is_some_and(|splice| splice.gave_up(origin.as_str()));
            // Packagers of manifests give their segments the same names, and times of their own.
            let missing = missing || playlist.is_manifest();
            gave_up || (missing && playlist.is_watched() && !self.reaches(origin.as_str()))
        })
    }

    /// Whether a segment that nobody can get was listed by a manifest. Its player, which would give up after a few refusals,
    /// gets a segment in which there is nothing.
    fn was_in_a_manifest(&self) -> bool {
        let Some(origin) = self.listed_by().filter(|_| self.kind == Piece::Segment) else {
            return false;
        };
        let target = &self.ask.head.target;
        if is_lost(&self.proxy, self.place.key(), Some(origin), target) {
            return true;
        }
        let listed = |playlist: Arc<Playlist>| {
            let last = playlist.known().last;
            last.filter(|last| last.origin == *origin)
                .is_some_and(|last| match last.listed() {
                    Some(Listed::Manifest(manifest)) => manifest.names_a_segment(target),
                    _ => false,
                })
        };
        let playlists = self.proxy.registry().playlists();
        let mut playlists = playlists.of_stream(self.place.key()).into_iter();
        !self.reaches(origin.as_str()) && playlists.any(listed)
    }

    /// Whether an origin may still have what it listed.
    fn reaches(&self, origin: &str) -> bool {
        self.place.attempt(&OriginId::from(origin)).is_some()
    }

    pub(super) fn is_fresh(&self, read: Option<Instant>) -> bool {
        let cluster = self.proxy.cluster();
        cluster.is_none_or(|cluster| is_fresh(read, cluster.tells_of_changes()))
    }

    /// Makes sure that what the store says is known.
    async fn read(&self, playlist: &Playlist) {
        let known = playlist.known();
        let Some(cluster) = self.proxy.cluster().filter(|_| !self.is_fresh(known.read)) else {
            return;
        };
        let read = cluster
            .splice(&playlist.name, known.splice.as_deref())
            .await;
        playlist.change(|now| {
            now.read = Some(Instant::now());
            // What was decided meanwhile is newer.
            let newer = |read: &Continued| {
                now.splice
                    .as_ref()
                    .is_none_or(|splice| splice.epoch() <= read.epoch())
            };
            if let Some(read) = read.filter(newer) {
                now.splice = Some(Arc::new(read));
            }
        });
    }

    /// How the playlist goes on from here, if it does otherwise than so far with what `attempt` lists.
    fn turn(
        &self,
        playlist: &Playlist,
        attempt: &Attempt,
        listed: &Listed<'_>,
    ) -> Option<Continued> {
        let (known, now) = (playlist.known(), unix_time::millis());
        let splice = known.splice.as_deref();
        let others = self.has_peers();
        if let Some(away) = splice.filter(|splice| splice.is_away()) {
            // What other proxies showed meanwhile is not known here.
            let until = if others { now } else { playlist.held_at() };
            return away.found(&attempt.origin, listed, now, Seen { until, spare: 0 });
        }
        // Where nobody watched, nothing has to go on.
        let watched = |_: &&Last| splice.is_some() || playlist.is_watched();
        let Some(last) = known.newest().filter(watched) else {
            let elsewhere = splice.filter(|splice| splice.origin() != attempt.origin.as_str());
            let lost = elsewhere.and_then(|splice| splice.lost_unseen(now));
            return lost?.found(&attempt.origin, listed, now, Seen::all(now));
        };
        let before = last.listed()?;
        let same = last.origin == attempt.origin;
        let waited = now.saturating_sub(last.since);
        if listed.follows(now, (&before, last.seen_at()), same, waited) != Follows::Not {
            return None;
        }
        let run = Run {
            origin: &last.origin,
            authority: &last.authority,
            folder: last.folder.as_deref(),
            gone: same || !self.reaches(last.origin.as_str()),
        };
        let loss = self.loss_at(last.since, now, false);
        let lost = Continued::lose(splice, &before, run, loss, last.seen_at())?;
        // Other proxies may have shown what came since this one asked last.
        let unseen = now.saturating_sub(last.seen_at()) / before.pace().max(1) + 1;
        let spare = if others { unseen } else { 0 };
        let seen = Seen { until: now, spare };
        let found = lost.found(&attempt.origin, listed, now, seen);
        Some(found.unwrap_or(lost))
    }

    /// Until when errors of the origin that has the stream are no loss yet: it may answer the next request, and other proxies
    /// count gaps by the clock from a loss on. A proxy that is alone counts those that it showed.
    fn is_no_loss_until(
        &self,
        playlist: &Playlist,
        by: Option<&OriginId>,
        now: u64,
    ) -> Option<u64> {
        let known = playlist.known();
        let is_its_own = known.newest().is_some_and(|last| by == Some(&last.origin));
        if !is_its_own || self.kind != Piece::Playlist || !self.has_peers() {
            return None;
        }
        let until = playlist.fails(now).saturating_add(SETTLES);
        (now < until).then_some(until)
    }

    /// Whether other proxies run.
    fn has_peers(&self) -> bool {
        let peers = self.proxy.cluster().map(|cluster| cluster.peers());
        peers.is_some_and(|peers| !peers.is_empty())
    }

    /// The loss of the stream, where viewers have the playlist and nobody noted it yet.
    fn loss(
        &self,
        playlist: &Playlist,
        said: StatusCode,
        by: Option<&OriginId>,
    ) -> Option<Continued> {
        let (known, now) = (playlist.known(), unix_time::millis());
        let splice = known.splice.as_deref();
        if splice.is_some_and(Continued::is_away) {
            return None;
        }
        let last = known.newest().filter(|_| playlist.is_watched())?;
        let listed = last.listed()?;
        let says_so = said == StatusCode::NOT_FOUND && by == Some(&last.origin);
        let run = Run {
            origin: &last.origin,
            authority: &last.authority,
            folder: last.folder.as_deref(),
            gone: !says_so && !self.reaches(last.origin.as_str()),
        };
        let loss = self.loss_at(last.since, now, says_so);
        Continued::lose(splice, &listed, run, loss, last.seen_at())
    }

    fn holds(&self) -> HoldTimes {
        self.pieces.holds.of(&self.place.request().stream)
    }

    fn loss_at(&self, since: u64, now: u64, publisher: bool) -> Loss {
        let holds = self.holds();
        let away = holds.publisher_away;
        let limit = match publisher && !away.is_zero() {
            true => away.min(holds.viewers),
            false => holds.viewers,
        };
        let limit = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        Loss {
            since,
            noted: now,
            until: now.saturating_add(limit),
        }
    }

    /// Puts a decision in the place of what was known, here and in the store. Another proxy's may stand there.
    async fn change(&self, playlist: &Playlist, splice: Continued) {
        let known = playlist.known();
        let standing = match self.proxy.cluster() {
            Some(cluster) => {
                let expected = known.splice.as_deref();
                cluster
                    .change_splice(&playlist.name, expected, &splice)
                    .await
            }
            None => splice.clone(),
        };
        let ours = standing == splice;
        let standing = Arc::new(standing);
        playlist.change(|now| {
            now.splice = Some(Arc::clone(&standing));
            now.read = Some(Instant::now());
        });
        if ours {
            self.tell(known.splice.as_deref(), &standing);
        }
    }

    /// One line and one event for each change, by the proxy that made it.
    fn tell(&self, before: Option<&Continued>, splice: &Continued) {
        let stream = self.place.key().as_str();
        let gap_ms = splice.gap_ms(unix_time::millis());
        let origin = splice.origin();
        let from = before.map(Continued::origin);
        let what = match (splice.is_away(), self.kind) {
            (true, Piece::Manifest) => {
                info!(%stream, from = origin, "its origin is lost, and the manifest is held");
                "the viewers of a manifest are held: its origin is lost".to_owned()
            }
            (true, _) => {
                info!(%stream, from = origin, "its origin is lost, and the playlist is held");
                "the viewers of a playlist are held: its origin is lost".to_owned()
            }
            (false, Piece::Manifest) => {
                info!(%stream, from, to = origin, gap_ms, "the manifest goes on");
                format!("a manifest goes on after {gap_ms} ms without segments")
            }
            (false, _) => {
                info!(%stream, from, to = origin, gap_ms, "the playlist goes on");
                format!("a playlist goes on after {gap_ms} ms without segments")
            }
        };
        self.note_held(origin, what);
    }

    /// One line and one event where the viewers of a manifest are not held.
    fn tell_unfit(&self, why: Unfit) {
        let stream = self.place.key().as_str();
        info!(%stream, %why, "its origin is lost, and the manifest cannot go on elsewhere");
        self.note_held("", format!("the viewers of a manifest are not held: {why}"));
    }

    fn note_held(&self, origin: &str, what: String) {
        let news = News {
            stream: self.place.key().as_str().to_owned(),
            origin: origin.to_owned(),
            client: String::new(),
            what,
        };
        self.proxy.metrics().journal.note(Kind::Held, news);
    }

    /// Remembers what was listed, unless that was listed before.
    fn remember(
        &self,
        playlist: &Playlist,
        attempt: &Attempt,
        listed: &Listed<'_>,
        body: &Bytes,
        folder: Option<&str>,
    ) {
        let known = playlist.known();
        if known.splice.as_ref().is_some_and(|splice| splice.is_away()) {
            return;
        }
        if listed.ended() {
            return playlist.change(|known| known.last = None);
        }
        let now = unix_time::millis();
        let before = known.newest();
        let before = before.filter(|last| last.origin == attempt.origin);
        // An answer that took longer than the next one.
        let follows = before.and_then(|last| {
            let waited = now.saturating_sub(last.since);
            let before = last.listed()?;
            Some(listed.follows(now, (&before, last.seen_at()), true, waited))
        });
        if follows == Some(Follows::Late) {
            return;
        }
        let end = listed.end(now);
        let since = before.filter(|last| last.end == end && follows == Some(Follows::On));
        playlist.note(Last {
            body: body.clone(),
            is_manifest: playlist.is_manifest(),
            origin: attempt.origin.clone(),
            authority: attempt.target.to_string().into(),
            folder: folder.map(Into::into),
            end,
            since: since.map_or(now, |last| last.since),
            seen: Instant::now(),
            epoch: known.epoch(),
        });
        playlist.change(|known| {
            known.unfit = None;
            known.read.get_or_insert_with(Instant::now);
        });
    }

    fn waits(&self) -> bool {
        ask::waits_for(&self.ask.head.target).is_some()
    }
}

/// Whether a segment that a manifest listed was lost with its origin. `origin`: which one, if its link still tells.
pub(super) fn is_lost(
    proxy: &Proxy,
    key: &PlacementKey,
    origin: Option<&OriginId>,
    target: &str,
) -> bool {
    let playlists = proxy.registry().playlists().of_stream(key);
    playlists.iter().any(|playlist| {
        let splice = playlist.known().splice;
        let periods = splice.as_ref().and_then(|splice| splice.manifest());
        periods.is_some_and(|periods| {
            let gave_up = origin.is_none_or(|origin| periods.gave_up(origin.as_str()));
            gave_up && periods.names_a_segment(target)
        })
    })
}

/// A segment in which there is nothing.
pub(super) fn nothing() -> Prepared {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("video/mp4"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let head = Head {
        status: StatusCode::OK,
        headers,
        leads: None,
    };
    Prepared::Whole(head, Bytes::from_static(NOTHING))
}

/// In the user agent of VLC 3 (`VLC/3.0.24 LibVLC/3.0.24`), which asks for gaps and ends where one is refused.
const LIBVLC: &str = "LibVLC/";
/// Why a viewer cannot go on with a new session.
const NO_VARIANT: &str = "its origin does not have the playlist that its master playlist names";
/// Sessions that are known at once: of a few hundred bytes each.
const MOST_VARIANTS: usize = 10_000;
/// Decisions that may be in vain, because another request or another proxy made one.
const ROUNDS: usize = 3;
