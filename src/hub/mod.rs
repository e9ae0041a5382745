//! One pull of a stream for all its viewers.
//!
//! A feed is pulled once, by whichever worker its first viewer is on. Every worker with viewers has a branch of it, which
//! is told of what came once in a while, and sends to its viewers in one pass. A viewer is a session without a leg of its
//! own; the pull is the leg. `docs/many-viewers.md` says when to use it.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `feed` | a feed in the table: who pulls it, who watches, its branches |
//! | `player` | playing a stream of an origin ourselves |
//! | `pull` | the leg that fills a feed |
//! | `said` | what an origin answers over HTTP, for viewers over HTTP |
//! | `source` | what that leg brings: messages by RTMP, or a body over HTTP |
//! | `held` | the time in which the viewers of a pull get nothing |
//! | `branch` | a feed on one worker, and the pass over its viewers |
//! | `body` | a viewer whose connection hyper has |
//! | `seat` | one viewer: its connection, its place, and what it says |
//! | `shadow` | the origin's word on one viewer |

mod body;
mod branch;
mod feed;
mod follow;
mod held;
mod player;
mod pull;
mod said;
mod seat;
mod shadow;
mod source;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sluicegate_core::fleet::origin::OriginId;
use sluicegate_core::media::blocks::Format;
use sluicegate_core::media::fanout::{Mode, Modes, part_of_query, rest_of_query};
use sluicegate_core::media::viewer::{Envelope, Framing};
use sluicegate_core::place::rule::HoldRules;
use sluicegate_core::stream::{Action, PlacementKey, Protocol, Service, StreamUrl};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use self::body::Shown;
use self::feed::Feed;
#[cfg(test)]
pub(crate) use self::held::RARER;
#[cfg(test)]
pub(crate) use self::pull::QUIET;
use self::said::No;
pub use self::said::Said;
pub use self::seat::{ViewerProtocol, Watching};
pub use self::shadow::Recipe;
use self::shadow::Shadow;
use crate::net::accept::OriginSide;
use crate::net::wire::Wire;
use crate::origin::dial::Dialer;
use crate::proxy::{Proxy, Refusal, Request, Session};
use crate::sessions::{EndReason, Pull};
use crate::value::Secret;

/// What sharing pulls is set to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Which streams are pulled once.
    pub modes: Modes,
    /// Where the origin is asked about each viewer: parameters that make different streams of one name.
    pub split_query: Vec<String>,
    /// What a pull adds to the stream's name, to be let in by the origin; empty for nothing.
    pub pull_query: Secret,
    /// For how long messages are gathered before viewers are sent them.
    pub coalesce: Duration,
    /// How far behind a viewer may be before it skips ahead.
    pub max_lag: Duration,
    /// How long a pull goes on without a viewer.
    pub linger: Duration,
    /// Bytes that all feeds together may hold.
    pub memory: usize,
    /// How long an origin that has sent media may send nothing to a pull.
    pub silence: Duration,
    /// How long viewers are kept whose pull is lost, where zero ends them with it, or whose publisher has left, where zero
    /// leaves that to the limits of their sessions.
    pub holds: HoldRules,
}

/// The feeds of a proxy; a cheap clone.
#[derive(Clone)]
pub struct Hub {
    shared: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    proxy: Proxy,
    dialer: Arc<Dialer>,
    /// Pulls end with it.
    stop: CancellationToken,
    // A std mutex: it is held for a few lines and never across an await. Nothing locks it per message.
    feeds: Mutex<HashMap<FeedKey, Arc<Feed>>>,
    /// Bytes that all feeds hold.
    bytes: AtomicUsize,
    /// Origins that send on after a pause: what is asked of them for a viewer costs as much as its own leg.
    unpausable: Mutex<HashSet<OriginId>>,
    /// When the next shadow may be asked for again.
    next_turn: Mutex<Instant>,
}

/// What a viewer watches.
#[derive(Debug, Clone)]
pub struct Wanted {
    key: FeedKey,
    /// The stream as it is asked for: its vhost may not be in the key. A pull asks as the first of its viewers.
    stream: StreamUrl,
    /// The origin is asked about each viewer.
    is_checked: bool,
    /// Where the stream was when operators began to look at it; `None` for viewers.
    holder: Option<OriginId>,
}

