//! Asking an origin for a piece.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use hyper::{Response, StatusCode};
use sluicegate_core::dialect::File;
use sluicegate_core::fleet::health::Fault;
use sluicegate_core::http::route::Piece;
use sluicegate_core::http::splice::ask;
use sluicegate_core::place::redirect::target_of;
use sluicegate_core::stream::{Action, Service, StreamUrl};
use tracing::debug;

use super::known::KnownAnswer;
use super::named::owners;
use super::{PieceRequest, TimeLimit, status_of};
use crate::listener::http::again;
use crate::listener::http::granted::belongs;
use crate::origin::line::LineBody;
use crate::proxy::{Attempt, DialError};

/// What an origin answered.
#[expect(clippy::large_enum_variant, reason = "it is moved on at once")]
pub(super) enum Fetched {
    /// What it answered last, byte for byte, with head and body.
    Known(Arc<KnownAnswer>),
    /// Anything else.
    New(Response<LineBody>),
}

impl Fetched {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            // No other is known.
            Self::Known(_) => StatusCode::OK,
            Self::New(response) => response.status(),
        }
    }

    /// The place in the fleet that the origin sends this request to.
    fn moved(&self, request: &PieceRequest, attempt: &Attempt) -> Option<String> {
        match self {
            Self::Known(_) => None,
            Self::New(response) => again::moved(&request.proxy, attempt, response),
        }
    }

    /// Whether a redirect leads to just what was asked for as `target`, at whatever place. Where it leads to anything else, what
    /// the answer lists is relative to that, and a token may be in it: the client asks for it, by a link.
    fn leads_to(&self, target: &str) -> bool {
        match self {
            Self::Known(_) => false,
            Self::New(response) => target_of(again::location(response), target) == target,
        }
    }
}

impl PieceRequest {
    /// An origin's answer: by the link, else by placement. The origin of a link that is gone is no reason to fail.
    pub(super) async fn fetch(&self) -> Result<(Attempt, Fetched), (StatusCode, String)> {
        let time_limit = match self.time_limit {
            TimeLimit::Answer => self.pieces.settings.answer_timeout,
            TimeLimit::Reload => self.pieces.settings.reload_timeout,
        };
        let registry = self.proxy.registry();
        if let Some(attempt) = &self.linked {
            match self.send_to(attempt, time_limit).await {
                Ok(fetched) => {
                    registry.answered(&attempt.origin);
                    if let Some(there) = self.followed(attempt, &fetched, time_limit).await {
                        return Ok(there);
                    }
                    let found = self.found_by_name(attempt, &fetched, time_limit).await;
                    return Ok(found.unwrap_or_else(|| (attempt.clone(), fetched)));
                }
                Err(error) => {
                    debug!(origin = %attempt.origin, ?error, "the origin of a link did not answer");
                    match &error {
                        DialError::Slow(_) => return Err(self.no_answer()),
                        DialError::Closed(why) => {
                            registry.failed(&attempt.origin, Fault::Closed, why);
                        }
                        DialError::Failed(why) => {
                            registry.failed(&attempt.origin, Fault::Refused, why);
                        }
                        DialError::Silent(why) => {
                            registry.failed(&attempt.origin, Fault::Silent, why);
                        }
                        _ => {}
                    }
                }
            }
        }
        if self.went_with_its_origin(false) {
            return Err(self.lost());
        }
        let found = match self.time_limit {
            TimeLimit::Answer => {
                let send = |attempt: Attempt| async move {
                    let fetched = self.send_to(&attempt, time_limit).await?;
                    if let Some(place) = fetched.moved(self, &attempt)
                        && fetched.leads_to(&self.target_at(&attempt)?)
                    {
                        let for_one = false;
                        return Err(DialError::Moved { place, for_one });
                    }
                    Ok((attempt, fetched))
                };
                let shows =
                    |(_, fetched): &(Attempt, Fetched)| fetched.status() != StatusCode::NOT_FOUND;
                self.place.dial(send, shows).await
            }
            TimeLimit::Reload => {
                let reach = |attempt: Attempt| async move {
                    self.ask.reach(&self.dialer, &attempt).await?;
                    Ok(attempt)
                };
                match self.place.dial(reach, |_| true).await {
                    Ok(attempt) => match self.send_waiting(&attempt, time_limit).await {
                        Ok(fetched) => {
                            let there = self.followed(&attempt, &fetched, time_limit).await;
                            Ok(there.unwrap_or((attempt, fetched)))
                        }
                        Err(_) => return Err(self.no_answer()),
                    },
                    Err(refusal) => Err(refusal),
                }
            }
        };
        match found {
            Ok((attempt, fetched)) => {
                registry.answered(&attempt.origin);
                if let Some(found) = self.found_by_name(&attempt, &fetched, time_limit).await {
                    return Ok(found);
                }
                if fetched.status() == StatusCode::NOT_FOUND && self.went_with_its_origin(true) {
                    return Err(self.lost());
                }
                Ok((attempt, fetched))
            }
            Err(_) if self.went_with_its_origin(true) => Err(self.lost()),
            Err(refusal) => Err((status_of(refusal.http_status()), refusal.to_string())),
        }
    }

