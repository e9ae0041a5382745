//! The heart: a [`Request`] comes in, a [`Session`] on the right origin comes out.
//!
//! `open` finds where the stream belongs; [`Session::dial`] walks the candidates until one answers. That loop is
//! the only failover there is, and it ends with the first byte relayed.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sluicegate_core::fleet::State as OriginState;
use sluicegate_core::origin::{OriginId, Target};
use sluicegate_core::stream::{Action, PlacementKey, Service, StreamUrl, VhostRule};
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info};

use crate::metrics::{Metrics, ReasonLabel, RefusalLabels};
use crate::registry::{Hold, Registry};
pub use crate::session::Request;
use crate::session::{Direction, EndReason, OpenRow, Row, Sessions, State};

/// Everything a listener needs to join a client to its stream; a cheap clone.
#[derive(Debug, Clone)]
pub struct Proxy {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    registry: Arc<Registry>,
    sessions: Arc<Sessions>,
    metrics: Arc<Metrics>,
    vhosts: VhostRule,
    timing: Timing,
    draining: AtomicBool,
}

/// How long set-up may take.
#[derive(Debug, Clone)]
pub struct Timing {
    /// A candidate has so long to send its first byte.
    pub dial: Duration,
    /// All candidates together have so long.
    pub setup: Duration,
    /// A publisher that has sent nothing for so long gives way to one that comes back.
    pub takeover: Duration,
}

/// A client on its way to, or joined with, an origin. Dropping it settles its accounts.
#[derive(Debug)]
pub struct Session {
    proxy: Proxy,
    service: Service,
    key: PlacementKey,
    // Before the row, so that the claim's lifetime counts from the last session's end.
    hold: Hold,
    row: OpenRow,
}

/// One origin to try.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Its name.
    pub origin: OriginId,
    /// What its operator calls it.
    pub label: String,
    /// What to dial.
    pub target: Target,
    /// How long it has to send its first byte.
    pub patience: Duration,
    /// It wants RTMP commands one by one.
    pub step_by_step: bool,
}

/// Why an attempt did not end in a joined session.
#[derive(Debug)]
pub enum DialError {
    /// This machine has no descriptor, port or memory left for a connection: no origin is to blame.
    Exhausted(String),
    /// The origin could not be reached or did not answer: the next candidate may.
    Failed(String),
    /// The origin speaks, and closes the connection when it hears what the client wants. The next candidate may not,
    /// but the origin is alive: a client that every origin hangs up on must not make them all look dead.
    HungUp(String),
    /// The origin names another place for the stream, as `host:port`.
    Moved(String),
    /// The origin answered, and the answer is no.
    Refused(String),
}

/// Why a request got no session.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Every candidate failed.
    #[error("{stream}: no origin answered; tried {}", names(.tried))]
    AllFailed {
        /// The stream asked for.
        stream: StreamUrl,
        /// What was tried, and how each failed. The text may hold addresses and is for logs only.
        tried: Vec<(OriginId, String)>,
    },
    /// The proxy stops.
    #[error("this proxy is stopping; connect again")]
    Draining,
    /// No descriptor, port or memory is left for a connection to an origin.
    #[error("this proxy has no room for a further connection; try again later")]
    Exhausted {
        /// What the system said.
        error: String,
    },
    /// Something ended the session before it was joined.
    #[error("the session was ended: {0}")]
    Ended(EndReason),
    /// The session table is full.
    #[error("this proxy holds as many sessions as it may; try again later")]
    Full,
    /// The stream is published, on an origin that was taken out of the fleet.
    #[error("{stream} is on {origin}, which is not registered any more")]
    Gone {
        /// The stream asked for.
        stream: StreamUrl,
        /// The origin that holds it.
        origin: OriginId,
    },
    /// No origin is there that could take it.
    #[error("{stream}: no live origin serves {}", .service.as_str())]
    NoOrigin {
        /// The stream asked for.
        stream: StreamUrl,
        /// The kind of endpoint that was looked for.
        service: Service,
    },
    /// The origin said no.
    #[error("{description}")]
    Refused {
        /// Which origin.
        origin: OriginId,
        /// Its own words.
        description: String,
    },
    /// Too many plays of unpublished streams from one address.
    #[error(
        "too many streams without a publisher are waited for from your address; try again in a minute"
    )]
    TooManyClaims,
    /// The candidates together took too long.
    #[error("{stream}: no origin answered in time; tried {}", names(.tried))]
    TooSlow {
        /// The stream asked for.
        stream: StreamUrl,
        /// What was tried, and how each failed. The text may hold addresses and is for logs only.
        tried: Vec<(OriginId, String)>,
    },
    /// The stream is on an origin that does not speak this protocol.
    #[error("{stream} is on {origin}, which has no {}", .service.as_str())]
    WrongService {
        /// The stream asked for.
        stream: StreamUrl,
        /// The origin that holds it.
        origin: OriginId,
        /// What that origin lacks.
        service: Service,
    },
}