/// A request that may share a pull.
#[derive(Clone)]
pub struct Wish {
    /// The query of its URL.
    query: Box<str>,
    is_checked: bool,
}

impl Wish {
    /// Whether the origin is asked about each viewer.
    pub const fn is_checked(&self) -> bool {
        self.is_checked
    }

    /// The query of its URL.
    pub const fn query(&self) -> &str {
        &self.query
    }
}

/// What viewers of one feed have in common.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct FeedKey {
    /// The stream, as it is placed.
    stream: PlacementKey,
    /// What else is in the query.
    rest: Box<str>,
    /// The format in which it is pulled, and shown as it comes; `None` where messages are told apart, and each viewer has
    /// them in its own protocol.
    format: Option<Format>,
    /// It is for operators who look, and no viewer shares it.
    is_apart: bool,
}

impl Hub {
    /// A hub without a feed. `dialer` reaches the origins of its pulls, which end with `stop`.
    pub fn new(
        settings: Settings,
        proxy: Proxy,
        dialer: Arc<Dialer>,
        stop: CancellationToken,
    ) -> Self {
        let shared = Arc::new(Inner {
            settings,
            proxy,
            dialer,
            stop,
            feeds: Mutex::default(),
            bytes: AtomicUsize::new(0),
            unpausable: Mutex::default(),
            next_turn: Mutex::new(Instant::now()),
        });
        let held = Arc::downgrade(&shared);
        shared.proxy.metrics().before_scrape(move |metrics| {
            let bytes = held
                .upgrade()
                .map_or(0, |shared| shared.bytes.load(Ordering::Relaxed));
            metrics.fanout.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        });
        Self { shared }
    }

    /// Reaches the origins of pulls.
    pub fn dialer(&self) -> &Arc<Dialer> {
        &self.shared.dialer
    }

    /// What a request of our own adds to a stream's name, to be let in by its origin; empty for nothing.
    pub fn pull_query(&self) -> &str {
        self.shared.settings.pull_query.reveal()
    }

    /// What `request` asks for, if it is one that may share a pull. It has to be looked at before the session is opened,
    /// which keeps no credentials.
    pub fn wish(&self, request: &Request) -> Option<Wish> {
        let has_feeds = matches!(
            request.protocol,
            Protocol::HttpAac
                | Protocol::HttpFlv
                | Protocol::HttpMp3
                | Protocol::HttpTs
                | Protocol::Rtmp
        );
        let merges = has_feeds && request.action == Action::Play;
        let mode = self.shared.settings.modes.of(&request.stream);
        if !merges || mode == Mode::Off {
            return None;
        }
        let credentials = request.credentials.as_deref();
        // What an origin judges by itself in other places than the query is the viewer's own affair.
        if credentials.is_some_and(|shown| shown.bearer.is_some() || shown.basic.is_some()) {
            return None;
        }
        let query = credentials.and_then(|shown| shown.query.clone());
        Some(Wish {
            query: query.unwrap_or_default(),
            is_checked: mode == Mode::Checked,
        })
    }

    /// What `session` watches that had this wish.
    pub fn wants(&self, session: &Session, wish: &Wish) -> Wanted {
        let request = &session.row().request;
        let rest = if wish.is_checked {
            part_of_query(&wish.query, &self.shared.settings.split_query)
        } else {
            rest_of_query(&wish.query, |name| session.has_shown(name))
        };
        Wanted {
            key: FeedKey {
                stream: self.shared.proxy.key(&request.stream),
                rest: rest.into(),
                format: Format::of(request.protocol),
                is_apart: false,
            },
            stream: request.stream.clone(),
            is_checked: wish.is_checked,
            holder: None,
        }
    }

    /// Waits until the stream is pulled for `session`, which watches it from then on. Where the origin is asked about each
    /// viewer, it is asked what `recipe` says first.
    ///
    /// # Errors
    /// [`NotJoined`], with the session.
    pub async fn join(
        &self,
        session: Session,
        wanted: &Wanted,
        recipe: Recipe,
    ) -> Result<Joined, NotJoined> {
        let shared = &self.shared;
        let shadow = if wanted.is_checked {
            match self.check(&session, wanted, &recipe).await {
                Ok(Some(shadow)) => Some(shadow),
                Ok(None) => return Err(NotJoined::Alone(session)),
                Err(refusal) => return Err(NotJoined::of(session, refusal.into())),
            }
        } else {
            session.watch(true);
            None
        };
        let lends = wanted.is_checked && shared.settings.pull_query.reveal().is_empty();
        let loan = lends.then(|| recipe.query().into());
        let shadow = shadow.map(|shadow| (shadow, recipe));
        match self.enter(&session, wanted, loan).await {
            Ok(entered) => Ok(Joined {
                session,
                entered,
                shadow,
            }),
            Err(no) => Err(NotJoined::of(session, no)),
        }
    }