    /// The answer of the origin of the fleet that `attempt` redirects a playlist to. Its reloads are asked for by the link of the
    /// one that listed them, and wait, so that a player would be sent on each time.
    async fn followed(
        &self,
        attempt: &Attempt,
        fetched: &Fetched,
        time_limit: Duration,
    ) -> Option<(Attempt, Fetched)> {
        if self.kind == Piece::Segment {
            return None;
        }
        let place = fetched.moved(self, attempt)?;
        if !fetched.leads_to(&self.target_at(attempt).ok()?) {
            return None;
        }
        let there = self.proxy.registry().at(Service::Http, &place)?;
        let there = self.place.attempt(&there)?;
        // Boxed: few are sent on.
        let answered = Box::pin(self.send_waiting(&there, time_limit)).await.ok()?;
        Some((there, answered))
    }

    /// The answer of another origin, where that of `attempt` has not what one of its pages listed: the path may name a stream
    /// that is placed by itself, as where an encoder publishes each rendition under a name of its own.
    async fn found_by_name(
        &self,
        attempt: &Attempt,
        fetched: &Fetched,
        time_limit: Duration,
    ) -> Option<(Attempt, Fetched)> {
        if fetched.status() != StatusCode::NOT_FOUND {
            return None;
        }
        let (link, _) = self.wanted.link.as_ref()?;
        let (proxy, wanted) = (&self.proxy, &self.wanted);
        let host = Some(&*wanted.host);
        let owners = owners(proxy, wanted.dialect, Some(link), host, &wanted.target);
        let registry = proxy.registry();
        let is_another = |name: &&StreamUrl| {
            let is_open = wanted.is_listed || !proxy.may_judge(name, Action::Play);
            **name != link.stream && is_open
        };
        let placed = owners.all().filter(is_another);
        let placed = placed.filter_map(|name| registry.holder(&proxy.key(name)));
        // Where the stream is, its origin may have named another for this.
        let is_its_own = owners.all().any(|name| belongs(name, &link.stream));
        let listed = (!is_its_own).then(|| link.origin.clone());
        let there = listed
            .into_iter()
            .chain(placed)
            .find(|there| *there != attempt.origin)?;
        let there = self.place.attempt(&there)?;
        // Boxed: what is not there is seldom asked for.
        let answered = Box::pin(self.send_to(&there, time_limit)).await.ok()?;
        (answered.status() != StatusCode::NOT_FOUND).then_some((there, answered))
    }

    /// What a player hears whose origin lives and takes too long: no other would be faster.
    fn no_answer(&self) -> (StatusCode, String) {
        let stream = &self.place.request().stream;
        let words = format!("{stream}: its origin did not answer in time");
        self.unanswered((StatusCode::SERVICE_UNAVAILABLE, words))
    }

    /// What a player hears of a segment that was lost with its origin. It asks for its playlist again, where that is a gap.
    fn lost(&self) -> (StatusCode, String) {
        let stream = &self.place.request().stream;
        let words = format!("{stream}: this segment was lost with its origin");
        (StatusCode::SERVICE_UNAVAILABLE, words)
    }

    /// Sends a request that waits for a segment. An origin that is far from that one may refuse it (RFC 8216bis §6.2.5.2). Where
    /// viewers may know the segments by other numbers than it does, it is asked for what it has then.
    async fn send_waiting(
        &self,
        attempt: &Attempt,
        time_limit: Duration,
    ) -> Result<Fetched, DialError> {
        let fetched = self.send_to(attempt, time_limit).await?;
        if fetched.status() != StatusCode::BAD_REQUEST || self.counts_as(&attempt.origin) {
            return Ok(fetched);
        }
        let target = ask::waiting_for(&self.ask.head.target, None);
        let target = self.named_at(attempt, target.into())?;
        let (dialer, silence) = (&self.dialer, &self.silence);
        let sent = self.ask.send(dialer, silence, attempt, &target, time_limit);
        sent.await.map(Fetched::New)
    }

    async fn send_to(&self, attempt: &Attempt, time_limit: Duration) -> Result<Fetched, DialError> {
        let target = self.target_at(attempt)?;
        let (ask, dialer, silence) = (&self.ask, &self.dialer, &self.silence);
        let known = self.known(attempt, &target);
        let Some((known, came)) = known
            .as_ref()
            .and_then(|known| Some((known, known.came()?)))
        else {
            let sent = ask.send(dialer, silence, attempt, &target, time_limit);
            return sent.await.map(Fetched::New);
        };
        let sent = ask.send_again(dialer, silence, attempt, &target, came, time_limit);
        let answer = sent.await?;
        Ok(answer.map_or_else(|| Fetched::Known(Arc::clone(known)), Fetched::New))
    }

    /// The target as an origin is to get it. Only what a player begins with has a name in every dialect; what that lists
    /// is asked for by its link.
    pub(super) fn target_at(&self, attempt: &Attempt) -> Result<Cow<'_, str>, DialError> {
        let target = self.directed(&self.ask.head.target, &attempt.origin);
        self.named_at(attempt, target)
    }

    fn named_at<'a>(
        &self,
        attempt: &Attempt,
        target: Cow<'a, str>,
    ) -> Result<Cow<'a, str>, DialError> {
        let Some(dialect) = self
            .dialect()
            .filter(|dialect| !attempt.naming.is_of(*dialect))
        else {
            return Ok(target);
        };
        let file = match self.kind {
            Piece::Manifest => File::Manifest,
            Piece::Playlist => File::Playlist,
            Piece::Segment => {
                let words = "it is asked for by the link in its playlist";
                return Err(DialError::Refused(words.to_owned()));
            }
        };
        let (_, query) = target.split_once('?').unwrap_or_default();
        let stream = &self.place.request().stream;
        Ok(attempt.naming.file(dialect, stream, file, query)?.into())
    }
}