impl Proxy {
    /// Puts the parts together.
    pub fn new(
        registry: Arc<Registry>,
        sessions: Arc<Sessions>,
        metrics: Arc<Metrics>,
        vhosts: VhostRule,
        timing: Timing,
    ) -> Self {
        let draining = AtomicBool::new(false);
        Self {
            shared: Arc::new(Shared {
                registry,
                sessions,
                metrics,
                vhosts,
                timing,
                draining,
            }),
        }
    }

    /// Origins and placements.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.shared.registry
    }

    /// The session table.
    pub fn sessions(&self) -> &Arc<Sessions> {
        &self.shared.sessions
    }

    /// The metric families.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// Whether new work is refused.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Ordering::Relaxed)
    }

    /// Refuses new work from now on.
    pub fn drain(&self) {
        self.shared.draining.store(true, Ordering::Relaxed);
    }

    /// The key a stream is placed under.
    pub fn key(&self, stream: &StreamUrl) -> PlacementKey {
        self.shared.vhosts.key(stream)
    }

    /// Opens a session for a request: a row in the table and a share in the stream's placement. A publisher of
    /// the same stream that has gone silent gives way first.
    ///
    /// # Errors
    /// A [`Refusal`], logged and counted.
    pub async fn open(&self, request: Request) -> Result<Session, Refusal> {
        let told = request.clone();
        let opened = self.try_open(request).await;
        if let Err(refusal) = &opened {
            self.note_refusal(&told, refusal);
        }
        opened
    }

    async fn try_open(&self, request: Request) -> Result<Session, Refusal> {
        if self.is_draining() {
            return Err(Refusal::Draining);
        }
        if request.action == Action::Publish {
            self.relieve(&request.stream).await;
        }
        let key = self.key(&request.stream);
        let service = request.protocol.service();
        let (action, source) = (request.action, request.client.ip());
        let hold = self
            .shared
            .registry
            .hold(&key, action, source)
            .map_err(|_| Refusal::TooManyClaims)?;
        let row = self.shared.sessions.open(request).ok_or(Refusal::Full)?;
        Ok(Session {
            proxy: self.clone(),
            service,
            key,
            hold,
            row,
        })
    }

    /// Ends the publisher of `stream` if it has gone silent: its encoder has come back on a new connection, and
    /// the old one is a hole in the network that nobody has noticed. One that still sends is left alone, and
    /// the origin decides.
    async fn relieve(&self, stream: &StreamUrl) {
        let Some(old) = self.shared.sessions.publisher(stream) else {
            return;
        };
        let enough = self.shared.timing.takeover;
        let seen = old.bytes(Direction::ToOrigin);
        while old.client_silent_for() < enough {
            if old.bytes(Direction::ToOrigin) != seen {
                return;
            }
            let rest = enough.saturating_sub(old.client_silent_for());
            if timeout(rest.min(POLL), old.closed()).await.is_ok() {
                return;
            }
        }
        if old.state() == State::Connecting {
            // It says nothing because its origin has yet to answer it.
            return;
        }
        info!(session = old.id, stream = %stream, "a silent publisher gives way to one that came back");
        old.end(EndReason::Replaced);
        let _ = timeout(enough, old.closed()).await;
    }

    fn note_refusal(&self, request: &Request, refusal: &Refusal) {
        let labels = RefusalLabels {
            protocol: request.protocol.as_str(),
            reason: refusal.as_str(),
        };
        self.shared.metrics.refused.get_or_create(&labels).inc();
        if *refusal == Refusal::TooManyClaims {
            // The answer to a flood is a number, not a flood of lines.
            return debug!(stream = %request.stream, client = %request.client, "refused: too many claims");
        }
        info!(
            stream = %request.stream,
            action = request.action.as_str(),
            protocol = request.protocol.as_str(),
            client = %request.client,
            reason = refusal.as_str(),
            detail = refusal.detail(),
            "refused"
        );
    }
}