    /// Waits until the stream is pulled from its `holder` for an operator who looks at it. A pull is shared with viewers only
    /// where they have one that every viewer may share: elsewhere it stands on what a viewer has shown.
    ///
    /// # Errors
    /// A [`Refusal`]; the session is over then.
    pub async fn preview(&self, session: Session, holder: OriginId) -> Result<Shown, Refusal> {
        let shared = &self.shared;
        let stream = session.row().request.stream.clone();
        let mut key = FeedKey {
            stream: shared.proxy.key(&stream),
            rest: Box::default(),
            format: None,
            is_apart: false,
        };
        let is_open = shared.settings.modes.of(&stream) == Mode::Open;
        key.is_apart = !is_open || !shared.lock().contains_key(&key);
        let wanted = Wanted {
            holder: key.is_apart.then_some(holder),
            key,
            stream,
            is_checked: false,
        };
        session.watch(true);
        match self.enter(&session, &wanted, None).await {
            Ok(entered) => {
                let joined = Joined {
                    session,
                    entered,
                    shadow: None,
                };
                Ok(joined.show())
            }
            Err(no) => {
                // No client was refused.
                session.row().end(EndReason::Refused);
                Err(no.refusal)
            }
        }
    }

    /// Waits until the stream is pulled, and for a viewer over HTTP until it is known what it is greeted with. `loan`: what
    /// the pull may show the origin for the session.
    async fn enter(
        &self,
        session: &Session,
        wanted: &Wanted,
        loan: Option<Box<str>>,
    ) -> Result<Entered, No> {
        let visit = Feed::enter(&self.shared, wanted, session.row(), loan);
        let pulled = async {
            let pull = visit.pulled().await?;
            session.watches(&pull);
            let said = match session.row().request.protocol.service() {
                Service::Http => visit.greeted().await?,
                _ => None,
            };
            Ok((pull, said))
        };
        let pulled = tokio::select! {
            pulled = pulled => pulled,
            reason = session.row().ended() => Err(Refusal::Ended(reason).into()),
        };
        match pulled {
            Ok((pull, said)) => {
                session.answered();
                Ok(Entered { visit, pull, said })
            }
            Err(no) => {
                session.watch(false);
                Err(no)
            }
        }
    }

    /// Asks the origin about a viewer; `None` where that costs as much as a leg of the viewer's own.
    async fn check(
        &self,
        session: &Session,
        wanted: &Wanted,
        recipe: &Recipe,
    ) -> Result<Option<Shadow>, Refusal> {
        let shared = &self.shared;
        let placed = shared.proxy.registry().holder(&wanted.key.stream);
        if placed.is_some_and(|origin| shared.is_unpausable(&origin)) {
            return Ok(None);
        }
        let shadow = Shadow::ask(shared, session, recipe).await?;
        let is_paused = !shared.is_unpausable(&shadow.origin);
        Ok(Some(shadow).filter(|_| is_paused))
    }
}

/// Why a session does not watch a feed.
pub enum NotJoined {
    /// It has to ask an origin by itself.
    Alone(Session),
    /// It gets nothing, and its client has still to be told: in the origin's own words, where it has said them over HTTP.
    Refused(Session, Refusal, Option<Arc<Said>>),
}

impl NotJoined {
    fn of(session: Session, no: No) -> Self {
        let by_http = session.row().request.protocol.service() == Service::Http;
        match no.refusal {
            // Shadows speak RTMP, and the origin may not, or has no such name in it.
            Refusal::CannotAsk { .. } | Refusal::NoOrigin { .. } | Refusal::WrongService { .. }
                if by_http =>
            {
                Self::Alone(session)
            }
            refusal => Self::Refused(session, refusal, no.said),
        }
    }
}

impl Inner {
    fn is_unpausable(&self, origin: &OriginId) -> bool {
        lock(&self.unpausable).contains(origin)
    }

    /// Notes that an origin sends on after a pause.
    fn note_unpausable(&self, origin: &OriginId) {
        let mut known = lock(&self.unpausable);
        if known.len() >= MAX_UNPAUSABLE {
            known.clear();
        }
        if known.insert(origin.clone()) {
            warn!(%origin, "the origin sends on after a pause: viewers of its streams do not share pulls from now on");
        }
    }

    /// Waits for a turn to ask for a shadow again: an origin that restarts is not asked for all its viewers at once.
    async fn turn(&self) {
        let at = {
            let mut next = lock(&self.next_turn);
            let at = (*next).max(Instant::now());
            *next = at + BETWEEN_TURNS;
            at
        };
        sleep_until(at).await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<FeedKey, Arc<Feed>>> {
        lock(&self.feeds)
    }

    /// Takes note that `feed` holds `now` bytes, and held `before` until now. Past the bound, the largest feeds let go of
    /// their messages first; headers stay. What has just come to `feed` itself is shown first, so that the bound may be
    /// passed by one batch.
    fn account(&self, feed: &Feed, before: usize, now: usize) {
        let total = if now >= before {
            self.bytes.fetch_add(now - before, Ordering::Relaxed) + (now - before)
        } else {
            self.bytes.fetch_sub(before - now, Ordering::Relaxed) - (before - now)
        };
        if now > before && total > self.settings.memory {
            let largest = {
                let feeds = self.lock();
                let largest = feeds.values().max_by_key(|feed| feed.bytes());
                largest.map(Arc::clone)
            };
            match largest {
                Some(largest) if std::ptr::eq(Arc::as_ptr(&largest), feed) => largest.shed_next(),
                Some(largest) => largest.shed(),
                None => {}
            }
        }
    }
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hub")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

/// A session whose stream is pulled: its connection is still to be given to the feed.
pub struct Joined {
    session: Session,
    entered: Entered,
    shadow: Option<(Shadow, Recipe)>,
}

/// A place in a feed.
struct Entered {
    visit: feed::Visit,
    pull: Arc<Pull>,
    /// What the origin said, where it was asked over HTTP.
    said: Option<Arc<Said>>,
}

impl Joined {
    /// The session.
    pub const fn session(&self) -> &Session {
        &self.session
    }

    /// What the origin said, where it was asked over HTTP.
    pub fn said(&self) -> Option<&Said> {
        self.entered.said.as_deref()
    }

    /// The pull takes the place of the origin side of a connection that has none, or leaves it to others. Where the origin is
    /// asked about the viewer, it stays the connection's, and the pull needs another.
    pub fn take_origin_side(&self, place: &OriginSide) {
        let of_the_pull = self.entered.visit.feed.origin_side();
        match self.shadow {
            None => place.hand_to(of_the_pull),
            Some(_) => place.find_for(of_the_pull),
        }
    }

    /// The same for a connection that keeps its place, since its next request may need one.
    pub fn find_origin_side(&self, place: &OriginSide) {
        if self.shadow.is_some() {
            place.find_for(self.entered.visit.feed.origin_side());
        }
    }

    /// Gives the connection of the session to the feed. `first` is what the client gets before any media, and `voice`
    /// says how its stream is framed, and understands what it says. It has to be called on the worker whose the
    /// connection is.
    pub fn watch(self, wire: Wire, first: Vec<u8>, voice: ViewerProtocol) -> Box<Watching> {
        Watching::begin(self, Some(wire), first, voice)
    }

    /// How its stream is framed over HTTP, in `envelope`.
    pub fn framing(&self, envelope: Envelope) -> Framing {
        match self.entered.visit.feed.wanted().key.format {
            Some(_) => Framing::Blocks(envelope),
            None => Framing::Flv(envelope),
        }
    }

    /// Makes a body of the feed, for a connection that hyper has. It has to be called on the worker whose the
    /// connection is.
    pub fn show(self) -> Shown {
        let voice = ViewerProtocol::Http(self.framing(Envelope::None));
        Shown::new(Watching::begin(self, None, Vec::new(), voice))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Origins that are known to send on after a pause; beyond that many, they are found out again.
const MAX_UNPAUSABLE: usize = 1024;
/// Two hundred shadows a second are asked for again.
const BETWEEN_TURNS: Duration = Duration::from_millis(5);