impl Session {
    /// The row: counters, and the way to hear of a kick.
    pub fn row(&self) -> &Arc<Row> {
        &self.row
    }

    /// Tries origins, best first, until `dial` joins one. The claim moves with the choice, so that everybody
    /// else who asks for the stream is sent to the same origin.
    ///
    /// # Errors
    /// A [`Refusal`], logged and counted; the session is over then.
    pub async fn dial<T, F>(&self, dial: impl Fn(Attempt) -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let joined = tokio::select! {
            joined = self.walk_candidates(dial) => joined,
            reason = self.row.ended() => Err(Refusal::Ended(reason)),
        };
        match joined {
            Ok(leg) => {
                self.row.joined();
                let placed = self.row.placed();
                info!(
                    session = self.row.id,
                    stream = %self.row.request.stream,
                    action = self.row.request.action.as_str(),
                    protocol = self.row.request.protocol.as_str(),
                    client = %self.row.request.client,
                    origin = placed.origin.as_ref().map_or("-", |id| id.as_str()),
                    why = placed.why,
                    "session joined"
                );
                Ok(leg)
            }
            Err(refusal) => {
                self.proxy.note_refusal(&self.row.request, &refusal);
                self.row.end(EndReason::Refused);
                Err(refusal)
            }
        }
    }

    /// Notes that the origin answered. A dial that ended with the connection, before a word of the origin, does not
    /// show that it lives: the kernel accepts connections for a process that is stopped.
    pub fn answered(&self) {
        if let Some(origin) = self.row.placed().origin {
            self.proxy.shared.registry.answered(&origin);
        }
    }

    /// Ends the session for `reason`, unless something ended it before.
    pub fn finish(self, reason: EndReason) {
        self.row.end(reason);
    }

    async fn walk_candidates<T, F>(&self, dial: impl Fn(Attempt) -> F) -> Result<T, Refusal>
    where
        F: Future<Output = Result<T, DialError>>,
    {
        let registry = &self.proxy.shared.registry;
        let mut tried: Vec<(OriginId, String)> = Vec::new();
        let (mut moves, mut hang_ups) = (0, 0);
        let deadline = Instant::now() + self.proxy.shared.timing.setup;
        let mut next = self.first_choice()?;
        loop {
            let choice = self.claim(next, &tried)?;
            let origin = choice.origin.clone();
            let Some(target) = registry.target(&origin, self.service) else {
                return Err(self.wrong_service(origin));
            };
            self.row.note_placed(origin.clone(), choice.why);
            let member = registry.member(&origin);
            let began = Instant::now();
            let patience = self.proxy.shared.timing.dial;
            let attempt = Attempt {
                origin: origin.clone(),
                label: member
                    .as_ref()
                    .map(|member| member.origin.label().to_owned())
                    .unwrap_or_default(),
                target,
                patience,
                step_by_step: member.is_some_and(|member| member.step_by_step),
            };
            let Ok(answer) = timeout_at(deadline, dial(attempt)).await else {
                // One that came last had less than its time, and that was not its doing.
                if began.elapsed() >= patience {
                    registry.failed(&origin);
                }
                tried.push((origin, "did not answer in time".to_owned()));
                return Err(Refusal::TooSlow {
                    stream: self.row.request.stream.clone(),
                    tried,
                });
            };
            let why = match answer {
                Ok(leg) => match self.hold.join(&origin) {
                    Ok(()) => {
                        if self.service == Service::Rtmp {
                            registry.answered(&origin);
                        }
                        return Ok(leg);
                    }
                    Err(moved) => {
                        next = Choice {
                            expected: Some(moved.clone()),
                            origin: moved,
                            why: "another request placed it there meanwhile".to_owned(),
                            reason: "lost",
                        };
                        continue;
                    }
                },
                Err(DialError::Exhausted(error)) => {
                    return Err(Refusal::Exhausted { error });
                }
                Err(DialError::HungUp(why)) => {
                    registry.answered(&origin);
                    hang_ups += 1;
                    if hang_ups >= MAX_HANG_UPS {
                        let description =
                            "its origin closed the connection without a reason".to_owned();
                        return Err(Refusal::Refused {
                            origin,
                            description,
                        });
                    }
                    why
                }
                Err(DialError::Refused(description)) => {
                    registry.answered(&origin);
                    return Err(Refusal::Refused {
                        origin,
                        description,
                    });
                }
                Err(DialError::Moved(place)) => {
                    registry.answered(&origin);
                    moves += 1;
                    next = self.redirected(origin, &place, moves)?;
                    continue;
                }
                Err(DialError::Failed(why)) => {
                    registry.failed(&origin);
                    why
                }
            };
            debug!(origin = %origin, why, after = ?began.elapsed(), "dial failed");
            self.row.note_failed(origin.clone(), why.clone());
            tried.push((origin.clone(), why));
            next = match self.next_choice(origin, &tried) {
                Some(choice) => choice,
                None => {
                    return Err(Refusal::AllFailed {
                        stream: self.row.request.stream.clone(),
                        tried,
                    });
                }
            };
            self.proxy.shared.metrics.failovers.inc();
        }
    }

    /// The origin that `from` points to, if it is registered and alive.
    fn redirected(&self, from: OriginId, place: &str, moves: usize) -> Result<Choice, Refusal> {
        let registry = &self.proxy.shared.registry;
        info!(stream = %self.row.request.stream, origin = %from, to = place, "origin redirects");
        let known = registry.at(self.service, place).filter(|there| {
            let state = registry.state(there);
            *there != from && state.is_some_and(|state| state != OriginState::Suspect)
        });
        match known.filter(|_| moves <= MAX_MOVES) {
            Some(there) => Ok(Choice {
                why: format!("{from} redirected it here"),
                expected: Some(from),
                origin: there,
                reason: "redirected",
            }),
            None => Err(Refusal::Refused {
                origin: from,
                description: "its origin redirects it to a place that cannot be followed"
                    .to_owned(),
            }),
        }
    }

    /// Where the stream is, or where it should go.
    fn first_choice(&self) -> Result<Choice, Refusal> {
        let registry = &self.proxy.shared.registry;
        let claimed = registry.claimed(&self.key);
        if let Some(origin) = &claimed
            && registry.published_here(&self.key)
            && registry.member(origin).is_none()
        {
            let stream = self.row.request.stream.clone();
            return Err(Refusal::Gone {
                stream,
                origin: origin.clone(),
            });
        }
        if let Some(standing) = registry.standing(&self.key) {
            let failing = registry.state(&standing) == Some(OriginState::Failing);
            // An origin that failed a moment ago keeps what is published on it through here, and nothing else.
            if !failing || registry.published_here(&self.key) {
                let why = "it is placed there".to_owned();
                return Ok(Choice {
                    expected: claimed,
                    origin: standing,
                    why,
                    reason: "sticky",
                });
            }
        }
        let ranked = registry.ranked(&self.key, self.service);
        let count = ranked.len();
        let Some(origin) = ranked.into_iter().next() else {
            let stream = self.row.request.stream.clone();
            return Err(Refusal::NoOrigin {
                stream,
                service: self.service,
            });
        };
        let reason = if claimed.is_some() { "moved" } else { "new" };
        let why = format!("first of {count} by {}", registry.policy());
        Ok(Choice {
            expected: claimed,
            origin,
            why,
            reason,
        })
    }

    /// Whom to try after `failed`; nobody when a publisher on it is joined through this proxy, since moving the
    /// claim would split its stream. This session itself is not joined yet.
    fn next_choice(&self, failed: OriginId, tried: &[(OriginId, String)]) -> Option<Choice> {
        let registry = &self.proxy.shared.registry;
        let untried = |id: &OriginId| !tried.iter().any(|(seen, _)| seen == id);
        if registry.published_here(&self.key) {
            // A publisher may have been joined elsewhere while this request was still dialling.
            let origin = registry.standing(&self.key).filter(untried)?;
            return Some(Choice {
                expected: Some(origin.clone()),
                origin,
                why: "another request placed it there meanwhile".to_owned(),
                reason: "lost",
            });
        }
        let origin = registry
            .ranked(&self.key, self.service)
            .into_iter()
            .find(untried)?;
        let why = format!("next by {} after {failed} failed", registry.policy());
        Some(Choice {
            expected: Some(failed),
            origin,
            why,
            reason: "failover",
        })
    }

    /// Makes the claim for a choice; somebody else's claim, if it was first, is the choice then.
    fn claim(&self, choice: Choice, tried: &[(OriginId, String)]) -> Result<Choice, Refusal> {
        let registry = &self.proxy.shared.registry;
        if choice.reason == "sticky" && registry.target(&choice.origin, self.service).is_none() {
            return Err(self.wrong_service(choice.origin));
        }
        let claim = registry.claim(&self.key, choice.expected.as_ref(), &choice.origin);
        let reason = if claim.won { choice.reason } else { "lost" };
        self.proxy
            .shared
            .metrics
            .placements
            .get_or_create(&ReasonLabel { reason })
            .inc();
        if claim.won {
            return Ok(choice);
        }
        let origin = OriginId::from(claim.value);
        if tried.iter().any(|(seen, _)| *seen == origin) {
            let stream = self.row.request.stream.clone();
            return Err(Refusal::AllFailed {
                stream,
                tried: tried.to_vec(),
            });
        }
        Ok(Choice {
            expected: None,
            origin,
            why: "another request placed it there first".to_owned(),
            reason,
        })
    }

    fn wrong_service(&self, origin: OriginId) -> Refusal {
        Refusal::WrongService {
            stream: self.row.request.stream.clone(),
            origin,
            service: self.service,
        }
    }
}

impl Refusal {
    /// The refusal as metrics spell it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::AllFailed { .. } => "all_failed",
            Self::Draining => "draining",
            Self::Ended(_) => "ended",
            Self::Exhausted { .. } => "exhausted",
            Self::Full => "full",
            Self::Gone { .. } => "gone",
            Self::NoOrigin { .. } => "no_origin",
            Self::Refused { .. } => "refused",
            Self::TooManyClaims => "too_many_claims",
            Self::TooSlow { .. } => "too_slow",
            Self::WrongService { .. } => "wrong_service",
        }
    }

    /// The whole story, for the log: it may hold addresses.
    fn detail(&self) -> String {
        match self {
            Self::AllFailed { tried, .. } | Self::TooSlow { tried, .. } => tried
                .iter()
                .map(|(id, why)| format!("{id}: {why}"))
                .collect::<Vec<_>>()
                .join("; "),
            Self::Exhausted { error } => error.clone(),
            Self::Refused {
                origin,
                description,
            } => format!("{origin}: {description}"),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.origin, self.target)
    }
}

/// An origin to try, and what the claim on the stream is expected to be.
#[derive(Debug)]
struct Choice {
    expected: Option<OriginId>,
    origin: OriginId,
    why: String,
    reason: &'static str,
}

fn names(tried: &[(OriginId, String)]) -> String {
    tried
        .iter()
        .map(|(id, _)| id.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// How often a publisher that may have gone silent is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Redirects followed for one request.
const MAX_MOVES: usize = 2;
/// Origins that may hang up on one request: each costs two connections, and a client whose request no origin likes
/// must not have them all dialled.
const MAX_HANG_UPS: usize = 2;
